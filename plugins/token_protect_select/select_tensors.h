// Where TokenProtectSelect's tensors lie, and what its second kernel makes of them; knows nothing of CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

#include "token_protect_select/select_block.h"

namespace edgeexport {

// Row-major, contiguous. `type` is FP32 or FP16.
struct ProtectSelectAddresses {
    void const* scores;    // (B, K, n) of `type`
    void const* x;         // (B, n, C) of `type`
    void const* rows;      // (B, n, R) of `type`
    int32_t const* alive;  // (B, n)
    void* x_kept;          // (B, n - k, C) of `type`
    void* rows_left;       // (B, k, R) of `type`
    int32_t* alive_kept;   // (B, n - k)
    int32_t* alive_left;   // (B, k)
    void* workspace;       // protectSelectWorkspaceBytes(sizes), aligned to 8 bytes; its content does not matter

    bool complete() const {
        return scores != nullptr && x != nullptr && rows != nullptr && alive != nullptr && x_kept != nullptr &&
               rows_left != nullptr && alive_kept != nullptr && alive_left != nullptr && workspace != nullptr;
    }
};

inline SelectView selectView(
    ProtectSelectAddresses const& tensors, ProtectSelectSizes const& sizes, size_t element_bytes) {
    auto const copy = [&](void const* from, void* to, int32_t width) {
        size_t const bytes = static_cast<size_t>(width) * element_bytes;
        return RowCopy{from, to, static_cast<int32_t>(bytes), copyPieceBytes(from, to, bytes)};
    };
    return SelectView{sizes, static_cast<Best const*>(tensors.workspace), copy(tensors.x, tensors.x_kept, sizes.width),
        copy(tensors.rows, tensors.rows_left, sizes.row_width), tensors.alive, tensors.alive_kept, tensors.alive_left};
}

}  // namespace edgeexport
