// Products of int8 activations with packed weights: one expression, in register tiles of any size.
//
// For every output element, in order of the groups of 32 columns:
//     n   = sum of number * x over the (half-)group, exact in int32, less zero_point * sum of x
//     acc = fma(float(n), scale_w * scale_x, acc)
//     acc = fma(min_w, scale_x * sum of x, acc)        where the layout has a minimum
// Nothing else enters, so the result has the same bits however rows, tokens and columns are cut.
//
// Few tokens: weights are unpacked in registers on their way from memory, which is what bounds the
// speed. Many tokens: a pair of blocks is unpacked to bytes once, a slice of columns at a time that
// stays in the first cache, and tiles of tokens run over it.
#pragma once

#include <algorithm>

#include "kernels/linear/formats.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

// Register tile of the many-token path: kTileBlocks x kTileTokens vectors of sums.
#if defined(CIERZO_ISA_avx512)
inline constexpr int kTileBlocks = 2;
inline constexpr int kTileTokens = 6;
#else
inline constexpr int kTileBlocks = 1;
inline constexpr int kTileTokens = 3;
#endif
inline constexpr int kFewTokens = 4;     // up to here weights are read straight from memory
inline constexpr int kSliceGroups = 32;  // groups of a slice: 32 KB of unpacked bytes a pair
inline constexpr int kPair = 2;          // blocks worked on together
inline constexpr int kPairRows = kPair * kLanes;
inline constexpr int kPanelTokens = 516;  // tokens whose sums fit the scratch at once

// One unpacked group of 16 rows.
struct Group {
    uint8_t quads[kQuads][kQuadBytes];
    float scale[2][kLanes];
    float min[kLanes];
};

// A thread's scratch.
struct Scratch {
    Group slice[kPair][kSliceGroups];
    float sums[2][kPanelTokens][kPairRows];  // [0] for the product, [1] for a second one (gate, up)
};

// Rows of activations from one row on.
struct Input {
    const int8_t* q;
    const float* scale;
    const int32_t* sum;
    const float* offset;
    size_t q_stride, scale_stride;

    Input(const QuantizedRows& x, int row)
        : q(x.q + row * x.q_stride),
          scale(x.scale + row * x.scale_stride),
          sum(x.sum + 2 * row * x.scale_stride),
          offset(x.offset + row * x.scale_stride),
          q_stride(x.q_stride),
          scale_stride(x.scale_stride) {}

    I32 quad(int row, int group, int j) const {
        int32_t four;
        __builtin_memcpy(&four, q + row * q_stride + group * kGroup + 4 * j, sizeof four);
        return broadcast_i32(four);
    }
};

// Adds one group of `Blocks` blocks to the sums of `Tokens` rows of x. `quad(b, j)` gives the
// weights' bytes, `scale(b, half)` and `min(b)` their float parts.
template <Layout kLayout, int Blocks, int Tokens, typename Quad, typename Scale, typename Min>
inline __attribute__((always_inline)) void add_group(const Input& x, int group, Quad quad,
                                                     Scale scale, Min min,
                                                     F32 (&acc)[Blocks][Tokens]) {
    constexpr Traits t = traits(kLayout);
    constexpr int kPerHalf = kQuads / t.halves;
#pragma GCC unroll 2
    for (int half = 0; half < t.halves; ++half) {
        I32 n[Blocks][Tokens];
#pragma GCC unroll 8
        for (int r = 0; r < Tokens; ++r) {
            I32 start = zero_i32();
            if constexpr (t.zero_point != 0) {
                const int32_t* sum = x.sum + 2 * (r * x.scale_stride + group);
                const int32_t of_part = t.halves == 2 ? sum[half] : sum[0] + sum[1];
                start = broadcast_i32(-t.zero_point * of_part);
            }
            for (int b = 0; b < Blocks; ++b) n[b][r] = start;
        }
#pragma GCC unroll 8
        for (int j = half * kPerHalf; j < (half + 1) * kPerHalf; ++j) {
            Bytes w[Blocks];
            for (int b = 0; b < Blocks; ++b) w[b] = quad(b, j);
#pragma GCC unroll 8
            for (int r = 0; r < Tokens; ++r) {
                const I32 four = x.quad(r, group, j);
                for (int b = 0; b < Blocks; ++b) n[b][r] = dot(n[b][r], w[b], four);
            }
        }
        for (int b = 0; b < Blocks; ++b) {
            const F32 weight_scale = scale(b, half);
#pragma GCC unroll 8
            for (int r = 0; r < Tokens; ++r) {
                const F32 by = mul(weight_scale, broadcast(x.scale[r * x.scale_stride + group]));
                acc[b][r] = fma(to_f32(n[b][r]), by, acc[b][r]);
            }
        }
    }
    if constexpr (t.min) {
        for (int b = 0; b < Blocks; ++b) {
            const F32 weight_min = min(b);
#pragma GCC unroll 8
            for (int r = 0; r < Tokens; ++r) {
                const F32 by = broadcast(x.offset[r * x.scale_stride + group]);
                acc[b][r] = fma(weight_min, by, acc[b][r]);
            }
        }
    }
}

// Few tokens: sums[r][0..15] of one block over all columns.
template <Layout kLayout, int Tokens>
inline void few_tokens(const Weight& weight, int block, const Input& x, float* sums) {
    const Reader<kLayout> reader(weight, block);
    F32 acc[1][Tokens];
    for (F32& a : acc[0]) a = zero_f32();
    const int groups = weight.cols / kGroup;
    for (int group = 0; group < groups; ++group) {
        Bytes w[kQuads];
        reader.quads(group, w);
        add_group<kLayout>(
            x, group, [&](int, int j) { return w[j]; },
            [&](int, int half) { return reader.scale(group, half); },
            [&](int) { return reader.min(group); }, acc);
    }
    for (int r = 0; r < Tokens; ++r) store(sums + r * kPairRows, acc[0][r]);
}

// Many tokens: adds groups [first, first + count) of unpacked blocks to sums[r][Blocks * 16].
template <Layout kLayout, int Blocks, int Tokens>
inline void tile(const Group* const (&slice)[Blocks], int first, int count, const Input& x,
                 bool fresh, float* sums) {
    F32 acc[Blocks][Tokens];
    for (int b = 0; b < Blocks; ++b) {
        for (int r = 0; r < Tokens; ++r) {
            acc[b][r] = fresh ? zero_f32() : load(sums + r * kPairRows + b * kLanes);
        }
    }
    for (int g = 0; g < count; ++g) {
        add_group<kLayout>(
            x, first + g, [&](int b, int j) { return load_bytes(slice[b][g].quads[j]); },
            [&](int b, int half) { return load(slice[b][g].scale[half]); },
            [&](int b) { return load(slice[b][g].min); }, acc);
    }
    for (int b = 0; b < Blocks; ++b) {
        for (int r = 0; r < Tokens; ++r) store(sums + r * kPairRows + b * kLanes, acc[b][r]);
    }
}

template <Layout kLayout>
inline void unpack_slice(const Weight& weight, int block, int first, int count, Group* out) {
    constexpr Traits t = traits(kLayout);
    const Reader<kLayout> reader(weight, block);
    for (int g = 0; g < count; ++g) {
        Bytes w[kQuads];
        reader.quads(first + g, w);
        for (int j = 0; j < kQuads; ++j) store_bytes(out[g].quads[j], w[j]);
        for (int half = 0; half < t.halves; ++half) {
            store(out[g].scale[half], reader.scale(first + g, half));
        }
        if constexpr (t.min) store(out[g].min, reader.min(first + g));
    }
}

// Runs `work.template operator()<n>()` for a count n of 1 to Max known at run time.
template <int Max, typename Work>
inline void with_count(int n, Work&& work) {
    if constexpr (Max > 1) {
        if (n < Max) return with_count<Max - 1>(n, work);
    }
    work.template operator()<Max>();
}

// Tiles over all rows of x for one slice: kTileBlocks neighbouring blocks from `first_block` of a
// pair that has `blocks`. A missing block is done as a copy of the first, which nobody reads.
template <Layout kLayout>
inline void all_tiles(const Scratch& scratch, int first_block, int blocks, int first, int count,
                      const QuantizedRows& xq, int row_begin, int rows, float (*sums)[kPairRows]) {
    const Group* slice[kTileBlocks];
    for (int b = 0; b < kTileBlocks; ++b) {
        slice[b] = scratch.slice[first_block + b < blocks ? first_block + b : first_block];
    }
    for (int row = 0; row < rows; row += kTileTokens) {
        const Input x(xq, row_begin + row);
        float* out = sums[row] + first_block * kLanes;
        with_count<kTileTokens>(std::min(kTileTokens, rows - row), [&]<int Tokens>() {
            tile<kLayout, kTileBlocks, Tokens>(slice, first, count, x, first == 0, out);
        });
    }
}

// sums[r][0..31] = rows [row_begin, row_begin + rows) of x times blocks 2 * pair (and the next, if
// there is one). At most kPanelTokens rows.
template <Layout kLayout>
inline void pair_product(const Weight& weight, int block, int blocks, const QuantizedRows& xq,
                         int row_begin, int rows, Scratch& scratch, float (*sums)[kPairRows]) {
    if (rows <= kFewTokens) {
        const Input x(xq, row_begin);
        for (int b = 0; b < blocks; ++b) {
            with_count<kFewTokens>(rows, [&]<int Tokens>() {
                few_tokens<kLayout, Tokens>(weight, block + b, x, sums[0] + b * kLanes);
            });
        }
        return;
    }
    const int groups = weight.cols / kGroup;
    for (int first = 0; first < groups; first += kSliceGroups) {
        const int count = std::min(kSliceGroups, groups - first);
        for (int b = 0; b < blocks; ++b) {
            unpack_slice<kLayout>(weight, block + b, first, count, scratch.slice[b]);
        }
        for (int b = 0; b < blocks; b += kTileBlocks) {
            all_tiles<kLayout>(scratch, b, blocks, first, count, xq, row_begin, rows, sums);
        }
    }
}

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
