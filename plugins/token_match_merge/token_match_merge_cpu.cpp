// CPU references of TokenMatchMerge and their entry points for ctypes.
#include "token_match_merge/token_match_merge_cpu.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <vector>

#include "common/element_type.h"
#include "common/half.h"
#include "common/status.h"
#include "token_match/similarity_block.h"
#include "token_match_merge/match_merge_tensors.h"
#include "token_merge/token_merge_cpu.h"

namespace edgeexport {
namespace {

std::vector<int32_t> listOf(int32_t const* values, int32_t length) {
    return std::vector<int32_t>(values, values + std::max(length, 0));
}

template <class Metric, int32_t kLanes>
void mergeByBlocks(
    MatchMergeAddresses const& tensors, MatchMergeSizes const& sizes, int32_t parts, bool backward) {
    MatchMergeView<Metric> const view = matchMergeView<Metric>(tensors, sizes);
    MatchCounts const& counts = sizes.match.counts;
    auto const similarity = poisonedShared<SimilarityShared>();
    auto const shared = poisonedShared<MatchMergeShared>();
    for (int32_t image = 0; image < sizes.match.batch; ++image) {
        for (int32_t window = 0; window < counts.windows; ++window) {
            for (int32_t tile = 0; tile < matchTiles(counts.sources, kMatchRows); ++tile) {
                for (int32_t split = 0; split < matchSplits(counts.destinations); ++split) {
                    Block const block{kMatchThreads, backward};
                    bestDestinations(block, *similarity, view.match, window, tile, split, image);
                }
            }
        }
        for (int32_t part = 0; part < parts; ++part) {
            Block const block{kMatchMergeThreads, backward};
            matchAndMerge<Metric, kLanes>(block, *shared, view, image, part, parts);
        }
    }
}

template <class Metric>
Status mergeByLanes(MatchMergeAddresses const& tensors, MatchMergeSizes const& sizes, int32_t lanes, int32_t parts,
    bool backward) {
    constexpr int32_t kVector = static_cast<int32_t>(kMatchMergePieceBytes / sizeof(float));
    size_t const row_bytes = static_cast<size_t>(sizes.width) * sizeof(float);
    if (lanes == 1) {
        mergeByBlocks<Metric, 1>(tensors, sizes, parts, backward);
        return Status::kOk;
    }
    if (lanes == kVector &&
        copyPieceBytes(tensors.x, tensors.merged, row_bytes) == static_cast<int32_t>(kMatchMergePieceBytes)) {
        mergeByBlocks<Metric, kVector>(tensors, sizes, parts, backward);
        return Status::kOk;
    }
    return Status::kBadSize;
}

// The metric as TokenMatch takes it, (batch, tokens, channels).
std::vector<float> meanOfHeads(EdgeexportTokenMatch const& match, int32_t heads) {
    auto const image = static_cast<size_t>(match.tokens) * static_cast<size_t>(match.channels);
    auto const at = [&](size_t place) {
        return static_cast<ElementType>(match.type) == ElementType::kFloat32
                   ? static_cast<float const*>(match.metric)[place]
                   : floatFromHalf(static_cast<uint16_t const*>(match.metric)[place]);
    };
    std::vector<float> means(static_cast<size_t>(match.batch) * image);
    for (size_t place = 0; place < means.size(); ++place) {
        size_t const first = place / image * static_cast<size_t>(heads) * image + place % image;
        float sum = 0.0f;
        for (size_t head = 0; head < static_cast<size_t>(heads); ++head) {
            sum += at(first + head * image);
        }
        means[place] = sum / static_cast<float>(heads);
    }
    return means;
}

void writeLogarithms(EdgeexportTokenMatchMerge const& call, size_t rows) {
    for (size_t row = 0; row < rows; ++row) {
        float const value = std::log(call.merged_size[row]);
        if (static_cast<ElementType>(call.match.type) == ElementType::kFloat32) {
            static_cast<float*>(call.log_size)[row] = value;
        } else {
            static_cast<uint16_t*>(call.log_size)[row] = halfFromFloat(value);
        }
    }
}

// Checks, then calls `run(tables, sizes)`.
template <class Run>
Status checked(EdgeexportTokenMatchMerge const* call, Run const& run) noexcept {
    if (call == nullptr || call->x == nullptr || call->size == nullptr || call->merged == nullptr ||
        call->merged_size == nullptr || call->log_size == nullptr) {
        return Status::kNullPointer;
    }
    EdgeexportTokenMatch const& match = call->match;
    if (match.metric == nullptr || match.sources == nullptr || match.destinations == nullptr ||
        match.taken == nullptr || match.left == nullptr || match.source == nullptr || match.target == nullptr ||
        match.kept == nullptr) {
        return Status::kNullPointer;
    }
    try {
        std::vector<int32_t> const destinations = listOf(match.destinations, match.destinations_length);
        MatchTables found = matchTablesFromAttributes(listOf(match.sources, match.sources_length), destinations,
            listOf(match.taken, match.taken_length), listOf(match.left, match.left_length), match.windows,
            match.ascending);
        if (!found.valid()) {
            return Status::kBadAttribute;
        }
        TokenMatchSizes const match_sizes{found.counts, match.batch, match.tokens, match.channels, call->heads};
        MatchMergeTables const tables = matchMergeTables(std::move(found), destinations);
        MatchMergeSizes const sizes = tables.sizes(match_sizes, call->width, call->prefix);
        if (matchMergeRefusal(sizes) != nullptr) {
            return Status::kBadSize;
        }
        if (tables.match.highest_token >= match.tokens) {
            return Status::kBadIndex;
        }
        auto const type = static_cast<ElementType>(match.type);
        if (type != ElementType::kFloat32 && type != ElementType::kFloat16) {
            return Status::kBadType;
        }
        return run(tables, sizes);
    } catch (std::bad_alloc const&) {
        return Status::kNoMemory;
    }
}

}  // namespace
}  // namespace edgeexport

EDGEEXPORT_EXPORT int edgeexport_cpu_token_match_merge(EdgeexportTokenMatchMerge const* call) noexcept {
    using namespace edgeexport;
    auto const run = [&](MatchMergeTables const& tables, MatchMergeSizes const& sizes) {
        std::vector<float> const metric = meanOfHeads(call->match, call->heads);
        EdgeexportTokenMatch match = call->match;
        match.metric = metric.data();
        match.type = static_cast<int32_t>(ElementType::kFloat32);
        int status = edgeexport_cpu_token_match(&match);
        if (status == 0) {
            status = edgeexport_cpu_token_merge(call->x, call->size, match.source, match.target, match.kept,
                tables.match.table.data() + sizes.tokensAt(), call->merged, call->merged_size, match.batch, match.tokens,
                call->width, match.taken_length, match.left_length, call->prefix, sizes.destinations,
                static_cast<int32_t>(ElementType::kFloat32));
        }
        if (status == 0) {
            writeLogarithms(*call, static_cast<size_t>(match.batch) * static_cast<size_t>(sizes.rows()));
        }
        return static_cast<Status>(status);
    };
    return static_cast<int>(checked(call, run));
}

EDGEEXPORT_EXPORT int edgeexport_cpu_token_match_merge_kernel(
    EdgeexportTokenMatchMerge const* call, int32_t lanes, int32_t parts, int32_t backward) noexcept {
    using namespace edgeexport;
    if (parts < 1 || parts > kMatchMaxGrid) {
        return static_cast<int>(Status::kBadSize);
    }
    auto const run = [&](MatchMergeTables const& tables, MatchMergeSizes const& sizes) {
        EdgeexportTokenMatch const& match = call->match;
        std::vector<uint64_t> workspace(matchCandidateBytes(sizes.match) / sizeof(uint64_t) + 1, ~uint64_t{0});
        MatchMergeAddresses const tensors{match.metric, call->x, call->size, tables.match.table.data(),
            workspace.data(), call->merged, call->merged_size, call->log_size, match.source, match.target, match.kept};
        return static_cast<ElementType>(match.type) == ElementType::kFloat32
                   ? mergeByLanes<float>(tensors, sizes, lanes, parts, backward != 0)
                   : mergeByLanes<uint16_t>(tensors, sizes, lanes, parts, backward != 0);
    };
    return static_cast<int>(checked(call, run));
}
