// TokenMatch's kernels: similarity with a running maximum, ranks by counting, and what stays in token order.
//
// Layout: metric (B, N, D) row-major; tables as MatchCounts says; candidates (splits, B, windows * na).
// Mapping; the blocks' algorithms are in similarity_block.h and rank_block.h, which the CPU carries out as well:
//   matchSimilarityKernel  grid (windows * tiles of 32 sources, splits of 128 destinations, B), 128 threads. Each
//                          thread computes 4 x 4 similarities of a 32 x 64 tile, 32 channels at a time; 18 KiB shared
//                          memory.
//   matchRankKernel        grid (windows * tiles of 128 sources, B), 128 threads, a source each; 1 KiB.
//   matchSortKernel        grid (B), up to 1024 threads, a stretch of sources each; 8 KiB. Only where what stays is
//                          ordered by token.
// Types: metric FP32 or FP16, scaled, multiplied and compared in float32; indices int32.
#pragma once

#include "token_match/rank_block.h"
#include "token_match/similarity_block.h"

namespace edgeexport {

template <class Metric>
__global__ void __launch_bounds__(kMatchThreads) matchSimilarityKernel(MatchView<Metric> view) {
    __shared__ SimilarityShared shared;
    int32_t const tiles = matchTiles(view.counts.sources, kMatchRows);
    int32_t const tile = static_cast<int32_t>(blockIdx.x);
    bestDestinations(Block{kMatchThreads, false}, shared, view, tile / tiles, tile % tiles,
        static_cast<int32_t>(blockIdx.y), static_cast<int32_t>(blockIdx.z));
}

template <class Metric>
__global__ void __launch_bounds__(kRankThreads) matchRankKernel(MatchView<Metric> view) {
    __shared__ RankShared shared;
    int32_t const tiles = matchTiles(view.counts.sources, kRankThreads);
    int32_t const tile = static_cast<int32_t>(blockIdx.x);
    Block const block{kRankThreads, false};
    rankSources(block, shared, view, tile / tiles, tile % tiles, static_cast<int32_t>(blockIdx.y));
}

template <class Metric>
__global__ void __launch_bounds__(kSortThreads) matchSortKernel(MatchView<Metric> view) {
    __shared__ SortShared shared;
    sortKept(Block{static_cast<int32_t>(blockDim.x), false}, shared, view, static_cast<int32_t>(blockIdx.x));
}

}  // namespace edgeexport
