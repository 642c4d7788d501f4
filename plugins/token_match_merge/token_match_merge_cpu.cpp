// CPU references of TokenMatchMerge and their entry points for ctypes.
#include "token_match_merge/token_match_merge_cpu.h"

#include <algorithm>
#include <new>
#include <vector>

#include "common/element_type.h"
#include "common/status.h"
#include "token_match/similarity_block.h"
#include "token_match_merge/match_merge_tensors.h"
#include "token_merge/token_merge_cpu.h"

namespace edgeexport {
namespace {

std::vector<int32_t> listOf(int32_t const* values, int32_t length) {
    return std::vector<int32_t>(values, values + std::max(length, 0));
}

template <class Value, int32_t kLanes>
void mergeByBlocks(
    MatchMergeAddresses const& tensors, MatchMergeSizes const& sizes, int32_t parts, bool backward) {
    MatchMergeView<Value> const view = matchMergeView<Value>(tensors, sizes);
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
            matchAndMerge<Value, kLanes>(block, *shared, view, image, part, parts);
        }
    }
}

template <class Value>
Status mergeByLanes(MatchMergeAddresses const& tensors, MatchMergeSizes const& sizes, int32_t lanes, int32_t parts,
    bool backward) {
    constexpr int32_t kVector = static_cast<int32_t>(kMatchMergePieceBytes / sizeof(Value));
    size_t const row_bytes = static_cast<size_t>(sizes.width) * sizeof(Value);
    if (lanes == 1) {
        mergeByBlocks<Value, 1>(tensors, sizes, parts, backward);
        return Status::kOk;
    }
    if (lanes == kVector &&
        copyPieceBytes(tensors.x, tensors.merged, row_bytes) == static_cast<int32_t>(kMatchMergePieceBytes)) {
        mergeByBlocks<Value, kVector>(tensors, sizes, parts, backward);
        return Status::kOk;
    }
    return Status::kBadSize;
}

// Checks, then calls `run(tables, sizes)`.
template <class Run>
Status checked(EdgeexportTokenMatchMerge const* call, Run const& run) noexcept {
    if (call == nullptr || call->x == nullptr || call->size == nullptr || call->merged == nullptr ||
        call->merged_size == nullptr) {
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
        TokenMatchSizes const match_sizes{found.counts, match.batch, match.tokens, match.channels};
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
        EdgeexportTokenMatch const& match = call->match;
        int status = edgeexport_cpu_token_match(&match);
        if (status == 0) {
            status = edgeexport_cpu_token_merge(call->x, call->size, match.source, match.target, match.kept,
                tables.match.table.data() + sizes.tokensAt(), call->merged, call->merged_size, match.batch, match.tokens,
                call->width, match.taken_length, match.left_length, call->prefix, sizes.destinations, match.type);
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
            workspace.data(), call->merged, call->merged_size, match.source, match.target, match.kept};
        return static_cast<ElementType>(match.type) == ElementType::kFloat32
                   ? mergeByLanes<float>(tensors, sizes, lanes, parts, backward != 0)
                   : mergeByLanes<uint16_t>(tensors, sizes, lanes, parts, backward != 0);
    };
    return static_cast<int>(checked(call, run));
}
