// Which classes of a cell are blended: those with the largest corner, the lowest class first among equals, in class
// order. Shared by the kernel and the CPU reference of UpsampleArgmax.
//
// The choice is found without sorting: a key that parts the classes chosen from the rest is searched bit by bit, and
// one pass over the classes in order then takes all with a larger key and the first of those with just that key. Keys
// are the ordered bits of common/selection.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/portable.h"
#include "common/selection.h"  // orderedBits

namespace edgeexport {

// The score whose ordered bits these are.
EDGEEXPORT_HD inline float scoreFromKey(uint32_t key) {
    uint32_t const sign = 0x80000000U;
    uint32_t const bits = (key & sign) != 0U ? key & ~sign : ~key;
    float score = 0.0F;
    memcpy(&score, &bits, sizeof(score));
    return score;
}

// A key T that parts the largest `wanted` keys from the rest: at least `wanted` keys are >= T, at most `wanted` > T.
// `countAtLeast(key)` returns how many keys are >= key; 1 <= wanted <= the number of keys.
template <typename CountAtLeast>
EDGEEXPORT_HD inline uint32_t thresholdKey(int32_t wanted, CountAtLeast countAtLeast) {
    uint32_t threshold = 0;
    for (uint32_t bit = 0x80000000U; bit != 0U; bit >>= 1) {
        int32_t const count = countAtLeast(threshold | bit);
        if (count >= wanted) {
            threshold |= bit;
        }
        if (count == wanted) {
            break;  // no key that is left out reaches this one
        }
    }
    return threshold;
}

// How many of the keys that equal the threshold are chosen, the first ones in class order.
template <typename CountAtLeast>
EDGEEXPORT_HD inline int32_t equalWanted(int32_t wanted, uint32_t threshold, CountAtLeast countAtLeast) {
    return threshold == 0xFFFFFFFFU ? wanted : wanted - countAtLeast(threshold + 1U);
}

// Whether a class is chosen, given how many lower classes have the threshold as their key.
EDGEEXPORT_HD inline bool isCandidate(uint32_t key, uint32_t threshold, int32_t equal_before, int32_t equal_wanted) {
    return key > threshold || (key == threshold && equal_before < equal_wanted);
}

}  // namespace edgeexport
