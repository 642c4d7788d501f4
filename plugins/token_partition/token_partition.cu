// Validation and launch of TokenPartition.
#include "token_partition/token_partition.h"

#include "token_partition/token_partition.cuh"

namespace edgeexport {
namespace {

// Whole warps, one token per thread where that is possible.
int32_t threadsFor(int32_t tokens) {
    int32_t const warps = (tokens + 31) / 32;
    return warps * 32 < kPartitionMaxThreads ? warps * 32 : kPartitionMaxThreads;
}

template <class Score>
cudaError_t launch(
    void const* score, TokenPartitionSizes const& sizes, int32_t* kept, int32_t* taken, cudaStream_t stream) {
    unsigned const images = static_cast<unsigned>(sizes.batch);
    unsigned const threads = static_cast<unsigned>(threadsFor(sizes.tokens));
    tokenPartitionKernel<<<images, threads, 0, stream>>>(static_cast<Score const*>(score), sizes, kept, taken);
    return cudaGetLastError();
}

}  // namespace

cudaError_t launchTokenPartition(void const* score, ElementType type, TokenPartitionSizes const& sizes, int32_t* kept,
    int32_t* taken, cudaStream_t stream) {
    if (partitionRefusal(sizes) != nullptr) {
        return cudaErrorInvalidValue;
    }
    if (sizes.batch == 0) {
        return cudaSuccess;  // nothing to write; a grid of no blocks is an error
    }
    if (score == nullptr || taken == nullptr || (kept == nullptr && sizes.k < sizes.tokens)) {
        return cudaErrorInvalidValue;
    }
    switch (type) {
    case ElementType::kFloat32: return launch<float>(score, sizes, kept, taken, stream);
    case ElementType::kFloat16: return launch<__half>(score, sizes, kept, taken, stream);
    case ElementType::kInt32: break;
    }
    return cudaErrorInvalidValue;
}

}  // namespace edgeexport
