// TokenMerge's kernel: one block per output row of one image, or per stretch of it where a row is long.
//
// Layout: x (B, N, C) and merged (B, rows, C) row-major, rows = [prefix | kept | destinations]; size (B, N),
//   merged_size (B, rows); source, target (B, R), kept (B, K); destinations (nB).
// Mapping: blockIdx.x counts the rows of all images, blockIdx.y the stretches of a row; thread t has the t-th piece of
//   the stretch, 16 bytes where width and addresses allow, else one element. The row's sources are found by all threads
//   together (token_merge_block.h); the sums of a piece stay in registers, so nothing is added through memory.
// Types: x FP32 or FP16, sizes and all sums FP32, indices INT32. The order of every sum is that of `source`.
#pragma once

#include <cstdint>

#include "token_merge/token_merge_block.h"

namespace edgeexport {

constexpr int32_t kMergeThreads = 256;  // the most per block

template <class Value, int32_t kLanes>
__global__ void __launch_bounds__(kMergeThreads)
    tokenMergeKernel(TokenMergeTensors<Value> tensors, TokenMergeSizes sizes) {
    __shared__ TokenMergeScratch scratch;
    Block const block{static_cast<int32_t>(blockDim.x), false};
    int32_t const rows = sizes.rows();
    int32_t const image = static_cast<int32_t>(blockIdx.x) / rows;
    int32_t const row = static_cast<int32_t>(blockIdx.x) % rows;
    int32_t const first_piece = static_cast<int32_t>(blockIdx.y * blockDim.x);
    mergeRow<Value, kLanes, kMergeThreads>(block, scratch, tensors, sizes, image, row, first_piece);
}

}  // namespace edgeexport
