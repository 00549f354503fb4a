// Softmax of rows over a split, and its weights as integers.
//
// In three passes over all rows: what one of them ends in (a maximum, sums) the next begins with,
// and while one row's is waited for, the processor is at another row.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/attention/integers.h"
#include "simd/simd.h"

namespace cierzo::CIERZO_ISA {
namespace attention {

// Rows of scores and of what becomes of them, kSplitPositions each.
struct ScoredRows {
    int rows;
    float* scores;  // overwritten
    size_t score_stride;
    const float* query_scale;   // [rows] of the scores
    const int* count;           // [rows] scores that there are; what lies beyond has no part
    const float* value_scales;  // by position
    int16_t* weights;           // zero beyond `count`, up to `padded`
    size_t weight_stride;
    int padded;   // at least every count; a multiple of 16
    float* max;   // [rows] of scores times their scale
    float* sum;   // [rows] of 2^(score - max)
    float* step;  // [rows] of the weights
};

// Calls `work(i, first_lanes)` for each vector of `count` numbers; `first_lanes(x, other)` keeps
// what lies within them.
template <typename Work>
inline void each_vector(int count, Work&& work) {
    int i = 0;
    for (; i + kLanes <= count; i += kLanes) work(i, [](F32 x, F32) { return x; });
    if (i < count) {
        work(i, [n = count - i](F32 x, F32 other) { return first_lanes(n, x, other); });
    }
}

inline float highest_score(const float* scores, int count) {
    const F32 none = broadcast(-std::numeric_limits<float>::infinity());
    F32 highest = none;
    each_vector(count, [&](int i, auto within) {
        highest = vmax(highest, within(load(scores + i), none));
    });
    return reduce_max(highest);
}

// Scores become 2^(score - max) times the positions' value scales.
template <typename Cache>
inline void exponentials(const ScoredRows& x, int r) {
    float* scores = x.scores + r * x.score_stride;
    const float* value_scales = x.value_scales;
    const F32 scale = broadcast(x.query_scale[r]);
    const F32 less = broadcast(-x.max[r]);
    F32 total = zero_f32();
    F32 weight_total = zero_f32();
    F32 heaviest = zero_f32();
    each_vector(x.count[r], [&](int i, auto within) {
        const F32 exponent = fma(load(scores + i), scale, less);
        const F32 p = within(exp2_nonpositive(exponent), zero_f32());
        const F32 w = within(mul(p, load(value_scales + i)), zero_f32());
        total = add(total, p);
        weight_total = add(weight_total, w);
        heaviest = vmax(heaviest, w);
        store(scores + i, w);
    });
    x.sum[r] = reduce_add(total);
    // A sum that is not a number wins this comparison.
    x.step[r] = std::max(reduce_add(weight_total) * per(Cache::kWeightSum),
                         reduce_max(heaviest) * per(kWord));
}

inline void round_weights(const ScoredRows& x, int r) {
    const float* scores = x.scores + r * x.score_stride;
    int16_t* weights = x.weights + r * x.weight_stride;
    // As in `quantize`.
    const F32 factor = broadcast(x.step[r] > 1e-37f ? 1.0f / x.step[r] : 0.0f);
    const int count = x.count[r];
    int i = 0;
    for (; i < count; i += kLanes) {
        store_i16(weights + i, round_to_i32(mul(load(scores + i), factor)));
    }
    for (const int padded = x.padded; i < padded; i += kLanes) store_i16(weights + i, zero_i32());
}

template <typename Cache>
inline void softmax(const ScoredRows& x) {
    for (int r = 0; r < x.rows; ++r) {
        const float highest = highest_score(x.scores + r * x.score_stride, x.count[r]);
        // Where there is none, minus infinity, whatever the scale is.
        x.max[r] = x.count[r] > 0 ? highest * x.query_scale[r] : highest;
    }
    for (int r = 0; r < x.rows; ++r) exponentials<Cache>(x, r);
    for (int r = 0; r < x.rows; ++r) round_weights(x, r);
}

}  // namespace attention
}  // namespace cierzo::CIERZO_ISA
