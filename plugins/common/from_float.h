// float32 results as elements of FP32 and FP16 tensors, to the nearest; the counterpart of to_float.h.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "common/portable.h"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

namespace edgeexport {

EDGEEXPORT_HD inline void setFromFloat(float& element, float value) { element = value; }

inline void setFromFloat(uint16_t& half, float value) { half = halfFromFloat(value); }

#ifdef __CUDACC__
EDGEEXPORT_HD inline void setFromFloat(__half& half, float value) { half = __float2half_rn(value); }
#endif

}  // namespace edgeexport
