// What a launch of TokenMatch is about, as its kernels and the CPU references see it: addresses and how to walk them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/portable.h"
#include "common/selection.h"
#include "common/to_float.h"
#include "token_match/match_sizes.h"

namespace edgeexport {

// Everything a launch is about.
template <class Metric>
struct MatchView {
    MatchCounts counts;
    int32_t batch;
    int32_t tokens;        // N
    int32_t channels;      // D
    int32_t heads;         // of which similarity is measured on the mean
    Metric const* metric;  // (B, heads, N, D)
    int32_t const* table;  // as MatchCounts says
    Best* candidates;      // (splits, B, windows * na)
    int32_t* stays;        // (B, windows * na), 1 where a source stays; only if counts.ascending
    int32_t* source;       // (B, R)
    int32_t* target;       // (B, R)
    int32_t* kept;         // (B, K)

    // Of a token's first head.
    EDGEEXPORT_HD Metric const* row(int32_t image, int32_t token) const {
        size_t const rows = static_cast<size_t>(image) * static_cast<size_t>(heads) * static_cast<size_t>(tokens);
        return metric + (rows + static_cast<size_t>(token)) * static_cast<size_t>(channels);
    }
    // What a token is compared by in one channel: the mean over heads, in their order.
    EDGEEXPORT_HD float value(Metric const* row, int32_t channel) const {
        float sum = toFloat(row[channel]);
        size_t const stride = static_cast<size_t>(tokens) * static_cast<size_t>(channels);
        for (int32_t head = 1; head < heads; ++head) {
            sum += toFloat(row[static_cast<size_t>(head) * stride + static_cast<size_t>(channel)]);
        }
        return heads == 1 ? sum : sum / static_cast<float>(heads);
    }
    EDGEEXPORT_HD Best* candidatesOf(int32_t split, int32_t image, int32_t window) const {
        return candidates + (static_cast<size_t>(split) * static_cast<size_t>(batch) + static_cast<size_t>(image)) *
                                counts.slots() +
               static_cast<size_t>(window) * static_cast<size_t>(counts.sources);
    }
    // The token at `position` of a window's part of the table, -1 beyond its end.
    EDGEEXPORT_HD int32_t sourceToken(int32_t window, int32_t position) const {
        return position < counts.sources ? table[static_cast<size_t>(window * counts.sources + position)] : -1;
    }
    EDGEEXPORT_HD int32_t destinationToken(int32_t window, int32_t position) const {
        return position < counts.destinations
                   ? table[counts.destinationsAt() + static_cast<size_t>(window * counts.destinations + position)]
                   : -1;
    }
};

// What a launch is about, from its arguments.
template <class Metric>
inline MatchView<Metric> matchView(Metric const* metric, TokenMatchSizes const& sizes, int32_t const* table,
    void* workspace, int32_t* source, int32_t* target, int32_t* kept) {
    // Candidates come first; their size keeps the marks behind them aligned.
    char* const marks = static_cast<char*>(workspace) + matchCandidateBytes(sizes);
    return MatchView<Metric>{sizes.counts, sizes.batch, sizes.tokens, sizes.channels, sizes.heads, metric, table,
        static_cast<Best*>(workspace), reinterpret_cast<int32_t*>(marks), source, target, kept};
}

}  // namespace edgeexport
