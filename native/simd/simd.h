// Sixteen lanes of the instruction set being compiled: the vocabulary that every kernel is written
// in.
//
// Each set offers the same types and functions:
//   F32    sixteen floats
//   I32    sixteen 32-bit integers
//   Bytes  sixty-four bytes: sixteen lanes of four
// How products of bytes are added up, which differs most between the sets, is in dots.h. dot_pairs
// multiplies pairs of 16-bit integers: one pair, in every lane, with sixteen as load_i16_pairs or
// load_i8_pairs gives them, in whatever order the set likes.
// Reductions over lanes use one tree (8 apart, 4, 2, 1), so they give the same bits on every set.
// The polynomials below are written once, over those functions.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(CIERZO_ISA_avx512)
#include "simd/avx512.h"
#elif defined(CIERZO_ISA_avx2) || defined(CIERZO_ISA_avxvnni)
#include "simd/avx2.h"
#elif defined(CIERZO_ISA_dotprod) || defined(CIERZO_ISA_i8mm)
#include "simd/neon.h"
#else
#include "simd/portable.h"
#endif

namespace cierzo::CIERZO_ISA {

// 2^x for x <= 0 (or what rounding makes of 0), to about two units in the last place; 0 for x <
// -126 (where the exact result is below the smallest normal float).
inline F32 exp2_nonpositive(F32 x) {
    const F32 n = round_f32(vmax(x, broadcast(-127.0f)));
    const F32 f = sub(x, n);  // [-0.5, 0.5]
    // Of the polynomials of this degree that are 1 at 0, the one whose largest relative error on
    // that interval is least (9.1e-8), by Lawson's iteration.
    F32 p = broadcast(1.3264728050e-3f);
    p = fma(p, f, broadcast(9.6715131393e-3f));
    p = fma(p, f, broadcast(5.5507337458e-2f));
    p = fma(p, f, broadcast(2.4022242078e-1f));
    p = fma(p, f, broadcast(6.9314697759e-1f));
    p = fma(p, f, broadcast(1.0f));
    return zero_where_below(x, broadcast(-126.0f), times_power_of_two(p, n));
}

// x / (1 + e^-x), for any finite x.
inline F32 silu(F32 x) {
    // With t = e^-|x| <= 1 both signs are exact in form: x / (1 + t) and x * t / (1 + t).
    const F32 t = exp2_nonpositive(mul(vabs(x), broadcast(-1.44269504088896341f)));
    const F32 one = broadcast(1.0f);
    return div(mul(x, select_negative(x, t, one)), add(one, t));
}

}  // namespace cierzo::CIERZO_ISA
