// Launcher of TokenMatch: which tokens merge, into which, and which stay.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "common/element_type.h"
#include "token_match/match_sizes.h"

namespace edgeexport {

// All addresses are device memory; row-major, contiguous.
//   metric     (B, N, D)  of `type`, FP32 or FP16
//   table      MatchTables::table for sizes.counts; every token in it is below N
//   workspace  matchWorkspaceBytes(sizes), aligned to 8 bytes; its content does not matter
//   source     (B, R)     int32, tokens that merge, window by window in falling order of score
//   target     (B, R)     int32, what each merges into
//   kept       (B, K)     int32, sources that stay, ascending or in falling order of score
// Norms, similarities and their comparison are in float32. Ties: a source takes the lowest destination position among
// equals, a window merges the lowest source positions among equals. Two or three kernels on `stream`; does not wait.
// Returns cudaErrorInvalidValue for sizes that matchRefusal names, another type or a missing address; else the launch's
// error.
cudaError_t launchTokenMatch(void const* metric, ElementType type, TokenMatchSizes const& sizes, int32_t const* table,
    void* workspace, int32_t* source, int32_t* target, int32_t* kept, cudaStream_t stream);

}  // namespace edgeexport
