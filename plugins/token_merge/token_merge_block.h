// One thread block of TokenMerge, for the GPU and, thread by thread, for the CPU (see common/block.h).
//
// A block makes one output row, or a stretch of it: every thread one piece of kLanes neighbouring elements. For a
// destination's row the positions of `source` are gone through in tiles: threads mark in a bit mask which of the tile's
// sources merge into this row (setting bits gives the same mask in any order), then each marked position counts the
// marks before it and so finds its place in a list. The list is in rising position, so sums always run in the same
// order.
#pragma once

#include <cstdint>

#include "common/block.h"
#include "common/from_float.h"
#include "common/portable.h"
#include "common/to_float.h"
#include "token_merge/token_merge_rows.h"

namespace edgeexport {

constexpr int32_t kMergeTile = 1024;  // positions per tile
constexpr int32_t kMergeWords = kMergeTile / 32;

// Device or host memory, row-major; see token_merge.h.
template <class Value>
struct TokenMergeTensors {
    Value const* x;
    float const* size;
    int32_t const* source;
    int32_t const* target;
    int32_t const* kept;
    int32_t const* destinations;
    Value* merged;
    float* merged_size;
};

// Shared memory of a block: 8.1 KiB.
struct TokenMergeScratch {
    uint32_t marks[kMergeWords];
    int32_t source[kMergeTile];  // tokens that merge into the row, in rising position
    float size[kMergeTile];      // theirs
};

// kLanes elements that move as one.
template <class Value, int32_t kLanes>
struct alignas(sizeof(Value) * kLanes) Piece {
    Value lanes[kLanes];
};

EDGEEXPORT_HD inline int32_t bitCount(uint32_t bits) {
#if defined(__CUDA_ARCH__)
    return __popc(bits);
#else
    return __builtin_popcount(bits);
#endif
}

EDGEEXPORT_HD inline void setBit(uint32_t* words, int32_t bit) {
    uint32_t const mask = uint32_t{1} << (bit % 32);
#if defined(__CUDA_ARCH__)
    atomicOr(words + bit / 32, mask);
#else
    words[bit / 32] |= mask;
#endif
}

// Lists the sources that merge into `destination` among the positions [first, last) of an image; returns how many.
//   source, target  (R) of the image
//   size            (N) of the image
EDGEEXPORT_HD inline int32_t listSources(Block block, TokenMergeScratch& scratch, TokenMergeSizes const& sizes,
    int32_t const* source, int32_t const* target, float const* size, int32_t destination, int32_t first, int32_t last) {
    int32_t const words = (last - first + 31) / 32;
    block.phase([&](int32_t thread) {
        for (int32_t word = thread; word < words; word += block.threads) {
            scratch.marks[word] = 0;
        }
    });
    block.phase([&](int32_t thread) {
        for (int32_t position = first + thread; position < last; position += block.threads) {
            if (mergesInto(sizes, source[position], target[position], destination)) {
                setBit(scratch.marks, position - first);
            }
        }
    });
    block.phase([&](int32_t thread) {
        for (int32_t bit = thread; bit < last - first; bit += block.threads) {
            uint32_t const word = scratch.marks[bit / 32];
            if ((word >> (bit % 32) & 1u) == 0u) {
                continue;
            }
            int32_t place = bitCount(word & ((uint32_t{1} << (bit % 32)) - 1u));
            for (int32_t before = 0; before < bit / 32; ++before) {
                place += bitCount(scratch.marks[before]);
            }
            int32_t const token = source[first + bit];
            scratch.source[place] = token;
            scratch.size[place] = size[token];
        }
    });
    int32_t count = 0;
    for (int32_t word = 0; word < words; ++word) {
        count += bitCount(scratch.marks[word]);
    }
    return count;
}

// Makes pieces [first_piece, first_piece + block.threads) of output row `row` of image `image`, and with the first
// piece the row's size. kThreads bounds block.threads.
template <class Value, int32_t kLanes, int32_t kThreads>
EDGEEXPORT_HD inline void mergeRow(Block block, TokenMergeScratch& scratch, TokenMergeTensors<Value> const& tensors,
    TokenMergeSizes const& sizes, int32_t image, int32_t row, int32_t first_piece) {
    using RowPiece = Piece<Value, kLanes>;
    int32_t const pieces = sizes.width / kLanes;
    int64_t const image_tokens = static_cast<int64_t>(image) * sizes.tokens;
    int64_t const image_sources = static_cast<int64_t>(image) * sizes.merged;
    int64_t const output_row = static_cast<int64_t>(image) * sizes.rows() + row;
    auto const* const x = reinterpret_cast<RowPiece const*>(tensors.x) + image_tokens * pieces;
    auto* const merged = reinterpret_cast<RowPiece*>(tensors.merged) + output_row * pieces;
    float const* const size = tensors.size + image_tokens;
    int32_t const* const source = tensors.source + image_sources;
    int32_t const* const target = tensors.target + image_sources;
    int32_t const* const kept = tensors.kept + static_cast<int64_t>(image) * sizes.kept;

    int32_t const token = tokenOfRow(sizes, kept, tensors.destinations, row);
    float const own_size = token == kNoToken ? 0.0f : size[token];
    bool const receives = isDestinationRow(sizes, row);

    // Read before the sources are known: it is needed in any case, and memory is what the kernel waits for.
    PerThread<RowPiece, kThreads> own;
    PerThread<Piece<float, kLanes>, kThreads> added;
    block.phase([&](int32_t thread) {
        int32_t const piece = first_piece + thread;
        bool const exists = piece < pieces && token != kNoToken;
        own[thread] = exists ? x[static_cast<int64_t>(token) * pieces + piece] : RowPiece{};
        added[thread] = Piece<float, kLanes>{};
    });

    // The size of the whole row comes first: sources are weighted by their share in it.
    int32_t const positions = receives ? sizes.merged : 0;
    float total = own_size;
    int32_t count = 0;
    bool alone = true;
    for (int32_t first = 0; first < positions; first += kMergeTile) {
        int32_t const last = first + kMergeTile < positions ? first + kMergeTile : positions;
        count = listSources(block, scratch, sizes, source, target, size, token, first, last);
        for (int32_t i = 0; i < count; ++i) {
            total += scratch.size[i];
        }
        alone = alone && count == 0;
        if (last < positions) {
            block.phase([](int32_t) {});  // all have read the list before it is overwritten
        }
    }
    for (int32_t first = 0; first < positions && !alone; first += kMergeTile) {
        int32_t const last = first + kMergeTile < positions ? first + kMergeTile : positions;
        if (positions > kMergeTile) {
            block.phase([](int32_t) {});
            count = listSources(block, scratch, sizes, source, target, size, token, first, last);
        }
        block.phase([&](int32_t thread) {
            int32_t const piece = first_piece + thread;
            if (piece >= pieces) {
                return;
            }
            Piece<float, kLanes> sum = added[thread];
            for (int32_t i = 0; i < count; ++i) {
                float const share = scratch.size[i] / total;
                RowPiece const value = x[static_cast<int64_t>(scratch.source[i]) * pieces + piece];
                for (int32_t lane = 0; lane < kLanes; ++lane) {
                    sum.lanes[lane] += share * toFloat(value.lanes[lane]);
                }
            }
            added[thread] = sum;
        });
    }

    block.phase([&](int32_t thread) {
        int32_t const piece = first_piece + thread;
        if (piece == 0) {
            tensors.merged_size[output_row] = total;
        }
        if (piece >= pieces) {
            return;
        }
        RowPiece result = own[thread];
        if (!alone) {
            float const share = own_size / total;
            for (int32_t lane = 0; lane < kLanes; ++lane) {
                float const value = toFloat(result.lanes[lane]) * share + added[thread].lanes[lane];
                setFromFloat(result.lanes[lane], value);
            }
        }
        merged[piece] = result;
    });
}

}  // namespace edgeexport
