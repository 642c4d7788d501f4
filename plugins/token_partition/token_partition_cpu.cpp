// CPU references of TokenPartition and their entry points for ctypes.
#include "token_partition/token_partition_cpu.h"

#include <algorithm>
#include <new>
#include <vector>

#include "common/element_type.h"
#include "common/selection.h"
#include "common/status.h"
#include "token_partition/partition_block.h"
#include "token_partition/partition_sizes.h"

namespace edgeexport {
namespace {

// The definition: order all tokens, cut after k, put each part back in index order.
template <class Score>
void partitionBySorting(Score const* score, TokenPartitionSizes const& sizes, int32_t* kept, int32_t* taken) {
    std::vector<uint64_t> keys;
    for (int32_t token = 0; token < sizes.tokens; ++token) {
        keys.push_back(rankKey(toFloat(score[token]), static_cast<uint32_t>(token)));
    }
    std::sort(keys.begin(), keys.end());
    auto const cut = keys.begin() + sizes.k;
    auto const token = [](uint64_t key) { return static_cast<int32_t>(key & 0xffffffffu); };
    std::transform(keys.begin(), cut, taken, token);
    std::transform(cut, keys.end(), kept, token);
    std::sort(taken, taken + sizes.k);
    std::sort(kept, kept + (sizes.tokens - sizes.k));
}

// Calls `image(score, kept, taken)` for every image.
template <class Score, class Image>
void forImages(
    void const* score, TokenPartitionSizes const& sizes, int32_t* kept, int32_t* taken, Image const& image) {
    for (size_t number = 0; number < static_cast<size_t>(sizes.batch); ++number) {
        image(static_cast<Score const*>(score) + number * static_cast<size_t>(sizes.tokens),
            kept + number * static_cast<size_t>(sizes.tokens - sizes.k),
            taken + number * static_cast<size_t>(sizes.k));
    }
}

template <class Image>
Status partition(void const* score, int32_t type, TokenPartitionSizes const& sizes, int32_t* kept, int32_t* taken,
    Image const& image) noexcept {
    if (sizes.k < 1 || sizes.k > sizes.tokens) {
        return Status::kBadAttribute;
    }
    if (partitionRefusal(sizes) != nullptr) {
        return Status::kBadSize;
    }
    if (score == nullptr || taken == nullptr || (kept == nullptr && sizes.k < sizes.tokens)) {
        return Status::kNullPointer;
    }
    try {
        switch (static_cast<ElementType>(type)) {
        case ElementType::kFloat32: forImages<float>(score, sizes, kept, taken, image); return Status::kOk;
        case ElementType::kFloat16: forImages<uint16_t>(score, sizes, kept, taken, image); return Status::kOk;
        case ElementType::kInt32: break;
        }
    } catch (std::bad_alloc const&) {
        return Status::kNoMemory;
    }
    return Status::kBadType;
}

}  // namespace
}  // namespace edgeexport

EDGEEXPORT_EXPORT int edgeexport_cpu_token_partition(void const* score, int32_t type, int32_t batch, int32_t tokens,
    int32_t k, int32_t* kept, int32_t* taken) noexcept {
    edgeexport::TokenPartitionSizes const sizes{batch, tokens, k};
    auto const image = [&](auto const* from, int32_t* to_kept, int32_t* to_taken) {
        edgeexport::partitionBySorting(from, sizes, to_kept, to_taken);
    };
    return static_cast<int>(edgeexport::partition(score, type, sizes, kept, taken, image));
}

EDGEEXPORT_EXPORT int edgeexport_cpu_token_partition_kernel(void const* score, int32_t type, int32_t batch,
    int32_t tokens, int32_t k, int32_t* kept, int32_t* taken, int32_t threads, int32_t backward) noexcept {
    if (threads < 1 || threads > edgeexport::kPartitionMaxThreads) {
        return static_cast<int>(edgeexport::Status::kBadSize);
    }
    edgeexport::TokenPartitionSizes const sizes{batch, tokens, k};
    edgeexport::Block const block{threads, backward != 0};
    auto const image = [&](auto const* from, int32_t* to_kept, int32_t* to_taken) {
        auto const shared = edgeexport::poisonedShared<edgeexport::PartitionShared>();
        edgeexport::partitionImage(block, *shared, from, tokens, k, to_kept, to_taken);
    };
    return static_cast<int>(edgeexport::partition(score, type, sizes, kept, taken, image));
}
