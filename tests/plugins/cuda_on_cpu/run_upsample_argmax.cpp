// The kernel of UpsampleArgmax on the CPU, for ctypes.
#include <cuda_fp16.h>

#include "upsample_argmax/upsample_argmax.cuh"

namespace edgeexport {

// The kernel's dynamic shared memory, which it declares in this namespace. Poisoned before each run.
constexpr size_t kSharedFloats = 48 * 1024 / sizeof(float);
float block_scores[kSharedFloats];

namespace {

template <class Score, int Cells, bool Plain>
int run(void const* scores, UpsampleArgmaxShape const& shape, bool backward, int32_t* class_map, int32_t* uncertified) {
    if (upsampleArgmaxSharedBytes(Cells, shape.classes, shape.candidates, Plain) > sizeof block_scores) {
        return 2;
    }
    memset(block_scores, 0xFF, sizeof block_scores);
    Dim3 const grid{static_cast<uint32_t>(shape.w / Cells + 1), static_cast<uint32_t>(shape.h + 1),
                    static_cast<uint32_t>(shape.batch)};
    try {
        cuda_on_cpu::run.launch(grid, Cells * kUpsampleLanes, backward, [&] {
            upsampleArgmaxKernel<Score, Cells, Plain>(static_cast<Score const*>(scores), shape, class_map, uncertified);
        });
    } catch (std::runtime_error const&) {
        return 3;
    }
    return 0;
}

template <class Score, int Cells>
int runForm(void const* scores, UpsampleArgmaxShape const& shape, bool backward, int32_t* class_map,
            int32_t* uncertified) {
    return isPlain(shape) ? run<Score, Cells, true>(scores, shape, backward, class_map, uncertified)
                          : run<Score, Cells, false>(scores, shape, backward, class_map, uncertified);
}

template <class Score>
int runCells(void const* scores, UpsampleArgmaxShape const& shape, int32_t cells, bool backward, int32_t* class_map,
             int32_t* uncertified) {
    switch (cells) {
    case 1: return runForm<Score, 1>(scores, shape, backward, class_map, uncertified);
    case 2: return runForm<Score, 2>(scores, shape, backward, class_map, uncertified);
    case 8: return runForm<Score, 8>(scores, shape, backward, class_map, uncertified);
    default: return 1;
    }
}

}  // namespace
}  // namespace edgeexport

// 0, or: 1 no such kernel, 2 too much shared memory, 3 a barrier that not all threads reach.
EDGEEXPORT_EXPORT int run_upsample_argmax(void const* scores, int32_t half, int32_t batch, int32_t classes, int32_t h,
                                          int32_t w, int32_t height, int32_t width, int32_t candidates, int32_t cells,
                                          int32_t backward, int32_t* class_map, int32_t* uncertified) {
    edgeexport::UpsampleArgmaxShape const shape{batch, classes, h, w, height, width, candidates};
    return half != 0 ? edgeexport::runCells<uint16_t>(scores, shape, cells, backward != 0, class_map, uncertified)
                     : edgeexport::runCells<float>(scores, shape, cells, backward != 0, class_map, uncertified);
}
