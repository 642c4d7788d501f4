// Launcher of TokenPartition: the k highest scores of each image and the rest, both as ascending token indices.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "common/element_type.h"
#include "token_partition/partition_sizes.h"

namespace edgeexport {

// All addresses are device memory; row-major, contiguous.
//   score  (B, N)      of `type`, FP32 or FP16
//   kept   (B, N - k)  int32, ascending; may be null where k = N
//   taken  (B, k)      int32, ascending
// Among equal scores the lowest index is taken first; both zeros are equal. Returns cudaErrorInvalidValue for sizes
// that partitionRefusal names, another type or a missing address; else the launch's error. Needs no workspace. Does not
// wait.
cudaError_t launchTokenPartition(void const* score, ElementType type, TokenPartitionSizes const& sizes, int32_t* kept,
    int32_t* taken, cudaStream_t stream);

}  // namespace edgeexport
