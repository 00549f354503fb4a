// Kernels that read a whole row of logits: the passes that choosing a token is made of.
#pragma once

#include <cstdint>

namespace cierzo {

// Rows are summed up by chunks of this many values; the last may be shorter.
inline constexpr int kSampleChunk = 256;

constexpr int sample_chunks(int n) { return (n + kSampleChunk - 1) / kSampleChunk; }

struct SamplingKernels {
    // The largest value of each chunk of x[n]. False if any value is NaN or infinite.
    bool (*chunk_max)(const float* x, int n, float* max);
    // out[i] = x[i] where bit i of `mask` is set (lowest bit first), else minus infinity; the
    // largest of each chunk of out. `out` may be `x`.
    void (*keep_masked)(const float* x, int n, const uint32_t* mask, float* out, float* max);
    // w[i] = exp((x[i] - max) * inv_temperature), or 0 where that is below `floor` or 2^-126;
    // max is x's largest. Sums of w by chunk. `w` may be null (sums only) or `x`.
    void (*chunk_exp)(const float* x, int n, float max, float inv_temperature, float floor,
                      float* w, float* sum);
    // Sum of the values of w[n] that are at least `threshold`.
    double (*mass_from)(const float* w, int n, float threshold);
    // How many values of x[n] are at least `threshold`.
    int (*count_from)(const float* x, int n, float threshold);
    // Sets values below `threshold` to 0. New sums by chunk.
    void (*keep_from)(float* w, int n, float threshold, float* sum);
    // Indices, ascending, of values above `bound`, and of the first `max_equal` that equal it.
    // `max` is the chunks' largest. Returns how many; `indices` has room for n.
    int (*gather_from)(const float* x, int n, const float* max, float bound, int max_equal,
                       int32_t* indices);
};

}  // namespace cierzo
