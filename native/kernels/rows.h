// Kernels for work on single rows: norms, rotary embedding.
#pragma once

#include <cstdint>

namespace cierzo {

struct RowKernels {
    // out = x / sqrt(mean(x^2) + eps) * weight; `cols` is a multiple of 16.
    void (*rms_norm)(const float* x, const float* weight, float eps, int cols, float* out);
    // Turns the pairs of one head in place: (i, i + d/2), or (2i, 2i + 1) when interleaved.
    // cos_sin holds, for each of the d numbers, its pair's cosine; then its pair's sine, negative
    // for the first of the pair.
    void (*rotate)(float* head, const float* cos_sin, int head_dim, bool interleaved);
};

}  // namespace cierzo
