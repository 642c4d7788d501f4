// CPU reference of UpsampleArgmax, cell by cell, with the kernel's indices, weights and choice of classes.
#pragma once

#include <cstdint>

#include "common/element_type.h"
#include "common/status.h"
#include "upsample_argmax/shape.h"

namespace edgeexport {

// Arguments as of launchUpsampleArgmax, in host memory; `uncertified` may be null.
Status cpuUpsampleArgmax(void const* scores, ElementType type, UpsampleArgmaxShape const& shape, int32_t* class_map,
                         int32_t* uncertified) noexcept;

}  // namespace edgeexport
