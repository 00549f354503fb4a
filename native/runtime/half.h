// Half precision for one number at a time, without hardware or compiler support for it.
#pragma once

#include <bit>
#include <cstdint>

namespace cierzo {

// Exact.
inline float half_to_float(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
    const uint32_t rest = half & 0x7fff;
    if (rest >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    if (rest >= 0x0400) return std::bit_cast<float>(sign | ((rest << 13) + 0x38000000));
    const float subnormal = static_cast<float>(rest) * 0x1p-24f;
    return sign != 0 ? -subnormal : subnormal;
}

// To the nearest half, ties to even; beyond its range to infinity.
inline uint16_t float_to_half(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    const uint32_t sign = (bits >> 16) & 0x8000;
    const uint32_t magnitude = bits & 0x7fffffff;
    uint32_t half;
    if (magnitude > 0x7f800000) {
        half = 0x7e00;  // not a number
    } else if (magnitude >= 0x477ff000) {
        half = 0x7c00;
    } else if (magnitude < 0x38800000) {
        // Subnormal: next to 0.5 a float's last bit is worth 2^-24, so its adder does the rounding.
        half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000;
    } else {
        half = (magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >> 13;
    }
    return static_cast<uint16_t>(sign | half);
}

}  // namespace cierzo
