// Sizes of TokenProtectSelect, which of them are accepted, and the memory they need; for the kernels, the launcher, the
// plugin and the CPU references.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/portable.h"
#include "common/selection.h"

namespace edgeexport {

constexpr int32_t kSelectMaxTokens = 2048;    // a block sorts an image's tokens in its shared memory
constexpr int32_t kSelectMaxClasses = 65535;  // a key has 16 bits for the class, the last one is for padding
constexpr int32_t kSelectMaxWidth = 1 << 24;
constexpr int32_t kSelectMaxImages = 65535;  // limit of a CUDA grid

struct ProtectSelectSizes {
    int32_t batch;      // B
    int32_t classes;    // K
    int32_t tokens;     // n
    int32_t width;      // C, elements of a token
    int32_t row_width;  // R, elements of the row that a token leaves behind
    int32_t k;          // tokens that leave
    int32_t per_class;  // tokens of each class that leave last

    EDGEEXPORT_HD constexpr int32_t kept() const { return tokens - k; }
};

// What is wrong with the sizes, or null.
constexpr char const* protectSelectRefusal(ProtectSelectSizes const& sizes) {
    if (sizes.batch < 0 || sizes.batch > kSelectMaxImages) {
        return "a number of images outside 0 to 65535";
    }
    if (sizes.classes < 1 || sizes.classes > kSelectMaxClasses) {
        return "a number of classes outside 1 to 65535";
    }
    if (sizes.tokens < 2 || sizes.tokens > kSelectMaxTokens) {
        return "a number of tokens outside 2 to 2048";
    }
    if (sizes.width < 1 || sizes.width > kSelectMaxWidth || sizes.row_width < 1 || sizes.row_width > kSelectMaxWidth) {
        return "rows of a length outside 1 to 2^24";
    }
    if (sizes.k < 1 || sizes.k >= sizes.tokens) {
        return "k outside 1 to the number of tokens less 1";
    }
    if (sizes.per_class < 1) {
        return "per_class below 1";
    }
    return nullptr;
}

// Workspace of a launch: every token's confidence and class.
constexpr size_t protectSelectWorkspaceBytes(ProtectSelectSizes const& sizes) {
    return static_cast<size_t>(sizes.batch) * static_cast<size_t>(sizes.tokens) * sizeof(Best);
}

}  // namespace edgeexport
