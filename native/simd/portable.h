// Sixteen lanes as plain arrays, for any processor: loops that a compiler can vectorise.
// Products and sums are not fused here (a fused multiply-add without hardware is a library call).
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cierzo::CIERZO_ISA {

struct F32 {
    float v[16];
};
struct I32 {
    int32_t v[16];
};
struct Bytes {
    uint8_t v[64];
};

template <typename Lane>
inline F32 each_lane(Lane lane) {
    F32 out;
    for (int i = 0; i < 16; ++i) out.v[i] = lane(i);
    return out;
}
template <typename Lane>
inline I32 each_int(Lane lane) {
    I32 out;
    for (int i = 0; i < 16; ++i) out.v[i] = lane(i);
    return out;
}
template <typename Byte>
inline Bytes each_byte(Byte byte) {
    Bytes out;
    for (int i = 0; i < 64; ++i) out.v[i] = static_cast<uint8_t>(byte(i));
    return out;
}

// IEEE half precision, both ways; to half it rounds to nearest, ties to even.
inline float half_to_float(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
    const uint32_t rest = h & 0x7fff;
    if (rest >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | ((rest & 0x3ff) << 13));
    if (rest < 0x0400) {  // subnormal: rest * 2^-24, exact in a float
        const float value = static_cast<float>(rest) * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    return std::bit_cast<float>(sign | ((rest << 13) + 0x38000000));
}
inline uint16_t float_to_half(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00;
    if (magnitude >= 0x477ff000) return sign | 0x7c00;
    if (magnitude < 0x38800000) {  // subnormal result: let the float adder round at 2^-24
        const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
        return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000);
    }
    const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    return sign | static_cast<uint16_t>((rounded - 0x38000000) >> 13);
}

inline F32 zero_f32() { return F32{}; }
inline F32 broadcast(float x) {
    return each_lane([&](int) { return x; });
}
inline F32 load(const float* p) {
    F32 out;
    std::memcpy(out.v, p, sizeof out.v);
    return out;
}
inline void store(float* p, F32 a) { std::memcpy(p, a.v, sizeof a.v); }
inline F32 load_f16(const uint16_t* p) {
    return each_lane([&](int i) { return half_to_float(p[i]); });
}
inline void store_f16(uint16_t* p, F32 a) {
    for (int i = 0; i < 16; ++i) p[i] = float_to_half(a.v[i]);
}
inline F32 load_bf16(const uint16_t* p) {
    return each_lane(
        [&](int i) { return std::bit_cast<float>(static_cast<uint32_t>(p[i]) << 16); });
}
inline F32 load_i8(const int8_t* p) {
    return each_lane([&](int i) { return static_cast<float>(p[i]); });
}
inline F32 load_u8(const uint8_t* p) {
    return each_lane([&](int i) { return static_cast<float>(p[i]); });
}

inline F32 fma(F32 a, F32 b, F32 c) {
    return each_lane([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
inline F32 add(F32 a, F32 b) {
    return each_lane([&](int i) { return a.v[i] + b.v[i]; });
}
inline F32 sub(F32 a, F32 b) {
    return each_lane([&](int i) { return a.v[i] - b.v[i]; });
}
inline F32 mul(F32 a, F32 b) {
    return each_lane([&](int i) { return a.v[i] * b.v[i]; });
}
inline F32 div(F32 a, F32 b) {
    return each_lane([&](int i) { return a.v[i] / b.v[i]; });
}
// Like the vector instructions, both give b when either is not a number.
inline F32 vmax(F32 a, F32 b) {
    return each_lane([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline F32 vmin(F32 a, F32 b) {
    return each_lane([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline F32 vabs(F32 a) {
    return each_lane([&](int i) { return std::fabs(a.v[i]); });
}
// To the nearest integer, ties to even.
inline F32 round_f32(F32 a) {
    return each_lane([&](int i) { return std::nearbyint(a.v[i]); });
}
// a * 2^n for integral n in [-126, 127] and a normal result; n = -127 gives zero.
inline F32 times_power_of_two(F32 a, F32 n) {
    return each_lane([&](int i) {
        const uint32_t biased = static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127);
        return a.v[i] * std::bit_cast<float>(biased << 23);
    });
}
// a where x >= bound, else 0.
inline F32 keep_where_at_least(F32 x, F32 bound, F32 a) {
    return each_lane([&](int i) { return x.v[i] >= bound.v[i] ? a.v[i] : 0.0f; });
}
// a where x has its sign bit set, else b.
inline F32 select_negative(F32 x, F32 a, F32 b) {
    return each_lane([&](int i) { return std::signbit(x.v[i]) ? a.v[i] : b.v[i]; });
}
// The first n lanes of a (all for n >= 16), the others of b.
inline F32 first_lanes(int n, F32 a, F32 b) {
    return each_lane([&](int i) { return i < n ? a.v[i] : b.v[i]; });
}
inline float reduce_add(F32 a) {
    for (int half = 8; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
    }
    return a.v[0];
}
inline float reduce_max(F32 a) { return *std::max_element(a.v, a.v + 16); }

inline I32 zero_i32() { return I32{}; }
inline I32 broadcast_i32(int32_t x) {
    return each_int([&](int) { return x; });
}
inline F32 to_f32(I32 a) {
    return each_lane([&](int i) { return static_cast<float>(a.v[i]); });
}
// To the nearest integer, ties to even.
inline I32 round_to_i32(F32 a) {
    return each_int([&](int i) { return static_cast<int32_t>(std::nearbyint(a.v[i])); });
}
inline I32 add(I32 a, I32 b) {
    return each_int([&](int i) { return a.v[i] + b.v[i]; });
}
inline int32_t reduce_add(I32 a) {
    int32_t sum = 0;
    for (const int32_t x : a.v) sum += x;
    return sum;
}
// Saturated to a signed byte.
inline void store_i8(int8_t* p, I32 a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(std::clamp(a.v[i], -128, 127));
}

inline Bytes load_bytes(const uint8_t* p) {
    Bytes out;
    std::memcpy(out.v, p, sizeof out.v);
    return out;
}
inline void store_bytes(uint8_t* p, Bytes a) { std::memcpy(p, a.v, sizeof a.v); }
inline Bytes low_nibbles(Bytes a) {
    return each_byte([&](int i) { return a.v[i] & 0x0f; });
}
inline Bytes high_nibbles(Bytes a) {
    return each_byte([&](int i) { return a.v[i] >> 4; });
}
// ((a >> Shift) & mask) << Up, by byte: picks the high bits of 5- and 6-bit numbers.
template <int Shift, int Up>
inline Bytes pick_bits(Bytes a, uint8_t mask) {
    return each_byte([&](int i) { return ((a.v[i] >> Shift) & mask) << Up; });
}
inline Bytes either(Bytes a, Bytes b) {
    return each_byte([&](int i) { return a.v[i] | b.v[i]; });
}
// acc[i] += sum over j < 4 of unsigned w[4i + j] * signed x[4i + j], exactly.
inline I32 dot(I32 acc, Bytes w, I32 x) {
    int8_t signed_bytes[64];
    std::memcpy(signed_bytes, x.v, sizeof signed_bytes);
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 4; ++j) {
            acc.v[i] += static_cast<int32_t>(w.v[4 * i + j]) * signed_bytes[4 * i + j];
        }
    }
    return acc;
}

}  // namespace cierzo::CIERZO_ISA
