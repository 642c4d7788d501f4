// Elements of FP32 and FP16 tensors as float32, in code that the kernels share with the CPU references. A half is its
// bits on the CPU and CUDA's __half on the GPU.
#pragma once

#include "common/half.h"
#include "common/portable.h"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

namespace edgeexport {

EDGEEXPORT_HD inline float toFloat(float value) { return value; }

inline float toFloat(uint16_t half) { return floatFromHalf(half); }

#ifdef __CUDACC__
EDGEEXPORT_HD inline float toFloat(__half value) { return __half2float(value); }
#endif

}  // namespace edgeexport
