// TokenMatchMerge's kernels: TokenMatch's similarity with a running maximum; then choice and merging in one.
//
// Layout: metric (B, heads, N, D), x (B, N, C), size (B, N) and the outputs, row-major; the table as MatchMergeSizes says.
// Mapping; the blocks' algorithms are in token_match/similarity_block.h and match_merge_block.h, which the CPU carries out
// as well:
//   matchSimilarityKernel  as in token_match/token_match.cuh.
//   matchMergeKernel       grid (16, B), 1024 threads; 44 KiB shared memory. The blocks of an image all sort its sources, and
//                          make a sixteenth of the rows each, a row per warp, in pieces of 16 bytes where width and
//                          addresses allow, else of one element.
// Types: metric and log_size FP32 or FP16; x, similarities, sizes and sums FP32, in the order of `source`; indices int32.
#pragma once

#include "token_match/token_match.cuh"
#include "token_match_merge/match_merge_block.h"

namespace edgeexport {

template <class Metric, int32_t kLanes>
__global__ void __launch_bounds__(kMatchMergeThreads) matchMergeKernel(MatchMergeView<Metric> view) {
    __shared__ MatchMergeShared shared;
    matchAndMerge<Metric, kLanes>(Block{kMatchMergeThreads, false}, shared, view, static_cast<int32_t>(blockIdx.y),
        static_cast<int32_t>(blockIdx.x), static_cast<int32_t>(gridDim.x));
}

}  // namespace edgeexport
