// Launcher of TokenProtectSelect: which tokens leave an image, the rows of those that stay, and what the others leave behind.
#pragma once

#include <cuda_runtime_api.h>

#include "common/element_type.h"
#include "token_protect_select/select_tensors.h"

namespace edgeexport {

// Device memory. A token's confidence is its best score over the classes, in float32; the `per_class` most confident tokens
// of each such class are protected; the k of highest confidence - 2 [protected] leave. Both parts keep the tokens' order,
// and rows are copied bit by bit. Ties: the lowest class, and the lowest token, is first. Two kernels on `stream`; does not
// wait. Returns cudaErrorInvalidValue for sizes that protectSelectRefusal names, another type or a missing address; else the
// launch's error.
cudaError_t launchTokenProtectSelect(
    ProtectSelectAddresses const& tensors, ProtectSelectSizes const& sizes, ElementType type, cudaStream_t stream);

}  // namespace edgeexport
