// Launcher of TokenMatchMerge: which tokens merge into which, and the merged tokens.
#pragma once

#include <cuda_runtime_api.h>

#include "common/element_type.h"
#include "token_match_merge/match_merge_tensors.h"

namespace edgeexport {

// Device memory. Decides as launchTokenMatch does on the mean of the metric's heads, and merges as launchTokenMerge does; `type`
// is that of metric and log_size. Two kernels on `stream`; does not
// wait. Returns cudaErrorInvalidValue for sizes that matchMergeRefusal names, another type or a missing address; else the
// launch's error.
cudaError_t launchTokenMatchMerge(
    MatchMergeAddresses const& tensors, MatchMergeSizes const& sizes, ElementType type, cudaStream_t stream);

}  // namespace edgeexport
