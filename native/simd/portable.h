// Sixteen lanes as the compiler's own vectors, for any processor. Products and sums are not fused
// here (a fused multiply-add without hardware is a library call).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cierzo::CIERZO_ISA {

namespace detail {
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef int16_t Shorts __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));
typedef uint8_t U8x64 __attribute__((vector_size(64)));
typedef uint8_t U8x16 __attribute__((vector_size(16)));
typedef int8_t I8x16 __attribute__((vector_size(16)));
typedef int8_t I8x32 __attribute__((vector_size(32)));
typedef int16_t I16x16 __attribute__((vector_size(32)));

template <typename Vector>
inline Vector read(const void* p) {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <typename Vector>
inline void write(void* p, Vector v) {
    std::memcpy(p, &v, sizeof v);
}
template <typename To, typename From>
inline To bits(From v) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    std::memcpy(&result, &v, sizeof v);
    return result;
}
inline Floats select(Ints mask, Floats yes, Floats no) {
    return bits<Floats>((bits<Ints>(yes) & mask) | (bits<Ints>(no) & ~mask));
}
}  // namespace detail

struct F32 {
    detail::Floats v;
};
struct I32 {
    detail::Ints v;
};
struct Bytes {
    detail::U8x64 v;
};

inline F32 zero_f32() { return {detail::Floats{}}; }
inline F32 broadcast(float x) { return {x - detail::Floats{}}; }
inline F32 load(const float* p) { return {detail::read<detail::Floats>(p)}; }
inline void store(float* p, F32 a) { detail::write(p, a.v); }

inline F32 load_f16(const uint16_t* p) {
    using namespace detail;
    const Words half = __builtin_convertvector(read<Halves>(p), Words);
    // Exponent and fraction move into place; a multiplication by 2^112 rebases the exponent, and
    // makes subnormals right.
    const Floats value = bits<Floats>((half & 0x7fff) << 13) * 0x1p112f;
    const Ints special = (half & 0x7c00) == 0x7c00;  // infinities and not-a-number
    const Words exponent = bits<Words>(special) & 0x7f800000u;
    return {bits<Floats>(bits<Words>(value) | exponent | ((half & 0x8000) << 16))};
}
inline F32 load_bf16(const uint16_t* p) {
    using namespace detail;
    return {bits<Floats>(__builtin_convertvector(read<Halves>(p), Words) << 16)};
}
inline F32 load_u8(const uint8_t* p) {
    using namespace detail;
    return {__builtin_convertvector(read<U8x16>(p), Floats)};
}
inline F32 load_i8(const int8_t* p) {
    using namespace detail;
    return {__builtin_convertvector(read<I8x16>(p), Floats)};
}

inline F32 add(F32 a, F32 b) { return {a.v + b.v}; }
inline F32 sub(F32 a, F32 b) { return {a.v - b.v}; }
inline F32 mul(F32 a, F32 b) { return {a.v * b.v}; }
inline F32 div(F32 a, F32 b) { return {a.v / b.v}; }
inline F32 vmin(F32 a, F32 b) { return {detail::select(a.v < b.v, a.v, b.v)}; }
inline F32 vmax(F32 a, F32 b) { return {detail::select(a.v > b.v, a.v, b.v)}; }
inline F32 vabs(F32 a) {
    return {detail::bits<detail::Floats>(detail::bits<detail::Ints>(a.v) & 0x7fffffff)};
}
inline F32 fma(F32 a, F32 b, F32 c) { return {a.v * b.v + c.v}; }

inline F32 first_lanes(int n, F32 yes, F32 no) {
    const detail::Ints lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return {detail::select(lanes < n, yes.v, no.v)};
}
// 0 where x < bound, else a (where x is not a number, too).
inline F32 zero_where_below(F32 x, F32 bound, F32 a) {
    return {detail::select(x.v < bound.v, detail::Floats{}, a.v)};
}
// a where x has its sign bit set, else b.
inline F32 select_negative(F32 x, F32 a, F32 b) {
    return {detail::select(detail::bits<detail::Ints>(x.v) < 0, a.v, b.v)};
}
// a where the lane's bit is set (lowest bit first), else b.
inline F32 select_bits(uint32_t bits, F32 a, F32 b) {
    F32 chosen = b;
    for (int i = 0; i < 16; ++i) {
        if (bits >> i & 1) chosen.v[i] = a.v[i];
    }
    return chosen;
}
// To the nearest integer, ties to even, for |a| < 2^22.
inline F32 round_f32(F32 a) {
    const F32 rounder = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    return {(a.v + rounder.v) - rounder.v};
}
// a * 2^n for integral n in [-126, 127] and a normal result; n = -127 gives zero.
inline F32 times_power_of_two(F32 a, F32 n) {
    const detail::Ints biased = __builtin_convertvector(n.v, detail::Ints) + 127;
    return {a.v * detail::bits<detail::Floats>(biased << 23)};
}

namespace detail {
template <typename Combine>
inline float reduce(Floats v, Combine combine) {
    float lanes[16];
    write(lanes, v);
    for (int half = 8; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) lanes[i] = combine(lanes[i], lanes[i + half]);
    }
    return lanes[0];
}
}  // namespace detail
inline float reduce_add(F32 a) {
    return detail::reduce(a.v, [](float x, float y) { return x + y; });
}
inline float reduce_max(F32 a) {
    return detail::reduce(a.v, [](float x, float y) { return x > y ? x : y; });
}

// The largest magnitude in both; what is not a number counts as larger than infinity.
inline float reduce_absmax(F32 a, F32 b) {
    // As integers the patterns of magnitudes are in that order.
    const detail::Ints x = detail::bits<detail::Ints>(vabs(a).v);
    const detail::Ints y = detail::bits<detail::Ints>(vabs(b).v);
    int32_t most = 0;
    for (int i = 0; i < 16; ++i) {
        most = x[i] > most ? x[i] : most;
        most = y[i] > most ? y[i] : most;
    }
    float result;
    std::memcpy(&result, &most, sizeof result);
    return result;
}

inline I32 zero_i32() { return {detail::Ints{}}; }
inline I32 broadcast_i32(int32_t x) { return {x - detail::Ints{}}; }
inline I32 load(const int32_t* p) { return {detail::read<detail::Ints>(p)}; }
inline void store(int32_t* p, I32 a) { detail::write(p, a.v); }
// The same bits.
inline F32 as_f32(I32 a) { return {detail::bits<detail::Floats>(a.v)}; }
inline I32 add(I32 a, I32 b) { return {a.v + b.v}; }
inline F32 to_f32(I32 a) { return {__builtin_convertvector(a.v, detail::Floats)}; }
// To the nearest integer, ties to even, for |a| < 2^22.
inline I32 round_to_i32(F32 a) { return {__builtin_convertvector(round_f32(a).v, detail::Ints)}; }
inline int32_t reduce_add(I32 a) {
    int32_t sum = 0;
    for (int i = 0; i < 16; ++i) sum += a.v[i];
    return sum;
}
// Of lanes within a signed byte.
inline void store_i8(int8_t* p, I32 a) {
    detail::write(p, __builtin_convertvector(a.v, detail::I8x16));
}
// Of lanes within 16 bits.
inline void store_i16(int16_t* p, I32 a) {
    detail::write(p, __builtin_convertvector(a.v, detail::I16x16));
}
// Sixteen pairs of 16-bit integers, or of bytes made as wide.
inline I32 load_i16_pairs(const int16_t* p) { return {detail::read<detail::Ints>(p)}; }
inline I32 load_i8_pairs(const int8_t* p) {
    const detail::Shorts wide =
        __builtin_convertvector(detail::read<detail::I8x32>(p), detail::Shorts);
    return {detail::bits<detail::Ints>(wide)};
}
// acc[i] += a[2i] * b[2i] + a[2i + 1] * b[2i + 1] of pairs of 16-bit integers, modulo 2^32.
inline I32 dot_pairs(I32 acc, I32 a, I32 b) {
    using namespace detail;
    const Ints even = (a.v << 16 >> 16) * (b.v << 16 >> 16);
    const Ints odd = (a.v >> 16) * (b.v >> 16);
    return {bits<Ints>(bits<Words>(acc.v) + bits<Words>(even) + bits<Words>(odd))};
}

// The sum of 16 bytes.
inline int32_t sum_sixteen(const int8_t* p) {
    int32_t sum = 0;
    for (int i = 0; i < 16; ++i) sum += p[i];
    return sum;
}

inline Bytes load_bytes(const uint8_t* p) { return {detail::read<detail::U8x64>(p)}; }
inline void store_bytes(uint8_t* p, Bytes a) { detail::write(p, a.v); }
// The bits of each byte under Mask, after a shift right by Shift.
template <int Shift, uint8_t Mask>
inline Bytes take_bits(Bytes from) {
    return {(from.v >> Shift) & Mask};
}
// a with those bits of `from` set, too.
template <int Shift, uint8_t Mask>
inline Bytes with_bits(Bytes a, Bytes from) {
    return {a.v | ((from.v >> Shift) & Mask)};
}
// acc[i] += sum over j < 4 of unsigned w[4i + j] * signed x[4i + j], exactly.
inline I32 dot(I32 acc, Bytes w, I32 x) {
    // A product fits 16 bits; two of them need more.
    const auto weights = detail::bits<detail::Shorts>(w.v);
    const auto inputs = detail::bits<detail::Shorts>(x.v);
    const auto even = detail::bits<detail::Ints>((weights & 255) * (inputs << 8 >> 8));
    const auto odd = detail::bits<detail::Ints>(((weights >> 8) & 255) * (inputs >> 8));
    return {acc.v + ((even << 16 >> 16) + (even >> 16)) + ((odd << 16 >> 16) + (odd >> 16))};
}

}  // namespace cierzo::CIERZO_ISA
