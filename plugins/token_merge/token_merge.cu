// Validation and launch of TokenMerge.
#include "token_merge/token_merge.h"

#include <limits>

#include "token_merge/token_merge.cuh"

namespace edgeexport {
namespace {

constexpr size_t kPieceBytes = 16;
constexpr int32_t kLargestGridY = 65535;

template <class Value, int32_t kLanes>
cudaError_t launch(TokenMergeAddresses const& addresses, TokenMergeSizes const& sizes, cudaStream_t stream) {
    int32_t const pieces = sizes.width / kLanes;
    int32_t const warps = (pieces + 31) / 32;
    int32_t const threads = warps * 32 < kMergeThreads ? warps * 32 : kMergeThreads;
    int32_t const stretches = (pieces + threads - 1) / threads;
    int64_t const rows = static_cast<int64_t>(sizes.batch) * sizes.rows();
    if (rows > std::numeric_limits<int32_t>::max() || stretches > kLargestGridY) {
        return cudaErrorInvalidValue;
    }
    TokenMergeTensors<Value> const tensors{static_cast<Value const*>(addresses.x), addresses.size, addresses.source,
        addresses.target, addresses.kept, addresses.destinations, static_cast<Value*>(addresses.merged),
        addresses.merged_size};
    dim3 const grid(static_cast<unsigned>(rows), static_cast<unsigned>(stretches));
    tokenMergeKernel<Value, kLanes><<<grid, static_cast<unsigned>(threads), 0, stream>>>(tensors, sizes);
    return cudaGetLastError();
}

template <class Value>
cudaError_t launchOf(TokenMergeAddresses const& addresses, TokenMergeSizes const& sizes, cudaStream_t stream) {
    constexpr int32_t kLanes = static_cast<int32_t>(kPieceBytes / sizeof(Value));
    size_t const places = reinterpret_cast<size_t>(addresses.x) | reinterpret_cast<size_t>(addresses.merged);
    if (sizes.width % kLanes == 0 && places % kPieceBytes == 0) {
        return launch<Value, kLanes>(addresses, sizes, stream);
    }
    return launch<Value, 1>(addresses, sizes, stream);
}

bool isComplete(TokenMergeAddresses const& tensors, TokenMergeSizes const& sizes) {
    bool const sources = sizes.merged == 0 || (tensors.source != nullptr && tensors.target != nullptr);
    bool const kept = sizes.kept == 0 || tensors.kept != nullptr;
    bool const destinations = sizes.destinations == 0 || tensors.destinations != nullptr;
    return tensors.x != nullptr && tensors.size != nullptr && tensors.merged != nullptr &&
           tensors.merged_size != nullptr && sources && kept && destinations;
}

}  // namespace

cudaError_t launchTokenMerge(
    TokenMergeAddresses const& tensors, TokenMergeSizes const& sizes, ElementType type, cudaStream_t stream) {
    if (sizes.batch < 0 || sizes.width < 1 || sizes.merged < 0 || sizes.kept < 0 || sizes.prefix < 0 ||
        sizes.destinations < 0 || sizes.prefix > sizes.tokens) {
        return cudaErrorInvalidValue;
    }
    int64_t const rows = static_cast<int64_t>(sizes.prefix) + sizes.kept + sizes.destinations;
    if (rows > std::numeric_limits<int32_t>::max()) {
        return cudaErrorInvalidValue;
    }
    if (sizes.batch == 0 || rows == 0) {
        return cudaSuccess;  // nothing to write; a grid of no blocks is an error
    }
    if (sizes.tokens == 0 || !isComplete(tensors, sizes)) {
        return cudaErrorInvalidValue;
    }
    switch (type) {
    case ElementType::kFloat32: return launchOf<float>(tensors, sizes, stream);
    case ElementType::kFloat16: return launchOf<__half>(tensors, sizes, stream);
    default: return cudaErrorInvalidValue;
    }
}

}  // namespace edgeexport
