// IEEE half precision on the host, for the CPU references: widening is exact, narrowing goes to the nearest (ties to
// even). The GPU's instructions do the same. A half is its bits.
#pragma once

#include <cstdint>
#include <cstring>

namespace edgeexport {

inline float floatFromHalf(uint16_t half) {
    uint32_t const sign = static_cast<uint32_t>(half & 0x8000u) << 16;
    uint32_t const exponent = (half >> 10) & 0x1Fu;
    uint32_t const mantissa = half & 0x3FFu;
    uint32_t bits = 0;
    if (exponent == 31u) {  // infinity, NaN
        bits = sign | 0x7F800000u | mantissa << 13;
    } else if (exponent != 0u) {
        bits = sign | (exponent + 112u) << 23 | mantissa << 13;
    } else {  // zero and subnormal: multiples of 2^-24, which float32 holds exactly
        float const magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
        return sign != 0u ? -magnitude : magnitude;
    }
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint16_t halfFromFloat(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    uint32_t const sign = (bits >> 16) & 0x8000u;
    uint32_t const magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) {
        return static_cast<uint16_t>(sign | 0x7E00u);  // NaN
    }
    if (magnitude >= 0x477FF000u) {
        return static_cast<uint16_t>(sign | 0x7C00u);  // rounds beyond the largest half, 65504
    }
    uint32_t kept = 0;     // what the half keeps of the number, in its own units
    uint32_t dropped = 0;  // what it drops, and what one half of its last digit is
    uint32_t middle = 0;
    if (magnitude >= 0x38800000u) {  // normal: from 2^-14
        kept = (magnitude >> 13) - (112u << 10);
        dropped = magnitude & 0x1FFFu;
        middle = 0x1000u;
    } else if (magnitude >= 0x33000000u) {  // subnormal: from 2^-25, half of the smallest
        uint32_t const shift = 126u - (magnitude >> 23);
        uint32_t const mantissa = (magnitude & 0x7FFFFFu) | 0x800000u;
        kept = mantissa >> shift;
        dropped = mantissa & ((1u << shift) - 1u);
        middle = 1u << (shift - 1u);
    }
    // A carry runs into the exponent, where it belongs.
    uint32_t const up = dropped > middle || (dropped == middle && middle != 0u && (kept & 1u) != 0u) ? 1u : 0u;
    return static_cast<uint16_t>(sign | (kept + up));
}

}  // namespace edgeexport
