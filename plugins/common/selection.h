// Which of two scored tokens comes first: the higher score, among equals the lower index. Both zeros are equal. The
// order is total for every bit pattern; scores are expected to be free of NaN, whose place in it has no meaning.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/portable.h"

namespace edgeexport {

// Rises with the score.
EDGEEXPORT_HD inline uint32_t orderedBits(float score) {
    uint32_t bits = 0;
    if (score != 0.0f) {
        memcpy(&bits, &score, sizeof(bits));
    }
    uint32_t const sign = 0x80000000u;
    return (bits & sign) != 0 ? ~bits : bits | sign;
}

// Falls with the score and, among equals, rises with the index: the lowest key is the first choice.
EDGEEXPORT_HD inline uint64_t rankKey(float score, uint32_t index) {
    return static_cast<uint64_t>(~orderedBits(score)) << 32 | index;
}

// Ranks behind every score but one NaN; for what does not exist.
EDGEEXPORT_HD inline uint64_t lastRankKey(uint32_t index) { return static_cast<uint64_t>(0xffffffffu) << 32 | index; }

// Candidate of a maximum over positions that are visited in any order.
struct Best {
    float score;
    int32_t position;
};

EDGEEXPORT_HD inline Best betterOf(Best a, Best b) {
    bool const second = b.score > a.score || (b.score == a.score && b.position < a.position);
    return second ? b : a;
}

// Walks over one row in index order and splits it: elements above a threshold are taken, of those at it the first
// `wanted`. The two counts are of the elements that were passed.
struct Splitter {
    uint32_t above;
    uint32_t equal;
    uint32_t wanted;

    // How many of the passed elements are taken.
    EDGEEXPORT_HD uint32_t taken() const { return above + (equal < wanted ? equal : wanted); }

    // Passes the next element; returns whether it is taken.
    EDGEEXPORT_HD bool pass(bool is_above, bool is_equal) {
        bool const takes = is_above || (is_equal && equal < wanted);
        above += is_above ? 1u : 0u;
        equal += is_equal ? 1u : 0u;
        return takes;
    }
};

}  // namespace edgeexport
