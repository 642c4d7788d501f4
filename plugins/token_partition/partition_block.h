// TokenPartition of one image by one thread block: what the kernel does, also carried out by the CPU (see
// common/block.h).
//
// 1. Radix selection: the k-th highest score's ordered bits are found eight at a time from the top, by counting the
//    scores that agree with what is known so far; it ends early once all scores of a digit are wanted.
// 2. Compaction: every thread counts in its own stretch of consecutive tokens, running sums give it where its stretch
//    starts in both outputs, and it writes its tokens in index order. Nothing is sorted, and no order depends on
//    timing.
//
// Scores are read from global memory in every pass (at most 64 KiB per image, which caches hold), so that the block's
// shared memory does not grow with N.
#pragma once

#include <cstdint>

#include "common/block.h"
#include "common/selection.h"
#include "common/to_float.h"

namespace edgeexport {

constexpr int32_t kPartitionMaxThreads = 1024;
constexpr int32_t kPartitionDigits = 256;

struct PartitionShared {
    uint64_t counts[2][kPartitionMaxThreads];  // per thread: scores above the threshold << 32 | scores at it
    uint32_t bins[2][kPartitionDigits];        // highest digit first
    uint32_t digit;                            // that of the k-th highest score
    uint32_t before;                           // scores of a higher digit
    uint32_t within;                           // scores of this digit
};

// The k-th highest score, as far as it had to be found out: `prefix` is its ordered bits shifted right by `shift`, and
// `wanted` of the scores that share them are among the k highest.
struct Threshold {
    uint32_t prefix;
    uint32_t shift;
    uint32_t wanted;
};

template <class Score>
EDGEEXPORT_HD inline Threshold kthHighest(Block block, PartitionShared& shared, Score const* score, int32_t tokens,
                                           int32_t k) {
    Threshold found{0, 32, static_cast<uint32_t>(k)};
    while (found.shift > 0) {
        found.shift -= 8;
        block.phase([&](int32_t thread) {
            for (int32_t bin = thread; bin < kPartitionDigits; bin += block.threads) {
                shared.bins[0][bin] = 0;
            }
        });
        block.phase([&](int32_t thread) {
            for (int32_t token = thread; token < tokens; token += block.threads) {
                uint64_t const bits = static_cast<uint64_t>(orderedBits(toFloat(score[token]))) >> found.shift;
                if (bits >> 8 == found.prefix) {
                    tally(shared.bins[0], kPartitionDigits - 1 - static_cast<uint32_t>(bits & 255u));
                }
            }
        });
        uint32_t const* sums = runningSums(block, shared.bins[0], shared.bins[1], kPartitionDigits);
        block.phase([&](int32_t thread) {
            for (int32_t bin = thread; bin < kPartitionDigits; bin += block.threads) {
                uint32_t const before = bin > 0 ? sums[bin - 1] : 0;
                if (before < found.wanted && found.wanted <= sums[bin]) {
                    shared.digit = kPartitionDigits - 1 - static_cast<uint32_t>(bin);
                    shared.before = before;
                    shared.within = sums[bin] - before;
                }
            }
        });
        found.prefix = found.prefix << 8 | shared.digit;
        found.wanted -= shared.before;
        if (found.wanted == shared.within) {
            break;
        }
    }
    return found;
}

// score: (tokens). kept: (tokens - k), taken: (k), each ascending. 0 < k <= tokens <= 2^24.
template <class Score>
EDGEEXPORT_HD inline void partitionImage(Block block, PartitionShared& shared, Score const* score, int32_t tokens,
                                          int32_t k, int32_t* kept, int32_t* taken) {
    Threshold const threshold = kthHighest(block, shared, score, tokens, k);
    int32_t const stretch = (tokens + block.threads - 1) / block.threads;
    block.phase([&](int32_t thread) {
        int32_t const first = thread * stretch;
        int32_t const end = first + stretch < tokens ? first + stretch : tokens;
        uint64_t count = 0;
        for (int32_t token = first; token < end; ++token) {
            uint32_t const bits = orderedBits(toFloat(score[token])) >> threshold.shift;
            count += bits > threshold.prefix ? uint64_t{1} << 32 : static_cast<uint64_t>(bits == threshold.prefix);
        }
        shared.counts[0][thread] = count;
    });
    uint64_t const* sums = runningSums(block, shared.counts[0], shared.counts[1], block.threads);
    block.phase([&](int32_t thread) {
        int32_t const first = thread * stretch;
        int32_t const end = first + stretch < tokens ? first + stretch : tokens;
        uint64_t const before = thread > 0 ? sums[thread - 1] : 0;
        Splitter splitter{static_cast<uint32_t>(before >> 32), static_cast<uint32_t>(before), threshold.wanted};
        for (int32_t token = first; token < end; ++token) {
            uint32_t const bits = orderedBits(toFloat(score[token])) >> threshold.shift;
            int32_t const place = static_cast<int32_t>(splitter.taken());
            if (splitter.pass(bits > threshold.prefix, bits == threshold.prefix)) {
                taken[place] = token;
            } else {
                kept[token - place] = token;
            }
        }
    });
}

}  // namespace edgeexport
