// Launcher of TokenUnmerge: out[b, i] = tokens[b, index[b, i]], rows copied bit by bit.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "common/element_type.h"
#include "token_unmerge/token_unmerge_index.h"

namespace edgeexport {

// All addresses are device memory; row-major, contiguous.
//   tokens  (B, n, C) of `type`, one of FP32, FP16, INT32
//   index   (B, m)    int32, each in [0, n); an index outside gives a row of zeros
//   rows    (B, m, C) of `type`
// Returns cudaErrorInvalidValue for a negative size, B * m beyond 2^31 - 1, an unknown type, a missing address or
// n = 0 < m; else the launch's error. Does not wait.
cudaError_t launchTokenUnmerge(void const* tokens, int32_t const* index, void* rows, TokenUnmergeSizes const& sizes,
    ElementType type, cudaStream_t stream);

}  // namespace edgeexport
