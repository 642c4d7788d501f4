// CPU reference of TokenUnmerge: out[b, i] = tokens[b, index[b, i]].
#include "token_unmerge/token_unmerge_cpu.h"

#include <cstring>

#include "common/element_type.h"
#include "common/status.h"
#include "token_unmerge/token_unmerge_index.h"

using edgeexport::ElementType;
using edgeexport::Status;
using edgeexport::TokenUnmergeSizes;

namespace {

Status tokenUnmerge(
    void const* tokens, int32_t const* index, void* rows, TokenUnmergeSizes const& sizes, size_t row_bytes) {
    int32_t const all_rows = sizes.batch * sizes.rows;
    for (int32_t row = 0; row < all_rows; ++row) {
        if (!edgeexport::isToken(sizes, index[row])) {
            return Status::kBadIndex;
        }
    }
    for (int32_t row = 0; row < all_rows; ++row) {
        int64_t const source = edgeexport::sourceRow(sizes, row, index[row]);
        std::memcpy(static_cast<char*>(rows) + static_cast<size_t>(row) * row_bytes,
            static_cast<char const*>(tokens) + static_cast<size_t>(source) * row_bytes, row_bytes);
    }
    return Status::kOk;
}

}  // namespace

EDGEEXPORT_EXPORT int edgeexport_cpu_token_unmerge(void const* tokens, int32_t const* index, void* rows, int32_t batch,
    int32_t n, int32_t m, int32_t width, int32_t type) noexcept {
    Status status = Status::kOk;
    size_t const element = edgeexport::elementBytes(static_cast<ElementType>(type));
    if (element == 0) {
        status = Status::kBadType;
    } else if (batch < 0 || n < 0 || m < 0 || width < 0 || static_cast<int64_t>(batch) * m > INT32_MAX) {
        status = Status::kBadSize;
    } else if (batch > 0 && m > 0 && width > 0) {
        if (tokens == nullptr || index == nullptr || rows == nullptr) {
            status = Status::kNullPointer;
        } else {
            status = tokenUnmerge(
                tokens, index, rows, TokenUnmergeSizes{batch, n, m, width}, element * static_cast<size_t>(width));
        }
    }
    return static_cast<int>(status);
}
