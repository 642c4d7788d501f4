// CPU reference of UpsampleArgmax and its entry point for ctypes.
#include "upsample_argmax/upsample_argmax_cpu.h"

#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "common/portable.h"
#include "common/to_float.h"
#include "upsample_argmax/candidates.h"
#include "upsample_argmax/cells.h"

namespace edgeexport {
namespace {

// The classes blended in one cell, ascending, and the largest corner of all others.
struct Choice {
    std::vector<int32_t> classes;
    float left_out;
};

Choice candidatesOfCell(std::vector<Corners> const& corners, int32_t candidates) {
    std::vector<uint32_t> keys(corners.size());
    std::transform(corners.begin(), corners.end(), keys.begin(),
                   [](Corners const& values) { return orderedBits(largestCorner(values)); });
    auto const countAtLeast = [&](uint32_t least) {
        return static_cast<int32_t>(
            std::count_if(keys.begin(), keys.end(), [=](uint32_t key) { return key >= least; }));
    };
    uint32_t const threshold = thresholdKey(candidates, countAtLeast);
    int32_t const equal_wanted = equalWanted(candidates, threshold, countAtLeast);
    int32_t equal_before = 0;
    uint32_t left_out = 0;
    Choice choice;
    for (size_t label = 0; label < keys.size(); ++label) {
        if (isCandidate(keys[label], threshold, equal_before, equal_wanted)) {
            choice.classes.push_back(static_cast<int32_t>(label));
        } else {
            left_out = std::max(left_out, keys[label]);
        }
        equal_before += keys[label] == threshold ? 1 : 0;
    }
    choice.left_out = scoreFromKey(left_out);
    return choice;
}

// Writes the pixels of one cell that lie in the image; returns how many of them are in doubt.
int32_t writeCell(std::vector<Corners> const& corners, UpsampleArgmaxShape const& shape, int32_t row, int32_t column,
                  int32_t* map) {
    int32_t const factor = upsampleFactor(shape);
    bool const plain = isPlain(shape);
    Choice choice;
    if (plain) {
        for (int32_t label = 0; label < shape.classes; ++label) {
            choice.classes.push_back(label);
        }
    } else {
        choice = candidatesOfCell(corners, shape.candidates);
    }
    int32_t doubtful = 0;
    for (int32_t y = 0; y < factor; ++y) {
        for (int32_t x = 0; x < factor; ++x) {
            int32_t const map_y = row * factor - cellCrop(factor) + y;
            int32_t const map_x = column * factor - cellCrop(factor) + x;
            if (map_y < 0 || map_y >= shape.height || map_x < 0 || map_x >= shape.width) {
                continue;
            }
            Corners const weights = cornerWeights(y, x, factor);
            float best = -std::numeric_limits<float>::infinity();
            int32_t winner = choice.classes[0];
            for (int32_t const label : choice.classes) {
                float const score = blended(weights, corners[static_cast<size_t>(label)]);
                if (score > best) {  // strictly: the lowest class among equals stays
                    best = score;
                    winner = label;
                }
            }
            map[static_cast<size_t>(map_y) * static_cast<size_t>(shape.width) + static_cast<size_t>(map_x)] = winner;
            doubtful += plain || best > choice.left_out ? 0 : 1;
        }
    }
    return doubtful;
}

// Score: float, or uint16_t for the bits of a float16.
template <typename Score>
void upsample(Score const* scores, UpsampleArgmaxShape const& shape, int32_t* class_map, int32_t* uncertified) {
    size_t const plane = static_cast<size_t>(shape.h) * static_cast<size_t>(shape.w);
    size_t const pixels = static_cast<size_t>(shape.height) * static_cast<size_t>(shape.width);
    size_t const classes = static_cast<size_t>(shape.classes);
    std::vector<Corners> corners(classes);
    for (size_t image = 0; image < static_cast<size_t>(shape.batch); ++image) {
        int32_t doubtful = 0;
        for (int32_t row = 0; row <= shape.h; ++row) {
            for (int32_t column = 0; column <= shape.w; ++column) {
                for (size_t label = 0; label < classes; ++label) {
                    auto const at = [&](int32_t below, int32_t right) {
                        size_t const y = static_cast<size_t>(cornerIndex(row, below, shape.h));
                        size_t const x = static_cast<size_t>(cornerIndex(column, right, shape.w));
                        return toFloat(
                            scores[(image * classes + label) * plane + y * static_cast<size_t>(shape.w) + x]);
                    };
                    corners[label] = {at(0, 0), at(0, 1), at(1, 0), at(1, 1)};
                }
                doubtful += writeCell(corners, shape, row, column, class_map + image * pixels);
            }
        }
        if (uncertified != nullptr) {
            uncertified[image] = doubtful;
        }
    }
}

}  // namespace

Status cpuUpsampleArgmax(void const* scores, ElementType type, UpsampleArgmaxShape const& shape, int32_t* class_map,
                         int32_t* uncertified) noexcept {
    if (scores == nullptr || class_map == nullptr) {
        return Status::kNullPointer;
    }
    if (shape.candidates < 1) {
        return Status::kBadAttribute;
    }
    if (upsampleArgmaxRefusal(shape) != nullptr) {
        return Status::kBadSize;
    }
    try {
        switch (type) {
        case ElementType::kFloat32:
            upsample(static_cast<float const*>(scores), shape, class_map, uncertified);
            return Status::kOk;
        case ElementType::kFloat16:
            upsample(static_cast<uint16_t const*>(scores), shape, class_map, uncertified);
            return Status::kOk;
        case ElementType::kInt32: break;
        }
        return Status::kBadType;
    } catch (std::bad_alloc const&) {
        return Status::kNoMemory;
    }
}

}  // namespace edgeexport

// type: 0 float32, 1 float16. Returns a Status of common/status.h.
EDGEEXPORT_EXPORT int edgeexport_cpu_upsample_argmax(void const* scores, int32_t type, int32_t batch, int32_t classes,
                                                     int32_t h, int32_t w, int32_t height, int32_t width,
                                                     int32_t candidates, int32_t* class_map, int32_t* uncertified) {
    edgeexport::UpsampleArgmaxShape const shape{batch, classes, h, w, height, width, candidates};
    return static_cast<int>(edgeexport::cpuUpsampleArgmax(scores, static_cast<edgeexport::ElementType>(type), shape,
                                                          class_map, uncertified));
}
