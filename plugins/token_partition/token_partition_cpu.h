// CPU references of TokenPartition, callable through ctypes: one by sorting, one that carries out the kernel's steps.
#pragma once

#include <cstdint>

#include "common/portable.h"

// Host memory, row-major: score (batch, tokens) of `type` (ElementType FP32 or FP16), kept (batch, tokens - k),
// taken (batch, k). Returns Status.
EDGEEXPORT_EXPORT int edgeexport_cpu_token_partition(void const* score, int32_t type, int32_t batch, int32_t tokens,
    int32_t k, int32_t* kept, int32_t* taken) noexcept;

// The same by the kernel's block of `threads` (1 to 1024) threads, which take turns in rising or, if `backward` is not
// 0, in falling order (see common/block.h).
EDGEEXPORT_EXPORT int edgeexport_cpu_token_partition_kernel(void const* score, int32_t type, int32_t batch,
    int32_t tokens, int32_t k, int32_t* kept, int32_t* taken, int32_t threads, int32_t backward) noexcept;
