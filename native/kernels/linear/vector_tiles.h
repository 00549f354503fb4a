// Tiles of sums in vector registers.
#pragma once

#include <algorithm>

#include "kernels/linear/tiles.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

// A tile: kTileBlocks x kTileTokens vectors of sums.
#if defined(CIERZO_ISA_avx512)
inline constexpr int kTileBlocks = 2;
inline constexpr int kTileTokens = 6;
#else
inline constexpr int kTileBlocks = 1;
inline constexpr int kTileTokens = 3;
#endif

// A slice of the activations of a tile.
struct alignas(64) VectorInput {
    int8_t q[kTileTokens][kSliceGroups * kGroup];
    int32_t start[2][kTileTokens][kSliceGroups];  // of the integer sums, by half
    float scale[kTileTokens][kSliceGroups];
    float offset[kTileTokens][kSliceGroups];

    // As they are: the zero point is in the sums' beginning.
    template <int ZeroPoint>
    static Bytes number(Bytes unpacked) {
        return unpacked;
    }
};

// Adds `count` groups to sums[r][Blocks * 16] of one tile, which then go to the target if it has a
// place.
template <int Bits, int Halves, bool Min, int Blocks, int Tokens>
[[gnu::noinline]] void tile(const UnpackedGroup* weights, size_t block_stride,
                            const VectorInput& input, int count, bool fresh, float* sums,
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
            target.put(r, b * kLanes, acc[b][r]);
        }
    }
}

// Lays out groups [first, first + count) of `rows` rows of activations in tiles.
template <Layout kLayout>
inline void lay_out(const QuantizedRows& x, int row_begin, int rows, int first, int count,
                    VectorInput* tiles) {
    constexpr Traits t = traits(kLayout);
    for (int row = 0; row < rows; ++row) {
        VectorInput& out = tiles[row / kTileTokens];
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
inline void all_tiles_of(const UnpackedGroup* weights, const VectorInput* tiles, int rows,
                         int count, bool fresh, float* sums, const Target& target) {
    constexpr Traits t = traits(kLayout);
    for (int row = 0; row < rows; row += kTileTokens) {
        with_count<kTileTokens>(std::min(kTileTokens, rows - row), [&]<int Tokens>() {
            tile<kind_of_dots(t.bits), t.halves, t.min, Blocks, Tokens>(
                weights, kSliceGroups, tiles[row / kTileTokens], count, fresh,
                sums + row * kPairRows, target.at(row, 0));
        });
    }
}

// All tiles for the first `blocks` of a pair.
template <Layout kLayout>
inline void all_tiles(const UnpackedGroup (*weights)[kSliceGroups], int blocks,
                      const VectorInput* tiles, int rows, int count, bool fresh, float* sums,
                      const Target& target) {
    int b = 0;
    for (; b + kTileBlocks <= blocks; b += kTileBlocks) {
        all_tiles_of<kLayout, kTileBlocks>(weights[b], tiles, rows, count, fresh, sums + b * kLanes,
                                           target.at(0, b * kLanes));
    }
    for (; b < blocks; ++b) {
        all_tiles_of<kLayout, 1>(weights[b], tiles, rows, count, fresh, sums + b * kLanes,
                                 target.at(0, b * kLanes));
    }
}

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
