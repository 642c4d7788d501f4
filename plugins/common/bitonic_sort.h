// Sorts a block's keys in shared memory, rising, by a network of comparisons: the same steps whatever the keys are. Run by
// kernels and by the CPU (see common/block.h).
#pragma once

#include <cstdint>

#include "common/block.h"

namespace edgeexport {

// The least power of two that is at least `count`; at least 1.
EDGEEXPORT_HD constexpr int32_t sortedLength(int32_t count) {
    int32_t length = 1;
    while (length < count) {
        length *= 2;
    }
    return length;
}

// Sorts keys[0 .. length), `length` a power of two. To be called by all threads after a phase that wrote the keys. A pair
// (i, i + distance) is one thread's alone in each phase, so that phases are free of races.
template <class Key>
EDGEEXPORT_HD inline void bitonicSort(Block block, Key* keys, int32_t length) {
    for (int32_t run = 2; run <= length; run *= 2) {
        for (int32_t distance = run / 2; distance > 0; distance /= 2) {
            block.phase([=](int32_t thread) {
                for (int32_t pair = thread; pair < length / 2; pair += block.threads) {
                    int32_t const low = 2 * (pair & ~(distance - 1)) + (pair & (distance - 1));
                    Key const first = keys[low];
                    Key const second = keys[low + distance];
                    bool const rises = (low & run) == 0;
                    if ((first > second) == rises) {
                        keys[low] = second;
                        keys[low + distance] = first;
                    }
                }
            });
        }
    }
}

}  // namespace edgeexport
