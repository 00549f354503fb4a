// Kernels that read a whole row of logits, for the instruction set being compiled.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/sampling.h"
#include "simd/simd.h"

namespace cierzo::CIERZO_ISA {
namespace sampling {

inline constexpr int kWidth = 16;
inline constexpr int kStreams = 4;  // sums kept going at once, to hide the latency of adding
inline constexpr float kLog2E = 1.44269504088896341f;
inline constexpr float kLowest = -std::numeric_limits<float>::infinity();
static_assert(kSampleChunk % (kStreams * kWidth) == 0);

// Calls vector(i, v) for the values from `begin` to `end`, sixteen at a time; the last `v` is
// filled up with `fill`.
template <typename Vector>
inline void each_vector(const float* x, int begin, int end, float fill, Vector vector) {
    int i = begin;
    for (; i + kWidth <= end; i += kWidth) vector(i, load(x + i));
    if (i < end) {
        float rest[kWidth];
        std::fill_n(rest, kWidth, fill);
        std::memcpy(rest, x + i, static_cast<size_t>(end - i) * sizeof(float));
        vector(i, load(rest));
    }
}

// Stores the lanes of v that lie before `end`.
inline void store_until(float* w, int i, int end, F32 v) {
    if (i + kWidth <= end) return store(w + i, v);
    float rest[kWidth];
    store(rest, v);
    std::memcpy(w + i, rest, static_cast<size_t>(end - i) * sizeof(float));
}

inline bool chunk_max(const float* x, int n, float* max) {
    F32 finite = zero_f32();  // stays 0 while all is finite: 0 * inf and 0 * nan are nan
    for (int begin = 0; begin < n; begin += kSampleChunk) {
        F32 most = broadcast(kLowest);
        each_vector(x, begin, std::min(begin + kSampleChunk, n), x[begin], [&](int, F32 v) {
            most = vmax(v, most);
            finite = fma(v, zero_f32(), finite);
        });
        max[begin / kSampleChunk] = reduce_max(most);
    }
    return reduce_add(finite) == 0.0f;
}

inline void keep_masked(const float* x, int n, const uint32_t* mask, float* out, float* max) {
    const F32 never = broadcast(kLowest);
    for (int begin = 0; begin < n; begin += kSampleChunk) {
        const int end = std::min(begin + kSampleChunk, n);
        F32 most = never;
        each_vector(x, begin, end, kLowest, [&](int i, F32 v) {
            const F32 kept = select_bits(mask[i / 32] >> (i % 32), v, never);
            most = vmax(kept, most);
            store_until(out, i, end, kept);
        });
        max[begin / kSampleChunk] = reduce_max(most);
    }
}

inline void chunk_exp(const float* x, int n, float max, float inv_temperature, float floor,
                      float* w, float* sum) {
    const F32 scale = broadcast(inv_temperature * kLog2E);
    const F32 origin = broadcast(max);
    const F32 least = broadcast(floor);
    for (int begin = 0; begin < n; begin += kSampleChunk) {
        const int end = std::min(begin + kSampleChunk, n);
        F32 total = zero_f32();
        each_vector(x, begin, end, kLowest, [&](int i, F32 v) {
            const F32 e = exp2_nonpositive(mul(sub(v, origin), scale));
            const F32 kept = zero_where_below(e, least, e);
            total = add(total, kept);
            if (w != nullptr) store_until(w, i, end, kept);
        });
        sum[begin / kSampleChunk] = reduce_add(total);
    }
}

inline double mass_from(const float* w, int n, float threshold) {
    const F32 bound = broadcast(threshold);
    double mass = 0.0;
    int begin = 0;
    for (; begin + kSampleChunk <= n; begin += kSampleChunk) {
        F32 total[kStreams] = {zero_f32(), zero_f32(), zero_f32(), zero_f32()};
        for (int i = begin; i < begin + kSampleChunk; i += kStreams * kWidth) {
            for (int stream = 0; stream < kStreams; ++stream) {
                const F32 v = load(w + i + stream * kWidth);
                total[stream] = add(total[stream], zero_where_below(v, bound, v));
            }
        }
        mass += reduce_add(add(add(total[0], total[1]), add(total[2], total[3])));
    }
    F32 total = zero_f32();
    each_vector(w, begin, n, 0.0f,
                [&](int, F32 v) { total = add(total, zero_where_below(v, bound, v)); });
    return mass + reduce_add(total);
}

inline int count_from(const float* x, int n, float threshold) {
    const F32 bound = broadcast(threshold);
    const F32 one = broadcast(1.0f);
    F32 count[kStreams] = {zero_f32(), zero_f32(), zero_f32(), zero_f32()};
    int i = 0;
    for (; i + kStreams * kWidth <= n; i += kStreams * kWidth) {
        for (int stream = 0; stream < kStreams; ++stream) {
            const F32 v = load(x + i + stream * kWidth);
            count[stream] = add(count[stream], zero_where_below(v, bound, one));
        }
    }
    each_vector(x, i, n, kLowest,
                [&](int, F32 v) { count[0] = add(count[0], zero_where_below(v, bound, one)); });
    return static_cast<int>(reduce_add(add(add(count[0], count[1]), add(count[2], count[3]))));
}

inline void keep_from(float* w, int n, float threshold, float* sum) {
    const F32 bound = broadcast(threshold);
    for (int begin = 0; begin < n; begin += kSampleChunk) {
        const int end = std::min(begin + kSampleChunk, n);
        F32 total = zero_f32();
        each_vector(w, begin, end, 0.0f, [&](int i, F32 v) {
            const F32 kept = zero_where_below(v, bound, v);
            total = add(total, kept);
            store_until(w, i, end, kept);
        });
        sum[begin / kSampleChunk] = reduce_add(total);
    }
}

inline int gather_from(const float* x, int n, const float* max, float bound, int max_equal,
                       int32_t* indices) {
    int found = 0;
    for (int begin = 0; begin < n; begin += kSampleChunk) {
        const float most = max[begin / kSampleChunk];
        if (most < bound || (most == bound && max_equal <= 0)) continue;
        const int end = std::min(begin + kSampleChunk, n);
        each_vector(x, begin, end, kLowest, [&](int first, F32 v) {
            if (reduce_max(v) < bound) return;
            for (int i = first; i < std::min(first + kWidth, end); ++i) {
                if (x[i] < bound || (x[i] == bound && --max_equal < 0)) continue;
                indices[found++] = i;
            }
        });
    }
    return found;
}

}  // namespace sampling

inline SamplingKernels sampling_kernels() {
    return {&sampling::chunk_max,  &sampling::keep_masked, &sampling::chunk_exp,
            &sampling::mass_from,  &sampling::count_from,  &sampling::keep_from,
            &sampling::gather_from};
}

}  // namespace cierzo::CIERZO_ISA
