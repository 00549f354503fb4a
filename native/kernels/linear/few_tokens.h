// Products for up to four rows of activations: weights are unpacked in registers on their way from
// memory, which is what bounds the speed.
#pragma once

#include "kernels/linear/sums.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

inline constexpr int kFewTokens = 4;  // read straight from memory at once
inline constexpr int kPair = 2;       // blocks worked on together
inline constexpr int kPairRows = kPair * kLanes;

// Blocks that go together with so many tokens: as many as leave their sums in the registers.
constexpr int few_blocks([[maybe_unused]] int tokens) {
#if defined(CIERZO_ISA_dotprod) || defined(CIERZO_ISA_i8mm)
    return 1;
#elif defined(CIERZO_ISA_avx2) || defined(CIERZO_ISA_avxvnni)
    return tokens <= 2 ? kPair : 1;
#else
    return kPair;
#endif
}

// sums[r][Blocks * 16] of neighbouring blocks over all columns, for rows [row, row + Tokens) of x.
template <Layout kLayout, int Blocks, int Tokens>
[[gnu::noinline]] void few_tokens(const Weight& weight, int block, const QuantizedRows& x, int row,
                                  float* sums) {
    constexpr Traits t = traits(kLayout);
    F32 acc[Blocks][Tokens];
    for (auto& rows : acc) {
        for (F32& a : rows) a = zero_f32();
    }
    const Reader<kLayout> first(weight, block);
    const Reader<kLayout> second = Blocks == 2 ? first.next() : first;
    const int groups = weight.cols / kGroup;
    for (int group = 0; group < groups; ++group) {
        const size_t at = row * x.scale_stride + group;
        const int8_t* q = x.q + row * x.q_stride + group * kGroup;
        const Group<kLayout> from[2] = {first.at(group), second.at(group)};
#pragma GCC unroll 2
        for (int half = 0; half < t.halves; ++half) {
            // With one scale for all eight quads there is time for a second sum.
            constexpr int kSums = t.halves == 2 ? 1 : kChains;
            constexpr int kPerHalf = kQuads / t.halves;
            Dots<t.bits, kPerHalf / kSums> n[kSums][Blocks][Tokens];
#pragma GCC unroll 4
            for (int r = 0; r < Tokens; ++r) {
                const int32_t* half_sums = x.sum + 2 * (at + r * x.scale_stride);
                const I32 start = broadcast_i32(start_of<kLayout>(half_sums, half));
#pragma GCC unroll 2
                for (int b = 0; b < Blocks; ++b) {
                    n[0][b][r].start(start);
                    if constexpr (kSums == 2) n[1][b][r].start(zero_i32());
                }
            }
#pragma GCC unroll 8
            for (int i = 0; i < kPerHalf; ++i) {
                // Two quads that share a word follow each other.
                const int quad = t.halves == 2 ? 4 * half + i : i / 2 + i % 2 * 4;
                const int quarter = (half * kPerHalf + i) / 2;
                Bytes w[Blocks];
                if (i % 2 == 0) first.template prefetch<Blocks>(group, quarter);
                w[0] = from[0].quad(quad);
                if constexpr (Blocks == 2) {
                    if (i % 2 == 0) second.template prefetch<Blocks>(group, quarter);
                    w[1] = from[1].quad(quad);
                }
#pragma GCC unroll 4
                for (int r = 0; r < Tokens; ++r) {
                    const auto four = quad_of(q + r * x.q_stride, quad);
#pragma GCC unroll 2
                    for (int b = 0; b < Blocks; ++b) {
                        n[i % kSums][b][r].add(i / kSums, w[b], four);
                    }
                }
            }
#pragma GCC unroll 2
            for (int b = 0; b < Blocks; ++b) {
                const F32 scale = from[b].scale(half);
                const F32 bias = mul(scale, broadcast(-kBias));
#pragma GCC unroll 4
                for (int r = 0; r < Tokens; ++r) {
                    I32 sum = n[0][b][r].total();
                    if constexpr (kSums == 2) sum = add(sum, n[1][b][r].total());
                    acc[b][r] = fma(scaled(sum, scale, bias),
                                    broadcast(x.scale[at + r * x.scale_stride]), acc[b][r]);
                }
            }
        }
        if constexpr (t.min) {
#pragma GCC unroll 2
            for (int b = 0; b < Blocks; ++b) {
                const F32 min = from[b].min();
#pragma GCC unroll 4
                for (int r = 0; r < Tokens; ++r) {
                    acc[b][r] = fma(min, broadcast(x.offset[at + r * x.scale_stride]), acc[b][r]);
                }
            }
        }
    }
    for (int b = 0; b < Blocks; ++b) {
        for (int r = 0; r < Tokens; ++r) store(sums + r * kPairRows + b * kLanes, acc[b][r]);
    }
}

// The same of one block or two.
template <Layout kLayout, int Tokens>
inline void few_pair(const Weight& weight, int block, int blocks, const QuantizedRows& x, int row,
                     float* sums) {
    if (few_blocks(Tokens) == kPair && blocks == kPair) {
        few_tokens<kLayout, few_blocks(Tokens), Tokens>(weight, block, x, row, sums);
        return;
    }
    for (int b = 0; b < blocks; ++b) {
        few_tokens<kLayout, 1, Tokens>(weight, block + b, x, row, sums + b * kLanes);
    }
}

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
