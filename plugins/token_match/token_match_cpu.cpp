// CPU references of TokenMatch and their entry points for ctypes.
#include "token_match/token_match_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <new>
#include <vector>

#include "common/element_type.h"
#include "common/selection.h"
#include "common/status.h"
#include "common/to_float.h"
#include "token_match/match_tables.h"
#include "token_match/rank_block.h"
#include "token_match/similarity_block.h"

namespace edgeexport {
namespace {

// The rows of one image, scaled to length 1.
template <class Metric>
std::vector<float> unitRows(Metric const* metric, TokenMatchSizes const& sizes) {
    size_t const channels = static_cast<size_t>(sizes.channels);
    std::vector<float> unit;
    for (size_t token = 0; token < static_cast<size_t>(sizes.tokens); ++token) {
        float sum = 0.0f;
        for (size_t channel = 0; channel < channels; ++channel) {
            float const value = toFloat(metric[token * channels + channel]);
            sum += value * value;
        }
        float const norm = std::max(std::sqrt(sum), kMatchEpsilon);
        for (size_t channel = 0; channel < channels; ++channel) {
            unit.push_back(toFloat(metric[token * channels + channel]) / norm);
        }
    }
    return unit;
}

// One image straight from the definition: match every source, sort each window, read off the slots.
template <class Metric>
void matchBySorting(EdgeexportTokenMatch const& match, MatchTables const& tables, TokenMatchSizes const& sizes,
    Metric const* metric, size_t image) {
    MatchCounts const& counts = sizes.counts;
    size_t const channels = static_cast<size_t>(sizes.channels);
    std::vector<float> const unit = unitRows(metric, sizes);
    std::vector<int32_t> slot_source;
    std::vector<int32_t> slot_target;
    for (int32_t window = 0; window < counts.windows; ++window) {
        int32_t const* const sources = match.sources + window * counts.sources;
        int32_t const* const destinations = match.destinations + window * counts.destinations;
        std::vector<Best> best(static_cast<size_t>(counts.sources), Best{-HUGE_VALF, 0});
        std::vector<uint64_t> keys;
        for (int32_t position = 0; position < counts.sources; ++position) {
            Best& own = best[static_cast<size_t>(position)];
            for (int32_t other = 0; sources[position] >= 0 && other < counts.destinations; ++other) {
                if (destinations[other] < 0) {
                    continue;
                }
                float const* const a = unit.data() + static_cast<size_t>(sources[position]) * channels;
                float const* const b = unit.data() + static_cast<size_t>(destinations[other]) * channels;
                float similarity = 0.0f;
                for (size_t channel = 0; channel < channels; ++channel) {
                    similarity += a[channel] * b[channel];
                }
                if (similarity > own.score) {
                    own = Best{similarity, other};
                }
            }
            uint32_t const index = static_cast<uint32_t>(position);
            keys.push_back(sources[position] < 0 ? lastRankKey(index) : rankKey(own.score, index));
        }
        std::sort(keys.begin(), keys.end());
        for (uint64_t const key : keys) {
            size_t const position = key & 0xffffffffu;
            slot_source.push_back(sources[position]);
            slot_target.push_back(destinations[best[position].position]);
        }
    }
    for (size_t i = 0; i < static_cast<size_t>(counts.taken); ++i) {
        size_t const slot = static_cast<size_t>(match.taken[i]);
        match.source[image * static_cast<size_t>(counts.taken) + i] = slot_source[slot];
        match.target[image * static_cast<size_t>(counts.taken) + i] = slot_target[slot];
    }
    int32_t* const kept = match.kept + image * static_cast<size_t>(counts.left);
    for (int32_t i = 0; i < counts.left; ++i) {
        kept[i] = slot_source[static_cast<size_t>(match.left[i])];
    }
    if (tables.counts.ascending != 0) {
        std::sort(kept, kept + counts.left);
    }
}

// All images by the kernels' blocks, in the order of their grids.
template <class Metric>
void matchByBlocks(EdgeexportTokenMatch const& match, MatchTables const& tables, TokenMatchSizes const& sizes,
    Metric const* metric, bool backward) {
    MatchCounts const& counts = sizes.counts;
    std::vector<uint64_t> workspace(matchWorkspaceBytes(sizes) / sizeof(uint64_t) + 1, ~uint64_t{0});
    MatchView<Metric> const view = matchView(
        metric, sizes, tables.table.data(), workspace.data(), match.source, match.target, match.kept);
    auto const similarity = poisonedShared<SimilarityShared>();
    auto const rank = poisonedShared<RankShared>();
    auto const sort = poisonedShared<SortShared>();
    for (int32_t image = 0; image < sizes.batch; ++image) {
        for (int32_t window = 0; window < counts.windows; ++window) {
            for (int32_t tile = 0; tile < matchTiles(counts.sources, kMatchRows); ++tile) {
                for (int32_t split = 0; split < matchSplits(counts.destinations); ++split) {
                    bestDestinations(Block{kMatchThreads, backward}, *similarity, view, window, tile, split, image);
                }
            }
            for (int32_t tile = 0; tile < matchTiles(counts.sources, kRankThreads); ++tile) {
                rankSources(Block{kRankThreads, backward}, *rank, view, window, tile, image);
            }
        }
        if (counts.ascending != 0) {
            sortKept(Block{kSortThreads, backward}, *sort, view, image);
        }
    }
}

std::vector<int32_t> listOf(int32_t const* values, int32_t length) {
    return std::vector<int32_t>(values, values + std::max(length, 0));
}

// Checks, then calls `run(tables, sizes)`.
template <class Run>
Status checked(EdgeexportTokenMatch const* match, Run const& run) noexcept {
    if (match == nullptr || match->metric == nullptr || match->sources == nullptr || match->destinations == nullptr ||
        match->taken == nullptr || match->left == nullptr || match->source == nullptr || match->target == nullptr ||
        match->kept == nullptr) {
        return Status::kNullPointer;
    }
    try {
        MatchTables const tables = matchTablesFromAttributes(listOf(match->sources, match->sources_length),
            listOf(match->destinations, match->destinations_length), listOf(match->taken, match->taken_length),
            listOf(match->left, match->left_length), match->windows, match->ascending);
        if (!tables.valid()) {
            return Status::kBadAttribute;
        }
        TokenMatchSizes const sizes{tables.counts, match->batch, match->tokens, match->channels};
        if (matchRefusal(sizes) != nullptr) {
            return Status::kBadSize;
        }
        if (tables.highest_token >= match->tokens) {
            return Status::kBadIndex;
        }
        switch (static_cast<ElementType>(match->type)) {
        case ElementType::kFloat32: run(static_cast<float const*>(match->metric), tables, sizes); return Status::kOk;
        case ElementType::kFloat16: run(static_cast<uint16_t const*>(match->metric), tables, sizes); return Status::kOk;
        case ElementType::kInt32: break;
        }
        return Status::kBadType;
    } catch (std::bad_alloc const&) {
        return Status::kNoMemory;
    }
}

}  // namespace
}  // namespace edgeexport

EDGEEXPORT_EXPORT int edgeexport_cpu_token_match(EdgeexportTokenMatch const* match) noexcept {
    using namespace edgeexport;
    auto const run = [&](auto const* metric, MatchTables const& tables, TokenMatchSizes const& sizes) {
        for (size_t image = 0; image < static_cast<size_t>(sizes.batch); ++image) {
            size_t const first = image * static_cast<size_t>(sizes.tokens) * static_cast<size_t>(sizes.channels);
            matchBySorting(*match, tables, sizes, metric + first, image);
        }
    };
    return static_cast<int>(checked(match, run));
}

EDGEEXPORT_EXPORT int edgeexport_cpu_token_match_kernel(EdgeexportTokenMatch const* match, int32_t backward) noexcept {
    using namespace edgeexport;
    auto const run = [&](auto const* metric, MatchTables const& tables, TokenMatchSizes const& sizes) {
        matchByBlocks(*match, tables, sizes, metric, backward != 0);
    };
    return static_cast<int>(checked(match, run));
}
