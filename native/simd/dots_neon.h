// Sums of products of bytes (dots.h) with NEON's instructions for them, which take a quad of
// activations from any lane of a register. Four quads come with one load: broadcasts would cost as
// much as a quarter of the products.
#pragma once

#include "simd/neon.h"

namespace cierzo::CIERZO_ISA {

struct Quad {
    int8x16_t sixteen;
    int lane;
};
inline Quad quad_of(const int8_t* row, int number) {
    return {vld1q_s8(row + number / 4 * 16), number % 4};
}

#if defined(CIERZO_ISA_i8mm)
template <int Lane>
inline int32x4_t dot_lane(int32x4_t sum, uint8x16_t w, int8x16_t x) {
    return vusdotq_laneq_s32(sum, w, x, Lane);
}
#else
// Both signed: numbers of up to 7 bits are the same so, those of 8 bits are 128 less.
template <int Lane>
inline int32x4_t dot_lane(int32x4_t sum, uint8x16_t w, int8x16_t x) {
    return vdotq_laneq_s32(sum, vreinterpretq_s8_u8(w), x, Lane);
}
#endif

template <int Bits, int Quads>
class Dots {
  public:
#if defined(CIERZO_ISA_i8mm)
    static constexpr int kSubtracted = 0;
#else
    static constexpr int kSubtracted = Bits == 8 ? 128 : 0;
#endif

    void start(I32 sum) { sum_ = sum; }

    // The lane is a constant once the caller's loop is unrolled, which leaves one case.
    [[gnu::always_inline]] void add(int, Bytes w, Quad x) {
        if constexpr (kSubtracted != 0) {
            w = each([](auto bytes) { return veorq_u8(bytes, vdupq_n_u8(0x80)); }, w);
        }
        switch (x.lane) {
            case 0:
                return add_lane<0>(w, x.sixteen);
            case 1:
                return add_lane<1>(w, x.sixteen);
            case 2:
                return add_lane<2>(w, x.sixteen);
            default:
                return add_lane<3>(w, x.sixteen);
        }
    }

    I32 total() const { return sum_; }

  private:
    template <int Lane>
    [[gnu::always_inline]] void add_lane(Bytes w, int8x16_t x) {
        sum_ = each([x](auto sum, auto bytes) { return dot_lane<Lane>(sum, bytes, x); }, sum_, w);
    }

    I32 sum_;
};

#if defined(CIERZO_ISA_i8mm)
constexpr int kind_of_dots(int) { return 8; }
#else
constexpr int kind_of_dots(int bits) { return bits == 8 ? 8 : 7; }
#endif
// Sixteen lanes are four chains already.
inline constexpr int kChains = 1;

}  // namespace cierzo::CIERZO_ISA
