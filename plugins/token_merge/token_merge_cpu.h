// CPU references of TokenMerge, callable through ctypes: the definition, and the kernel's block run on the CPU.
#pragma once

#include <cstdint>

#include "common/portable.h"

// Host memory, row-major: x (batch, tokens, width) and merged (batch, rows, width) of `type` (FP32 or FP16), size
// (batch, tokens), source and target (batch, sources), kept (batch, stay), destinations (count), merged_size (batch,
// rows), with rows = prefix + stay + count. Returns Status: kBadIndex where a source, target, kept token or destination
// is no token, with nothing written.
EDGEEXPORT_EXPORT int edgeexport_cpu_token_merge(void const* x, float const* size, int32_t const* source,
    int32_t const* target, int32_t const* kept, int32_t const* destinations, void* merged, float* merged_size,
    int32_t batch, int32_t tokens, int32_t width, int32_t sources, int32_t stay, int32_t prefix, int32_t count,
    int32_t type) noexcept;

// The same through mergeRow of token_merge_block.h, with `lanes` elements per thread (1, 4 or 8, a divisor of width)
// and `threads` of them (1 to 256), taken in falling order where `backward`. It takes any index, as the kernel does:
// kBadIndex is for destinations alone.
EDGEEXPORT_EXPORT int edgeexport_cpu_token_merge_block(void const* x, float const* size, int32_t const* source,
    int32_t const* target, int32_t const* kept, int32_t const* destinations, void* merged, float* merged_size,
    int32_t batch, int32_t tokens, int32_t width, int32_t sources, int32_t stay, int32_t prefix, int32_t count,
    int32_t type, int32_t lanes, int32_t threads, int32_t backward) noexcept;
