// CPU reference of TokenUnmerge; also callable through ctypes.
#pragma once

#include <cstdint>

#include "common/portable.h"

// Host memory, row-major: tokens (batch, n, width) and rows (batch, m, width) of `type` (ElementType), index (batch,
// m). Returns Status: kBadIndex where an index is outside [0, n), with nothing written.
EDGEEXPORT_EXPORT int edgeexport_cpu_token_unmerge(void const* tokens, int32_t const* index, void* rows, int32_t batch,
    int32_t n, int32_t m, int32_t width, int32_t type) noexcept;
