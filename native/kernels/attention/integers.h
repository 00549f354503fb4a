// Numbers of attention as integers, for the instruction set being compiled: limits under which
// every sum fits 32 bits, how a head is quantized, and how a block of the cache lies.
//
// A sum of products is bounded by the product of its factors' norms (Cauchy and Schwarz), or by the
// largest of one side times the sum of the other. Scales are chosen from that, rather than from the
// worst that numbers of so many bits could add up to: it leaves two to three bits more. All sums
// are therefore exact, whatever order they are added in.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/attention.h"
#include "kernels/linear.h"
#include "simd/simd.h"

namespace cierzo::CIERZO_ISA {
namespace attention {

inline constexpr int kBlockVectors = kBlockPositions / kLanes;

// What the integers of one vector may be: their magnitude, and their Euclidean norm (0: any).
struct Limits {
    int largest;
    int norm;
};

inline constexpr int kWord = 32767;
inline constexpr int64_t kSumBound = int64_t{1} << 31;  // sums of products stay below
inline constexpr int kNormBound = 46300;
inline constexpr int kWordValue = 5400;  // rounding of values and of weights in balance
inline constexpr int kByte = 127;

// Rounding adds at most half a unit to each of the numbers that a limit is for.
static_assert(int64_t{kNormBound + 12} * (kNormBound + 12) < kSumBound && kMaxHeadDim <= 512);
static_assert(int64_t{kWord} * kByte * kMaxHeadDim < kSumBound);
static_assert(int64_t{kWord} * kByte * kSplitPositions < kSumBound);

// The two element types of the cache.
struct Words {
    using Element = int16_t;
    static constexpr Limits kQuery{kWord, kNormBound};
    static constexpr Limits kKey{kWord, kNormBound};
    static constexpr Limits kValue{kWordValue, 0};
    // Of a row's weights over a split: their sum times the largest value fits.
    static constexpr int kWeightSum = kSumBound / kWordValue - kSplitPositions;
    static I32 load_pairs(const int16_t* p) { return load_i16_pairs(p); }
};

struct Octets {
    using Element = int8_t;
    static constexpr Limits kQuery{kWord, 0};
    static constexpr Limits kKey{kByte, 0};
    static constexpr Limits kValue{kByte, 0};
    static constexpr int kWeightSum = 0;  // any
    static I32 load_pairs(const int8_t* p) { return load_i8_pairs(p); }
};

// The reciprocal of a limit, 0 where there is none.
constexpr float per(int limit) { return limit == 0 ? 0.0f : 1.0f / static_cast<float>(limit); }

// One head's part of a block: pairs that a product adds up lie together.
template <typename Cache>
struct Block {
    using Element = typename Cache::Element;
    Element* keys;    // [head_dim / 2][32][2]
    Element* values;  // [16][head_dim][2]: of two positions each
    float* key_scales;
    float* value_scales;

    Block(const HeadCache& cache, int index)
        : keys(reinterpret_cast<Element*>(cache.data + index * cache.block_stride)),
          values(keys + kBlockPositions * cache.head_dim),
          key_scales(reinterpret_cast<float*>(values + kBlockPositions * cache.head_dim)),
          value_scales(key_scales + kBlockPositions) {}
};

// x = q * scale, q as large as `limits` allow; gives the scale. What is not finite makes it NaN,
// so that the damage shows in the result.
inline float quantize(const float* x, int n, const Limits& limits, int16_t* q) {
    F32 highest = zero_f32();
    for (int i = 0; i < n; i += kLanes) highest = vmax(highest, vabs(load(x + i)));
    const float absmax = reduce_max(highest);
    // Below this reciprocals would overflow; such a vector is as good as zero.
    const float inverse = absmax > 1e-33f ? 1.0f / absmax : 0.0f;
    F32 squares = zero_f32();
    for (int i = 0; i < n; i += kLanes) {
        const F32 y = mul(load(x + i), broadcast(inverse));  // NaN for infinities, too
        squares = add(squares, mul(y, y));
    }
    // Of absmax. A NaN norm wins this comparison.
    const float step =
        std::max(std::sqrt(reduce_add(squares)) * per(limits.norm), per(limits.largest));
    const F32 factor = broadcast(inverse / step);
    for (int i = 0; i < n; i += kLanes) {
        store_i16(q + i, round_to_i32(mul(load(x + i), factor)));
    }
    return absmax * step;
}

template <typename Cache>
void store_head(const HeadCache& cache, int block, int slot, const float* key, const float* value) {
    using Element = typename Cache::Element;
    const Block<Cache> to(cache, block);
    const int d = cache.head_dim;
    alignas(64) int16_t q[kMaxHeadDim];
    to.key_scales[slot] = quantize(key, d, Cache::kKey, q);
    for (int i = 0; i < d; i += 2) {
        const Element pair[2] = {static_cast<Element>(q[i]), static_cast<Element>(q[i + 1])};
        __builtin_memcpy(to.keys + (i / 2 * kBlockPositions + slot) * 2, pair, sizeof pair);
    }
    to.value_scales[slot] = quantize(value, d, Cache::kValue, q);
    Element* values = to.values + slot / 2 * 2 * d + slot % 2;
    for (int i = 0; i < d; ++i) values[2 * i] = static_cast<Element>(q[i]);
}

}  // namespace attention
}  // namespace cierzo::CIERZO_ISA
