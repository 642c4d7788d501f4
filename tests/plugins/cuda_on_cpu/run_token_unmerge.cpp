// The kernel of TokenUnmerge on the CPU, for ctypes: one thread after the other, since they have nothing to do with each
// other.
#include <cstdint>

#define __global__
#define __restrict__

struct Place {
    uint32_t x, y;
};

static Place threadIdx, blockIdx, blockDim;

struct alignas(8) uint2 {
    uint32_t x, y;
};

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

template <class T>
T __ldg(T const* address) {
    return *address;
}

#include "token_unmerge/token_unmerge.cuh"

namespace {

// Pieces are copied to aligned places by the caller. Returns how many threads a block has.
template <class Piece>
int run(void const* tokens, int32_t const* index, void* rows, edgeexport::TokenUnmergeSizes const& sizes,
    int32_t row_bytes) {
    int32_t const pieces = row_bytes / static_cast<int32_t>(sizeof(Piece));
    uint32_t const x = static_cast<uint32_t>(edgeexport::threadsAlongRow(pieces));
    blockDim = {x, edgeexport::kUnmergeThreads / x};
    int32_t const all_rows = sizes.batch * sizes.rows;
    uint32_t const blocks = (static_cast<uint32_t>(all_rows) + blockDim.y - 1) / blockDim.y;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y) {
            for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) {
                edgeexport::tokenUnmergeKernel<Piece>(static_cast<Piece const*>(tokens), index,
                    static_cast<Piece*>(rows), sizes, all_rows, pieces);
            }
        }
    }
    return static_cast<int>(blockDim.x * blockDim.y);
}

}  // namespace

EDGEEXPORT_EXPORT int run_token_unmerge(void const* tokens, int32_t const* index, void* rows, int32_t batch, int32_t n,
    int32_t m, int32_t row_bytes, int32_t piece_bytes) {
    edgeexport::TokenUnmergeSizes const sizes{batch, n, m, row_bytes};
    switch (piece_bytes) {
    case 2: return run<uint16_t>(tokens, index, rows, sizes, row_bytes);
    case 4: return run<uint32_t>(tokens, index, rows, sizes, row_bytes);
    case 8: return run<uint2>(tokens, index, rows, sizes, row_bytes);
    case 16: return run<uint4>(tokens, index, rows, sizes, row_bytes);
    default: return -1;
    }
}
