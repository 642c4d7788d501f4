// Kernel of UpsampleArgmax.
//
// Layout   scores (B, K, h, w) float32 or float16; class_map (B, height, width) and uncertified (B,) int32, the latter
//          zeroed before.
// Mapping  blockIdx.z = image, blockIdx.y = row of cells (h + 1), blockIdx.x = group of Cells neighbours among the
//          w + 1 cells of that row; one warp per cell. See cells.h for what a cell is.
// Steps    1. The block loads the 2 x (Cells + 1) score positions around its cells, all K classes, into shared memory:
//             each score is read from global memory by two rows of cells, and neighbours are read together.
//          2. Unless all classes are candidates, each warp keeps the largest corner of each class as a sortable key,
//             finds a key that parts the candidates from the rest, and compacts the candidates in class order.
//          3. Each lane blends kUpsamplePixels pixels at a time over the candidates: a class's corners are the same for
//             all lanes and are read once for all these pixels. The winner goes out; upsampled scores never exist.
// Dtypes   float32 throughout; uncertified is summed by integer atomics, whose result does not depend on their order.
#pragma once

#include <cuda_fp16.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "common/to_float.h"
#include "upsample_argmax/candidates.h"
#include "upsample_argmax/cells.h"
#include "upsample_argmax/shape.h"

namespace edgeexport {

constexpr int32_t kUpsampleLanes = 32;
constexpr int32_t kUpsamplePixels = 4;
constexpr uint32_t kUpsampleAllLanes = 0xFFFFFFFFU;

// Bytes of shared memory of one block: scores, and unless plain, keys and candidates.
inline size_t upsampleArgmaxSharedBytes(int32_t cells, int32_t classes, int32_t candidates, bool plain) {
    size_t const scores = static_cast<size_t>(classes) * 2 * (cells + 1);
    size_t const chosen = plain ? 0 : static_cast<size_t>(cells) * (classes + candidates);
    return (scores + chosen) * sizeof(float);
}

// Corners of cell `cell` of the block for one class, from the block's scores [K][2][Cells + 1].
template <int Cells>
__device__ inline Corners cornersOf(float const* scores, int32_t label, int32_t cell) {
    float const* top = scores + label * 2 * (Cells + 1) + cell;
    float const* bottom = top + (Cells + 1);
    return {top[0], top[1], bottom[0], bottom[1]};
}

// Writes the candidates of one cell in class order and returns the largest corner left out. Called by a whole warp;
// `keys` [K] holds the classes' keys, each written by the lane that reads it. candidates < classes.
__device__ inline float chooseCandidates(uint32_t const* keys, int32_t classes, int32_t candidates, int32_t lane,
                                         int32_t* chosen) {
    // Every lane returns the same count: the votes of 32 classes at a time.
    auto const countAtLeast = [=](uint32_t least) {
        int32_t count = 0;
        for (int32_t first = 0; first < classes; first += kUpsampleLanes) {
            int32_t const label = first + lane;
            count += __popc(__ballot_sync(kUpsampleAllLanes, label < classes && keys[label] >= least));
        }
        return count;
    };
    uint32_t const threshold = thresholdKey(candidates, countAtLeast);
    int32_t const equal_wanted = equalWanted(candidates, threshold, countAtLeast);
    uint32_t const lower_lanes = (1U << lane) - 1U;
    int32_t equal_before = 0;
    int32_t written = 0;
    uint32_t left_out = 0;
    for (int32_t first = 0; first < classes; first += kUpsampleLanes) {
        int32_t const label = first + lane;
        bool const exists = label < classes;
        uint32_t const key = exists ? keys[label] : 0U;
        uint32_t const equal = __ballot_sync(kUpsampleAllLanes, exists && key == threshold);
        bool const taken =
            exists && isCandidate(key, threshold, equal_before + __popc(equal & lower_lanes), equal_wanted);
        uint32_t const all_taken = __ballot_sync(kUpsampleAllLanes, taken);
        if (taken) {
            chosen[written + __popc(all_taken & lower_lanes)] = label;
        } else if (key > left_out) {
            left_out = key;
        }
        equal_before += __popc(equal);
        written += __popc(all_taken);
    }
    for (int32_t distance = kUpsampleLanes / 2; distance > 0; distance /= 2) {
        uint32_t const other = __shfl_xor_sync(kUpsampleAllLanes, left_out, distance);
        left_out = other > left_out ? other : left_out;
    }
    __syncwarp();
    return scoreFromKey(left_out);
}

// Score: float or __half. Cells: cells and warps of a block. Plain: all classes are candidates.
template <typename Score, int Cells, bool Plain>
__global__ void __launch_bounds__(Cells* kUpsampleLanes)
    upsampleArgmaxKernel(Score const* __restrict__ scores, UpsampleArgmaxShape shape, int32_t* __restrict__ class_map,
                         int32_t* __restrict__ uncertified) {
    extern __shared__ float block_scores[];  // [K][2][Cells + 1]
    int32_t const lane = static_cast<int32_t>(threadIdx.x) % kUpsampleLanes;
    int32_t const warp = static_cast<int32_t>(threadIdx.x) / kUpsampleLanes;
    int32_t const first_column = static_cast<int32_t>(blockIdx.x) * Cells;
    int32_t const row = static_cast<int32_t>(blockIdx.y);
    int32_t const image = static_cast<int32_t>(blockIdx.z);
    int32_t const factor = upsampleFactor(shape);

    Score const* image_scores = scores + static_cast<size_t>(image) * shape.classes * shape.h * shape.w;
    int32_t const positions = shape.classes * 2 * (Cells + 1);
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < positions; i += Cells * kUpsampleLanes) {
        int32_t const label = i / (2 * (Cells + 1));
        int32_t const y = cornerIndex(row, i / (Cells + 1) % 2, shape.h);
        int32_t const x = cornerIndex(first_column, i % (Cells + 1), shape.w);
        block_scores[i] = toFloat(image_scores[(static_cast<size_t>(label) * shape.h + y) * shape.w + x]);
    }
    __syncthreads();

    int32_t const column = first_column + warp;
    if (column > shape.w) {
        return;  // a whole warp, and no block-wide barrier follows
    }
    int32_t const* chosen = nullptr;
    float left_out = 0.0F;
    if constexpr (!Plain) {
        uint32_t* all_keys = reinterpret_cast<uint32_t*>(block_scores + positions);
        uint32_t* keys = all_keys + warp * shape.classes;
        int32_t* own = reinterpret_cast<int32_t*>(all_keys + Cells * shape.classes) + warp * shape.candidates;
        for (int32_t label = lane; label < shape.classes; label += kUpsampleLanes) {
            keys[label] = orderedBits(largestCorner(cornersOf<Cells>(block_scores, label, warp)));
        }
        left_out = chooseCandidates(keys, shape.classes, shape.candidates, lane, own);
        chosen = own;
    }

    int32_t const count = Plain ? shape.classes : shape.candidates;
    int32_t const pixels = factor * factor;
    int32_t const first_y = row * factor - cellCrop(factor);
    int32_t const first_x = column * factor - cellCrop(factor);
    int32_t* image_map = class_map + static_cast<size_t>(image) * shape.height * shape.width;
    int32_t doubtful = 0;
    for (int32_t first = 0; first < pixels; first += kUpsamplePixels * kUpsampleLanes) {
        Corners weights[kUpsamplePixels];
        float best[kUpsamplePixels];
        int32_t winner[kUpsamplePixels];
#pragma unroll
        for (int32_t i = 0; i < kUpsamplePixels; ++i) {
            int32_t const pixel = first + i * kUpsampleLanes + lane;  // beyond the cell it is not used
            weights[i] = cornerWeights(pixel / factor, pixel % factor, factor);
            best[i] = -INFINITY;
            winner[i] = Plain ? 0 : chosen[0];
        }
        for (int32_t candidate = 0; candidate < count; ++candidate) {
            int32_t const label = Plain ? candidate : chosen[candidate];
            Corners const corners = cornersOf<Cells>(block_scores, label, warp);
#pragma unroll
            for (int32_t i = 0; i < kUpsamplePixels; ++i) {
                if (first + i * kUpsampleLanes < pixels) {  // the same for all lanes
                    float const score = blended(weights[i], corners);
                    if (score > best[i]) {  // strictly: the lowest class among equals stays
                        best[i] = score;
                        winner[i] = label;
                    }
                }
            }
        }
#pragma unroll
        for (int32_t i = 0; i < kUpsamplePixels; ++i) {
            int32_t const pixel = first + i * kUpsampleLanes + lane;
            int32_t const y = first_y + pixel / factor;
            int32_t const x = first_x + pixel % factor;
            if (pixel < pixels && y >= 0 && y < shape.height && x >= 0 && x < shape.width) {
                image_map[static_cast<size_t>(y) * shape.width + x] = winner[i];
                if constexpr (!Plain) {
                    doubtful += best[i] > left_out ? 0 : 1;
                }
            }
        }
    }
    if constexpr (!Plain) {
        if (uncertified != nullptr) {
            for (int32_t distance = kUpsampleLanes / 2; distance > 0; distance /= 2) {
                doubtful += __shfl_xor_sync(kUpsampleAllLanes, doubtful, distance);
            }
            if (lane == 0 && doubtful != 0) {
                atomicAdd(uncertified + image, doubtful);
            }
        }
    }
}

}  // namespace edgeexport
