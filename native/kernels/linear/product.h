// Products of int8 activations with packed weights: one expression (sums.h), in tiles of any size.
//
// Few tokens: weights are unpacked in registers on their way from memory, which is what bounds the
// speed. Many tokens: panels of tokens by slices of columns. The slice of the activations is laid
// out in tiles once and stays in the second cache; the slices of one pair of blocks after the other
// are unpacked to bytes, stay in the first, and meet all the tiles.
#pragma once

#include "kernels/linear/vector_tiles.h"
#if defined(CIERZO_ISA_amx)
#include "kernels/linear/matrix_tiles.h"
#endif

namespace cierzo::CIERZO_ISA {
namespace linear {

inline constexpr int kFewPasses = 4;    // up to here in passes of kFewTokens
inline constexpr int kPanelPairs = 16;  // pairs that share a slice of activations

// Tokens of the largest tile.
#if defined(CIERZO_ISA_amx)
inline constexpr int kWholeTile = kMatrixTokens;
#else
inline constexpr int kWholeTile = kTileTokens;
#endif

template <typename Input, int Tokens>
using Panel = Input[(kPanelTokens + Tokens - 1) / Tokens];

using Sums = float[kPanelTokens][kPairRows];

// A thread's scratch.
struct Scratch {
    UnpackedGroup weights[kPair][kSliceGroups];
    union {
        Panel<VectorInput, kTileTokens> vector;
#if defined(CIERZO_ISA_amx)
        Panel<MatrixInput, kMatrixTokens> matrix;
#endif
    };
    Sums sums[kPanelPairs];
};

// Numbers as the tiles that `Input` is for take them: signed, or with the zero point in the sums.
template <Layout kLayout, typename Input>
inline void unpack_slice(const Weight& weight, int block, int first, int count,
                         UnpackedGroup* out) {
    constexpr Traits t = traits(kLayout);
    const Reader<kLayout> reader(weight, block);
    for (int g = 0; g < count; ++g) {
        const Group<kLayout> from = reader.at(first + g);
#pragma GCC unroll 8
        for (int j = 0; j < kQuads; ++j) {
            store_bytes(out[g].quads[j], Input::template number<t.zero_point>(from.quad(j)));
        }
        for (int half = 0; half < t.halves; ++half) {
            const F32 scale = from.scale(half);
            store(out[g].scale[half], scale);
            store(out[g].bias[half], mul(scale, broadcast(-kBias)));
        }
        if constexpr (t.min) store(out[g].scale[1], from.min());
    }
}

// One of the matrices that take the same activations, and where the sums of its pairs begin.
struct Factor {
    const Weight* weight;
    Sums* sums;
    // Of the first row of activations and the first row of the matrix; only with whole pairs of
    // blocks, and more than kFewTokens * kFewPasses rows.
    Target target = {};
};

// Of few tokens: a pair after the other.
template <Layout kLayout>
inline void few_tokens(const Factor* factors, int num_factors, int block, int blocks,
                       const QuantizedRows& x, int row_begin, int rows) {
    for (int f = 0; f < num_factors; ++f) {
        for (int pair = 0; pair < blocks; pair += kPair) {
            for (int row = 0; row < rows; row += kFewTokens) {
                float* sums = factors[f].sums[pair / kPair][row];
                with_count<kFewTokens>(std::min(kFewTokens, rows - row), [&]<int Tokens>() {
                    few_pair<kLayout, Tokens>(*factors[f].weight, block + pair,
                                              std::min(kPair, blocks - pair), x, row_begin + row,
                                              sums);
                });
            }
        }
    }
}

// Of many tokens: a slice of columns after the other.
template <Layout kLayout, typename Input>
inline void many_tokens(const Factor* factors, int num_factors, int block, int blocks,
                        const QuantizedRows& x, int row_begin, int rows,
                        UnpackedGroup (*weights)[kSliceGroups], Input* input) {
    const int groups = factors[0].weight->cols / kGroup;
    const int slices = (groups + kSliceGroups - 1) / kSliceGroups;
    for (int slice = 0; slice < slices; ++slice) {
        const int first = groups * slice / slices;
        const int count = groups * (slice + 1) / slices - first;
        lay_out<kLayout>(x, row_begin, rows, first, count, input);
        for (int f = 0; f < num_factors; ++f) {
            for (int pair = 0; pair < blocks; pair += kPair) {
                const int together = std::min(kPair, blocks - pair);
                for (int b = 0; b < together; ++b) {
                    unpack_slice<kLayout, Input>(*factors[f].weight, block + pair + b, first, count,
                                                 weights[b]);
                }
                float* sums = factors[f].sums[pair / kPair][0];
                Target target;
                if (slice == slices - 1) {
                    target = factors[f].target.at(0, (block + pair) * kLanes);
                }
                all_tiles<kLayout>(weights, together, input, rows, count, slice == 0, sums, target);
            }
        }
    }
}

// sums[p][r][0..31] = rows [row_begin, row_begin + rows) of x times blocks block + 2p, block + 2p +
// 1 of each factor. At most kPanelTokens rows.
template <Layout kLayout>
inline void product(const Factor* factors, int num_factors, int block, int blocks,
                    const QuantizedRows& x, int row_begin, int rows, Scratch& scratch) {
    if (rows <= kFewTokens * kFewPasses) {
        few_tokens<kLayout>(factors, num_factors, block, blocks, x, row_begin, rows);
        return;
    }
#if defined(CIERZO_ISA_amx)
    if constexpr (kInMatrixTiles<kLayout>) {
        if (factors[0].weight->cols >= kFewestMatrixColumns) {
            many_tokens<kLayout>(factors, num_factors, block, blocks, x, row_begin, rows,
                                 scratch.weights, scratch.matrix);
            return;
        }
    }
#endif
    many_tokens<kLayout>(factors, num_factors, block, blocks, x, row_begin, rows, scratch.weights,
                         scratch.vector);
}

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
