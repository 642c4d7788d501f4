// Validation and launch of UpsampleArgmax (contract: upsample_argmax.h).
#include "upsample_argmax/upsample_argmax.h"

#include "upsample_argmax/upsample_argmax.cuh"

namespace edgeexport {
namespace {

// Shared memory that every GPU gives a block without opting in.
constexpr size_t kSharedBytes = 48 * 1024;

template <typename Score, int Cells, bool Plain>
cudaError_t launch(Score const* scores, UpsampleArgmaxShape const& shape, int32_t* class_map, int32_t* uncertified,
                   cudaStream_t stream) {
    dim3 const grid(static_cast<uint32_t>(shape.w / Cells + 1), static_cast<uint32_t>(shape.h + 1),
                    static_cast<uint32_t>(shape.batch));
    size_t const shared_bytes = upsampleArgmaxSharedBytes(Cells, shape.classes, shape.candidates, Plain);
    upsampleArgmaxKernel<Score, Cells, Plain>
        <<<grid, Cells * kUpsampleLanes, shared_bytes, stream>>>(scores, shape, class_map, uncertified);
    return cudaGetLastError();
}

// The most cells per block that shared memory allows: neighbours share scores, and a block of one warp fills no GPU.
template <typename Score, bool Plain>
cudaError_t launchInGroups(Score const* scores, UpsampleArgmaxShape const& shape, int32_t* class_map,
                             int32_t* uncertified, cudaStream_t stream) {
    if (upsampleArgmaxSharedBytes(8, shape.classes, shape.candidates, Plain) <= kSharedBytes) {
        return launch<Score, 8, Plain>(scores, shape, class_map, uncertified, stream);
    }
    if (upsampleArgmaxSharedBytes(2, shape.classes, shape.candidates, Plain) <= kSharedBytes) {
        return launch<Score, 2, Plain>(scores, shape, class_map, uncertified, stream);
    }
    return launch<Score, 1, Plain>(scores, shape, class_map, uncertified, stream);
}

template <typename Score>
cudaError_t launchForm(Score const* scores, UpsampleArgmaxShape const& shape, int32_t* class_map, int32_t* uncertified,
                        cudaStream_t stream) {
    if (uncertified != nullptr) {
        cudaError_t const cleared = cudaMemsetAsync(uncertified, 0, sizeof(int32_t) * shape.batch, stream);
        if (cleared != cudaSuccess) {
            return cleared;
        }
    }
    if (isPlain(shape)) {
        return launchInGroups<Score, true>(scores, shape, class_map, uncertified, stream);
    }
    return launchInGroups<Score, false>(scores, shape, class_map, uncertified, stream);
}

}  // namespace

cudaError_t launchUpsampleArgmax(void const* scores, ElementType type, UpsampleArgmaxShape const& shape,
                                 int32_t* class_map, int32_t* uncertified, cudaStream_t stream) {
    if (upsampleArgmaxRefusal(shape) != nullptr || scores == nullptr || class_map == nullptr) {
        return cudaErrorInvalidValue;
    }
    switch (type) {
    case ElementType::kFloat32:
        return launchForm(static_cast<float const*>(scores), shape, class_map, uncertified, stream);
    case ElementType::kFloat16:
        return launchForm(static_cast<__half const*>(scores), shape, class_map, uncertified, stream);
    case ElementType::kInt32: break;
    }
    return cudaErrorInvalidValue;
}

}  // namespace edgeexport
