// TokenProtectSelect, first step, by one thread block: the confidence of 32 tokens, which is their best class's score, and
// that class. Run by the kernel and by the CPU (see common/block.h).
//
// Neighbouring threads read neighbouring tokens; the classes are dealt out to the block's warps, each of which leaves a
// candidate. Of equal scores the lowest class wins.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/block.h"
#include "common/selection.h"
#include "common/to_float.h"
#include "token_protect_select/protect_select_sizes.h"

namespace edgeexport {

constexpr int32_t kConfidenceTokens = 32;
constexpr int32_t kConfidenceShares = 8;  // of the classes
constexpr int32_t kConfidenceThreads = kConfidenceTokens * kConfidenceShares;

struct ConfidenceShared {
    Best candidates[kConfidenceShares][kConfidenceTokens];
};

// Tokens kConfidenceTokens * `tile` and on of one image. scores: (classes, tokens) of the image, best: (tokens) of it.
template <class Value>
EDGEEXPORT_HD inline void confidenceOfTile(Block block, ConfidenceShared& shared, Value const* scores,
    ProtectSelectSizes const& sizes, int32_t tile, Best* best) {
    int32_t const first = tile * kConfidenceTokens;
    block.phase([&](int32_t thread) {
        int32_t const share = thread / kConfidenceTokens;
        int32_t const token = first + thread % kConfidenceTokens;
        Best found{-HUGE_VALF, share};
        for (int32_t klass = share; klass < sizes.classes && token < sizes.tokens; klass += kConfidenceShares) {
            float const score =
                toFloat(scores[static_cast<size_t>(klass) * static_cast<size_t>(sizes.tokens) +
                               static_cast<size_t>(token)]);
            if (score > found.score) {  // classes rise, so that the first of equals stands
                found = Best{score, klass};
            }
        }
        shared.candidates[share][thread % kConfidenceTokens] = found;
    });
    block.phase([&](int32_t thread) {
        if (thread < kConfidenceTokens && first + thread < sizes.tokens) {
            Best found = shared.candidates[0][thread];
            for (int32_t share = 1; share < kConfidenceShares; ++share) {
                found = betterOf(found, shared.candidates[share][thread]);
            }
            best[first + thread] = found;
        }
    });
}

}  // namespace edgeexport
