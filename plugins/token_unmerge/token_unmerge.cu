// Validation and launch of TokenUnmerge.
#include "token_unmerge/token_unmerge.h"

#include <limits>

#include "token_unmerge/token_unmerge.cuh"

namespace edgeexport {
namespace {

// The largest piece, in bytes, by which a row divides and at which both tensors are aligned.
size_t pieceBytes(void const* tokens, void const* rows, size_t row_bytes) {
    size_t const bits = reinterpret_cast<size_t>(tokens) | reinterpret_cast<size_t>(rows) | row_bytes;
    for (size_t bytes = 16; bytes > 2; bytes /= 2) {
        if (bits % bytes == 0) {
            return bytes;
        }
    }
    return 2;
}

template <class Piece>
cudaError_t launch(void const* tokens, int32_t const* index, void* rows, TokenUnmergeSizes const& sizes,
    size_t row_bytes, cudaStream_t stream) {
    int32_t const pieces = static_cast<int32_t>(row_bytes / sizeof(Piece));
    int32_t const x = threadsAlongRow(pieces);
    int32_t const y = kUnmergeThreads / x;
    int64_t const all_rows = static_cast<int64_t>(sizes.batch) * sizes.rows;
    if (all_rows > std::numeric_limits<int32_t>::max()) {
        return cudaErrorInvalidValue;
    }
    int64_t const blocks = (all_rows + y - 1) / y;
    dim3 const block(static_cast<unsigned>(x), static_cast<unsigned>(y));
    tokenUnmergeKernel<Piece><<<static_cast<unsigned>(blocks), block, 0, stream>>>(
        static_cast<Piece const*>(tokens), index, static_cast<Piece*>(rows), sizes,
        static_cast<int32_t>(all_rows), pieces);
    return cudaGetLastError();
}

}  // namespace

cudaError_t launchTokenUnmerge(void const* tokens, int32_t const* index, void* rows, TokenUnmergeSizes const& sizes,
    ElementType type, cudaStream_t stream) {
    size_t const element = elementBytes(type);
    if (element == 0 || sizes.batch < 0 || sizes.tokens < 0 || sizes.rows < 0 || sizes.width < 0) {
        return cudaErrorInvalidValue;
    }
    if (sizes.batch == 0 || sizes.rows == 0 || sizes.width == 0) {
        return cudaSuccess;  // nothing to write; a grid of no blocks is an error
    }
    size_t const row_bytes = element * static_cast<size_t>(sizes.width);
    if (tokens == nullptr || index == nullptr || rows == nullptr || sizes.tokens == 0 ||
        row_bytes / 2 > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
        return cudaErrorInvalidValue;
    }
    switch (pieceBytes(tokens, rows, row_bytes)) {
    case 16: return launch<uint4>(tokens, index, rows, sizes, row_bytes, stream);
    case 8: return launch<uint2>(tokens, index, rows, sizes, row_bytes, stream);
    case 4: return launch<uint32_t>(tokens, index, rows, sizes, row_bytes, stream);
    default: return launch<uint16_t>(tokens, index, rows, sizes, row_bytes, stream);
    }
}

}  // namespace edgeexport
