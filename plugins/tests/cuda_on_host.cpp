// Stand-in for the CUDA runtime and the launchers, in host memory: linked with registry.cpp, the plugin wrappers
// and the CPU references it makes a library that the driver can run to the end on a machine without a GPU, and that can
// be compiled with sanitizers as a whole. The CPU references do the work; a wrapper that mixes up tensors, sizes or
// tables gives wrong results.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "common/portable.h"
#include "token_match/token_match.h"
#include "token_match/token_match_cpu.h"
#include "token_match_merge/token_match_merge.h"
#include "token_match_merge/token_match_merge_cpu.h"
#include "token_merge/token_merge.h"
#include "token_merge/token_merge_cpu.h"
#include "token_partition/token_partition.h"
#include "token_partition/token_partition_cpu.h"
#include "token_protect_select/token_protect_select.h"
#include "token_protect_select/token_protect_select_cpu.h"
#include "token_unmerge/token_unmerge.h"
#include "token_unmerge/token_unmerge_cpu.h"
#include "upsample_argmax/upsample_argmax.h"

// Of upsample_argmax_cpu.cpp, for ctypes: no header declares it.
extern "C" int edgeexport_cpu_upsample_argmax(void const* scores, int32_t type, int32_t batch, int32_t classes,
    int32_t h, int32_t w, int32_t height, int32_t width, int32_t candidates, int32_t* class_map, int32_t* uncertified);

namespace {

int current_device = 0;
bool broken = false;
int allocations = 0;  // that are not freed yet

cudaError_t errorOf(int status) { return status == 0 ? cudaSuccess : cudaErrorInvalidValue; }

}  // namespace

// For the driver: the current device, and whether every call fails.
EDGEEXPORT_EXPORT void standInCuda(int device, int is_broken) {
    current_device = device;
    broken = is_broken != 0;
}

EDGEEXPORT_EXPORT int standInAllocations() { return allocations; }

// --- The runtime, as far as the wrappers call it

extern "C" {

cudaError_t cudaGetDevice(int* device) {
    *device = current_device;
    return broken ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaMalloc(void** address, size_t bytes) {
    if (broken) {
        return cudaErrorMemoryAllocation;
    }
    *address = new char[bytes];
    ++allocations;
    return cudaSuccess;
}

cudaError_t cudaFree(void* address) {
    allocations -= address != nullptr ? 1 : 0;
    delete[] static_cast<char*>(address);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, void const* from, size_t bytes, cudaMemcpyKind) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

char const* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorInvalidValue ? "invalid argument" : "the stand-in is told to fail";
}

}  // extern "C"

// --- The launchers

namespace edgeexport {
namespace {

// TokenMatch's attributes `taken` and `left`, from the tables that were made of them.
struct Slots {
    std::vector<int32_t> taken;
    std::vector<int32_t> left;

    Slots(MatchCounts const& counts, int32_t const* table)
        : taken(static_cast<size_t>(counts.taken)), left(static_cast<size_t>(counts.left)) {
        for (size_t slot = 0; slot < counts.slots(); ++slot) {
            enter(taken, table[counts.takenAt() + slot], slot);
            enter(left, table[counts.leftAt() + slot], slot);
        }
    }

private:
    static void enter(std::vector<int32_t>& list, int32_t place, size_t slot) {
        if (place >= 0) {
            list.at(static_cast<size_t>(place)) = static_cast<int32_t>(slot);
        }
    }
};

EdgeexportTokenMatch matchOf(void const* metric, ElementType type, TokenMatchSizes const& sizes, int32_t const* table,
    Slots const& slots, int32_t* source, int32_t* target, int32_t* kept) {
    MatchCounts const& counts = sizes.counts;
    return EdgeexportTokenMatch{metric, static_cast<int32_t>(type), sizes.batch, sizes.tokens, sizes.channels, table,
        static_cast<int32_t>(counts.slots()), table + counts.destinationsAt(), counts.windows * counts.destinations,
        slots.taken.data(), counts.taken, slots.left.data(), counts.left, counts.windows, counts.ascending, source,
        target, kept};
}

}  // namespace

cudaError_t launchTokenMatch(void const* metric, ElementType type, TokenMatchSizes const& sizes, int32_t const* table,
    void* workspace, int32_t* source, int32_t* target, int32_t* kept, cudaStream_t) {
    if (size_t const scratch = matchWorkspaceBytes(sizes); scratch > 0) {
        std::memset(workspace, 0xFF, scratch);  // all of it is the launcher's
    }
    Slots const slots(sizes.counts, table);
    EdgeexportTokenMatch const match = matchOf(metric, type, sizes, table, slots, source, target, kept);
    return errorOf(edgeexport_cpu_token_match(&match));
}

cudaError_t launchTokenMerge(
    TokenMergeAddresses const& tensors, TokenMergeSizes const& sizes, ElementType type, cudaStream_t) {
    return errorOf(edgeexport_cpu_token_merge(tensors.x, tensors.size, tensors.source, tensors.target, tensors.kept,
        tensors.destinations, tensors.merged, tensors.merged_size, sizes.batch, sizes.tokens, sizes.width, sizes.merged,
        sizes.kept, sizes.prefix, sizes.destinations, static_cast<int32_t>(type)));
}

cudaError_t launchTokenMatchMerge(
    MatchMergeAddresses const& tensors, MatchMergeSizes const& sizes, ElementType type, cudaStream_t) {
    std::memset(tensors.workspace, 0xFF, matchCandidateBytes(sizes.match));  // all of it is the launcher's
    Slots const slots(sizes.match.counts, tensors.table);
    EdgeexportTokenMatchMerge const call{matchOf(tensors.metric, type, sizes.match, tensors.table, slots,
                                             tensors.source, tensors.target, tensors.kept),
        tensors.x, tensors.size, sizes.match.heads, sizes.width, sizes.prefix, tensors.merged, tensors.merged_size,
        tensors.log_size};
    return errorOf(edgeexport_cpu_token_match_merge_kernel(&call, 1, 2, 0));
}

cudaError_t launchTokenUnmerge(void const* tokens, int32_t const* index, void* rows, TokenUnmergeSizes const& sizes,
    ElementType type, cudaStream_t) {
    return errorOf(edgeexport_cpu_token_unmerge(
        tokens, index, rows, sizes.batch, sizes.tokens, sizes.rows, sizes.width, static_cast<int32_t>(type)));
}

cudaError_t launchTokenPartition(void const* score, ElementType type, TokenPartitionSizes const& sizes, int32_t* kept,
    int32_t* taken, cudaStream_t) {
    return errorOf(edgeexport_cpu_token_partition(
        score, static_cast<int32_t>(type), sizes.batch, sizes.tokens, sizes.k, kept, taken));
}

cudaError_t launchTokenProtectSelect(
    ProtectSelectAddresses const& tensors, ProtectSelectSizes const& sizes, ElementType type, cudaStream_t) {
    std::memset(tensors.workspace, 0xFF, protectSelectWorkspaceBytes(sizes));  // all of it is the launcher's
    return errorOf(edgeexport_cpu_token_protect_select_kernel(
        &tensors, &sizes, static_cast<int32_t>(type), kSelectBlocks, kSelectThreads, 0));
}

cudaError_t launchUpsampleArgmax(void const* scores, ElementType type, UpsampleArgmaxShape const& shape,
    int32_t* class_map, int32_t* uncertified, cudaStream_t) {
    return errorOf(edgeexport_cpu_upsample_argmax(scores, static_cast<int32_t>(type), shape.batch, shape.classes,
        shape.h, shape.w, shape.height, shape.width, shape.candidates, class_map, uncertified));
}

}  // namespace edgeexport
