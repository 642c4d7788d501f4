// What the kernel and the CPU reference of TokenUnmerge share: sizes, and where a row comes from.
#pragma once

#include <cstdint>

#include "common/portable.h"

namespace edgeexport {

struct TokenUnmergeSizes {
    int32_t batch;   // B, images
    int32_t tokens;  // n, rows per image to choose from
    int32_t rows;    // m, rows per image that are wanted
    int32_t width;   // C, elements per row
};

// Whether `token` names a row of its image.
EDGEEXPORT_HD inline bool isToken(TokenUnmergeSizes const& sizes, int32_t token) {
    return 0 <= token && token < sizes.tokens;
}

// The row of the tokens of all images that output row `row` of all images copies; `token` is index[row].
EDGEEXPORT_HD inline int64_t sourceRow(TokenUnmergeSizes const& sizes, int32_t row, int32_t token) {
    return static_cast<int64_t>(row / sizes.rows) * sizes.tokens + token;
}

}  // namespace edgeexport
