// Rows of tensors copied bit by bit by a thread block, a warp per row. Run by kernels and by the CPU (see common/block.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/block.h"
#include "common/portable.h"

namespace edgeexport {

constexpr int32_t kCopyWarp = 32;     // threads that copy one row
constexpr int32_t kCopyInFlight = 4;  // pieces per thread, loaded before the first is stored

// kBytes that move as one.
template <int32_t kBytes>
struct alignas(kBytes) CopyPiece {
    uint16_t halves[kBytes / 2];
};

#ifdef __CUDACC__
template <>
struct alignas(4) CopyPiece<4> {
    uint32_t word;
};
template <>
struct alignas(8) CopyPiece<8> {
    uint2 words;
};
template <>
struct alignas(16) CopyPiece<16> {
    uint4 words;
};
#endif

// The largest of 16, 8, 4 and 2 bytes by which rows divide and at which both tensors are aligned.
inline int32_t copyPieceBytes(void const* from, void const* to, size_t row_bytes) {
    size_t const bits = reinterpret_cast<size_t>(from) | reinterpret_cast<size_t>(to) | row_bytes;
    int32_t bytes = 16;
    while (bytes > 2 && bits % static_cast<size_t>(bytes) != 0) {
        bytes /= 2;
    }
    return bytes;
}

// Rows of one image, as copyRows gathers them.
struct RowCopy {
    void const* from;     // rows to choose from
    void* to;             // rows that are written
    int32_t row_bytes;    // of one row
    int32_t piece_bytes;  // copyPieceBytes of them
};

template <int32_t kBytes>
EDGEEXPORT_HD inline void copyRow(RowCopy const& copy, int64_t source, int64_t target, int32_t lane) {
    using Piece = CopyPiece<kBytes>;
    int32_t const pieces = copy.row_bytes / kBytes;
    Piece const* const from = static_cast<Piece const*>(copy.from) + source * pieces;
    Piece* const to = static_cast<Piece*>(copy.to) + target * pieces;
    for (int32_t first = lane; first < pieces; first += kCopyInFlight * kCopyWarp) {
        Piece held[kCopyInFlight];
        EDGEEXPORT_UNROLL
        for (int32_t i = 0; i < kCopyInFlight; ++i) {
            int32_t const piece = first + i * kCopyWarp;
            held[i] = from[piece < pieces ? piece : first];
        }
        EDGEEXPORT_UNROLL
        for (int32_t i = 0; i < kCopyInFlight; ++i) {
            int32_t const piece = first + i * kCopyWarp;
            if (piece < pieces) {
                to[piece] = held[i];
            }
        }
    }
}

// One thread's share of row `target`, which repeats row `source`.
EDGEEXPORT_HD inline void copyRow(RowCopy const& copy, int64_t source, int64_t target, int32_t lane) {
    switch (copy.piece_bytes) {
    case 16: copyRow<16>(copy, source, target, lane); break;
    case 8: copyRow<8>(copy, source, target, lane); break;
    case 4: copyRow<4>(copy, source, target, lane); break;
    default: copyRow<2>(copy, source, target, lane); break;
    }
}

}  // namespace edgeexport
