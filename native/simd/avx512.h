// Sixteen lanes as one AVX-512 register.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace cierzo::CIERZO_ISA {

struct F32 {
    __m512 v;
};
// Of 32-bit integers for the compiler, too: around sums that it takes for a __m512i (of 64-bit
// ones) GCC 12 keeps copies in memory in every turn of a loop.
struct I32 {
    __v16si v;
    explicit operator __m512i() const { return reinterpret_cast<__m512i>(v); }
};
struct Bytes {
    __m512i v;
};

inline F32 zero_f32() { return {_mm512_setzero_ps()}; }
inline F32 broadcast(float x) { return {_mm512_set1_ps(x)}; }
inline F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, F32 a) { _mm512_storeu_ps(p, a.v); }
inline F32 load_f16(const uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline F32 load_bf16(const uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16))};
}
inline F32 load_i8(const int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}
inline F32 load_u8(const uint8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))};
}

inline F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 add(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32 sub(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32 mul(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32 div(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32 vmax(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32 vmin(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32 vabs(F32 a) { return {_mm512_abs_ps(a.v)}; }
// To the nearest integer, ties to even.
inline F32 round_f32(F32 a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a * 2^n for integral n in [-127, 127].
inline F32 times_power_of_two(F32 a, F32 n) { return {_mm512_scalef_ps(a.v, n.v)}; }
// 0 where x < bound, else a (where x is not a number, too).
inline F32 zero_where_below(F32 x, F32 bound, F32 a) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, bound.v, _CMP_NLT_UQ), a.v)};
}
// a where x has its sign bit set, else b.
inline F32 select_negative(F32 x, F32 a, F32 b) {
    return {_mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(x.v)), b.v, a.v)};
}
// a where the lane's bit is set (lowest bit first), else b.
inline F32 select_bits(uint32_t bits, F32 a, F32 b) {
    return {_mm512_mask_blend_ps(static_cast<__mmask16>(bits), b.v, a.v)};
}
// The first n lanes of a (all for n >= 16), the others of b.
inline F32 first_lanes(int n, F32 a, F32 b) {
    const __mmask16 mask = n >= 16 ? 0xffff : static_cast<__mmask16>((1u << n) - 1);
    return {_mm512_mask_blend_ps(mask, b.v, a.v)};
}
inline float reduce_add(F32 a) {
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
inline float reduce_max(F32 a) { return _mm512_reduce_max_ps(a.v); }

// The largest magnitude in both; what is not a number counts as larger than infinity.
inline float reduce_absmax(F32 a, F32 b) {
    // As integers the patterns of magnitudes are in that order.
    const __m512i all = _mm512_max_epi32(_mm512_castps_si512(_mm512_abs_ps(a.v)),
                                         _mm512_castps_si512(_mm512_abs_ps(b.v)));
    const __m256i h =
        _mm256_max_epi32(_mm512_castsi512_si256(all), _mm512_extracti32x8_epi32(all, 1));
    const __m128i q = _mm_max_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    const __m128i d = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(d, _mm_shuffle_epi32(d, 0xb1))));
}

inline I32 lanes(__m512i v) { return {reinterpret_cast<__v16si>(v)}; }
inline I32 zero_i32() { return lanes(_mm512_setzero_si512()); }
inline I32 broadcast_i32(int32_t x) { return lanes(_mm512_set1_epi32(x)); }
inline F32 to_f32(I32 a) { return {_mm512_cvtepi32_ps(__m512i(a))}; }
// To the nearest integer, ties to even.
inline I32 round_to_i32(F32 a) { return lanes(_mm512_cvtps_epi32(a.v)); }
// The same bits.
inline F32 as_f32(I32 a) { return {_mm512_castsi512_ps(__m512i(a))}; }
inline I32 add(I32 a, I32 b) { return lanes(_mm512_add_epi32(__m512i(a), __m512i(b))); }
inline int32_t reduce_add(I32 a) { return _mm512_reduce_add_epi32(__m512i(a)); }
// Saturated to a signed byte.
inline void store_i8(int8_t* p, I32 a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(__m512i(a)));
}
// Of lanes within 16 bits.
inline void store_i16(int16_t* p, I32 a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(__m512i(a)));
}
// Sixteen pairs of 16-bit integers, or of bytes made as wide.
inline I32 load_i16_pairs(const int16_t* p) { return lanes(_mm512_loadu_si512(p)); }
inline I32 load_i8_pairs(const int8_t* p) {
    return lanes(_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
// acc[i] += a[2i] * b[2i] + a[2i + 1] * b[2i + 1] of pairs of 16-bit integers, modulo 2^32.
inline I32 dot_pairs(I32 acc, I32 a, I32 b) {
    return lanes(_mm512_dpwssd_epi32(__m512i(acc), __m512i(a), __m512i(b)));
}

// The sum of 16 bytes.
inline int32_t sum_sixteen(const int8_t* p) {
    // The instruction adds unsigned bytes: 128 more each.
    const __m128i bytes =
        _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), _mm_set1_epi8(-128));
    const __m128i eights = _mm_sad_epu8(bytes, _mm_setzero_si128());
    return _mm_cvtsi128_si32(eights) + _mm_extract_epi16(eights, 4) - 16 * 128;
}

inline Bytes load_bytes(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
inline void store_bytes(uint8_t* p, Bytes a) { _mm512_storeu_si512(p, a.v); }
// The bits of each byte under Mask, after a shift right by Shift.
template <int Shift, uint8_t Mask>
inline Bytes take_bits(Bytes from) {
    // A shift moves bits in from the next byte, where the mask has none.
    const __m512i moved = _mm512_srli_epi16(from.v, Shift);
    return {_mm512_and_si512(moved, _mm512_set1_epi8(static_cast<char>(Mask)))};
}
// a with those bits of `from` set, too.
template <int Shift, uint8_t Mask>
inline Bytes with_bits(Bytes a, Bytes from) {
    const __m512i moved = _mm512_srli_epi16(from.v, Shift);
    constexpr int kOrAnd = 0xf8;  // first | (second & third)
    return {
        _mm512_ternarylogic_epi32(a.v, moved, _mm512_set1_epi8(static_cast<char>(Mask)), kOrAnd)};
}
// acc[i] += sum over j < 4 of unsigned w[4i + j] * signed x[4i + j], exactly.
inline I32 dot(I32 acc, Bytes w, I32 x) {
    return lanes(_mm512_dpbusd_epi32(__m512i(acc), w.v, __m512i(x)));
}

}  // namespace cierzo::CIERZO_ISA
