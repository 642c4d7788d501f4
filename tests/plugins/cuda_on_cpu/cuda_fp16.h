// Stand-in for CUDA's header: runs a .cuh, unchanged, on the CPU, one block after the other.
//
// Every thread of a block is a fiber. Fibers run one at a time, in a chosen order (forward or backward), until they wait
// at a barrier or a warp function; what a kernel leaves unordered shows as a difference between the orders. A barrier that
// not all threads reach ends the run with an error. Supported is what upsample_argmax.cuh uses.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(threads)

struct Dim3 {
    uint32_t x, y, z;
};

inline Dim3 threadIdx{};
inline Dim3 blockIdx{};

namespace cuda_on_cpu {

constexpr uint32_t kLanes = 32;
constexpr size_t kStackBytes = 64 * 1024;

// Threads that meet: `phase` rises once all of them have arrived.
struct Meeting {
    uint32_t members = 0;
    uint32_t arrived = 0;
    uint32_t phase = 0;
};

struct Fiber {
    ucontext_t context{};
    std::vector<char> stack = std::vector<char>(kStackBytes);
    bool finished = false;
};

class Run {
public:
    // Runs all blocks of the grid; `threads` is a multiple of 32.
    void launch(Dim3 grid, uint32_t threads, bool backward, std::function<void()> kernel) {
        kernel_ = std::move(kernel);
        for (uint32_t z = 0; z < grid.z; ++z) {
            for (uint32_t y = 0; y < grid.y; ++y) {
                for (uint32_t x = 0; x < grid.x; ++x) {
                    blockIdx = {x, y, z};
                    block(threads, backward);
                }
            }
        }
    }

    void meetBlock() { meet(block_); }
    void meetWarp() { meet(warps_[threadIdx.x / kLanes]); }

    // What every lane of the warp gave: written, met, read, met again before the next use.
    template <class Read>
    auto exchange(uint32_t mine, Read read) {
        values_[threadIdx.x] = mine;
        meetWarp();
        auto const result = read(values_.data() + threadIdx.x / kLanes * kLanes);
        meetWarp();
        return result;
    }

private:
    void block(uint32_t threads, bool backward) {
        block_ = {threads, 0, 0};
        warps_.assign(threads / kLanes, Meeting{kLanes, 0, 0});
        values_.assign(threads, 0);
        if (fibers_.size() != threads) {
            fibers_ = std::vector<Fiber>(threads);
        }
        for (Fiber& fiber : fibers_) {
            fiber.finished = false;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            fiber.context.uc_link = &scheduler_;
            makecontext(&fiber.context, &Run::enter, 0);
        }
        uint32_t left = threads;
        while (left > 0) {
            uint64_t const before = steps_;
            for (uint32_t i = 0; i < threads; ++i) {
                uint32_t const thread = backward ? threads - 1 - i : i;
                if (!fibers_[thread].finished) {
                    threadIdx = {thread, 0, 0};
                    swapcontext(&scheduler_, &fibers_[thread].context);
                    left -= fibers_[thread].finished ? 1 : 0;
                }
            }
            if (steps_ == before) {
                throw std::runtime_error("deadlock: a barrier that not all threads reach");
            }
        }
    }

    void meet(Meeting& meeting) {
        uint32_t const phase = meeting.phase;
        ++steps_;
        if (++meeting.arrived == meeting.members) {
            meeting.arrived = 0;
            ++meeting.phase;
            return;
        }
        while (meeting.phase == phase) {
            swapcontext(&fibers_[threadIdx.x].context, &scheduler_);
        }
    }

    static void enter();

    std::function<void()> kernel_;
    Meeting block_;
    std::vector<Meeting> warps_;
    std::vector<uint32_t> values_;
    std::vector<Fiber> fibers_;
    ucontext_t scheduler_{};
    uint64_t steps_ = 0;
};

inline Run run;

inline void Run::enter() {
    run.kernel_();
    run.fibers_[threadIdx.x].finished = true;
    ++run.steps_;
}

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::run.meetBlock(); }
inline void __syncwarp() { cuda_on_cpu::run.meetWarp(); }

inline uint32_t __ballot_sync(uint32_t, bool vote) {
    return cuda_on_cpu::run.exchange(vote ? 1U : 0U, [](uint32_t const* votes) {
        uint32_t bits = 0;
        for (uint32_t lane = 0; lane < cuda_on_cpu::kLanes; ++lane) {
            bits |= votes[lane] << lane;
        }
        return bits;
    });
}

template <class T>
T __shfl_xor_sync(uint32_t, T value, int32_t distance) {
    static_assert(sizeof(T) == sizeof(uint32_t), "32 bits are exchanged");
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    uint32_t const other = (threadIdx.x % cuda_on_cpu::kLanes) ^ static_cast<uint32_t>(distance);
    bits = cuda_on_cpu::run.exchange(bits, [=](uint32_t const* values) { return values[other]; });
    memcpy(&value, &bits, sizeof bits);
    return value;
}

inline int32_t __popc(uint32_t bits) { return __builtin_popcount(bits); }

inline int32_t atomicAdd(int32_t* address, int32_t value) {
    int32_t const before = *address;
    *address += value;
    return before;
}
