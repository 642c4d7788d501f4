// Validation and launch of TokenProtectSelect.
#include "token_protect_select/token_protect_select.h"

#include "token_protect_select/token_protect_select.cuh"

namespace edgeexport {
namespace {

template <class Value>
cudaError_t launch(ProtectSelectAddresses const& tensors, ProtectSelectSizes const& sizes, cudaStream_t stream) {
    unsigned const images = static_cast<unsigned>(sizes.batch);
    unsigned const tiles = static_cast<unsigned>((sizes.tokens + kConfidenceTokens - 1) / kConfidenceTokens);
    SelectView const view = selectView(tensors, sizes, sizeof(Value));
    tokenConfidenceKernel<<<dim3(tiles, images), kConfidenceThreads, 0, stream>>>(
        static_cast<Value const*>(tensors.scores), sizes, static_cast<Best*>(tensors.workspace));
    cudaError_t const error = cudaGetLastError();
    if (error != cudaSuccess) {
        return error;
    }
    tokenSelectKernel<kSelectThreads><<<dim3(kSelectBlocks, images), kSelectThreads, 0, stream>>>(view);
    return cudaGetLastError();
}

}  // namespace

cudaError_t launchTokenProtectSelect(
    ProtectSelectAddresses const& tensors, ProtectSelectSizes const& sizes, ElementType type, cudaStream_t stream) {
    if (protectSelectRefusal(sizes) != nullptr) {
        return cudaErrorInvalidValue;
    }
    if (sizes.batch == 0) {
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
