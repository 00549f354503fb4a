// Sixteen lanes as two AVX2 registers; with AVX-VNNI the byte products are one instruction.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace cierzo::CIERZO_ISA {

struct F32 {
    __m256 lo, hi;
};
// Of 32-bit integers for the compiler, too: around sums that it takes for a __m256i (of 64-bit
// ones) GCC 12 keeps copies in memory in every turn of a loop.
struct I32 {
    __v8si lo, hi;
};
inline __m256i bits(__v8si a) { return reinterpret_cast<__m256i>(a); }
inline I32 lanes(__m256i lo, __m256i hi) {
    return {reinterpret_cast<__v8si>(lo), reinterpret_cast<__v8si>(hi)};
}
struct Bytes {
    __m256i lo, hi;
};

inline F32 zero_f32() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline F32 broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F32 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, F32 a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
inline F32 load_f16(const uint16_t* p) {
    const __m128i* halves = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
inline F32 load_bf16(const uint16_t* p) {
    const __m128i* halves = reinterpret_cast<const __m128i*>(p);
    const __m256i lo = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves));
    const __m256i hi = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves + 1));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16))};
}
inline F32 load_i8(const int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}
inline F32 load_u8(const uint8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)))};
}

inline F32 fma(F32 a, F32 b, F32 c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline F32 add(F32 a, F32 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline F32 sub(F32 a, F32 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline F32 mul(F32 a, F32 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline F32 div(F32 a, F32 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline F32 vmax(F32 a, F32 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline F32 vmin(F32 a, F32 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline F32 vabs(F32 a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
// To the nearest integer, ties to even.
inline F32 round_f32(F32 a) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(a.lo, nearest), _mm256_round_ps(a.hi, nearest)};
}
// a * 2^n for integral n in [-126, 127] and a normal result; anything for n = -127.
inline F32 times_power_of_two(F32 a, F32 n) {
    const auto times = [](__m256 x, __m256 power) {
        const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(power), 23);
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent));
    };
    return {times(a.lo, n.lo), times(a.hi, n.hi)};
}
// 0 where x < bound, else a (where x is not a number, too).
inline F32 zero_where_below(F32 x, F32 bound, F32 a) {
    return {_mm256_and_ps(_mm256_cmp_ps(x.lo, bound.lo, _CMP_NLT_UQ), a.lo),
            _mm256_and_ps(_mm256_cmp_ps(x.hi, bound.hi, _CMP_NLT_UQ), a.hi)};
}
// a where x has its sign bit set, else b.
inline F32 select_negative(F32 x, F32 a, F32 b) {
    return {_mm256_blendv_ps(b.lo, a.lo, x.lo), _mm256_blendv_ps(b.hi, a.hi, x.hi)};
}
// a where the lane's bit is set (lowest bit first), else b.
inline F32 select_bits(uint32_t bits, F32 a, F32 b) {
    const __m256i lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const auto chosen = [&](uint32_t byte) {
        const __m256i all = _mm256_set1_epi32(static_cast<int>(byte));
        return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, lanes), lanes));
    };
    return {_mm256_blendv_ps(b.lo, a.lo, chosen(bits & 0xff)),
            _mm256_blendv_ps(b.hi, a.hi, chosen(bits >> 8 & 0xff))};
}
// The first n lanes of a (all for n >= 16), the others of b.
inline F32 first_lanes(int n, F32 a, F32 b) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i lo = _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes);
    const __m256i hi = _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8), lanes);
    return {_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(lo)),
            _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(hi))};
}
inline float reduce_add(F32 a) {
    const __m256 h = _mm256_add_ps(a.lo, a.hi);
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
inline float reduce_max(F32 a) {
    const __m256 h = _mm256_max_ps(a.lo, a.hi);
    const __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}

// The largest magnitude in both; what is not a number counts as larger than infinity.
inline float reduce_absmax(F32 a, F32 b) {
    // As integers the patterns of magnitudes are in that order.
    const F32 x = vabs(a);
    const F32 y = vabs(b);
    const __m256i low = _mm256_max_epi32(_mm256_castps_si256(x.lo), _mm256_castps_si256(y.lo));
    const __m256i high = _mm256_max_epi32(_mm256_castps_si256(x.hi), _mm256_castps_si256(y.hi));
    const __m256i h = _mm256_max_epi32(low, high);
    const __m128i q = _mm_max_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    const __m128i d = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(d, _mm_shuffle_epi32(d, 0xb1))));
}

inline I32 zero_i32() { return lanes(_mm256_setzero_si256(), _mm256_setzero_si256()); }
inline I32 broadcast_i32(int32_t x) { return lanes(_mm256_set1_epi32(x), _mm256_set1_epi32(x)); }
inline F32 to_f32(I32 a) {
    return {_mm256_cvtepi32_ps(bits(a.lo)), _mm256_cvtepi32_ps(bits(a.hi))};
}
// To the nearest integer, ties to even.
inline I32 round_to_i32(F32 a) { return lanes(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)); }
// The same bits.
inline F32 as_f32(I32 a) {
    return {_mm256_castsi256_ps(bits(a.lo)), _mm256_castsi256_ps(bits(a.hi))};
}
inline I32 add(I32 a, I32 b) {
    return lanes(_mm256_add_epi32(bits(a.lo), bits(b.lo)),
                 _mm256_add_epi32(bits(a.hi), bits(b.hi)));
}
inline int32_t reduce_add(I32 a) {
    const __m256i h = _mm256_add_epi32(bits(a.lo), bits(a.hi));
    __m128i q = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1));
    return _mm_cvtsi128_si32(q);
}
// Saturated to a signed byte.
inline void store_i8(int8_t* p, I32 a) {
    const __m256i words =
        _mm256_permute4x64_epi64(_mm256_packs_epi32(bits(a.lo), bits(a.hi)), 0xd8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
// Of lanes within 16 bits.
inline void store_i16(int16_t* p, I32 a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm256_permute4x64_epi64(_mm256_packs_epi32(bits(a.lo), bits(a.hi)), 0xd8));
}
// Sixteen pairs of 16-bit integers, or of bytes made as wide.
inline I32 load_i16_pairs(const int16_t* p) {
    return lanes(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                 _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 16)));
}
inline I32 load_i8_pairs(const int8_t* p) {
    const __m128i* bytes = reinterpret_cast<const __m128i*>(p);
    return lanes(_mm256_cvtepi8_epi16(_mm_loadu_si128(bytes)),
                 _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes + 1)));
}

// The sum of 16 bytes.
inline int32_t sum_sixteen(const int8_t* p) {
    // The instruction adds unsigned bytes: 128 more each.
    const __m128i bytes =
        _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), _mm_set1_epi8(-128));
    const __m128i eights = _mm_sad_epu8(bytes, _mm_setzero_si128());
    return _mm_cvtsi128_si32(eights) + _mm_extract_epi16(eights, 4) - 16 * 128;
}

inline Bytes load_bytes(const uint8_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
inline void store_bytes(uint8_t* p, Bytes a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), a.hi);
}
// The bits of each byte under Mask, after a shift right by Shift.
template <int Shift, uint8_t Mask>
inline Bytes take_bits(Bytes from) {
    const __m256i mask = _mm256_set1_epi8(static_cast<char>(Mask));
    // A shift moves bits in from the next byte, where the mask has none.
    return {_mm256_and_si256(_mm256_srli_epi16(from.lo, Shift), mask),
            _mm256_and_si256(_mm256_srli_epi16(from.hi, Shift), mask)};
}
// a with those bits of `from` set, too.
template <int Shift, uint8_t Mask>
inline Bytes with_bits(Bytes a, Bytes from) {
    const Bytes taken = take_bits<Shift, Mask>(from);
    return {_mm256_or_si256(a.lo, taken.lo), _mm256_or_si256(a.hi, taken.hi)};
}

#if defined(__AVXVNNI__)
// acc[i] += sum over j < 4 of unsigned w[4i + j] * signed x[4i + j], exactly.
inline I32 dot(I32 acc, Bytes w, I32 x) {
    return lanes(_mm256_dpbusd_avx_epi32(bits(acc.lo), w.lo, bits(x.lo)),
                 _mm256_dpbusd_avx_epi32(bits(acc.hi), w.hi, bits(x.hi)));
}
inline __m256i dot_pairs_register(__m256i acc, __m256i a, __m256i b) {
    return _mm256_dpwssd_avx_epi32(acc, a, b);
}
#else
inline __m256i dot_pairs_register(__m256i acc, __m256i a, __m256i b) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}
#endif
// acc[i] += a[2i] * b[2i] + a[2i + 1] * b[2i + 1] of pairs of 16-bit integers, modulo 2^32.
inline I32 dot_pairs(I32 acc, I32 a, I32 b) {
    return lanes(dot_pairs_register(bits(acc.lo), bits(a.lo), bits(b.lo)),
                 dot_pairs_register(bits(acc.hi), bits(a.hi), bits(b.hi)));
}

}  // namespace cierzo::CIERZO_ISA
