// Sizes of TokenMatch, which of them are accepted, and the memory they need; for the kernels, the launcher, the plugin
// and the CPU references.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/portable.h"
#include "common/selection.h"

namespace edgeexport {

// The op's ONNX function carries token indices as float32, which is exact up to here.
constexpr int32_t kMatchMaxTokens = 1 << 24;

// Images and splits of destinations: limits of a CUDA grid.
constexpr int32_t kMatchMaxGrid = 65535;

constexpr int32_t kMatchMaxHeads = 1024;

// How the similarity kernel cuts a window (similarity_block.h).
constexpr int32_t kMatchRows = 32;       // sources per block
constexpr int32_t kMatchColumns = 64;    // destinations per tile
constexpr int32_t kMatchSplitTiles = 2;  // tiles of destinations that one block looks at

// Destinations of a window are looked at by this many blocks, each of which leaves a candidate.
EDGEEXPORT_HD constexpr int32_t matchSplits(int32_t destinations) {
    return (destinations + kMatchColumns * kMatchSplitTiles - 1) / (kMatchColumns * kMatchSplitTiles);
}

// Blocks of `rows` sources that cover one window.
EDGEEXPORT_HD constexpr int32_t matchTiles(int32_t sources, int32_t rows) { return (sources + rows - 1) / rows; }

// The numbers that the tables of one TokenMatch fix.
struct MatchCounts {
    int32_t windows;
    int32_t sources;       // na, per window
    int32_t destinations;  // nb, per window
    int32_t taken;         // R
    int32_t left;          // K
    int32_t existing;      // sources without padding, over all windows
    int32_t ascending;     // 1: what stays is ordered by token index; 0: by falling score

    EDGEEXPORT_HD constexpr size_t slots() const { return static_cast<size_t>(windows) * static_cast<size_t>(sources); }

    // Where the parts of the kernels' table begin: sources (windows * na) at 0, destinations (windows * nb), the place
    // in the output of what merges (windows * na, by slot, -1 for none), likewise of what stays, and the positions of
    // existing sources in rising order of their token (existing).
    EDGEEXPORT_HD constexpr size_t destinationsAt() const { return slots(); }
    EDGEEXPORT_HD constexpr size_t takenAt() const {
        return slots() + static_cast<size_t>(windows) * static_cast<size_t>(destinations);
    }
    EDGEEXPORT_HD constexpr size_t leftAt() const { return takenAt() + slots(); }
    EDGEEXPORT_HD constexpr size_t byTokenAt() const { return leftAt() + slots(); }
    EDGEEXPORT_HD constexpr size_t tableEntries() const { return byTokenAt() + static_cast<size_t>(existing); }
};

struct TokenMatchSizes {
    MatchCounts counts;
    int32_t batch;     // B
    int32_t tokens;    // N
    int32_t channels;  // D
    int32_t heads = 1;  // of the metric, compared by their mean
};

// What is wrong with the sizes, or null.
constexpr char const* matchRefusal(TokenMatchSizes const& sizes) {
    MatchCounts const& counts = sizes.counts;
    if (sizes.batch < 0 || sizes.batch > kMatchMaxGrid) {
        return "a number of images outside 0 to 65535";
    }
    if (sizes.tokens < 1 || sizes.tokens > kMatchMaxTokens) {
        return "a number of tokens outside 1 to 2^24";
    }
    if (sizes.channels < 1 || sizes.channels > kMatchMaxTokens) {
        return "a number of channels outside 1 to 2^24";
    }
    if (sizes.heads < 1 || sizes.heads > kMatchMaxHeads) {
        return "a number of heads outside 1 to 1024";
    }
    if (counts.windows < 1 || counts.sources < 1 || counts.destinations < 1 || counts.taken < 1 || counts.left < 1) {
        return "no windows, sources, destinations, or nothing that merges or stays";
    }
    if (counts.slots() > static_cast<size_t>(kMatchMaxTokens) ||
        counts.takenAt() > 2 * static_cast<size_t>(kMatchMaxTokens)) {
        return "tables of more than 2^24 entries";
    }
    if (matchSplits(counts.destinations) > kMatchMaxGrid) {
        return "a window of more than 8388480 destinations";
    }
    return nullptr;
}

// Bytes of the similarity kernel's result: a candidate per split, image and position in the table of sources.
constexpr size_t matchCandidateBytes(TokenMatchSizes const& sizes) {
    return static_cast<size_t>(matchSplits(sizes.counts.destinations)) * static_cast<size_t>(sizes.batch) *
           sizes.counts.slots() * sizeof(Best);
}

// Workspace of a launch: the candidates and, where what stays is ordered by token, a mark per source.
constexpr size_t matchWorkspaceBytes(TokenMatchSizes const& sizes) {
    size_t const marks = sizes.counts.ascending != 0 ? sizes.counts.slots() * static_cast<size_t>(sizes.batch) : 0;
    return matchCandidateBytes(sizes) + marks * sizeof(int32_t);
}

}  // namespace edgeexport
