// Tiles of sums in the matrix registers of AMX.
//
// One instruction multiplies 16 tokens with 16 rows over a group of 32 columns, exactly. But the
// sums of each group need a float scale of their own, so they leave by memory: of the step before
// (a group of 32 tokens by two blocks, four matrix registers), while those of the next are made.
// Both sides are bounded by loads and stores, and are woven together so that neither waits for the
// other's: one register is multiplied and one stored for each that is scaled.
//
// Layouts with a scale for each half-group are left to vector registers: half as much work for as
// many sums is slower. So are few columns, of which too many are beginnings and ends.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/linear/tiles.h"
#include "simd/matrix_registers.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

template <Layout kLayout>
inline constexpr bool kInMatrixTiles = traits(kLayout).halves == 1;

inline constexpr int kFewestMatrixColumns = 2048;

inline constexpr int kParts = 2;  // registers of tokens
inline constexpr int kMatrixTokens = kParts * kMatrixRows;
inline constexpr int kAhead = 2;  // groups whose sums lie in memory at once

// A slice of the activations of a tile. Tokens that are not there have the scale 0.
struct alignas(64) MatrixInput {
    struct Group {
        int8_t q[kMatrixTokens][kGroup];
        float scale[kMatrixTokens];
        float offset[kMatrixTokens];
    } groups[kSliceGroups];

    // As signed bytes, less the layout's zero point. Numbers of 8 bits must have one.
    template <int ZeroPoint>
    static Bytes number(Bytes unpacked) {
        return {_mm512_sub_epi8(unpacked.v, _mm512_set1_epi8(static_cast<char>(ZeroPoint)))};
    }
};

// Registers 0 to 3 hold sums, 4 and 5 tokens, 6 and 7 blocks.
inline constexpr MatrixShape kTokens{kMatrixRows, kGroup};
inline constexpr MatrixShape kBlockOfGroup{kQuads, kQuadBytes};
inline constexpr MatrixLayout kRegisters(
    {{}, {}, {}, {}, kTokens, kTokens, kBlockOfGroup, kBlockOfGroup});

// Register 2 * part + block, of the four that a group takes, in this order: what one loads the next
// ones find loaded. Their numbers must be literals.
template <int Register>
[[gnu::always_inline]] inline void multiply(const MatrixInput::Group& x, const UnpackedGroup& first,
                                            const UnpackedGroup& second) {
    if constexpr (Register == 0) {
        _tile_loadd(4, x.q[0], kGroup);
        _tile_loadd(6, first.quads, kQuadBytes);
        _tile_zero(0);
        _tile_dpbssd(0, 4, 6);
    } else if constexpr (Register == 1) {
        _tile_loadd(7, second.quads, kQuadBytes);
        _tile_zero(1);
        _tile_dpbssd(1, 4, 7);
    } else if constexpr (Register == 2) {
        _tile_loadd(5, x.q[kMatrixRows], kGroup);
        _tile_zero(2);
        _tile_dpbssd(2, 5, 6);
    } else {
        _tile_zero(3);
        _tile_dpbssd(3, 5, 7);
    }
}

template <int Register>
[[gnu::always_inline]] inline void keep(MatrixSums* out) {
    constexpr int kStride = kLanes * sizeof(int32_t);
    if constexpr (Register == 0) _tile_stored(0, out[0], kStride);
    if constexpr (Register == 1) _tile_stored(1, out[1], kStride);
    if constexpr (Register == 2) _tile_stored(2, out[2], kStride);
    if constexpr (Register == 3) _tile_stored(3, out[3], kStride);
}

// Adds a group's sums of one register to acc.
template <bool Min>
[[gnu::always_inline]] inline void add_scaled(const MatrixSums& n, const UnpackedGroup& weights,
                                              const float* scales, const float* offsets, F32* acc) {
    const F32 scale = load(weights.scale[0]);
#pragma GCC unroll 16
    for (int r = 0; r < kMatrixRows; ++r) {
        const F32 scaled = mul(to_f32(lanes(_mm512_load_si512(n[r]))), scale);
        acc[r] = fma(scaled, broadcast(scales[r]), acc[r]);
    }
    if constexpr (Min) {
        const F32 min = load(weights.scale[1]);
#pragma GCC unroll 16
        for (int r = 0; r < kMatrixRows; ++r) {
            acc[r] = fma(min, broadcast(offsets[r]), acc[r]);
        }
    }
}

// Adds `count` groups to sums[r][Blocks * 16] of one tile; rows that are not there get what they
// get.
template <bool Min, int Blocks>
[[gnu::noinline]] void matrix_tile(const UnpackedGroup (*weights)[kSliceGroups],
                                   const MatrixInput& input, int count, bool fresh, int tokens,
                                   float* sums) {
    alignas(4096) MatrixSums n[2][kAhead][4];
    const UnpackedGroup* first = weights[0];
    const UnpackedGroup* second = weights[Blocks - 1];
    settle_stores();
    for (int g = 0; g < std::min(kAhead, count); ++g) {
        multiply<0>(input.groups[g], first[g], second[g]);
        multiply<1>(input.groups[g], first[g], second[g]);
        multiply<2>(input.groups[g], first[g], second[g]);
        multiply<3>(input.groups[g], first[g], second[g]);
        keep<0>(n[0][g]);
        keep<1>(n[0][g]);
        keep<2>(n[0][g]);
        keep<3>(n[0][g]);
    }
    for (int begin = 0, side = 0; begin < count; begin += kAhead, side ^= 1) {
        const auto now = n[side];
        const auto next = n[side ^ 1];
        // What belongs to one register of now's groups.
        const auto quarter = [&]<int Register>() __attribute__((always_inline)) {
            constexpr int part = Register / 2;
            constexpr int block = Register % 2;
            float* at = sums + part * kMatrixRows * kPairRows + block * kLanes;
            F32 acc[kMatrixRows];
#pragma GCC unroll 16
            for (int r = 0; r < kMatrixRows; ++r) {
                acc[r] = fresh && begin == 0 ? zero_f32() : load(at + r * kPairRows);
            }
            const auto one = [&]<int Group>() __attribute__((always_inline)) {
                // The products of the next groups, one after the other; each is stored two later.
                constexpr int i = Register * kAhead + Group;
                const int ahead = begin + kAhead + i / 4;
                if (ahead < count)
                    multiply<i % 4>(input.groups[ahead], first[ahead], second[ahead]);
                if constexpr (i >= 2) keep<(i - 2) % 4>(next[(i - 2) / 4]);
                const int g = begin + Group;
                if (g < count && block < Blocks && part * kMatrixRows < tokens) {
                    const MatrixInput::Group& x = input.groups[g];
                    add_scaled<Min>(now[Group][Register], (block == 0 ? first : second)[g],
                                    x.scale + part * kMatrixRows, x.offset + part * kMatrixRows,
                                    acc);
                }
            };
            one.template operator()<0>();
            one.template operator()<1>();
#pragma GCC unroll 16
            for (int r = 0; r < kMatrixRows; ++r) store(at + r * kPairRows, acc[r]);
        };
        quarter.template operator()<0>();
        quarter.template operator()<1>();
        quarter.template operator()<2>();
        quarter.template operator()<3>();
        keep<2>(next[kAhead - 1]);
        keep<3>(next[kAhead - 1]);
    }
}

// Finished sums on to where they go, if they do not stay.
inline void store_tile(const Target& target, int blocks, int tokens, const float* sums) {
    if (target.out == nullptr) return;
    for (int r = 0; r < tokens; ++r) {
        for (int b = 0; b < blocks; ++b) {
            target.put(r, b * kLanes, load(sums + r * kPairRows + b * kLanes));
        }
    }
}

// Lays out groups [first, first + count) of `rows` rows of activations in tiles.
template <Layout kLayout>
inline void lay_out(const QuantizedRows& x, int row_begin, int rows, int first, int count,
                    MatrixInput* tiles) {
    for (int row = 0; row < (rows + kMatrixTokens - 1) / kMatrixTokens * kMatrixTokens; ++row) {
        MatrixInput& out = tiles[row / kMatrixTokens];
        const int r = row % kMatrixTokens;
        const int from = row_begin + std::min(row, rows - 1);
        const int8_t* q = x.q + from * x.q_stride + first * kGroup;
        const size_t at = from * x.scale_stride + first;
        for (int g = 0; g < count; ++g) {
            std::memcpy(out.groups[g].q[r], q + g * kGroup, kGroup);
            out.groups[g].scale[r] = row < rows ? x.scale[at + g] : 0.0f;
            out.groups[g].offset[r] = row < rows ? x.offset[at + g] : 0.0f;
        }
    }
}

// All tiles for the first `blocks` of a pair.
template <Layout kLayout>
inline void all_tiles(const UnpackedGroup (*weights)[kSliceGroups], int blocks,
                      const MatrixInput* tiles, int rows, int count, bool fresh, float* sums,
                      const Target& target) {
    constexpr bool kMin = traits(kLayout).min;
    const MatrixRegisters<kRegisters> registers;
    for (int row = 0; row < rows; row += kMatrixTokens) {
        const int tokens = std::min(kMatrixTokens, rows - row);
        const MatrixInput& input = tiles[row / kMatrixTokens];
        float* at = sums + row * kPairRows;
        if (blocks == kPair) {
            matrix_tile<kMin, kPair>(weights, input, count, fresh, tokens, at);
        } else {
            matrix_tile<kMin, 1>(weights, input, count, fresh, tokens, at);
        }
        store_tile(target.at(row, 0), blocks, tokens, at);
    }
}

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
