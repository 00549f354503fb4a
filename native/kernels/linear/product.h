// Products of int8 activations with packed weights: one expression, in register tiles of any size.
//
// For every output element, in order of the groups of 32 columns:
//
//     n   = sum of number * x over the (half-)group, exact in int32, less zero_point * sum of x
//     acc = fma(n * scale_w, scale_x, acc)               n * scale_w rounded to a float
//     acc = fma(min_w, scale_x * sum of x, acc)          where the layout has a minimum
//
// Nothing else enters, so the result has the same bits however rows, tokens and columns are cut.
//
// The integer sum starts at the bit pattern of 1.5 * 2^23, where one unit of the float is one unit
// of the pattern: read as a float it is 1.5 * 2^23 + n, and fma(that, scale_w, -1.5 * 2^23 *
// scale_w) is n * scale_w with one rounding, because scale_w has at most 18 bits. That is the
// conversion and the multiplication in one instruction, and eight dot products are worth only ten
// or eleven.
//
// Few tokens: weights are unpacked in registers on their way from memory, which is what bounds the
// speed. Many tokens: panels of tokens by slices of columns. The slice of the activations is laid
// out in tiles once and stays in the second cache; the slices of one pair of blocks after the other
// are unpacked to bytes, stay in the first, and meet all the tiles.
#pragma once

#include <algorithm>

#include "kernels/linear/formats.h"
#include "simd/dots.h"

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
inline constexpr int kFewTokens = 4;     // read straight from memory at once
inline constexpr int kFewPasses = 4;     // up to here in passes of kFewTokens
inline constexpr int kSliceGroups = 20;  // groups of a slice: 30 KB of unpacked pair
inline constexpr int kPair = 2;          // blocks worked on together
inline constexpr int kPairRows = kPair * kLanes;
#if defined(CIERZO_ISA_dotprod) || defined(CIERZO_ISA_i8mm)
inline constexpr int kFewBlocks = 1;  // of the few-token path: two would not fit the registers
#else
inline constexpr int kFewBlocks = kPair;
#endif
inline constexpr int kPanelTokens = 258;  // tokens whose sums fit the scratch at once
inline constexpr int kPanelTiles = (kPanelTokens + kTileTokens - 1) / kTileTokens;
inline constexpr int kPanelPairs = 16;  // pairs that share a slice of activations

#if defined(CIERZO_ISA_portable)
inline constexpr bool kFused = false;  // fma rounds twice: convert and multiply instead
#else
inline constexpr bool kFused = true;
#endif
inline constexpr float kBias = kFused ? 12582912.0f : 0.0f;  // 1.5 * 2^23
inline constexpr int32_t kBiasBits = kFused ? 0x4b400000 : 0;

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

// n * scale, of a sum that started at kBiasBits.
inline F32 scaled(I32 n, F32 scale, F32 bias) {
    return kFused ? fma(as_f32(n), scale, bias) : mul(to_f32(n), scale);
}

// Runs `work.template operator()<n>()` for a count n of 1 to Max known at run time.
template <int Max, typename Work>
inline void with_count(int n, Work&& work) {
    if constexpr (Max > 1) {
        if (n < Max) return with_count<Max - 1>(n, work);
    }
    work.template operator()<Max>();
}

// What the integer sums of a (half-)group start at: the bias and the zero point's share.
template <Layout kLayout>
inline int32_t start_of(const int32_t* half_sums, int half) {
    constexpr Traits t = traits(kLayout);
    const int32_t sum = t.halves == 2 ? half_sums[half] : half_sums[0] + half_sums[1];
    constexpr int zero_point = t.zero_point - Dots<kind_of_dots(t.bits), kQuads>::kSubtracted;
    return kBiasBits - zero_point * sum;
}

// --- few tokens ---------------------------------------------------------------------------------

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
        // Sums of the first and the second 16 columns apart, or of both.
        constexpr int kSums = t.halves == 2 ? 2 : kChains;
        Dots<t.bits, kQuads / kSums> n[kSums][Blocks][Tokens];
#pragma GCC unroll 4
        for (int r = 0; r < Tokens; ++r) {
            const int32_t* half_sums = x.sum + 2 * (at + r * x.scale_stride);
#pragma GCC unroll 2
            for (int sum = 0; sum < kSums; ++sum) {
                const I32 start =
                    sum < t.halves ? broadcast_i32(start_of<kLayout>(half_sums, sum)) : zero_i32();
#pragma GCC unroll 2
                for (int b = 0; b < Blocks; ++b) n[sum][b][r].start(start);
            }
        }
        const Group<kLayout> from[2] = {first.at(group), second.at(group)};
#pragma GCC unroll 4
        for (int j = 0; j < kQuads / 2; ++j) {
            Bytes w[2][Blocks];
            first.template prefetch<Blocks>(group, j);
            from[0].quad_pair(j, w[0][0], w[1][0]);
            if constexpr (Blocks == 2) {
                second.template prefetch<Blocks>(group, j);
                from[1].quad_pair(j, w[0][1], w[1][1]);
            }
#pragma GCC unroll 4
            for (int r = 0; r < Tokens; ++r) {
#pragma GCC unroll 2
                for (int half = 0; half < 2; ++half) {
                    const auto four = quad_of(q + r * x.q_stride, 4 * half + j);
#pragma GCC unroll 2
                    for (int b = 0; b < Blocks; ++b) {
                        const int number = kSums == 2 ? j : 2 * j + half;
                        n[half % kSums][b][r].add(number, w[half][b], four);
                    }
                }
            }
        }
#pragma GCC unroll 2
        for (int b = 0; b < Blocks; ++b) {
#pragma GCC unroll 2
            for (int half = 0; half < t.halves; ++half) {
                const F32 scale = from[b].scale(half);
                const F32 bias = mul(scale, broadcast(-kBias));
#pragma GCC unroll 4
                for (int r = 0; r < Tokens; ++r) {
                    I32 sum = n[half][b][r].total();
                    if constexpr (kSums > t.halves) sum = add(sum, n[1][b][r].total());
                    acc[b][r] = fma(scaled(sum, scale, bias),
                                    broadcast(x.scale[at + r * x.scale_stride]), acc[b][r]);
                }
            }
            if constexpr (t.min) {
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

// --- many tokens --------------------------------------------------------------------------------

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
#pragma GCC unroll 4
        for (int j = 0; j < kQuads / 2; ++j) {
            Bytes low, high;
            from.quad_pair(j, low, high);
            store_bytes(out[g].quads[j], low);
            store_bytes(out[g].quads[j + kQuads / 2], high);
        }
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
            for (int b = 0; b < blocks; b += kFewBlocks) {
                for (int row = 0; row < rows; row += kFewTokens) {
                    float* sums = factors[f].sums[b / kPair][row] + b % kPair * kLanes;
                    with_count<kFewTokens>(std::min(kFewTokens, rows - row), [&]<int Tokens>() {
                        if (b + kFewBlocks <= blocks) {
                            few_tokens<kLayout, kFewBlocks, Tokens>(*factors[f].weight, block + b,
                                                                    x, row_begin + row, sums);
                        } else {
                            few_tokens<kLayout, 1, Tokens>(*factors[f].weight, block + b, x,
                                                           row_begin + row, sums);
                        }
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
