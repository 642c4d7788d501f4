// TokenProtectSelect, second step, by one thread block: which tokens of an image leave, and a share of the rows that this
// moves. Run by the kernel and by the CPU (see common/block.h).
//
// 1. Tokens are sorted by class, falling confidence and rising index, as keys in shared memory. A token is protected where
//    the one `per_class` places before it is of another class.
// 2. Protected tokens' priority is lowered by 2, and the k highest are taken, by TokenPartition's steps.
// 3. A warp per row copies: what stays goes into one output, what the leaving tokens leave behind into another.
//
// All blocks of an image carry out 1 and 2 alike, and each its own share of 3: that takes less than another launch would.
#pragma once

#include <cstdint>

#include "common/bitonic_sort.h"
#include "common/block.h"
#include "common/copy_rows.h"
#include "common/selection.h"
#include "token_partition/partition_block.h"
#include "token_protect_select/protect_select_sizes.h"

namespace edgeexport {

constexpr int32_t kSelectThreads = 1024;
constexpr int32_t kSelectBlocks = 16;  // that share the rows of an image

// 42.4 KiB.
struct SelectShared {
    union {
        uint64_t keys[kSelectMaxTokens];  // class << 48 | the confidence's order << 16 | token
        int32_t order[kSelectMaxTokens];  // tokens that stay, then those that leave, each rising
    } tokens;
    float priority[kSelectMaxTokens];
    PartitionShared partition;
};

// Everything that the second step is about.
struct SelectView {
    ProtectSelectSizes sizes;
    Best const* best;       // (B, n)
    RowCopy kept;           // of (B, n, C) into (B, n - k, C)
    RowCopy left;           // of (B, n, R) into (B, k, R)
    int32_t const* alive;   // (B, n)
    int32_t* alive_kept;    // (B, n - k)
    int32_t* alive_left;    // (B, k)
};

// Fills shared.tokens.order.
EDGEEXPORT_HD inline void orderTokens(
    Block block, SelectShared& shared, ProtectSelectSizes const& sizes, Best const* best) {
    int32_t const length = sortedLength(sizes.tokens);
    uint64_t* const keys = shared.tokens.keys;
    block.phase([&](int32_t thread) {
        for (int32_t i = thread; i < length; i += block.threads) {
            // Padding comes last: no class has all bits set.
            keys[i] = i < sizes.tokens ? static_cast<uint64_t>(best[i].position) << 48 |
                                             rankKey(best[i].score, 0) >> 16 | static_cast<uint64_t>(i)
                                       : ~uint64_t{0};
        }
    });
    bitonicSort(block, keys, length);
    block.phase([&](int32_t thread) {
        for (int32_t place = thread; place < sizes.tokens; place += block.threads) {
            uint64_t const key = keys[place];
            int32_t const before = place - sizes.per_class;
            bool const is_protected = before < 0 || keys[before] >> 48 != key >> 48;
            int32_t const token = static_cast<int32_t>(key & 0xffffu);
            shared.priority[token] = best[token].score - (is_protected ? 2.0f : 0.0f);
        }
    });
    int32_t* const order = shared.tokens.order;
    partitionImage(block, shared.partition, shared.priority, sizes.tokens, sizes.k, order, order + sizes.kept());
}

// One thread's share of a token's row, and with its first piece which token it is.
EDGEEXPORT_HD inline void moveRow(
    RowCopy const& copy, int32_t* alive_out, int32_t const* alive, int64_t token, int64_t target, int32_t lane) {
    copyRow(copy, token, target, lane);
    if (lane == 0) {
        alive_out[target] = alive[token];
    }
}

// Share `part` of `parts` of the rows of one image. block.threads is a multiple of kCopyWarp.
EDGEEXPORT_HD inline void moveRows(
    Block block, SelectShared const& shared, SelectView const& view, int32_t image, int32_t part, int32_t parts) {
    ProtectSelectSizes const& sizes = view.sizes;
    int32_t const warps = block.threads / kCopyWarp;
    int64_t const first = static_cast<int64_t>(image) * sizes.tokens;
    int64_t const first_kept = static_cast<int64_t>(image) * sizes.kept();
    int64_t const first_left = static_cast<int64_t>(image) * sizes.k - sizes.kept();
    block.phase([&](int32_t thread) {
        int32_t const lane = thread % kCopyWarp;
        for (int32_t row = part * warps + thread / kCopyWarp; row < sizes.tokens; row += parts * warps) {
            int64_t const token = first + shared.tokens.order[row];
            if (row < sizes.kept()) {
                moveRow(view.kept, view.alive_kept, view.alive, token, first_kept + row, lane);
            } else {
                moveRow(view.left, view.alive_left, view.alive, token, first_left + row, lane);
            }
        }
    });
}

EDGEEXPORT_HD inline void selectTokens(
    Block block, SelectShared& shared, SelectView const& view, int32_t image, int32_t part, int32_t parts) {
    orderTokens(block, shared, view.sizes, view.best + static_cast<int64_t>(image) * view.sizes.tokens);
    moveRows(block, shared, view, image, part, parts);
}

}  // namespace edgeexport
