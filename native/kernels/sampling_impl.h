// Kernels that read a whole row of logits, for the instruction set being compiled.
//
// Written over the compiler's own 16-lane vectors and plain multiplies and adds, so that the
// results are the same on every instruction set.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/sampling.h"

namespace cierzo::CIERZO_ISA {
namespace sampling {

inline constexpr int kWidth = 16;
typedef float Floats __attribute__((vector_size(kWidth * sizeof(float))));
typedef double Doubles __attribute__((vector_size(kWidth * sizeof(double))));
typedef int32_t Ints __attribute__((vector_size(kWidth * sizeof(int32_t))));

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline Floats load(const float* x) {
    Floats v;
    std::memcpy(&v, x, sizeof v);
    return v;
}

inline void store(float* x, Floats v) { std::memcpy(x, &v, sizeof v); }

// The first `n` lanes from memory, the rest `fill`.
inline Floats load_part(const float* x, int n, float fill) {
    Floats v = fill - Floats{};
    std::memcpy(&v, x, static_cast<size_t>(n) * sizeof(float));
    return v;
}

inline Floats select(Ints mask, Floats yes, Floats no) {
    return reinterpret_cast<Floats>((reinterpret_cast<Ints>(yes) & mask) |
                                    (reinterpret_cast<Ints>(no) & ~mask));
}

inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// Lanes in halves: a fixed tree.
template <typename Combine>
inline float reduce(Floats v, Combine combine) {
    float lanes[kWidth];
    store(lanes, v);
    for (int half = kWidth / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) lanes[i] = combine(lanes[i], lanes[i + half]);
    }
    return lanes[0];
}

inline float sum_lanes(Floats v) {
    return reduce(v, [](float a, float b) { return a + b; });
}

inline float max_lanes(Floats v) {
    return reduce(v, [](float a, float b) { return a > b ? a : b; });
}

// e^y for y <= 0, to about 2 units in the last place; 0 below e^-85. The polynomial and the split
// of ln 2 are those of expf in S. Moshier's Cephes library.
inline Floats exp_not_positive(Floats y) {
    const Ints in_range = y > -85.0f;
    y = select(in_range, y, Floats{});
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const Floats shifted = y * 1.44269504088896341f + magic;
    const Floats n = shifted - magic;
    const Floats r = y - n * 0.693359375f - n * -2.12194440e-4f;
    Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    // The integer sits in the low bits of `shifted`; move it into the exponent.
    const Ints exponent = reinterpret_cast<Ints>(shifted) << 23;
    const Floats e = reinterpret_cast<Floats>(reinterpret_cast<Ints>(p) + exponent);
    return select(in_range, e, Floats{});
}

inline bool chunk_max(const float* x, int n, float* max) {
    Floats finite = {};  // stays 0 while everything is finite: 0 * inf and 0 * nan are nan
    for (int begin = 0; begin < n; begin += kSampleChunk) {
        const int end = std::min(begin + kSampleChunk, n);
        Floats most = -kInfinity - Floats{};
        int i = begin;
        for (; i + kWidth <= end; i += kWidth) {
            const Floats v = load(x + i);
            most = larger(v, most);
            finite += v * 0.0f;
        }
        if (i < end) {
            most = larger(load_part(x + i, end - i, -kInfinity), most);
            finite += load_part(x + i, end - i, 0.0f) * 0.0f;
        }
        max[begin / kSampleChunk] = max_lanes(most);
    }
    return sum_lanes(finite) == 0.0f;
}

inline void chunk_exp(const float* x, int n, float max, float inv_temperature, float floor,
                      float* w, float* sum) {
    const auto weigh = [&](Floats v) {
        const Floats e = exp_not_positive((v - max) * inv_temperature);
        return select(e >= floor, e, Floats{});
    };
    for (int begin = 0; begin < n; begin += kSampleChunk) {
        const int end = std::min(begin + kSampleChunk, n);
        Floats total = {};
        int i = begin;
        for (; i + kWidth <= end; i += kWidth) {
            const Floats e = weigh(load(x + i));
            total += e;
            if (w != nullptr) store(w + i, e);
        }
        if (i < end) {
            const Floats e = weigh(load_part(x + i, end - i, -kInfinity));
            total += e;
            if (w != nullptr) std::memcpy(w + i, &e, static_cast<size_t>(end - i) * sizeof(float));
        }
        sum[begin / kSampleChunk] = sum_lanes(total);
    }
}

// The bisections run these two up to thirty times, so they keep several sums going at once.
inline constexpr int kStreams = 4;
static_assert(kSampleChunk % (kStreams * kWidth) == 0);

inline double mass_from(const float* w, int n, float threshold) {
    Doubles mass = {};
    int i = 0;
    for (; i + kSampleChunk <= n; i += kSampleChunk) {
        Floats total[kStreams] = {};
        for (int k = 0; k < kSampleChunk; k += kStreams * kWidth) {
            for (int stream = 0; stream < kStreams; ++stream) {
                const Floats v = load(w + i + k + stream * kWidth);
                total[stream] += select(v >= threshold, v, Floats{});
            }
        }
        const Floats sum = (total[0] + total[1]) + (total[2] + total[3]);
        mass += __builtin_convertvector(sum, Doubles);
    }
    double sum = 0.0;
    for (int lane = 0; lane < kWidth; ++lane) sum += mass[lane];
    for (; i < n; ++i) sum += w[i] >= threshold ? w[i] : 0.0f;
    return sum;
}

inline int count_from(const float* x, int n, float threshold) {
    Ints count[kStreams] = {};
    int i = 0;
    for (; i + kStreams * kWidth <= n; i += kStreams * kWidth) {
        for (int stream = 0; stream < kStreams; ++stream) {
            count[stream] -= load(x + i + stream * kWidth) >= threshold;
        }
    }
    int found = 0;
    for (const Ints& part : count) {
        for (int lane = 0; lane < kWidth; ++lane) found += part[lane];
    }
    for (; i < n; ++i) found += x[i] >= threshold;
    return found;
}

inline void keep_from(float* w, int n, float threshold, float* sum) {
    for (int begin = 0; begin < n; begin += kSampleChunk) {
        const int end = std::min(begin + kSampleChunk, n);
        Floats total = {};
        int i = begin;
        for (; i + kWidth <= end; i += kWidth) {
            Floats v = load(w + i);
            v = select(v >= threshold, v, Floats{});
            total += v;
            store(w + i, v);
        }
        if (i < end) {
            Floats v = load_part(w + i, end - i, 0.0f);
            v = select(v >= threshold, v, Floats{});
            total += v;
            std::memcpy(w + i, &v, static_cast<size_t>(end - i) * sizeof(float));
        }
        sum[begin / kSampleChunk] = sum_lanes(total);
    }
}

inline int gather_from(const float* x, int n, const float* max, float bound, int max_equal,
                       int32_t* indices) {
    int found = 0;
    for (int begin = 0; begin < n; begin += kSampleChunk) {
        if (!(max[begin / kSampleChunk] >= bound)) continue;
        const int end = std::min(begin + kSampleChunk, n);
        for (int i = begin; i < end; ++i) {
            if (x[i] < bound) continue;
            if (x[i] == bound && --max_equal < 0) continue;
            indices[found++] = i;
        }
    }
    return found;
}

}  // namespace sampling

inline SamplingKernels sampling_kernels() {
    return {&sampling::chunk_max,  &sampling::chunk_exp, &sampling::mass_from,
            &sampling::count_from, &sampling::keep_from, &sampling::gather_from};
}

}  // namespace cierzo::CIERZO_ISA
