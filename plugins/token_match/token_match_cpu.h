// CPU references of TokenMatch, callable through ctypes: one straight from the definition, one that carries out the
// kernels' steps.
#pragma once

#include <cstdint>

#include "common/portable.h"

// One TokenMatch in host memory. Lists are the op's attributes; their lengths fix R, K and the outputs' widths.
struct EdgeexportTokenMatch {
    void const* metric;  // (batch, tokens, channels) of `type`
    int32_t type;        // ElementType FP32 or FP16
    int32_t batch;
    int32_t tokens;
    int32_t channels;
    int32_t const* sources;
    int32_t sources_length;  // windows * na
    int32_t const* destinations;
    int32_t destinations_length;  // windows * nb
    int32_t const* taken;
    int32_t taken_length;  // R
    int32_t const* left;
    int32_t left_length;  // K
    int32_t windows;
    int32_t ascending;
    int32_t* source;  // (batch, R)
    int32_t* target;  // (batch, R)
    int32_t* kept;    // (batch, K)
};

// Returns Status: kBadAttribute where the tables contradict each other, kBadIndex where they name a token that the
// metric does not have.
EDGEEXPORT_EXPORT int edgeexport_cpu_token_match(EdgeexportTokenMatch const* match) noexcept;

// The same by the kernels' blocks, whose threads take turns in rising or, if `backward` is not 0, in falling order (see
// common/block.h).
EDGEEXPORT_EXPORT int edgeexport_cpu_token_match_kernel(EdgeexportTokenMatch const* match, int32_t backward) noexcept;
