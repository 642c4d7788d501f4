// What the kernel and the CPU reference of TokenMerge share: which token an output row starts from, and what joins it.
#pragma once

#include <cstdint>

#include "common/portable.h"

namespace edgeexport {

// Output rows lie as [prefix | kept | destinations].
struct TokenMergeSizes {
    int32_t batch;         // B, images
    int32_t tokens;        // N, tokens that enter
    int32_t width;         // C, elements per token
    int32_t merged;        // R, tokens that merge
    int32_t kept;          // K, sources that stay
    int32_t prefix;        // tokens at the start that are copied
    int32_t destinations;  // tokens that others merge into

    EDGEEXPORT_HD int32_t rows() const { return prefix + kept + destinations; }
};

constexpr int32_t kNoToken = -1;

// The token that gives output row `row` of an image, or kNoToken where `kept` names none.
//   kept          (K) of the image
//   destinations  (nB), each in [0, N)
EDGEEXPORT_HD inline int32_t tokenOfRow(
    TokenMergeSizes const& sizes, int32_t const* kept, int32_t const* destinations, int32_t row) {
    if (row < sizes.prefix) {
        return row;
    }
    row -= sizes.prefix;
    if (row >= sizes.kept) {
        return destinations[row - sizes.kept];
    }
    int32_t const token = kept[row];
    return 0 <= token && token < sizes.tokens ? token : kNoToken;
}

// Whether tokens may merge into output row `row`.
EDGEEXPORT_HD inline bool isDestinationRow(TokenMergeSizes const& sizes, int32_t row) {
    return row >= sizes.prefix + sizes.kept;
}

// Whether `source`, which goes to `target`, merges into `destination`. One that is no token never does.
EDGEEXPORT_HD inline bool mergesInto(
    TokenMergeSizes const& sizes, int32_t source, int32_t target, int32_t destination) {
    return target == destination && 0 <= source && source < sizes.tokens;
}

}  // namespace edgeexport
