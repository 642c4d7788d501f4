// Where TokenMatchMerge's tensors lie, and what its second kernel makes of them; knows nothing of CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

#include "token_match_merge/match_merge_block.h"

namespace edgeexport {

constexpr size_t kMatchMergePieceBytes = 16;

// Row-major, contiguous. `type`, of metric and log_size, is FP32 or FP16.
struct MatchMergeAddresses {
    void const* metric;    // (B, heads, N, D) of `type`
    float const* x;        // (B, N, C)
    float const* size;     // (B, N)
    int32_t const* table;  // MatchMergeTables::match.table; every token in it is below N
    void* workspace;       // matchCandidateBytes(sizes.match), aligned to 8 bytes; its content does not matter
    float* merged;         // (B, rows, C)
    float* merged_size;    // (B, rows)
    void* log_size;        // (B, rows) of `type`
    int32_t* source;       // (B, R)
    int32_t* target;       // (B, R)
    int32_t* kept;         // (B, K)

    bool complete() const {
        return metric != nullptr && x != nullptr && size != nullptr && table != nullptr && workspace != nullptr &&
               merged != nullptr && merged_size != nullptr && log_size != nullptr && source != nullptr && target != nullptr && kept != nullptr;
    }
};

template <class Metric>
MatchMergeView<Metric> matchMergeView(MatchMergeAddresses const& tensors, MatchMergeSizes const& sizes) {
    size_t const row_bytes = static_cast<size_t>(sizes.width) * sizeof(float);
    return MatchMergeView<Metric>{
        matchView(static_cast<Metric const*>(tensors.metric), sizes.match, tensors.table, tensors.workspace,
            tensors.source, tensors.target, tensors.kept),
        sizes, tensors.x, tensors.size, tensors.merged, tensors.merged_size, static_cast<Metric*>(tensors.log_size),
        RowCopy{tensors.x, tensors.merged, static_cast<int32_t>(row_bytes),
            copyPieceBytes(tensors.x, tensors.merged, row_bytes)}};
}

}  // namespace edgeexport
