// One thread block, written once for the GPU and for the CPU.
//
// An algorithm is a sequence of phases. Within a phase no thread reads what another one writes; between phases all
// threads meet. On the GPU a phase is the thread's own share of the work followed by a barrier. On the CPU the shares
// are carried out one thread after the other, in rising or in falling order: if both orders give what the plain
// reference gives, the phases are free of races. What a thread keeps from one phase to the next lives in `PerThread`;
// what is outside of phases is the same for all threads.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>

#include "common/portable.h"

#if defined(__CUDA_ARCH__)
#define EDGEEXPORT_UNROLL _Pragma("unroll")
#else
#define EDGEEXPORT_UNROLL
#endif

namespace edgeexport {

struct Block {
    int32_t threads;
    bool backward;  // the CPU's order of threads; without effect on the GPU

    template <class Share>
    EDGEEXPORT_HD void phase(Share share) const {
#if defined(__CUDA_ARCH__)
        share(static_cast<int32_t>(threadIdx.x));
        __syncthreads();
#else
        for (int32_t step = 0; step < threads; ++step) {
            share(backward ? threads - 1 - step : step);
        }
#endif
    }
};

// One value per thread of a block of at most kThreads: registers on the GPU, an array on the CPU.
template <class T, int32_t kThreads>
struct PerThread {
#if defined(__CUDA_ARCH__)
    T value;
    EDGEEXPORT_HD T& operator[](int32_t) { return value; }
#else
    T values[kThreads];
    EDGEEXPORT_HD T& operator[](int32_t thread) { return values[thread]; }
#endif
};

// A block's shared memory for the CPU, filled with ones, so that what is read before it is written shows.
template <class Shared>
std::unique_ptr<Shared> poisonedShared() {
    static_assert(std::is_trivially_copyable_v<Shared>, "shared memory is not constructed on the GPU either");
    auto shared = std::make_unique<Shared>();
    std::memset(static_cast<void*>(shared.get()), 0xFF, sizeof(Shared));
    return shared;
}

// Adds one to counts[bin]; threads of a warp that hit the same bin at the same time add together.
EDGEEXPORT_HD inline void tally(uint32_t* counts, uint32_t bin) {
#if defined(__CUDA_ARCH__)
    uint32_t const active = __activemask();
    uint32_t const same = __match_any_sync(active, bin);
    if (static_cast<int32_t>(threadIdx.x & 31u) == __ffs(static_cast<int32_t>(same)) - 1) {
        atomicAdd(counts + bin, static_cast<uint32_t>(__popc(same)));
    }
#else
    ++counts[bin];
#endif
}

// Turns `count` values into their running sums, itself included. `values` and `spare` hold `count` entries each and are
// both overwritten; returns the one with the sums. To be called by all threads after a phase that wrote `values`.
template <class T>
EDGEEXPORT_HD inline T* runningSums(Block block, T* values, T* spare, int32_t count) {
    for (int32_t distance = 1; distance < count; distance *= 2) {
        block.phase([=](int32_t thread) {
            for (int32_t i = thread; i < count; i += block.threads) {
                spare[i] = i >= distance ? values[i] + values[i - distance] : values[i];
            }
        });
        T* const sums = spare;
        spare = values;
        values = sums;
    }
    return values;
}

}  // namespace edgeexport
