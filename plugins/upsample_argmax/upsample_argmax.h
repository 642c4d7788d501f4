// Launcher of UpsampleArgmax: bilinear upsampling of class scores followed by the argmax, without the upsampled scores.
// Knows nothing of TensorRT. Definition: edgeexport/ops/upsample_argmax.py.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "common/element_type.h"
#include "upsample_argmax/shape.h"

namespace edgeexport {

// scores      device, (B, K, h, w) contiguous, of `type`: float32 or float16
// class_map   device, int32 (B, height, width)
// uncertified device, int32 (B,): pixels where a class left out might win; may be null: not counted
//
// Needs no workspace; blending is in float32. Returns cudaErrorInvalidValue for a shape that
// upsampleArgmaxRefusal() refuses, another type or a null pointer, else the error of the launch. Does not synchronise.
cudaError_t launchUpsampleArgmax(void const* scores, ElementType type, UpsampleArgmaxShape const& shape,
                                 int32_t* class_map, int32_t* uncertified, cudaStream_t stream);

}  // namespace edgeexport
