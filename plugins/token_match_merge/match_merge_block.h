// TokenMatchMerge, second step, by one thread block: which sources merge and which stay, and a share of the merged rows. Run by
// the kernel and by the CPU (see common/block.h). The first step is TokenMatch's (token_match/similarity_block.h).
//
// 1. Sources are sorted by window, falling similarity and rising position, as keys in shared memory: a source's place there is
//    its slot, and the tables say what becomes of that.
// 2. Those that merge are sorted by destination and place in `source`, so that a destination's lie side by side, in the order
//    in which they are added. Where what stays is ordered by token, running sums place it.
// 3. A warp per output row: it copies a token, or adds up a destination and what merges into it.
//
// All blocks of an image carry out 1 and 2 alike, and each its own share of 3: that takes less than another launch would.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/bitonic_sort.h"
#include "common/block.h"
#include "common/copy_rows.h"
#include "common/from_float.h"
#include "common/selection.h"
#include "token_match/rank_block.h"
#include "token_match_merge/match_merge_tables.h"
#include "token_merge/token_merge_block.h"

namespace edgeexport {

constexpr int32_t kMatchMergeThreads = 1024;
constexpr int32_t kMatchMergeBlocks = 16;  // that share the rows of an image
constexpr int32_t kSlotsPerThread = kMatchMergeMaxSources / kMatchMergeThreads;

// What step 2 leaves for step 3.
struct MatchMergeLists {
    uint32_t merging[kMatchMergeMaxSources];  // destination's number << 16 | place in `source`, rising
    uint16_t source[kMatchMergeMaxSources];   // tokens that merge, by place
    uint16_t kept[kMatchMergeMaxSources];     // tokens that stay
};

// 44 KiB.
struct MatchMergeShared {
    union {
        uint64_t keys[kMatchMergeMaxSources];  // window << 48 | the similarity's order << 16 | position
        MatchMergeLists lists;
    } sources;
    uint8_t stays[kMatchMergeMaxSources];  // by position over all windows
    uint32_t sums[2][kMatchMergeThreads];
};

// Everything that the second step is about.
template <class Metric>
struct MatchMergeView {
    MatchView<Metric> match;
    MatchMergeSizes sizes;
    float const* x;      // (B, N, C)
    float const* size;   // (B, N)
    float* merged;       // (B, rows, C)
    float* merged_size;  // (B, rows)
    Metric* log_size;    // (B, rows), its logarithm: what proportional attention adds to the logits
    RowCopy copy;        // of x into merged

    EDGEEXPORT_HD int32_t number(int32_t window, int32_t destination) const {
        return match.table[sizes.numbersAt() + static_cast<size_t>(window * match.counts.destinations + destination)];
    }
    EDGEEXPORT_HD int32_t destinationToken(int32_t number) const {
        return match.table[sizes.tokensAt() + static_cast<size_t>(number)];
    }
    EDGEEXPORT_HD void writeSize(int64_t target, float value) const {
        merged_size[target] = value;
        setFromFloat(log_size[target], logf(value));
    }
};

// The sorted keys of a thread's slots.
struct HeldKeys {
    uint64_t keys[kSlotsPerThread];
};

template <class Metric>
EDGEEXPORT_HD inline uint64_t slotKey(MatchView<Metric> const& view, int32_t image, int32_t slot) {
    if (slot >= static_cast<int32_t>(view.counts.slots())) {
        return ~uint64_t{0};
    }
    int32_t const window = slot / view.counts.sources;
    int32_t const position = slot % view.counts.sources;
    uint64_t const rank = sourceKey(view, image, window, position);  // the similarity's order << 32 | position
    return static_cast<uint64_t>(window) << 48 | rank >> 32 << 16 | static_cast<uint64_t>(position);
}

// Enters the source of one slot into the lists.
template <class Metric>
EDGEEXPORT_HD inline void enterSlot(
    MatchMergeShared& shared, MatchMergeView<Metric> const& view, int32_t image, int32_t slot, uint64_t key) {
    MatchCounts const& counts = view.match.counts;
    MatchMergeLists& lists = shared.sources.lists;
    int32_t const window = static_cast<int32_t>(key >> 48);
    int32_t const position = static_cast<int32_t>(key & 0xffffu);
    uint16_t const token = static_cast<uint16_t>(view.match.sourceToken(window, position));
    int32_t const taken = view.match.table[counts.takenAt() + static_cast<size_t>(slot)];
    int32_t const left = view.match.table[counts.leftAt() + static_cast<size_t>(slot)];
    if (taken >= 0) {
        int32_t const destination = bestOfSplits(view.match, image, window, position).position;
        lists.source[taken] = token;
        lists.merging[taken] =
            static_cast<uint32_t>(view.number(window, destination)) << 16 | static_cast<uint32_t>(taken);
    }
    shared.stays[window * counts.sources + position] = left >= 0 ? 1 : 0;
    if (left >= 0 && counts.ascending == 0) {
        lists.kept[left] = token;
    }
}

// The sources that stay, ascending.
template <class Metric>
EDGEEXPORT_HD inline void listKept(Block block, MatchMergeShared& shared, MatchView<Metric> const& view) {
    MatchCounts const& counts = view.counts;
    int32_t const* const positions = view.table + counts.byTokenAt();
    int32_t const stretch = (counts.existing + block.threads - 1) / block.threads;
    block.phase([&](int32_t thread) {
        uint32_t count = 0;
        for (int32_t i = thread * stretch; i < (thread + 1) * stretch && i < counts.existing; ++i) {
            count += shared.stays[positions[i]];
        }
        shared.sums[0][thread] = count;
    });
    uint32_t const* const sums = runningSums(block, shared.sums[0], shared.sums[1], block.threads);
    block.phase([&](int32_t thread) {
        uint32_t place = thread > 0 ? sums[thread - 1] : 0;
        for (int32_t i = thread * stretch; i < (thread + 1) * stretch && i < counts.existing; ++i) {
            if (shared.stays[positions[i]] != 0) {
                shared.sources.lists.kept[place++] = static_cast<uint16_t>(view.table[positions[i]]);
            }
        }
    });
}

// Fills shared.sources.lists. block.threads is kMatchMergeThreads.
template <class Metric>
EDGEEXPORT_HD inline void listMerges(
    Block block, MatchMergeShared& shared, MatchMergeView<Metric> const& view, int32_t image) {
    MatchCounts const& counts = view.match.counts;
    int32_t const slots = static_cast<int32_t>(counts.slots());
    int32_t const length = sortedLength(slots);
    block.phase([&](int32_t thread) {
        for (int32_t slot = thread; slot < length; slot += block.threads) {
            shared.sources.keys[slot] = slotKey(view.match, image, slot);
        }
    });
    bitonicSort(block, shared.sources.keys, length);
    PerThread<HeldKeys, kMatchMergeThreads> held;  // the lists lie where the keys were
    block.phase([&](int32_t thread) {
        EDGEEXPORT_UNROLL
        for (int32_t i = 0; i < kSlotsPerThread; ++i) {
            int32_t const slot = i * kMatchMergeThreads + thread;
            held[thread].keys[i] = slot < slots ? shared.sources.keys[slot] : 0;
        }
    });
    int32_t const merging = sortedLength(counts.taken);
    block.phase([&](int32_t thread) {
        EDGEEXPORT_UNROLL
        for (int32_t i = 0; i < kSlotsPerThread; ++i) {
            int32_t const slot = i * kMatchMergeThreads + thread;
            if (slot < slots) {
                enterSlot(shared, view, image, slot, held[thread].keys[i]);
            }
        }
        for (int32_t place = counts.taken + thread; place < merging; place += block.threads) {
            shared.sources.lists.merging[place] = ~uint32_t{0};
        }
    });
    bitonicSort(block, shared.sources.lists.merging, merging);
    if (counts.ascending != 0) {
        listKept(block, shared, view.match);
    }
}

// Writes the decisions of one image.
template <class Metric>
EDGEEXPORT_HD inline void writeDecisions(
    Block block, MatchMergeShared const& shared, MatchMergeView<Metric> const& view, int32_t image) {
    MatchCounts const& counts = view.match.counts;
    MatchMergeLists const& lists = shared.sources.lists;
    size_t const first = static_cast<size_t>(image) * static_cast<size_t>(counts.taken);
    size_t const first_kept = static_cast<size_t>(image) * static_cast<size_t>(counts.left);
    block.phase([&](int32_t thread) {
        for (int32_t i = thread; i < counts.taken; i += block.threads) {
            uint32_t const pair = lists.merging[i];
            view.match.source[first + static_cast<size_t>(i)] = lists.source[i];
            view.match.target[first + (pair & 0xffffu)] = view.destinationToken(static_cast<int32_t>(pair >> 16));
        }
        for (int32_t i = thread; i < counts.left; i += block.threads) {
            view.match.kept[first_kept + static_cast<size_t>(i)] = lists.kept[i];
        }
    });
}

// The first of a destination's entries in the list of what merges.
EDGEEXPORT_HD inline int32_t firstMerging(uint32_t const* merging, int32_t count, int32_t destination) {
    uint32_t const wanted = static_cast<uint32_t>(destination) << 16;
    int32_t first = 0;
    for (int32_t end = count; first < end;) {
        int32_t const middle = (first + end) / 2;
        if (merging[middle] < wanted) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    return first;
}

// One thread's share of the row of destination `number`: a mean weighted by size, in the order of `source`.
template <class Metric, int32_t kLanes>
EDGEEXPORT_HD inline void mergeInto(MatchMergeShared const& shared, MatchMergeView<Metric> const& view, int32_t image,
    int32_t number, int64_t target, int32_t lane) {
    using RowPiece = Piece<float, kLanes>;
    MatchMergeLists const& lists = shared.sources.lists;
    int32_t const count = view.match.counts.taken;
    int64_t const first_token = static_cast<int64_t>(image) * view.match.tokens;
    float const* const size = view.size + first_token;
    int32_t const token = view.destinationToken(number);
    int32_t const first = firstMerging(lists.merging, count, number);
    float total = size[token];
    int32_t end = first;
    for (; end < count && static_cast<int32_t>(lists.merging[end] >> 16) == number; ++end) {
        total += size[lists.source[lists.merging[end] & 0xffffu]];
    }
    if (lane == 0) {
        view.writeSize(target, total);
    }
    if (end == first) {
        copyRow(view.copy, first_token + token, target, lane);
        return;
    }
    int32_t const pieces = view.sizes.width / kLanes;
    auto const* const x = reinterpret_cast<RowPiece const*>(view.x) + first_token * pieces;
    auto* const merged = reinterpret_cast<RowPiece*>(view.merged) + target * pieces;
    float const own_share = size[token] / total;
    for (int32_t piece = lane; piece < pieces; piece += kCopyWarp) {
        RowPiece result = x[static_cast<int64_t>(token) * pieces + piece];
        RowPiece added{};
        for (int32_t i = first; i < end; ++i) {
            int32_t const source = lists.source[lists.merging[i] & 0xffffu];
            float const share = size[source] / total;
            RowPiece const value = x[static_cast<int64_t>(source) * pieces + piece];
            EDGEEXPORT_UNROLL
            for (int32_t at = 0; at < kLanes; ++at) {
                added.lanes[at] += share * value.lanes[at];
            }
        }
        EDGEEXPORT_UNROLL
        for (int32_t at = 0; at < kLanes; ++at) {
            result.lanes[at] = result.lanes[at] * own_share + added.lanes[at];
        }
        merged[piece] = result;
    }
}

// Share `part` of `parts` of the merged rows of one image; part 0 also writes the decisions.
template <class Metric, int32_t kLanes>
EDGEEXPORT_HD inline void matchAndMerge(Block block, MatchMergeShared& shared, MatchMergeView<Metric> const& view,
    int32_t image, int32_t part, int32_t parts) {
    listMerges(block, shared, view, image);
    if (part == 0) {
        writeDecisions(block, shared, view, image);
    }
    int32_t const copied = view.sizes.prefix + view.match.counts.left;
    int32_t const rows = view.sizes.rows();
    int32_t const warps = block.threads / kCopyWarp;
    int64_t const first_token = static_cast<int64_t>(image) * view.match.tokens;
    block.phase([&](int32_t thread) {
        int32_t const lane = thread % kCopyWarp;
        for (int32_t row = part * warps + thread / kCopyWarp; row < rows; row += parts * warps) {
            int64_t const target = static_cast<int64_t>(image) * rows + row;
            if (row >= copied) {
                mergeInto<Metric, kLanes>(shared, view, image, row - copied, target, lane);
                continue;
            }
            int32_t const prefix = view.sizes.prefix;
            int32_t const token = row < prefix ? row : shared.sources.lists.kept[row - prefix];
            copyRow(view.copy, first_token + token, target, lane);
            if (lane == 0) {
                view.writeSize(target, view.size[first_token + token]);
            }
        }
    });
}

}  // namespace edgeexport
