// Products of float32 activations with float weights.
//
// Every output element is four chains of fused multiply-adds, over the columns k with the same k
// mod 4, added as (c0 + c1) + (c2 + c3): the same for any cut of rows and tokens.
#pragma once

#include "kernels/linear/product.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

inline constexpr int kChains = 4;
#if defined(CIERZO_ISA_avx512)
inline constexpr int kFloatTokens = 6;
#else
inline constexpr int kFloatTokens = 1;
#endif

template <Layout kLayout>
inline F32 load_column(const uint8_t* p) {
    if constexpr (kLayout == Layout::F32) {
        return load(reinterpret_cast<const float*>(p));
    } else if constexpr (kLayout == Layout::F16) {
        return load_f16(reinterpret_cast<const uint16_t*>(p));
    } else {
        return load_bf16(reinterpret_cast<const uint16_t*>(p));
    }
}

template <Layout kLayout, int Tokens>
inline void float_tile(const uint8_t* block, int cols, const float* x, size_t x_stride,
                       float* sums) {
    constexpr size_t kColumn = kLanes * (kLayout == Layout::F32 ? 4 : 2);
    F32 acc[kChains][Tokens];
    for (auto& chain : acc) {
        for (F32& a : chain) a = zero_f32();
    }
    int k = 0;
    for (; k + kChains <= cols; k += kChains) {
#pragma GCC unroll 4
        for (int c = 0; c < kChains; ++c) {
            const F32 w = load_column<kLayout>(block + (k + c) * kColumn);
#pragma GCC unroll 8
            for (int r = 0; r < Tokens; ++r) {
                acc[c][r] = fma(w, broadcast(x[r * x_stride + k + c]), acc[c][r]);
            }
        }
    }
    for (int c = 0; k + c < cols; ++c) {
        const F32 w = load_column<kLayout>(block + (k + c) * kColumn);
        for (int r = 0; r < Tokens; ++r) {
            acc[c][r] = fma(w, broadcast(x[r * x_stride + k + c]), acc[c][r]);
        }
    }
    for (int r = 0; r < Tokens; ++r) {
        store(sums + r * kPairRows, add(add(acc[0][r], acc[1][r]), add(acc[2][r], acc[3][r])));
    }
}

template <Layout kLayout>
inline void all_float_tiles(const Factor& factor, int block, int blocks, const float* x,
                            size_t x_stride, int rows) {
    const Weight& weight = *factor.weight;
    for (int b = 0; b < blocks; ++b) {
        const uint8_t* data = weight.data + (block + b) * weight.block_bytes;
        float* sums = factor.sums[b / kPair][0] + b % kPair * kLanes;
        for (int row = 0; row < rows; row += kFloatTokens) {
            with_count<kFloatTokens>(std::min(kFloatTokens, rows - row), [&]<int Tokens>() {
                float_tile<kLayout, Tokens>(data, weight.cols, x + row * x_stride, x_stride,
                                            sums + row * kPairRows);
            });
        }
    }
}

// The same as `product`, for a float layout; x begins with the first of `rows` rows.
inline void product_float(const Factor& factor, int block, int blocks, const float* x,
                          size_t x_stride, int rows) {
    const Layout layout = factor.weight->layout;
    if (layout == Layout::F32) {
        all_float_tiles<Layout::F32>(factor, block, blocks, x, x_stride, rows);
    } else if (layout == Layout::F16) {
        all_float_tiles<Layout::F16>(factor, block, blocks, x, x_stride, rows);
    } else {
        all_float_tiles<Layout::BF16>(factor, block, blocks, x, x_stride, rows);
    }
}

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
