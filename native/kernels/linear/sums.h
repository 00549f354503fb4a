// What every product of int8 activations with packed weights adds up, and in which order.
//
// For every output element, in order of the groups of 32 columns:
//
//     n   = sum of number * x over the (half-)group, exact in int32, less zero_point * sum of x
//     acc = fma(n * scale_w, scale_x, acc)               n * scale_w rounded to a float
//     acc = fma(min_w, scale_x * sum of x, acc)          where the layout has a minimum
//
// Nothing else enters, so the result has the same bits however rows, tokens and columns are cut.
//
// The integer sum starts at the bit pattern of 1.5 * 2^23, where one unit of the float is one unit
// of the pattern: read as a float it is 1.5 * 2^23 + n, and fma(that, scale_w, -1.5 * 2^23 *
// scale_w) is n * scale_w with one rounding, because scale_w has at most 18 bits. That is the
// conversion and the multiplication in one instruction, and eight dot products are worth only ten
// or eleven.
#pragma once

#include "kernels/linear/formats.h"
#include "simd/dots.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

#if defined(CIERZO_ISA_portable)
inline constexpr bool kFused = false;  // fma rounds twice: convert and multiply instead
#else
inline constexpr bool kFused = true;
#endif
inline constexpr float kBias = kFused ? 12582912.0f : 0.0f;  // 1.5 * 2^23
inline constexpr int32_t kBiasBits = kFused ? 0x4b400000 : 0;

// n * scale, of a sum that started at kBiasBits.
inline F32 scaled(I32 n, F32 scale, F32 bias) {
    return kFused ? fma(as_f32(n), scale, bias) : mul(to_f32(n), scale);
}

// Runs `work.template operator()<n>()` for a count n of 1 to Max known at run time.
template <int Max, typename Work>
inline void with_count(int n, Work&& work) {
    if constexpr (Max > 1) {
        if (n < Max) return with_count<Max - 1>(n, work);
    }
    work.template operator()<Max>();
}

// What the integer sums of a (half-)group start at: the bias and the zero point's share.
template <Layout kLayout>
inline int32_t start_of(const int32_t* half_sums, int half) {
    constexpr Traits t = traits(kLayout);
    const int32_t sum = t.halves == 2 ? half_sums[half] : half_sums[0] + half_sums[1];
    constexpr int zero_point = t.zero_point - Dots<kind_of_dots(t.bits), kQuads>::kSubtracted;
    return kBiasBits - zero_point * sum;
}

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
