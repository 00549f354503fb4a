// Sixteen lanes as four NEON registers. Products of bytes, for which the two sets of this header
// have different instructions, are in dots.h.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace cierzo::CIERZO_ISA {

// Members rather than an array: GCC keeps them in registers before loops are unrolled, too.
template <typename Register>
struct Four {
    Register a, b, c, d;
};
using F32 = Four<float32x4_t>;
using I32 = Four<int32x4_t>;
using Bytes = Four<uint8x16_t>;

// What `work` makes of each register, of one or of several vectors.
template <typename Work, typename... Registers>
[[gnu::always_inline]] inline auto each(Work work, const Four<Registers>&... x) {
    return Four<decltype(work(x.a...))>{work(x.a...), work(x.b...), work(x.c...), work(x.d...)};
}
// The four registers as one, by halves: eight lanes apart, then four.
template <typename Work, typename Register>
[[gnu::always_inline]] inline Register fold(Work work, const Four<Register>& x) {
    return work(work(x.a, x.c), work(x.b, x.d));
}

inline F32 broadcast(float x) {
    const float32x4_t all = vdupq_n_f32(x);
    return {all, all, all, all};
}
inline F32 zero_f32() { return broadcast(0.0f); }
inline F32 load(const float* p) {
    return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
inline void store(float* p, F32 x) {
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}

inline F32 load_f16(const uint16_t* p) {
    const float16x8_t low = vreinterpretq_f16_u16(vld1q_u16(p));
    const float16x8_t high = vreinterpretq_f16_u16(vld1q_u16(p + 8));
    return {vcvt_f32_f16(vget_low_f16(low)), vcvt_high_f32_f16(low),
            vcvt_f32_f16(vget_low_f16(high)), vcvt_high_f32_f16(high)};
}
inline F32 load_bf16(const uint16_t* p) {
    const uint16x8_t low = vld1q_u16(p);
    const uint16x8_t high = vld1q_u16(p + 8);
    return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(low), 16)),
            vreinterpretq_f32_u32(vshll_high_n_u16(low, 16)),
            vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(high), 16)),
            vreinterpretq_f32_u32(vshll_high_n_u16(high, 16))};
}
inline F32 load_i8(const int8_t* p) {
    const int8x16_t bytes = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes));
    const int16x8_t high = vmovl_high_s8(bytes);
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))};
}
inline F32 load_u8(const uint8_t* p) {
    const uint8x16_t bytes = vld1q_u8(p);
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes));
    const uint16x8_t high = vmovl_high_u8(bytes);
    return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_high_u16(low)),
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_high_u16(high))};
}

inline F32 fma(F32 a, F32 b, F32 c) {
    return each([](auto x, auto y, auto z) { return vfmaq_f32(z, x, y); }, a, b, c);
}
inline F32 add(F32 a, F32 b) {
    return each([](auto x, auto y) { return vaddq_f32(x, y); }, a, b);
}
inline F32 sub(F32 a, F32 b) {
    return each([](auto x, auto y) { return vsubq_f32(x, y); }, a, b);
}
inline F32 mul(F32 a, F32 b) {
    return each([](auto x, auto y) { return vmulq_f32(x, y); }, a, b);
}
inline F32 div(F32 a, F32 b) {
    return each([](auto x, auto y) { return vdivq_f32(x, y); }, a, b);
}
// The second where either is not a number, as on the other sets: fmax and fmin would give that.
inline float32x4_t larger(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
inline F32 vmax(F32 a, F32 b) {
    return each([](auto x, auto y) { return larger(x, y); }, a, b);
}
inline F32 vmin(F32 a, F32 b) {
    return each([](auto x, auto y) { return vbslq_f32(vcltq_f32(x, y), x, y); }, a, b);
}
inline F32 vabs(F32 a) {
    return each([](auto x) { return vabsq_f32(x); }, a);
}
// To the nearest integer, ties to even.
inline F32 round_f32(F32 a) {
    return each([](auto x) { return vrndnq_f32(x); }, a);
}
// a * 2^n for integral n in [-126, 127] and a normal result; n = -127 gives zero.
inline F32 times_power_of_two(F32 a, F32 n) {
    const auto times = [](float32x4_t x, float32x4_t power) {
        const int32x4_t biased = vaddq_s32(vcvtq_s32_f32(power), vdupq_n_s32(127));
        return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(biased, 23)));
    };
    return each(times, a, n);
}
// 0 where x < bound, else a (where x is not a number, too).
inline F32 zero_where_below(F32 x, F32 bound, F32 a) {
    const auto keep = [](float32x4_t number, float32x4_t least, float32x4_t kept) {
        const uint32x4_t below = vcltq_f32(number, least);
        return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(kept), below));
    };
    return each(keep, x, bound, a);
}
// a where x has its sign bit set, else b.
inline F32 select_negative(F32 x, F32 a, F32 b) {
    const auto select = [](float32x4_t sign, float32x4_t yes, float32x4_t no) {
        return vbslq_f32(vcltzq_s32(vreinterpretq_s32_f32(sign)), yes, no);
    };
    return each(select, x, a, b);
}
// a where the lane's bit is set (lowest bit first), else b.
inline F32 select_bits(uint32_t bits, F32 a, F32 b) {
    const uint32x4_t first = {1, 2, 4, 8};
    const Four<uint32x4_t> lanes = {first, vshlq_n_u32(first, 4), vshlq_n_u32(first, 8),
                                    vshlq_n_u32(first, 12)};
    const uint32x4_t all = vdupq_n_u32(bits);
    return each(
        [all](auto lane, auto yes, auto no) { return vbslq_f32(vtstq_u32(all, lane), yes, no); },
        lanes, a, b);
}
// The first n lanes of a (all for n >= 16), the others of b.
inline F32 first_lanes(int n, F32 a, F32 b) {
    const int32x4_t first = {0, 1, 2, 3};
    const I32 lanes = {first, vaddq_s32(first, vdupq_n_s32(4)), vaddq_s32(first, vdupq_n_s32(8)),
                       vaddq_s32(first, vdupq_n_s32(12))};
    const int32x4_t count = vdupq_n_s32(n);
    return each([count](auto lane, auto yes,
                        auto no) { return vbslq_f32(vcgtq_s32(count, lane), yes, no); },
                lanes, a, b);
}
inline float reduce_add(F32 a) {
    const float32x4_t q = fold([](auto x, auto y) { return vaddq_f32(x, y); }, a);
    return vpadds_f32(vadd_f32(vget_low_f32(q), vget_high_f32(q)));
}
inline float reduce_max(F32 a) {
    const float32x4_t q = fold([](auto x, auto y) { return larger(x, y); }, a);
    const float32x4_t d = larger(q, vextq_f32(q, q, 2));
    return vgetq_lane_f32(larger(d, vdupq_laneq_f32(d, 1)), 0);
}

// The largest magnitude in both; what is not a number counts as larger than infinity.
inline float reduce_absmax(F32 a, F32 b) {
    // As integers the patterns of magnitudes are in that order.
    const I32 larger_ones = each(
        [](auto x, auto y) {
            return vmaxq_s32(vreinterpretq_s32_f32(vabsq_f32(x)),
                             vreinterpretq_s32_f32(vabsq_f32(y)));
        },
        a, b);
    const int32x4_t q = fold([](auto x, auto y) { return vmaxq_s32(x, y); }, larger_ones);
    return vgetq_lane_f32(vreinterpretq_f32_s32(vdupq_n_s32(vmaxvq_s32(q))), 0);
}

inline I32 broadcast_i32(int32_t x) {
    const int32x4_t all = vdupq_n_s32(x);
    return {all, all, all, all};
}
inline I32 zero_i32() { return broadcast_i32(0); }
inline F32 to_f32(I32 a) {
    return each([](auto x) { return vcvtq_f32_s32(x); }, a);
}
// To the nearest integer, ties to even.
inline I32 round_to_i32(F32 a) {
    return each([](auto x) { return vcvtnq_s32_f32(x); }, a);
}
// The same bits.
inline F32 as_f32(I32 a) {
    return each([](auto x) { return vreinterpretq_f32_s32(x); }, a);
}
inline I32 add(I32 a, I32 b) {
    return each([](auto x, auto y) { return vaddq_s32(x, y); }, a, b);
}
inline int32_t reduce_add(I32 a) {
    return vaddvq_s32(fold([](auto x, auto y) { return vaddq_s32(x, y); }, a));
}
// The low halves of 32-bit numbers.
inline int16x8_t low_halves(int32x4_t low, int32x4_t high) {
    return vuzp1q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high));
}
// Of lanes within a signed byte.
inline void store_i8(int8_t* p, I32 x) {
    vst1q_s8(p, vuzp1q_s8(vreinterpretq_s8_s16(low_halves(x.a, x.b)),
                          vreinterpretq_s8_s16(low_halves(x.c, x.d))));
}
// Of lanes within 16 bits.
inline void store_i16(int16_t* p, I32 x) {
    vst1q_s16(p, low_halves(x.a, x.b));
    vst1q_s16(p + 8, low_halves(x.c, x.d));
}

// Sixteen pairs of 16-bit integers, or of bytes made as wide. They are kept apart, the first of
// each of eight pairs in one register and the second in the next, as dot_pairs wants them.
inline I32 load_i16_pairs(const int16_t* p) {
    const int16x8x2_t low = {vld1q_s16(p), vld1q_s16(p + 8)};
    const int16x8x2_t high = {vld1q_s16(p + 16), vld1q_s16(p + 24)};
    return {vreinterpretq_s32_s16(vuzp1q_s16(low.val[0], low.val[1])),
            vreinterpretq_s32_s16(vuzp2q_s16(low.val[0], low.val[1])),
            vreinterpretq_s32_s16(vuzp1q_s16(high.val[0], high.val[1])),
            vreinterpretq_s32_s16(vuzp2q_s16(high.val[0], high.val[1]))};
}
inline I32 load_i8_pairs(const int8_t* p) {
    const int16x8_t low = vreinterpretq_s16_s8(vld1q_s8(p));
    const int16x8_t high = vreinterpretq_s16_s8(vld1q_s8(p + 16));
    const auto first = [](int16x8_t x) {
        return vreinterpretq_s32_s16(vshrq_n_s16(vshlq_n_s16(x, 8), 8));
    };
    const auto second = [](int16x8_t x) { return vreinterpretq_s32_s16(vshrq_n_s16(x, 8)); };
    return {first(low), second(low), first(high), second(high)};
}
// acc[i] += pair[0] * b[2i] + pair[1] * b[2i + 1] of 16-bit integers, modulo 2^32: one pair, in
// every lane, times sixteen as they were loaded.
inline I32 dot_pairs(I32 acc, I32 pair, I32 b) {
    const int16x8_t factor = vreinterpretq_s16_s32(pair.a);
    const auto low = [factor](int32x4_t sum, int32x4_t first, int32x4_t second) {
        sum = vmlal_laneq_s16(sum, vget_low_s16(vreinterpretq_s16_s32(first)), factor, 0);
        return vmlal_laneq_s16(sum, vget_low_s16(vreinterpretq_s16_s32(second)), factor, 1);
    };
    const auto high = [factor](int32x4_t sum, int32x4_t first, int32x4_t second) {
        sum = vmlal_high_laneq_s16(sum, vreinterpretq_s16_s32(first), factor, 0);
        return vmlal_high_laneq_s16(sum, vreinterpretq_s16_s32(second), factor, 1);
    };
    return {low(acc.a, b.a, b.b), high(acc.b, b.a, b.b), low(acc.c, b.c, b.d),
            high(acc.d, b.c, b.d)};
}

// The sum of 16 bytes.
inline int32_t sum_sixteen(const int8_t* p) { return vaddlvq_s8(vld1q_s8(p)); }

inline Bytes load_bytes(const uint8_t* p) {
    return {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
}
inline void store_bytes(uint8_t* p, Bytes x) {
    vst1q_u8(p, x.a);
    vst1q_u8(p + 16, x.b);
    vst1q_u8(p + 32, x.c);
    vst1q_u8(p + 48, x.d);
}
// The bits of each byte under Mask, after a shift right by Shift.
template <int Shift, uint8_t Mask>
inline Bytes take_bits(Bytes from) {
    return each(
        [](uint8x16_t x) {
            if constexpr (Shift > 0) x = vshrq_n_u8(x, Shift);
            // What a shift leaves needs no mask.
            return Mask == 0xff >> Shift ? x : vandq_u8(x, vdupq_n_u8(Mask));
        },
        from);
}
// a with those bits of `from` set, too.
template <int Shift, uint8_t Mask>
inline Bytes with_bits(Bytes a, Bytes from) {
    return each([](uint8x16_t x, uint8x16_t bits) { return vorrq_u8(x, bits); }, a,
                take_bits<Shift, Mask>(from));
}

}  // namespace cierzo::CIERZO_ISA
