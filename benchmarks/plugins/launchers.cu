// The launchers for ctypes, with plain numbers. Compiled with plugins/*/*.cu; knows nothing of TensorRT.
// Every function returns a cudaError_t, unless it says otherwise.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "common/element_type.h"
#include "common/portable.h"
#include "token_match/match_tables.h"
#include "token_match/token_match.h"
#include "token_match_merge/token_match_merge.h"
#include "token_merge/token_merge.h"
#include "token_partition/token_partition.h"
#include "token_protect_select/token_protect_select.h"
#include "token_unmerge/token_unmerge.h"
#include "upsample_argmax/upsample_argmax.h"

namespace {

// One TokenMatch: sizes, and the table in host memory, as TokenMatchMerge completes it. Owned by the caller of make_match, and
// never freed.
struct Match {
    edgeexport::MatchMergeTables tables;
    edgeexport::TokenMatchSizes sizes;
};

std::vector<int32_t> listOf(int32_t const* values, int32_t count) { return {values, values + count}; }

edgeexport::ElementType elementOf(int32_t type) { return static_cast<edgeexport::ElementType>(type); }

}  // namespace

// The tables of a layout, or null if it is refused. `entries` and `workspace_bytes` are set.
EDGEEXPORT_EXPORT void* make_match(int32_t const* sources, int32_t source_count, int32_t const* destinations,
                                   int32_t destination_count, int32_t const* taken, int32_t taken_count,
                                   int32_t const* left, int32_t left_count, int32_t windows, int32_t ascending,
                                   int32_t batch, int32_t tokens, int32_t channels, int64_t* entries,
                                   int64_t* workspace_bytes) {
    edgeexport::MatchTables tables = edgeexport::matchTablesFromAttributes(
        listOf(sources, source_count), listOf(destinations, destination_count), listOf(taken, taken_count),
        listOf(left, left_count), windows, ascending);
    edgeexport::TokenMatchSizes const sizes{tables.counts, batch, tokens, channels};
    if (!tables.valid() || edgeexport::matchRefusal(sizes) != nullptr) {
        return nullptr;
    }
    *workspace_bytes = static_cast<int64_t>(edgeexport::matchWorkspaceBytes(sizes));
    auto* const match = new Match{
        edgeexport::matchMergeTables(std::move(tables), listOf(destinations, destination_count)), sizes};
    *entries = static_cast<int64_t>(match->tables.match.table.size());
    return match;
}

// Copies the table to `entries` integers in host memory.
EDGEEXPORT_EXPORT void copy_match_table(void const* match, int32_t* target) {
    std::vector<int32_t> const& table = static_cast<Match const*>(match)->tables.match.table;
    std::copy(table.begin(), table.end(), target);
}

EDGEEXPORT_EXPORT int launch_token_match(int32_t type, void const* match, void const* metric, int32_t const* table,
                                         void* workspace, int32_t* source, int32_t* target, int32_t* kept,
                                         void* stream) {
    return edgeexport::launchTokenMatch(metric, elementOf(type), static_cast<Match const*>(match)->sizes, table,
                                        workspace, source, target, kept, static_cast<cudaStream_t>(stream));
}

EDGEEXPORT_EXPORT int launch_token_merge(int32_t type, int32_t batch, int32_t tokens, int32_t width, int32_t merged,
                                         int32_t kept, int32_t prefix, int32_t destinations, void const* x,
                                         float const* size, int32_t const* source, int32_t const* target,
                                         int32_t const* kept_tokens, int32_t const* destination_tokens, void* out,
                                         float* out_size, void* stream) {
    edgeexport::TokenMergeAddresses const tensors{x,   size,    source, target, kept_tokens, destination_tokens,
                                                  out, out_size};
    edgeexport::TokenMergeSizes const sizes{batch, tokens, width, merged, kept, prefix, destinations};
    return edgeexport::launchTokenMerge(tensors, sizes, elementOf(type), static_cast<cudaStream_t>(stream));
}

EDGEEXPORT_EXPORT int launch_token_match_merge(int32_t type, void const* match, int32_t heads, int32_t width, int32_t prefix,
                                               void const* metric, float const* x, float const* size,
                                               int32_t const* table, void* workspace, float* merged,
                                               float* merged_size, void* log_size, int32_t* source, int32_t* target,
                                               int32_t* kept, void* stream) {
    Match const& made = *static_cast<Match const*>(match);
    edgeexport::MatchMergeAddresses const tensors{metric,      x,        size,   table,  workspace, merged,
                                                  merged_size, log_size, source, target, kept};
    edgeexport::TokenMatchSizes sizes = made.sizes;
    sizes.heads = heads;
    return edgeexport::launchTokenMatchMerge(tensors, made.tables.sizes(sizes, width, prefix), elementOf(type),
                                             static_cast<cudaStream_t>(stream));
}

EDGEEXPORT_EXPORT int launch_token_unmerge(int32_t type, int32_t batch, int32_t tokens, int32_t rows, int32_t width,
                                           void const* x, int32_t const* index, void* out, void* stream) {
    edgeexport::TokenUnmergeSizes const sizes{batch, tokens, rows, width};
    return edgeexport::launchTokenUnmerge(x, index, out, sizes, elementOf(type), static_cast<cudaStream_t>(stream));
}

EDGEEXPORT_EXPORT int launch_token_partition(int32_t type, int32_t batch, int32_t tokens, int32_t k, void const* score,
                                             int32_t* kept, int32_t* taken, void* stream) {
    edgeexport::TokenPartitionSizes const sizes{batch, tokens, k};
    return edgeexport::launchTokenPartition(score, elementOf(type), sizes, kept, taken,
                                            static_cast<cudaStream_t>(stream));
}

EDGEEXPORT_EXPORT int launch_token_protect_select(int32_t type, int32_t batch, int32_t classes, int32_t tokens,
                                                  int32_t width, int32_t row_width, int32_t k, int32_t per_class,
                                                  void const* scores, void const* x, void const* rows,
                                                  int32_t const* alive, void* x_kept, void* rows_left,
                                                  int32_t* alive_kept, int32_t* alive_left, void* workspace,
                                                  void* stream) {
    edgeexport::ProtectSelectAddresses const tensors{scores,    x,          rows,       alive,    x_kept,
                                                     rows_left, alive_kept, alive_left, workspace};
    edgeexport::ProtectSelectSizes const sizes{batch, classes, tokens, width, row_width, k, per_class};
    return edgeexport::launchTokenProtectSelect(tensors, sizes, elementOf(type), static_cast<cudaStream_t>(stream));
}

EDGEEXPORT_EXPORT int launch_upsample_argmax(int32_t type, int32_t batch, int32_t classes, int32_t h, int32_t w,
                                             int32_t height, int32_t width, int32_t candidates, void const* scores,
                                             int32_t* class_map, int32_t* uncertified, void* stream) {
    edgeexport::UpsampleArgmaxShape const shape{batch, classes, h, w, height, width, candidates};
    return edgeexport::launchUpsampleArgmax(scores, elementOf(type), shape, class_map, uncertified,
                                            static_cast<cudaStream_t>(stream));
}
