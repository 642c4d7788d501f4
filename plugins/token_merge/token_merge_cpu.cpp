// CPU references of TokenMerge. The definition goes row by row through all sources; sums are float32, in their order.
#include "token_merge/token_merge_cpu.h"

#include <cstring>
#include <memory>
#include <new>

#include "common/element_type.h"
#include "common/status.h"
#include "token_merge/token_merge_block.h"

using edgeexport::Block;
using edgeexport::ElementType;
using edgeexport::Status;
using edgeexport::TokenMergeScratch;
using edgeexport::TokenMergeSizes;
using edgeexport::TokenMergeTensors;

namespace {

constexpr int32_t kThreads = 256;

template <class Value>
void mergeImage(TokenMergeTensors<Value> const& tensors, TokenMergeSizes const& sizes, int32_t image) {
    int64_t const width = sizes.width;
    int32_t const rows = sizes.rows();
    Value const* const x = tensors.x + static_cast<int64_t>(image) * sizes.tokens * width;
    float const* const size = tensors.size + static_cast<int64_t>(image) * sizes.tokens;
    int32_t const* const source = tensors.source + static_cast<int64_t>(image) * sizes.merged;
    int32_t const* const target = tensors.target + static_cast<int64_t>(image) * sizes.merged;
    int32_t const* const kept = tensors.kept + static_cast<int64_t>(image) * sizes.kept;
    Value* const merged = tensors.merged + static_cast<int64_t>(image) * rows * width;
    float* const merged_size = tensors.merged_size + static_cast<int64_t>(image) * rows;
    for (int32_t row = 0; row < rows; ++row) {
        int32_t const token = edgeexport::tokenOfRow(sizes, kept, tensors.destinations, row);
        float total = size[token];
        bool alone = true;
        for (int32_t i = 0; edgeexport::isDestinationRow(sizes, row) && i < sizes.merged; ++i) {
            if (target[i] == token) {
                total += size[source[i]];
                alone = false;
            }
        }
        merged_size[row] = total;
        for (int64_t column = 0; column < width; ++column) {
            Value value = x[token * width + column];
            if (!alone) {
                float added = 0.0f;
                for (int32_t i = 0; i < sizes.merged; ++i) {
                    if (target[i] == token) {
                        added += size[source[i]] / total * edgeexport::toFloat(x[source[i] * width + column]);
                    }
                }
                edgeexport::setFromFloat(value, edgeexport::toFloat(value) * (size[token] / total) + added);
            }
            merged[row * width + column] = value;
        }
    }
}

template <class Value, int32_t kLanes>
Status mergeByBlocks(
    TokenMergeTensors<Value> const& tensors, TokenMergeSizes const& sizes, int32_t threads, bool backward) {
    std::unique_ptr<TokenMergeScratch> const scratch(new (std::nothrow) TokenMergeScratch);
    if (scratch == nullptr) {
        return Status::kNoMemory;
    }
    std::memset(scratch.get(), 0x7B, sizeof *scratch);  // a block finds in shared memory what others left
    Block const block{threads, backward};
    for (int32_t image = 0; image < sizes.batch; ++image) {
        for (int32_t row = 0; row < sizes.rows(); ++row) {
            for (int32_t first = 0; first < sizes.width / kLanes; first += threads) {
                edgeexport::mergeRow<Value, kLanes, kThreads>(block, *scratch, tensors, sizes, image, row, first);
            }
        }
    }
    return Status::kOk;
}

bool areTokens(int32_t const* index, int64_t count, int32_t tokens) {
    for (int64_t i = 0; i < count; ++i) {
        if (index[i] < 0 || index[i] >= tokens) {
            return false;
        }
    }
    return true;
}

// What both entries check; `any_index` leaves out what the kernel accepts.
Status checked(TokenMergeTensors<void> const& tensors, TokenMergeSizes const& sizes, ElementType type, bool any_index) {
    if (type != ElementType::kFloat32 && type != ElementType::kFloat16) {
        return Status::kBadType;
    }
    if (sizes.batch < 0 || sizes.tokens < 1 || sizes.width < 1 || sizes.merged < 0 || sizes.kept < 0 ||
        sizes.prefix < 0 || sizes.prefix > sizes.tokens || sizes.destinations < 0) {
        return Status::kBadSize;
    }
    bool const sources = sizes.merged == 0 || (tensors.source != nullptr && tensors.target != nullptr);
    if (tensors.x == nullptr || tensors.size == nullptr || tensors.merged == nullptr ||
        tensors.merged_size == nullptr || !sources || (sizes.kept > 0 && tensors.kept == nullptr) ||
        (sizes.destinations > 0 && tensors.destinations == nullptr)) {
        return Status::kNullPointer;
    }
    int64_t const merged = static_cast<int64_t>(sizes.batch) * sizes.merged;
    int64_t const kept = static_cast<int64_t>(sizes.batch) * sizes.kept;
    bool const edges = any_index || (areTokens(tensors.source, merged, sizes.tokens) &&
                                        areTokens(tensors.target, merged, sizes.tokens) &&
                                        areTokens(tensors.kept, kept, sizes.tokens));
    return edges && areTokens(tensors.destinations, sizes.destinations, sizes.tokens) ? Status::kOk : Status::kBadIndex;
}

template <class Value>
TokenMergeTensors<Value> typed(TokenMergeTensors<void> const& tensors) {
    return {static_cast<Value const*>(tensors.x), tensors.size, tensors.source, tensors.target, tensors.kept,
        tensors.destinations, static_cast<Value*>(tensors.merged), tensors.merged_size};
}

template <class Value, int32_t kVector>
Status mergeByLanes(TokenMergeTensors<void> const& tensors, TokenMergeSizes const& sizes, int32_t lanes,
    int32_t threads, bool backward) {
    size_t const places = reinterpret_cast<size_t>(tensors.x) | reinterpret_cast<size_t>(tensors.merged);
    if (lanes == 1) {
        return mergeByBlocks<Value, 1>(typed<Value>(tensors), sizes, threads, backward);
    }
    if (lanes == kVector && sizes.width % kVector == 0 && places % (sizeof(Value) * kVector) == 0) {
        return mergeByBlocks<Value, kVector>(typed<Value>(tensors), sizes, threads, backward);
    }
    return Status::kBadSize;
}

}  // namespace

EDGEEXPORT_EXPORT int edgeexport_cpu_token_merge(void const* x, float const* size, int32_t const* source,
    int32_t const* target, int32_t const* kept, int32_t const* destinations, void* merged, float* merged_size,
    int32_t batch, int32_t tokens, int32_t width, int32_t sources, int32_t stay, int32_t prefix, int32_t count,
    int32_t type) noexcept {
    TokenMergeTensors<void> const tensors{x, size, source, target, kept, destinations, merged, merged_size};
    TokenMergeSizes const sizes{batch, tokens, width, sources, stay, prefix, count};
    Status const status = checked(tensors, sizes, static_cast<ElementType>(type), false);
    for (int32_t image = 0; status == Status::kOk && image < batch; ++image) {
        if (static_cast<ElementType>(type) == ElementType::kFloat32) {
            mergeImage(typed<float>(tensors), sizes, image);
        } else {
            mergeImage(typed<uint16_t>(tensors), sizes, image);
        }
    }
    return static_cast<int>(status);
}

EDGEEXPORT_EXPORT int edgeexport_cpu_token_merge_block(void const* x, float const* size, int32_t const* source,
    int32_t const* target, int32_t const* kept, int32_t const* destinations, void* merged, float* merged_size,
    int32_t batch, int32_t tokens, int32_t width, int32_t sources, int32_t stay, int32_t prefix, int32_t count,
    int32_t type, int32_t lanes, int32_t threads, int32_t backward) noexcept {
    TokenMergeTensors<void> const tensors{x, size, source, target, kept, destinations, merged, merged_size};
    TokenMergeSizes const sizes{batch, tokens, width, sources, stay, prefix, count};
    Status status = checked(tensors, sizes, static_cast<ElementType>(type), true);
    if (status == Status::kOk && (threads < 1 || threads > kThreads)) {
        status = Status::kBadSize;
    } else if (status == Status::kOk && static_cast<ElementType>(type) == ElementType::kFloat32) {
        status = mergeByLanes<float, 4>(tensors, sizes, lanes, threads, backward != 0);
    } else if (status == Status::kOk) {
        status = mergeByLanes<uint16_t, 8>(tensors, sizes, lanes, threads, backward != 0);
    }
    return static_cast<int>(status);
}
