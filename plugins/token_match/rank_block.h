// TokenMatch, second and third step, by one thread block: which sources merge and which stay. Run by the kernels and by
// the CPU (see common/block.h).
//
// rankSources: how many sources of the window come before a source is its rank, hence its slot, and the tables say
//   where in the outputs that slot goes. Counting is exact for any number of sources and needs no sorted copy.
// sortKept: where what stays is ordered by token, running sums over the sources in token order place it.
#pragma once

#include <cstdint>

#include "common/block.h"
#include "common/selection.h"
#include "token_match/match_view.h"

namespace edgeexport {

constexpr int32_t kRankThreads = 128;
constexpr int32_t kSortThreads = 1024;

struct RankShared {
    uint64_t keys[kRankThreads];
};

// A source's best destination over all splits.
template <class Metric>
EDGEEXPORT_HD inline Best bestOfSplits(MatchView<Metric> const& view, int32_t image, int32_t window, int32_t position) {
    Best best = view.candidatesOf(0, image, window)[position];
    for (int32_t split = 1; split < matchSplits(view.counts.destinations); ++split) {
        best = betterOf(best, view.candidatesOf(split, image, window)[position]);
    }
    return best;
}

// Padding ranks behind every source; positions beyond the window behind everything.
template <class Metric>
EDGEEXPORT_HD inline uint64_t sourceKey(
    MatchView<Metric> const& view, int32_t image, int32_t window, int32_t position) {
    if (view.sourceToken(window, position) < 0) {
        return lastRankKey(static_cast<uint32_t>(position));
    }
    return rankKey(bestOfSplits(view, image, window, position).score, static_cast<uint32_t>(position));
}

// Sources kRankThreads * `tile` and on of one window: writes them into the outputs, or marks them as staying.
template <class Metric>
EDGEEXPORT_HD inline void rankSources(
    Block block, RankShared& shared, MatchView<Metric> const& view, int32_t window, int32_t tile, int32_t image) {
    int32_t const count = view.counts.sources;
    PerThread<uint64_t, kRankThreads> own;
    PerThread<int32_t, kRankThreads> rank;
    block.phase([&](int32_t thread) {
        own[thread] = sourceKey(view, image, window, tile * kRankThreads + thread);
        rank[thread] = 0;
    });
    for (int32_t first = 0; first < count; first += kRankThreads) {
        block.phase([&](int32_t thread) { shared.keys[thread] = sourceKey(view, image, window, first + thread); });
        block.phase([&](int32_t thread) {
            uint64_t const key = own[thread];
            int32_t before = 0;
            for (int32_t other = 0; other < kRankThreads; ++other) {
                before += shared.keys[other] < key ? 1 : 0;
            }
            rank[thread] += before;
        });
    }
    block.phase([&](int32_t thread) {
        int32_t const position = tile * kRankThreads + thread;
        if (position >= count) {
            return;
        }
        MatchCounts const& counts = view.counts;
        int32_t const slot = window * count + rank[thread];
        int32_t const token = view.sourceToken(window, position);
        int32_t const taken = view.table[counts.takenAt() + static_cast<size_t>(slot)];
        int32_t const left = view.table[counts.leftAt() + static_cast<size_t>(slot)];
        size_t const of_image = static_cast<size_t>(image);
        if (taken >= 0) {
            size_t const place = of_image * static_cast<size_t>(counts.taken) + static_cast<size_t>(taken);
            view.source[place] = token;
            view.target[place] = view.destinationToken(window, bestOfSplits(view, image, window, position).position);
        }
        if (counts.ascending != 0) {
            view.stays[of_image * counts.slots() + static_cast<size_t>(window * count + position)] = left >= 0 ? 1 : 0;
        } else if (left >= 0) {
            view.kept[of_image * static_cast<size_t>(counts.left) + static_cast<size_t>(left)] = token;
        }
    });
}

struct SortShared {
    uint32_t sums[2][kSortThreads];
};

// The sources of one image that stay, ascending.
template <class Metric>
EDGEEXPORT_HD inline void sortKept(Block block, SortShared& shared, MatchView<Metric> const& view, int32_t image) {
    MatchCounts const& counts = view.counts;
    int32_t const* const positions = view.table + counts.byTokenAt();
    int32_t const* const stays = view.stays + static_cast<size_t>(image) * counts.slots();
    int32_t* const kept = view.kept + static_cast<size_t>(image) * static_cast<size_t>(counts.left);
    int32_t const stretch = (counts.existing + block.threads - 1) / block.threads;
    block.phase([&](int32_t thread) {
        uint32_t count = 0;
        for (int32_t i = thread * stretch; i < (thread + 1) * stretch && i < counts.existing; ++i) {
            count += static_cast<uint32_t>(stays[positions[i]]);
        }
        shared.sums[0][thread] = count;
    });
    uint32_t const* const sums = runningSums(block, shared.sums[0], shared.sums[1], block.threads);
    block.phase([&](int32_t thread) {
        uint32_t place = thread > 0 ? sums[thread - 1] : 0;
        for (int32_t i = thread * stretch; i < (thread + 1) * stretch && i < counts.existing; ++i) {
            if (stays[positions[i]] != 0) {
                kept[place++] = view.table[positions[i]];
            }
        }
    });
}

}  // namespace edgeexport
