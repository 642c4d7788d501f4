// Validation and launch of TokenMatchMerge.
#include "token_match_merge/token_match_merge.h"

#include "token_match_merge/token_match_merge.cuh"

namespace edgeexport {
namespace {

template <class Metric>
cudaError_t launch(MatchMergeAddresses const& tensors, MatchMergeSizes const& sizes, cudaStream_t stream) {
    constexpr int32_t kLanes = static_cast<int32_t>(kMatchMergePieceBytes / sizeof(float));
    MatchMergeView<Metric> const view = matchMergeView<Metric>(tensors, sizes);
    MatchCounts const& counts = sizes.match.counts;
    unsigned const images = static_cast<unsigned>(sizes.match.batch);
    unsigned const tiles =
        static_cast<unsigned>(counts.windows) * static_cast<unsigned>(matchTiles(counts.sources, kMatchRows));
    dim3 const similarity_grid(tiles, static_cast<unsigned>(matchSplits(counts.destinations)), images);
    matchSimilarityKernel<<<similarity_grid, kMatchThreads, 0, stream>>>(view.match);
    cudaError_t const error = cudaGetLastError();
    if (error != cudaSuccess) {
        return error;
    }
    dim3 const grid(kMatchMergeBlocks, images);
    if (view.copy.piece_bytes == static_cast<int32_t>(kMatchMergePieceBytes)) {
        matchMergeKernel<Metric, kLanes><<<grid, kMatchMergeThreads, 0, stream>>>(view);
    } else {
        matchMergeKernel<Metric, 1><<<grid, kMatchMergeThreads, 0, stream>>>(view);
    }
    return cudaGetLastError();
}

}  // namespace

cudaError_t launchTokenMatchMerge(
    MatchMergeAddresses const& tensors, MatchMergeSizes const& sizes, ElementType type, cudaStream_t stream) {
    if (matchMergeRefusal(sizes) != nullptr) {
        return cudaErrorInvalidValue;
    }
    if (sizes.match.batch == 0) {
        return cudaSuccess;  // nothing to write; a grid of no blocks is an error
    }
    if (!tensors.complete()) {
        return cudaErrorInvalidValue;
    }
    switch (type) {
    case ElementType::kFloat32: return launch<float>(tensors, sizes, stream);
    case ElementType::kFloat16: return launch<__half>(tensors, sizes, stream);
    case ElementType::kInt32: break;
    }
    return cudaErrorInvalidValue;
}

}  // namespace edgeexport
