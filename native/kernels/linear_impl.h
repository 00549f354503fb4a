// Kernels for matrix products with packed weights, for the instruction set being compiled.
#pragma once

#include <limits>

#include "kernels/linear/pack.h"
#include "kernels/linear/product.h"
#include "kernels/linear/product_float.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

// x = q * scale with scale = absmax / 127, by group of 32. A group that holds a NaN or an infinity
// gets a NaN for its scale, so that the damage shows in the result.
inline void quantize_group(const float* x, int8_t* q, float& scale, int32_t* sum, float& offset) {
    const F32 a = load(x);
    const F32 b = load(x + kLanes);
    const float absmax = reduce_absmax(a, b);
    // Below this the reciprocal would overflow; such a group is as good as zero.
    const float inverse = absmax > 1e-35f ? 127.0f / absmax : 0.0f;
    store_i8(q, round_to_i32(mul(a, broadcast(inverse))));
    store_i8(q + kLanes, round_to_i32(mul(b, broadcast(inverse))));
    const float infinity = std::numeric_limits<float>::infinity();
    scale = absmax < infinity ? absmax * (1.0f / 127.0f) : std::numeric_limits<float>::quiet_NaN();
    sum[0] = sum_sixteen(q);
    sum[1] = sum_sixteen(q + kLanes);
    offset = scale * static_cast<float>(sum[0] + sum[1]);
}

// Group `group` of row `row` of `out`: as one plane, or as two rows 2 * row and 2 * row + 1, of
// which the second quantises what the first left over.
inline void quantize_planes(const float* x, const QuantizedRows& out, int planes, int row,
                            int group) {
    size_t at = row * planes * out.scale_stride + group;
    int8_t* q = out.q + row * planes * out.q_stride + group * kGroup;
    quantize_group(x, q, out.scale[at], out.sum + 2 * at, out.offset[at]);
    if (planes == 1) return;
    alignas(64) float rest[kGroup];
    for (int i = 0; i < kGroup; i += kLanes) {
        const F32 kept = mul(load_i8(q + i), broadcast(out.scale[at]));
        store(rest + i, sub(load(x + i), kept));
    }
    at += out.scale_stride;
    quantize_group(rest, q + out.q_stride, out.scale[at], out.sum + 2 * at, out.offset[at]);
}

template <int kPlanes>
inline void quantize_rows(const float* x, size_t x_stride, int cols, int token_begin, int token_end,
                          const QuantizedRows& out) {
    for (int t = token_begin; t < token_end; ++t) {
        for (int g = 0; g < cols / kGroup; ++g) {
            quantize_planes(x + t * x_stride + g * kGroup, out, kPlanes, t, g);
        }
    }
}

// sums[p][r] of each factor = rows of the activations times its pairs of blocks, in any layout.
inline void any_product(const Factor* factors, int num_factors, int block, int blocks,
                        const float* x, size_t x_stride, const QuantizedRows* xq, int row_begin,
                        int rows, Scratch& scratch) {
    const Layout layout = factors[0].weight->layout;
    if (num_factors == 2 && factors[1].weight->layout != layout) {
        any_product(factors, 1, block, blocks, x, x_stride, xq, row_begin, rows, scratch);
        any_product(factors + 1, 1, block, blocks, x, x_stride, xq, row_begin, rows, scratch);
    } else if (takes_quantized(layout)) {
        with_layout(layout, [&]<Layout kLayout>() {
            product<kLayout>(factors, num_factors, block, blocks, *xq, row_begin, rows, scratch);
        });
    } else {
        const float* from = x + row_begin * x_stride;
        for (int f = 0; f < num_factors; ++f) {
            product_float(factors[f], block, blocks, from, x_stride, rows);
        }
    }
}

inline void store_rows(float* out, F32 value, int rows) {
    if (rows >= kLanes) {
        store(out, value);
        return;
    }
    alignas(64) float lanes[kLanes];
    store(lanes, value);
    std::copy_n(lanes, rows, out);
}

inline F32 load_rows(const float* from, int rows) {
    if (rows >= kLanes) return load(from);
    alignas(64) float lanes[kLanes] = {};
    std::copy_n(from, rows, lanes);
    return load(lanes);
}

inline void linear(const LinearArgs& args, int block_begin, int block_end, int token_begin,
                   int token_end, void* memory) {
    Scratch& scratch = *static_cast<Scratch*>(memory);
    const Weight& weight = *args.weight;
    const int planes = takes_quantized(weight.layout) ? args.planes : 1;
    const int panel = kPanelTokens / planes;
    for (int first = token_begin; first < token_end; first += panel) {
        const int tokens = std::min(panel, token_end - first);
        for (int block = block_begin; block < block_end; block += kPanelPairs * kPair) {
            const int blocks = std::min(kPanelPairs * kPair, block_end - block);
            Factor factor{&weight, scratch.sums};
            // Usually the product can write its result itself.
            const bool direct = takes_quantized(weight.layout) && planes == 1 &&
                                tokens > kFewTokens * kFewPasses &&
                                (block + blocks) * kLanes <= weight.rows;
            if (direct) {
                factor.target =
                    Target{args.out, args.out_stride, args.residual, args.residual_stride}.at(first,
                                                                                              0);
            }
            any_product(&factor, 1, block, blocks, args.x, args.x_stride, args.xq, first * planes,
                        tokens * planes, scratch);
            if (direct) continue;
            for (int t = 0; t < tokens; ++t) {
                for (int b = 0; b < blocks; ++b) {
                    const float* sums = scratch.sums[b / kPair][t * planes] + b % kPair * kLanes;
                    const int row = (block + b) * kLanes;
                    const int rows = weight.rows - row;
                    F32 value = load(sums);
                    if (planes == 2) value = add(value, load(sums + kPairRows));
                    if (args.residual != nullptr) {
                        const float* residual =
                            args.residual + (first + t) * args.residual_stride + row;
                        value = add(value, load_rows(residual, rows));
                    }
                    store_rows(args.out + (first + t) * args.out_stride + row, value, rows);
                }
            }
        }
    }
}

// silu(gate) * up for one token and pair of blocks, as asked.
inline void store_gated(const GatedArgs& args, int token, int pair, const float* gates,
                        const float* ups) {
    const int row = pair * kPairRows;
    const int rows = std::min(kPairRows, args.gate->rows - row);
    alignas(64) float result[kPairRows] = {};
    for (int i = 0; i < rows; i += kLanes) {
        F32 gate = load(gates + i);
        F32 up = load(ups + i);
        if (args.planes == 2) {
            gate = add(gate, load(gates + kPairRows + i));
            up = add(up, load(ups + kPairRows + i));
        }
        store(result + i, mul(silu(gate), up));
    }
    if (args.out != nullptr) {
        std::copy_n(result, rows, args.out + token * args.out_stride + row);
    }
    if (args.out_q != nullptr) quantize_planes(result, *args.out_q, args.out_planes, token, pair);
}

inline void gated(const GatedArgs& args, int pair_begin, int pair_end, int token_begin,
                  int token_end, void* memory) {
    Scratch& scratch = *static_cast<Scratch*>(memory);
    constexpr int kPairs = kPanelPairs / 2;
    const Factor factors[2] = {{args.gate, scratch.sums}, {args.up, scratch.sums + kPairs}};
    const int planes = args.planes;
    const int panel = kPanelTokens / planes;
    for (int first = token_begin; first < token_end; first += panel) {
        const int tokens = std::min(panel, token_end - first);
        for (int begin = pair_begin; begin < pair_end; begin += kPairs) {
            const int pairs = std::min(kPairs, pair_end - begin);
            const int block = begin * kPair;
            const int blocks = std::min(pairs * kPair, args.gate->blocks() - block);
            any_product(factors, 2, block, blocks, args.x, args.x_stride, args.xq, first * planes,
                        tokens * planes, scratch);
            for (int t = 0; t < tokens; ++t) {
                for (int p = 0; p < pairs; ++p) {
                    store_gated(args, first + t, begin + p, scratch.sums[p][t * planes],
                                scratch.sums[kPairs + p][t * planes]);
                }
            }
        }
    }
}

}  // namespace linear

inline LinearKernels linear_kernels() {
    return {
        linear::block_bytes,      linear::pack,   linear::dequantize_row, linear::quantize_rows<1>,
        linear::quantize_rows<2>, linear::linear, linear::gated,          sizeof(linear::Scratch),
        linear::kWholeTile};
}

}  // namespace cierzo::CIERZO_ISA
