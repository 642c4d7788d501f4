// TokenPartition's kernel: radix selection and compaction, limited by the latency of its steps.
//
// Layout: score (B, N), kept (B, N - k) and taken (B, k), row-major.
// Mapping: one block per image, of as many threads as there are tokens, at most 1024. To count digits, thread t reads
//   tokens t, t + threads, ...; to write, it owns the stretch of ceil(N / threads) tokens that starts at t times that.
//   Algorithm and shared memory (18 KiB, whatever N) in partition_block.h, which the CPU carries out as well.
// Types: score FP32 or FP16, compared as float32; indices int32.
#pragma once

#include "token_partition/partition_block.h"
#include "token_partition/partition_sizes.h"

namespace edgeexport {

template <class Score>
__global__ void __launch_bounds__(kPartitionMaxThreads) tokenPartitionKernel(Score const* __restrict__ score,
    TokenPartitionSizes sizes, int32_t* __restrict__ kept, int32_t* __restrict__ taken) {
    __shared__ PartitionShared shared;
    Block const block{static_cast<int32_t>(blockDim.x), false};
    size_t const image = blockIdx.x;
    partitionImage(block, shared, score + image * static_cast<size_t>(sizes.tokens), sizes.tokens, sizes.k,
        kept + image * static_cast<size_t>(sizes.tokens - sizes.k), taken + image * static_cast<size_t>(sizes.k));
}

}  // namespace edgeexport
