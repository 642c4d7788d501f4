// CPU references of TokenMatchMerge, callable through ctypes: by those of TokenMatch and TokenMerge, and by the kernels' blocks.
#pragma once

#include <cstdint>

#include "common/portable.h"
#include "token_match/token_match_cpu.h"

// Host memory, row-major.
struct EdgeexportTokenMatchMerge {
    EdgeexportTokenMatch match;  // metric (batch, heads, tokens, channels), tables, and where the decisions go
    float const* x;              // (batch, tokens, width)
    float const* size;           // (batch, tokens)
    int32_t heads;
    int32_t width;
    int32_t prefix;
    float* merged;       // (batch, rows, width), rows = prefix + left + destinations without padding
    float* merged_size;  // (batch, rows)
    void* log_size;      // (batch, rows) of match.type
};

// Returns Status.
EDGEEXPORT_EXPORT int edgeexport_cpu_token_match_merge(EdgeexportTokenMatchMerge const* call) noexcept;

// The same by the kernels' blocks, `parts` of which (1 to 65535) share the rows of an image, with `lanes` elements to a piece (1,
// or 16 bytes where rows and addresses divide by them); threads take turns in falling order if `backward` is not 0.
EDGEEXPORT_EXPORT int edgeexport_cpu_token_match_merge_kernel(
    EdgeexportTokenMatchMerge const* call, int32_t lanes, int32_t parts, int32_t backward) noexcept;
