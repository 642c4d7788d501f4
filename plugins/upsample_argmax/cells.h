// Bilinear upsampling by a whole factor P, cell by cell: what the kernel and the CPU reference of UpsampleArgmax share.
//
// Scores (h, w), their edges replicated once, span (h + 1) x (w + 1) cells of P x P pixels. Cell (i, j) lies between
// the score rows i - 1 and i and the score columns j - 1 and j (clamped), and starts at pixel (i * P - crop,
// j * P - crop) with crop = ceil(P / 2); the outermost cells reach beyond the image. All cells have the same weights.
//
// All arithmetic is in float32 and in the order of edgeexport/ops/upsample_argmax.py, without contraction into fused
// multiply-adds: kernel and reference give the same bits.
#pragma once

#include <cstdint>

#include "common/portable.h"

namespace edgeexport {

// Pixels by which the first cell begins before the image.
EDGEEXPORT_HD inline int32_t cellCrop(int32_t factor) { return factor - factor / 2; }

// Score index of corner `corner` (0 or 1) of cell `cell` along an axis of `length` scores.
EDGEEXPORT_HD inline int32_t cornerIndex(int32_t cell, int32_t corner, int32_t length) {
    int32_t const index = cell - 1 + corner;
    return index < 0 ? 0 : (index >= length ? length - 1 : index);
}

// A product rounded to float32, also where a sum follows.
EDGEEXPORT_HD inline float product(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#elif defined(__FP_FAST_FMAF)
    float volatile rounded = a * b;  // such as on Arm, where GCC would fuse
    return rounded;
#else
    return a * b;
#endif
}

// Share of the second corner at pixel `offset` of a cell along one axis. With an odd factor, pixel centres lie on score
// positions. The reference divides in float64 and rounds to float32; for integers this small the result is the same.
EDGEEXPORT_HD inline float secondShare(int32_t offset, int32_t factor) {
    float const position = static_cast<float>(offset) + (factor % 2 == 0 ? 0.5F : 0.0F);
#if defined(__CUDA_ARCH__)
    return __fdiv_rn(position, static_cast<float>(factor));
#else
    return position / static_cast<float>(factor);
#endif
}

// Four values of a cell: top left, top right, bottom left, bottom right.
struct Corners {
    float top_left;
    float top_right;
    float bottom_left;
    float bottom_right;
};

// Weights of the corners at pixel (y, x) of a cell.
EDGEEXPORT_HD inline Corners cornerWeights(int32_t y, int32_t x, int32_t factor) {
    float const bottom = secondShare(y, factor);
    float const right = secondShare(x, factor);
    float const top = 1.0F - bottom;
    float const left = 1.0F - right;
    return {product(top, left), product(top, right), product(bottom, left), product(bottom, right)};
}

EDGEEXPORT_HD inline float blended(Corners const& weights, Corners const& scores) {
    float const top = product(weights.top_left, scores.top_left) + product(weights.top_right, scores.top_right);
    float const bottom =
        product(weights.bottom_left, scores.bottom_left) + product(weights.bottom_right, scores.bottom_right);
    return top + bottom;
}

EDGEEXPORT_HD inline float larger(float a, float b) { return a < b ? b : a; }

EDGEEXPORT_HD inline float largestCorner(Corners const& scores) {
    return larger(larger(scores.top_left, scores.top_right), larger(scores.bottom_left, scores.bottom_right));
}

}  // namespace edgeexport
