// CPU references of TokenProtectSelect and their entry points for ctypes.
#include "token_protect_select/token_protect_select_cpu.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "common/element_type.h"
#include "common/status.h"
#include "token_protect_select/confidence_block.h"

namespace edgeexport {
namespace {

// Every token's best class of one image; of equals the lowest.
template <class Value>
std::vector<Best> bestClasses(Value const* scores, ProtectSelectSizes const& sizes) {
    std::vector<Best> best(static_cast<size_t>(sizes.tokens), Best{-HUGE_VALF, 0});
    for (int32_t klass = 0; klass < sizes.classes; ++klass) {
        for (Best& found : best) {
            float const score = toFloat(*scores++);
            if (score > found.score) {
                found = Best{score, klass};
            }
        }
    }
    return best;
}

// Tokens by falling priority, equal ones by rising index.
std::vector<uint64_t> ranked(std::vector<float> const& priority) {
    std::vector<uint64_t> keys;
    for (size_t token = 0; token < priority.size(); ++token) {
        keys.push_back(rankKey(priority[token], static_cast<uint32_t>(token)));
    }
    std::sort(keys.begin(), keys.end());
    return keys;
}

size_t tokenOf(uint64_t key) { return static_cast<size_t>(key & 0xffffffffu); }

// Which tokens of one image leave, from the definition: count through each class by falling confidence, then cut.
std::vector<bool> leaving(std::vector<Best> const& best, ProtectSelectSizes const& sizes) {
    std::vector<float> priority;
    for (Best const& found : best) {
        priority.push_back(found.score);
    }
    std::vector<int32_t> seen(static_cast<size_t>(sizes.classes), 0);
    for (uint64_t const key : ranked(priority)) {
        size_t const token = tokenOf(key);
        priority[token] -= seen[static_cast<size_t>(best[token].position)]++ < sizes.per_class ? 2.0f : 0.0f;
    }
    std::vector<uint64_t> const order = ranked(priority);
    std::vector<bool> leaves(best.size(), false);
    for (size_t place = 0; place < static_cast<size_t>(sizes.k); ++place) {
        leaves[tokenOf(order[place])] = true;
    }
    return leaves;
}

// Appends rows to an output.
template <class Value>
struct Writer {
    Value const* from;
    Value* to;
    size_t width;

    void append(size_t row) {
        std::copy_n(from + row * width, width, to);
        to += width;
    }
};

template <class Value>
void selectByDefinition(ProtectSelectAddresses const& tensors, ProtectSelectSizes const& sizes) {
    auto const* scores = static_cast<Value const*>(tensors.scores);
    size_t const tokens = static_cast<size_t>(sizes.tokens);
    Writer<Value> kept{static_cast<Value const*>(tensors.x), static_cast<Value*>(tensors.x_kept),
        static_cast<size_t>(sizes.width)};
    Writer<Value> left{static_cast<Value const*>(tensors.rows), static_cast<Value*>(tensors.rows_left),
        static_cast<size_t>(sizes.row_width)};
    Writer<int32_t> alive_kept{tensors.alive, tensors.alive_kept, 1};
    Writer<int32_t> alive_left{tensors.alive, tensors.alive_left, 1};
    for (size_t image = 0; image < static_cast<size_t>(sizes.batch); ++image) {
        size_t const first = image * tokens;
        std::vector<bool> const leaves =
            leaving(bestClasses(scores + first * static_cast<size_t>(sizes.classes), sizes), sizes);
        for (size_t token = 0; token < tokens; ++token) {
            (leaves[token] ? left : kept).append(first + token);
            (leaves[token] ? alive_left : alive_kept).append(first + token);
        }
    }
}

template <class Value>
void selectByBlocks(ProtectSelectAddresses const& tensors, ProtectSelectSizes const& sizes, int32_t parts,
    int32_t threads, bool backward) {
    auto const* const scores = static_cast<Value const*>(tensors.scores);
    auto* const best = static_cast<Best*>(tensors.workspace);
    auto const confidence = poisonedShared<ConfidenceShared>();
    auto const shared = poisonedShared<SelectShared>();
    SelectView const view = selectView(tensors, sizes, sizeof(Value));
    for (int32_t image = 0; image < sizes.batch; ++image) {
        size_t const first = static_cast<size_t>(image) * static_cast<size_t>(sizes.tokens);
        for (int32_t tile = 0; tile * kConfidenceTokens < sizes.tokens; ++tile) {
            confidenceOfTile(Block{kConfidenceThreads, backward}, *confidence,
                scores + first * static_cast<size_t>(sizes.classes), sizes, tile, best + first);
        }
        for (int32_t part = 0; part < parts; ++part) {
            selectTokens(Block{threads, backward}, *shared, view, image, part, parts);
        }
    }
}

// Checks, then calls `run` with a value of the element type.
template <class Run>
Status checked(ProtectSelectAddresses const* tensors, ProtectSelectSizes const* sizes, int32_t type, Run const& run) {
    if (tensors == nullptr || sizes == nullptr || !tensors->complete()) {
        return Status::kNullPointer;
    }
    if (protectSelectRefusal(*sizes) != nullptr) {
        return Status::kBadSize;
    }
    try {
        switch (static_cast<ElementType>(type)) {
        case ElementType::kFloat32: run(float{}); return Status::kOk;
        case ElementType::kFloat16: run(uint16_t{}); return Status::kOk;
        case ElementType::kInt32: break;
        }
        return Status::kBadType;
    } catch (std::bad_alloc const&) {
        return Status::kNoMemory;
    }
}

}  // namespace
}  // namespace edgeexport

EDGEEXPORT_EXPORT int edgeexport_cpu_token_protect_select(edgeexport::ProtectSelectAddresses const* tensors,
    edgeexport::ProtectSelectSizes const* sizes, int32_t type) noexcept {
    using namespace edgeexport;
    auto const run = [&](auto value) { selectByDefinition<decltype(value)>(*tensors, *sizes); };
    return static_cast<int>(checked(tensors, sizes, type, run));
}

EDGEEXPORT_EXPORT int edgeexport_cpu_token_protect_select_kernel(edgeexport::ProtectSelectAddresses const* tensors,
    edgeexport::ProtectSelectSizes const* sizes, int32_t type, int32_t parts, int32_t threads,
    int32_t backward) noexcept {
    using namespace edgeexport;
    if (parts < 1 || parts > kSelectMaxImages || threads < kCopyWarp || threads > kSelectThreads ||
        threads % kCopyWarp != 0) {
        return static_cast<int>(Status::kBadSize);
    }
    auto const run = [&](auto value) {
        selectByBlocks<decltype(value)>(*tensors, *sizes, parts, threads, backward != 0);
    };
    return static_cast<int>(checked(tensors, sizes, type, run));
}
