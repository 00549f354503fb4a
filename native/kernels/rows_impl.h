// Kernels for work on single rows, for the instruction set being compiled.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/rows.h"
#include "simd/simd.h"

namespace cierzo::CIERZO_ISA {
namespace rows {

inline void rms_norm(const float* x, const float* weight, float eps, int cols, float* out) {
    // Two chains, taken in turn: lane-wise sums first, then one tree over the lanes.
    F32 even = zero_f32();
    F32 odd = zero_f32();
    int i = 0;
    for (; i + 2 * kLanes <= cols; i += 2 * kLanes) {
        const F32 a = load(x + i);
        const F32 b = load(x + i + kLanes);
        even = fma(a, a, even);
        odd = fma(b, b, odd);
    }
    if (i < cols) {
        const F32 a = load(x + i);
        even = fma(a, a, even);
    }
    const float mean = reduce_add(add(even, odd)) / static_cast<float>(cols);
    const F32 factor = broadcast(1.0f / std::sqrt(mean + eps));
    for (i = 0; i < cols; i += kLanes) {
        store(out + i, mul(mul(load(x + i), factor), load(weight + i)));
    }
}

inline void rotate(float* head, const float* cos_sin, int head_dim, bool interleaved) {
    // partner[i] is the other number of i's pair.
    alignas(64) float partner[kMaxHeadDim];
    if (interleaved) {
        for (int i = 0; i < head_dim; i += 2) {
            partner[i] = head[i + 1];
            partner[i + 1] = head[i];
        }
    } else {
        const int half = head_dim / 2;
        std::memcpy(partner, head + half, half * sizeof(float));
        std::memcpy(partner + half, head, half * sizeof(float));
    }
    for (int i = 0; i < head_dim; i += kLanes) {
        const F32 straight = mul(load(head + i), load(cos_sin + i));
        store(head + i, fma(load(partner + i), load(cos_sin + head_dim + i), straight));
    }
}

}  // namespace rows

inline RowKernels row_kernels() { return {rows::rms_norm, rows::rotate}; }

}  // namespace cierzo::CIERZO_ISA
