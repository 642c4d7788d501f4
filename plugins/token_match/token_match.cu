// Validation and launch of TokenMatch.
#include "token_match/token_match.h"

#include "token_match/token_match.cuh"

namespace edgeexport {
namespace {

template <class Metric>
cudaError_t launch(MatchView<Metric> const& view, cudaStream_t stream) {
    MatchCounts const& counts = view.counts;
    auto const tiles = [&](int32_t rows) {
        return static_cast<unsigned>(counts.windows) * static_cast<unsigned>(matchTiles(counts.sources, rows));
    };
    unsigned const images = static_cast<unsigned>(view.batch);
    dim3 const similarity_grid(tiles(kMatchRows), static_cast<unsigned>(matchSplits(counts.destinations)), images);
    matchSimilarityKernel<<<similarity_grid, kMatchThreads, 0, stream>>>(view);
    cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) {
        return error;
    }
    matchRankKernel<<<dim3(tiles(kRankThreads), images), kRankThreads, 0, stream>>>(view);
    error = cudaGetLastError();
    if (error != cudaSuccess || counts.ascending == 0) {
        return error;
    }
    int32_t const warps = matchTiles(counts.existing, 32);
    int32_t const threads = warps * 32 < kSortThreads ? warps * 32 : kSortThreads;
    matchSortKernel<<<images, static_cast<unsigned>(threads), 0, stream>>>(view);
    return cudaGetLastError();
}

}  // namespace

cudaError_t launchTokenMatch(void const* metric, ElementType type, TokenMatchSizes const& sizes, int32_t const* table,
    void* workspace, int32_t* source, int32_t* target, int32_t* kept, cudaStream_t stream) {
    if (matchRefusal(sizes) != nullptr) {
        return cudaErrorInvalidValue;
    }
    if (sizes.batch == 0) {
        return cudaSuccess;  // nothing to write; a grid of no blocks is an error
    }
    if (metric == nullptr || table == nullptr || workspace == nullptr || source == nullptr || target == nullptr ||
        kept == nullptr) {
        return cudaErrorInvalidValue;
    }
    switch (type) {
    case ElementType::kFloat32:
        return launch(
            matchView(static_cast<float const*>(metric), sizes, table, workspace, source, target, kept), stream);
    case ElementType::kFloat16:
        return launch(
            matchView(static_cast<__half const*>(metric), sizes, table, workspace, source, target, kept), stream);
    case ElementType::kInt32: break;
    }
    return cudaErrorInvalidValue;
}

}  // namespace edgeexport
