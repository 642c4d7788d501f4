// CPU references of TokenProtectSelect, callable through ctypes: the definition, and the kernels' blocks run on the CPU.
#pragma once

#include <cstdint>

#include "common/portable.h"
#include "token_protect_select/select_tensors.h"

// Host memory as ProtectSelectAddresses says, of `type` (ElementType FP32 or FP16); the definition needs no workspace.
// Returns Status.
EDGEEXPORT_EXPORT int edgeexport_cpu_token_protect_select(edgeexport::ProtectSelectAddresses const* tensors,
    edgeexport::ProtectSelectSizes const* sizes, int32_t type) noexcept;

// The same by the kernels' blocks, `parts` of which (1 to 65535) share the rows of an image. The second kernel's have
// `threads` threads, 32 to 1024 and a multiple of 32; all take turns in falling order if `backward` is not 0.
EDGEEXPORT_EXPORT int edgeexport_cpu_token_protect_select_kernel(edgeexport::ProtectSelectAddresses const* tensors,
    edgeexport::ProtectSelectSizes const* sizes, int32_t type, int32_t parts, int32_t threads,
    int32_t backward) noexcept;
