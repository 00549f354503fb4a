// Products of int8 activations with packed weights: one expression, in register tiles of any size.
//
// The expression stands in sums.h. Nothing but the order of the groups enters it, so the result has
// the same bits however rows, tokens and columns are cut.
//
// Few tokens: weights are unpacked in registers on their way from memory, which is what bounds the
// speed. Many tokens: panels of tokens by slices of columns. The slice of the activations is laid
// out in tiles once and stays in the second cache; the slices of one pair of blocks after the other
// are unpacked to bytes, stay in the first, and meet all the tiles.
#pragma once

#include <algorithm>

#include "kernels/linear/few_tokens.h"

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
inline constexpr int kFewPasses = 4;      // up to here in passes of kFewTokens
inline constexpr int kSliceGroups = 20;   // groups of a slice: 30 KB of unpacked pair
inline constexpr int kPanelTokens = 258;  // tokens whose sums fit the scratch at once
inline constexpr int kPanelTiles = (kPanelTokens + kTileTokens - 1) / kTileTokens;
inline constexpr int kPanelPairs = 16;  // pairs that share a slice of activations

// One unpacked group of 16 rows. bias = -kBias * scale.
struct UnpackedGroup {
    uint8_t quads[kQuads][kQuadBytes];
    float scale[2][kLanes];  // layouts with a minimum keep it in scale[1]
    float bias[2][kLanes];
};

// A slice of a tile of activations.
struct alignas(64) InputTile {
    int8_t q[kTileTokens][kSliceGroups * kGroup];
    int32_t start[2][kTileTokens][kSliceGroups];  // of the integer sums, by half
    float scale[kTileTokens][kSliceGroups];
    float offset[kTileTokens][kSliceGroups];
};

using Sums = float[kPanelTokens][kPairRows];

// A thread's scratch.
struct Scratch {
    UnpackedGroup weights[kPair][kSliceGroups];
    InputTile input[kPanelTiles];
    Sums sums[kPanelPairs];
};

// Where a tile of finished sums goes, in place of the scratch: row r to out + r
// * out_stride, with a residual added where there is one.
struct Target {
    float* out = nullptr;
    size_t out_stride = 0;
    const float* residual = nullptr;
    size_t residual_stride = 0;

    Target at(int row, int col) const {
        if (out == nullptr) return {};
        return {out + row * out_stride + col, out_stride,
                residual == nullptr ? nullptr : residual + row * residual_stride + col,
                residual_stride};
    }
};

// Adds `count` groups to sums[r][Blocks * 16] of one tile, which then go to the target if it has a
// place.
template <int Bits, int Halves, bool Min, int Blocks, int Tokens>
[[gnu::noinline]] void tile(const UnpackedGroup* weights, size_t block_stride,
                            const InputTile& input, int count, bool fresh, float* sums,
                            const Target& target) {
    constexpr int kPerHalf = kQuads / Halves;
    F32 acc[Blocks][Tokens];
#pragma GCC unroll 2
    for (int b = 0; b < Blocks; ++b) {
#pragma GCC unroll 8
        for (int r = 0; r < Tokens; ++r) {
            acc[b][r] = fresh ? zero_f32() : load(sums + r * kPairRows + b * kLanes);
        }
    }
    for (int g = 0; g < count; ++g, ++weights) {
#pragma GCC unroll 2
        for (int half = 0; half < Halves; ++half) {
            Dots<Bits, kPerHalf> n[Blocks][Tokens];
#pragma GCC unroll 8
            for (int r = 0; r < Tokens; ++r) {
                // Layouts with a minimum have no zero point.
                const I32 start = broadcast_i32(Min ? kBiasBits : input.start[half][r][g]);
#pragma GCC unroll 2
                for (int b = 0; b < Blocks; ++b) n[b][r].start(start);
            }
#pragma GCC unroll 8
            for (int j = 0; j < kPerHalf; ++j) {
                const int quad = half * kPerHalf + j;
                Bytes w[Blocks];
#pragma GCC unroll 2
                for (int b = 0; b < Blocks; ++b) {
                    w[b] = load_bytes(weights[b * block_stride].quads[quad]);
                }
#pragma GCC unroll 8
                for (int r = 0; r < Tokens; ++r) {
                    const auto x = quad_of(input.q[r] + g * kGroup, quad);
#pragma GCC unroll 2
                    for (int b = 0; b < Blocks; ++b) {
                        n[b][r].add(j, w[b], x);
                    }
                }
            }
#pragma GCC unroll 2
            for (int b = 0; b < Blocks; ++b) {
                const F32 scale = load(weights[b * block_stride].scale[half]);
                const F32 bias = load(weights[b * block_stride].bias[half]);
#pragma GCC unroll 8
                for (int r = 0; r < Tokens; ++r) {
                    acc[b][r] = fma(scaled(n[b][r].total(), scale, bias),
                                    broadcast(input.scale[r][g]), acc[b][r]);
                }
            }
        }
        if constexpr (Min) {
#pragma GCC unroll 2
            for (int b = 0; b < Blocks; ++b) {
                const F32 min = load(weights[b * block_stride].scale[1]);
#pragma GCC unroll 8
                for (int r = 0; r < Tokens; ++r) {
                    acc[b][r] = fma(min, broadcast(input.offset[r][g]), acc[b][r]);
                }
            }
        }
    }
#pragma GCC unroll 2
    for (int b = 0; b < Blocks; ++b) {
#pragma GCC unroll 8
        for (int r = 0; r < Tokens; ++r) {
            if (target.out == nullptr) {
                store(sums + r * kPairRows + b * kLanes, acc[b][r]);
                continue;
            }
            F32 value = acc[b][r];
            if (target.residual != nullptr) {
                value = add(value, load(target.residual + r * target.residual_stride + b * kLanes));
            }
            store(target.out + r * target.out_stride + b * kLanes, value);
        }
    }
}

template <Layout kLayout>
inline void unpack_slice(const Weight& weight, int block, int first, int count,
                         UnpackedGroup* out) {
    constexpr Traits t = traits(kLayout);
    const Reader<kLayout> reader(weight, block);
    for (int g = 0; g < count; ++g) {
        const Group<kLayout> from = reader.at(first + g);
#pragma GCC unroll 8
        for (int j = 0; j < kQuads; ++j) store_bytes(out[g].quads[j], from.quad(j));
        for (int half = 0; half < t.halves; ++half) {
            const F32 scale = from.scale(half);
            store(out[g].scale[half], scale);
            store(out[g].bias[half], mul(scale, broadcast(-kBias)));
        }
        if constexpr (t.min) store(out[g].scale[1], from.min());
    }
}

// Lays out groups [first, first + count) of `rows` rows of activations in tiles.
template <Layout kLayout>
inline void lay_out_input(const QuantizedRows& x, int row_begin, int rows, int first, int count,
                          InputTile* tiles) {
    constexpr Traits t = traits(kLayout);
    for (int row = 0; row < rows; ++row) {
        InputTile& out = tiles[row / kTileTokens];
        const int r = row % kTileTokens;
        const size_t at = (row_begin + row) * x.scale_stride + first;
        __builtin_memcpy(out.q[r], x.q + (row_begin + row) * x.q_stride + first * kGroup,
                         count * kGroup);
        const auto copy = [&](int g, int n) {
            __builtin_memcpy(out.scale[r] + g, x.scale + at + g, n * sizeof(float));
            if constexpr (t.min) {
                __builtin_memcpy(out.offset[r] + g, x.offset + at + g, n * sizeof(float));
            }
            if constexpr (t.zero_point != 0) {
                for (int half = 0; half < t.halves; ++half) {
                    for (int i = g; i < g + n; ++i) {
                        out.start[half][r][i] = start_of<kLayout>(x.sum + 2 * (at + i), half);
                    }
                }
            }
        };
        // By sixteen, so that the compiler knows the length; the last run overlaps
        // the one before.
        int g = 0;
        for (; g + kLanes <= count; g += kLanes) copy(g, kLanes);
        if (g < count) {
            if (count >= kLanes) {
                copy(count - kLanes, kLanes);
            } else {
                copy(0, count);
            }
        }
    }
}

// All tiles for `Blocks` neighbouring blocks of a pair, of which `weights` is the first.
template <Layout kLayout, int Blocks>
inline void all_tiles(const UnpackedGroup* weights, const InputTile* tiles, int rows, int count,
                      bool fresh, float* sums, const Target& target) {
    constexpr Traits t = traits(kLayout);
    for (int row = 0; row < rows; row += kTileTokens) {
        with_count<kTileTokens>(std::min(kTileTokens, rows - row), [&]<int Tokens>() {
            tile<kind_of_dots(t.bits), t.halves, t.min, Blocks, Tokens>(
                weights, kSliceGroups, tiles[row / kTileTokens], count, fresh,
                sums + row * kPairRows, target.at(row, 0));
        });
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

// sums[p][r][0..31] = rows [row_begin, row_begin + rows) of x times blocks block + 2p, block + 2p +
// 1 of each factor. At most kPanelTokens rows.
template <Layout kLayout>
inline void product(const Factor* factors, int num_factors, int block, int blocks,
                    const QuantizedRows& x, int row_begin, int rows, Scratch& scratch) {
    if (rows <= kFewTokens * kFewPasses) {
        for (int f = 0; f < num_factors; ++f) {
            for (int pair = 0; pair < blocks; pair += kPair) {
                for (int row = 0; row < rows; row += kFewTokens) {
                    float* sums = factors[f].sums[pair / kPair][row];
                    with_count<kFewTokens>(std::min(kFewTokens, rows - row), [&]<int Tokens>() {
                        few_pair<kLayout, Tokens>(*factors[f].weight, block + pair,
                                                  std::min(kPair, blocks - pair), x,
                                                  row_begin + row, sums);
                    });
                }
            }
        }
        return;
    }
    const int groups = factors[0].weight->cols / kGroup;
    const int slices = (groups + kSliceGroups - 1) / kSliceGroups;
    for (int slice = 0; slice < slices; ++slice) {
        const int first = groups * slice / slices;
        const int count = groups * (slice + 1) / slices - first;
        lay_out_input<kLayout>(x, row_begin, rows, first, count, scratch.input);
        for (int f = 0; f < num_factors; ++f) {
            for (int pair = 0; pair < blocks; pair += kPair) {
                const int together = std::min(kPair, blocks - pair);
                for (int b = 0; b < together; ++b) {
                    unpack_slice<kLayout>(*factors[f].weight, block + pair + b, first, count,
                                          scratch.weights[b]);
                }
                float* sums = factors[f].sums[pair / kPair][0];
                Target target;
                if (slice == slices - 1) {
                    target = factors[f].target.at(0, (block + pair) * kLanes);
                }
                int b = 0;
                for (; b + kTileBlocks <= together; b += kTileBlocks) {
                    all_tiles<kLayout, kTileBlocks>(scratch.weights[b], scratch.input, rows, count,
                                                    slice == 0, sums + b * kLanes,
                                                    target.at(0, b * kLanes));
                }
                for (; b < together; ++b) {
                    all_tiles<kLayout, 1>(scratch.weights[b], scratch.input, rows, count,
                                          slice == 0, sums + b * kLanes, target.at(0, b * kLanes));
                }
            }
        }
    }
}

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
