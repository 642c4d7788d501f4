// TokenUnmerge's kernel: a gather of whole rows, limited by memory alone.
//
// Layout: tokens (B, n, C), index (B, m) and rows (B, m, C), row-major. Rows move as bytes, in pieces of the largest of
//   16, 8, 4 and 2 bytes that divides the row and the addresses, so one kernel per piece serves every element type.
// Mapping: blocks of (x, y) threads; a thread's y picks one of the B*m output rows, its x every blockDim.x-th piece of
//   it. Neighbouring threads touch neighbouring pieces; where a row has few pieces, y keeps the warp full, and stores
//   stay contiguous since rows follow each other.
// Types: FP32, FP16, INT32, copied bit by bit.
#pragma once

#include <cstdint>

#include "token_unmerge/token_unmerge_index.h"

namespace edgeexport {

constexpr int32_t kUnmergeThreads = 256;
constexpr int32_t kPiecesInFlight = 4;  // per thread

// Threads along a row of `pieces`: a warp where the row is long enough for one, more where each would get more pieces
// than it can have in flight. A power of two, so that whole rows fill the block.
inline int32_t threadsAlongRow(int32_t pieces) {
    constexpr int32_t kWarp = 32;
    int32_t threads = 1;
    while (threads < pieces && (threads < kWarp || threads * kPiecesInFlight < pieces) && threads < kUnmergeThreads) {
        threads *= 2;
    }
    return threads;
}

template <class Piece>
__global__ void tokenUnmergeKernel(Piece const* __restrict__ tokens, int32_t const* __restrict__ index,
    Piece* __restrict__ rows, TokenUnmergeSizes sizes, int32_t all_rows, int32_t pieces) {
    uint32_t const place = blockIdx.x * blockDim.y + threadIdx.y;  // below 2^32, for all_rows is below 2^31
    if (place >= static_cast<uint32_t>(all_rows)) {
        return;
    }
    int32_t const row = static_cast<int32_t>(place);
    int32_t const token = __ldg(index + row);
    bool const exists = isToken(sizes, token);
    Piece const* const from = tokens + (exists ? sourceRow(sizes, row, token) : 0) * pieces;
    Piece* const to = rows + static_cast<int64_t>(row) * pieces;
    int32_t const step = static_cast<int32_t>(blockDim.x);
    // Several loads under way before the first store: one per thread does not fill the memory's pipeline.
    for (int32_t first = static_cast<int32_t>(threadIdx.x); first < pieces; first += kPiecesInFlight * step) {
        Piece held[kPiecesInFlight];
#pragma unroll
        for (int32_t i = 0; i < kPiecesInFlight; ++i) {
            bool const wanted = exists && first + i * step < pieces;
            held[i] = wanted ? __ldg(from + first + i * step) : Piece{};
        }
#pragma unroll
        for (int32_t i = 0; i < kPiecesInFlight; ++i) {
            if (first + i * step < pieces) {
                to[first + i * step] = held[i];
            }
        }
    }
}

}  // namespace edgeexport
