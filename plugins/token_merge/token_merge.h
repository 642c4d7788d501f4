// Launcher of TokenMerge: tokens merge into others as means weighted by size; sizes add up.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "common/element_type.h"
#include "token_merge/token_merge_rows.h"

namespace edgeexport {

// Where the op's tensors lie; row-major, contiguous.
struct TokenMergeAddresses {
    void const* x;                // (B, N, C) of `type`, FP32 or FP16
    float const* size;            // (B, N)
    int32_t const* source;        // (B, R), tokens that merge
    int32_t const* target;        // (B, R), the destination of each
    int32_t const* kept;          // (B, K), sources that stay
    int32_t const* destinations;  // (nB), each in [0, N)
    void* merged;                 // (B, rows, C) of `type`, rows = prefix + K + nB
    float* merged_size;           // (B, rows)
};

// Device memory. With s the sizes and S = s[d] + sum of s[i] over the sources i of destination d, in their order:
//   merged[d] = x[d] * (s[d] / S) + sum of x[i] * (s[i] / S), in float32; merged_size[d] = S.
// All other rows, and destinations without sources, are copied bit by bit. A source that is no token takes no part; a
// row of `kept` that names none is zero.
// Returns cudaErrorInvalidValue for sizes below 0, rows without tokens, prefix > N, another type or a missing address;
// else the launch's error. Does not wait.
cudaError_t launchTokenMerge(
    TokenMergeAddresses const& tensors, TokenMergeSizes const& sizes, ElementType type, cudaStream_t stream);

}  // namespace edgeexport
