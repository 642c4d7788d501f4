// Where TokenMatchMerge's tensors lie, and what its second kernel makes of them; knows nothing of CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

#include "token_match_merge/match_merge_block.h"

namespace edgeexport {

constexpr size_t kMatchMergePieceBytes = 16;

// Row-major, contiguous. `type` is FP32 or FP16.
struct MatchMergeAddresses {
    void const* metric;    // (B, N, D) of `type`
    void const* x;         // (B, N, C) of `type`
    float const* size;     // (B, N)
    int32_t const* table;  // MatchMergeTables::match.table; every token in it is below N
    void* workspace;       // matchCandidateBytes(sizes.match), aligned to 8 bytes; its content does not matter
    void* merged;          // (B, rows, C) of `type`
    float* merged_size;    // (B, rows)
    int32_t* source;       // (B, R)
    int32_t* target;       // (B, R)
    int32_t* kept;         // (B, K)

    bool complete() const {
        return metric != nullptr && x != nullptr && size != nullptr && table != nullptr && workspace != nullptr &&
               merged != nullptr && merged_size != nullptr && source != nullptr && target != nullptr && kept != nullptr;
    }
};

template <class Value>
MatchMergeView<Value> matchMergeView(MatchMergeAddresses const& tensors, MatchMergeSizes const& sizes) {
    size_t const row_bytes = static_cast<size_t>(sizes.width) * sizeof(Value);
    return MatchMergeView<Value>{
        matchView(static_cast<Value const*>(tensors.metric), sizes.match, tensors.table, tensors.workspace,
            tensors.source, tensors.target, tensors.kept),
        sizes, static_cast<Value const*>(tensors.x), tensors.size, static_cast<Value*>(tensors.merged),
        tensors.merged_size,
        RowCopy{tensors.x, tensors.merged, static_cast<int32_t>(row_bytes),
            copyPieceBytes(tensors.x, tensors.merged, row_bytes)}};
}

}  // namespace edgeexport
