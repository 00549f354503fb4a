// Sums of products of bytes, of one quad of columns after the other.
//
// `Dots<Bits, Quads>` adds up to so many quads: in each of sixteen lanes four products of numbers
// of so many bits (unsigned bytes) with activations (signed bytes, -127 to 127), exactly. The sum
// is that of `number - kSubtracted`. `quad_of` gives a quad of activations as `add` takes it.
#pragma once

#include "simd/simd.h"

#if defined(CIERZO_ISA_dotprod) || defined(CIERZO_ISA_i8mm)
#include "simd/dots_neon.h"
#else

namespace cierzo::CIERZO_ISA {

// Quad `number` of one row of activations, in every lane.
inline I32 quad_of(const int8_t* row, int number) {
    int32_t four;
    __builtin_memcpy(&four, row + 4 * number, sizeof four);
    return broadcast_i32(four);
}

#if !defined(CIERZO_ISA_avx2)

template <int Bits, int Quads>
class Dots {
  public:
    static constexpr int kSubtracted = 0;

    void start(I32 sum) { sum_ = sum; }

    void add(int, Bytes w, I32 x) { sum_ = dot(sum_, w, x); }

    I32 total() const { return sum_; }

  private:
    I32 sum_;
};

// Numbers of fewer bits are added up in the same way, as those of so many.
constexpr int kind_of_dots(int) { return 8; }
// Each product waits for the one before: two sums are faster than one.
inline constexpr int kChains = 2;

#else

// Without an instruction for it: vpmaddubsw adds two products to 16 bits, and as many of these are
// added as cannot overflow before vpmaddwd makes 32 bits of them. Of numbers of 8 bits not even two
// products fit; less 128 they do, if the sign goes to the activation.
template <int Bits, int Quads>
class Dots {
  public:
    static constexpr int kSubtracted = Bits == 8 ? 128 : 0;

    void start(I32 sum) { sum_ = sum; }

    // The quad is the `number`th, a constant once the caller's loop is unrolled.
    [[gnu::always_inline]] void add(int number, Bytes w, I32 x) {
        const Bytes products = {pair_products(w.lo, bits(x.lo)), pair_products(w.hi, bits(x.hi))};
        if (number % kTogether == 0) {
            pairs_ = products;
        } else {
            pairs_ = {_mm256_add_epi16(pairs_.lo, products.lo),
                      _mm256_add_epi16(pairs_.hi, products.hi)};
        }
        // Or GCC adds all of them up as a tree, whose leaves do not fit the registers.
        asm("" : "+x"(pairs_.lo), "+x"(pairs_.hi));
        if (number % kTogether == kTogether - 1) {
            const __m256i ones = _mm256_set1_epi16(1);
            sum_ = CIERZO_ISA::add(sum_, lanes(_mm256_madd_epi16(pairs_.lo, ones),
                                               _mm256_madd_epi16(pairs_.hi, ones)));
        }
    }

    I32 total() const { return sum_; }

  private:
    static constexpr int kLargest = 2 * 127 * (Bits == 8 ? 128 : (1 << Bits) - 1);
    static constexpr int kFit = 32767 / kLargest;
    static constexpr int kTogether = kFit >= 8 ? 8 : kFit >= 4 ? 4 : kFit >= 2 ? 2 : 1;
    static_assert(Bits < 8 || kTogether == 1);

    static __m256i pair_products(__m256i w, __m256i x) {
        if constexpr (Bits < 8) return _mm256_maddubs_epi16(w, x);
        const __m256i less = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
        return _mm256_maddubs_epi16(_mm256_abs_epi8(less), _mm256_sign_epi8(x, less));
    }

    I32 sum_;
    Bytes pairs_;  // of 16 bits
};

constexpr int kind_of_dots(int bits) { return bits; }
inline constexpr int kChains = 1;

#endif

}  // namespace cierzo::CIERZO_ISA
#endif
