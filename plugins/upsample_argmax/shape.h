// Sizes of UpsampleArgmax and which of them are accepted; for the launcher, the plugin and the CPU reference.
#pragma once

#include <cstdint>

#include "common/portable.h"

namespace edgeexport {

// One warp's scores, keys and candidates of this many classes fit in a block's 48 KiB of shared memory.
constexpr int32_t kUpsampleArgmaxMaxClasses = 2048;

// Pixels per score and axis, so that the pixels of a cell are counted in int32.
constexpr int32_t kUpsampleArgmaxMaxFactor = 4096;

// Limits of a CUDA grid: images, and rows of scores less one.
constexpr int32_t kUpsampleArgmaxMaxBatch = 65535;
constexpr int32_t kUpsampleArgmaxMaxRows = 65534;

struct UpsampleArgmaxShape {
    int32_t batch;       // B
    int32_t classes;     // K
    int32_t h;           // score rows
    int32_t w;           // score columns
    int32_t height;      // pixel rows, P * h for a whole P
    int32_t width;       // pixel columns, P * w with the same P
    int32_t candidates;  // classes blended per cell; K or more: all classes, exact everywhere
};

// Pixels per score and axis of an accepted shape.
EDGEEXPORT_HD constexpr int32_t upsampleFactor(UpsampleArgmaxShape const& shape) { return shape.height / shape.h; }

// Whether nothing can be left out, or nothing is blended: then all classes are looked at and no pixel is in doubt.
constexpr bool isPlain(UpsampleArgmaxShape const& shape) {
    return shape.candidates >= shape.classes || upsampleFactor(shape) == 1;
}

// Why a shape is refused, as "found, expected", or nullptr if it is accepted.
constexpr char const* upsampleArgmaxRefusal(UpsampleArgmaxShape const& shape) {
    if (shape.batch < 1 || shape.classes < 1 || shape.h < 1 || shape.w < 1) {
        return "scores without elements, expected at least one image, class, row and column";
    }
    if (shape.candidates < 1) {
        return "no candidates, expected at least one";
    }
    int32_t const factor = shape.height / shape.h;
    int64_t const high = static_cast<int64_t>(factor) * shape.h;
    int64_t const wide = static_cast<int64_t>(factor) * shape.w;
    if (factor < 1 || high != shape.height || wide != shape.width) {
        return "an output that is not the same whole multiple of the scores on both axes, expected one factor";
    }
    if (factor > kUpsampleArgmaxMaxFactor) {
        return "a factor above 4096 between pixels and scores, expected at most that";
    }
    if (shape.classes > kUpsampleArgmaxMaxClasses) {
        return "more than 2048 classes, expected at most that";
    }
    if (shape.batch > kUpsampleArgmaxMaxBatch || shape.h > kUpsampleArgmaxMaxRows) {
        return "more than 65535 images or 65534 rows of scores, expected at most that";
    }
    return nullptr;
}

}  // namespace edgeexport
