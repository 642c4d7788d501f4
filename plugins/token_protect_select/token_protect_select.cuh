// TokenProtectSelect's kernels: confidence of every token; then selection and gathering in one.
//
// Layout: scores (B, K, n), x (B, n, C), rows (B, n, R), alive (B, n) and the outputs, row-major; best (B, n).
// Mapping; the blocks' algorithms are in confidence_block.h and select_block.h, which the CPU carries out as well:
//   tokenConfidenceKernel  grid (tiles of 32 tokens, B), 256 threads: a token per lane, every 8th class per warp; 2 KiB
//                          shared memory.
//   tokenSelectKernel      grid (16, B), 1024 threads; 42.4 KiB. The blocks of an image all sort its tokens, and copy a
//                          sixteenth of the rows each, a row per warp, in pieces of up to 16 bytes.
// Types: scores FP32 or FP16, compared as float32; rows move as bytes; indices int32.
#pragma once

#include "token_protect_select/confidence_block.h"
#include "token_protect_select/select_block.h"

namespace edgeexport {

template <class Value>
__global__ void __launch_bounds__(kConfidenceThreads)
    tokenConfidenceKernel(Value const* __restrict__ scores, ProtectSelectSizes sizes, Best* __restrict__ best) {
    __shared__ ConfidenceShared shared;
    size_t const image = blockIdx.y;
    size_t const tokens = static_cast<size_t>(sizes.tokens);
    confidenceOfTile(Block{kConfidenceThreads, false}, shared,
        scores + image * static_cast<size_t>(sizes.classes) * tokens, sizes, static_cast<int32_t>(blockIdx.x),
        best + image * tokens);
}

// A template, as all kernels here are, so that it may stand in a header.
template <int32_t kThreads>
__global__ void __launch_bounds__(kThreads) tokenSelectKernel(SelectView view) {
    __shared__ SelectShared shared;
    selectTokens(Block{kThreads, false}, shared, view, static_cast<int32_t>(blockIdx.y),
        static_cast<int32_t>(blockIdx.x), static_cast<int32_t>(gridDim.x));
}

}  // namespace edgeexport
