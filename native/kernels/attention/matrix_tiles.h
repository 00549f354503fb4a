// Attention of many rows to a cache of bytes, in the matrix registers of AMX, with the bits of the
// vector registers.
//
// They multiply bytes, so a row's 16-bit numbers (queries, then weights) are two: a signed high one
// and an unsigned low one. Both products are exact, and the high one's, moved up, and the low one's
// are together what the whole number's is. Rows are cut once a split; of the cache a block's keys,
// and sixteen dimensions of a split's values, are laid out once for all rows. Sums leave the
// registers by memory, while the next ones are multiplied.
//
// A cache of 16 bits would take four products and three sums: slower than in vectors with heads of
// 64, and hardly faster with heads of 128.
#pragma once

#include <immintrin.h>

#include <algorithm>

#include "kernels/attention.h"
#include "kernels/attention/integers.h"
#include "kernels/attention/softmax.h"
#include "simd/matrix_registers.h"
#include "simd/simd.h"

namespace cierzo::CIERZO_ISA {
namespace attention {

inline constexpr int kFewestMatrixRows = 9;    // fewer are faster in vectors
inline constexpr int kStep = kMatrixRowBytes;  // numbers of a row that one product adds up
inline constexpr int kQuad = 4;                // of them, a column's in a lane
inline constexpr int kPaddedRows = (kMaxTileRows + kMatrixRows - 1) / kMatrixRows * kMatrixRows;
// A line more than a power of two, so that rows do not fall into few sets of the first cache.
inline constexpr int kScoreStride = kSplitPositions + kLanes;
inline constexpr int kWeightStride = kSplitPositions + kStep;
inline constexpr int kMostStride = std::max(kMaxHeadDim, kSplitPositions) + kStep;

inline constexpr MatrixLayout kWholeRegisters({{}, {}, {}, {}, {}, {}, {}, {}});

// What sums begin with, loaded as every row of a register (a stride of 0): products behind
// `_tile_zero`, which must wait for those before, take three times as long here.
alignas(kMatrixRowBytes) inline constexpr uint8_t kZeros[kMatrixRowBytes] = {};

// A thread's scratch.
struct MatrixScratch {
    // Sums of high and of low bytes; as long as a page, so that to store those of one product does
    // not look to the processor like storing what is loaded of the other.
    alignas(64) MatrixSums sums[2][4];
    alignas(64) float scores[kPaddedRows][kScoreStride];
    alignas(64) float value_scales[kSplitPositions];
    alignas(64) int16_t weights[kMaxTileRows][kSplitPositions];
    alignas(64) uint8_t high[kPaddedRows * kMostStride];  // of queries, then of weights
    alignas(64) uint8_t low[kPaddedRows * kMostStride];
    // A block's keys (two columns of positions), or values: [quad][lane].
    alignas(64) uint8_t columns[kBlockVectors * kMaxHeadDim / kQuad][kMatrixRowBytes];
};

// Cuts a row of `count` numbers, a multiple of 16, into bytes; zeros follow up to whole steps.
inline void cut_row(const int16_t* numbers, int count, uint8_t* high, uint8_t* low) {
    for (int i = 0; i < (count + kStep - 1) / kStep * kStep; i += 2 * kLanes) {
        const int left = std::clamp(count - i, 0, 2 * kLanes);
        const auto there = static_cast<__mmask32>((uint64_t{1} << left) - 1);
        const __m512i x = _mm512_maskz_loadu_epi16(there, numbers + i);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + i), _mm512_cvtepi16_epi8(x));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + i),
                            _mm512_cvtepi16_epi8(_mm512_srli_epi16(x, 8)));
    }
}

// Sixteen quads out of two times sixteen pairs.
inline void join_pairs(const int8_t* first, const int8_t* second, uint8_t* quads) {
    const auto lanes_of = [](const int8_t* pairs) {
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(pairs)));
    };
    _mm512_store_si512(quads,
                       _mm512_or_si512(lanes_of(first), _mm512_slli_epi32(lanes_of(second), 16)));
}

// What one product multiplies: 16 rows with 16 columns.
struct MatrixOperands {
    const uint8_t* high;
    const uint8_t* low;
    size_t row_stride;
    const uint8_t (*columns)[kMatrixRowBytes];
};

// A row's sums of products of whole numbers.
inline I32 whole(const MatrixSums* sums, int r) {
    return lanes(_mm512_add_epi32(_mm512_slli_epi32(_mm512_load_si512(sums[0][r]), 8),
                                  _mm512_load_si512(sums[1][r])));
}

// Does `count` products: of `operands(i)`, whose sums go to `finish(i, sums)` while the next ones
// are multiplied.
template <typename Operands, typename Finish>
[[gnu::always_inline]] inline void products(int count, int steps, MatrixSums (*sums)[4],
                                            Operands&& operands, Finish&& finish) {
    settle_stores();
    for (int i = 0; i < count; ++i) {
        const MatrixOperands x = operands(i);
        _tile_loadd(0, kZeros, 0);
        _tile_loadd(1, kZeros, 0);
        for (int s = 0; s < steps; ++s) {
            _tile_loadd(2, x.high + s * kStep, x.row_stride);
            _tile_loadd(3, x.columns[s * kStep / kQuad], kMatrixRowBytes);
            _tile_dpbssd(0, 2, 3);
            _tile_loadd(4, x.low + s * kStep, x.row_stride);
            _tile_dpbusd(1, 4, 3);
        }
        if (i > 0) finish(i - 1, sums[(i - 1) % 2]);
        _tile_stored(0, sums[i % 2][0], kMatrixRowBytes);
        _tile_stored(1, sums[i % 2][1], kMatrixRowBytes);
    }
    finish(count - 1, sums[(count - 1) % 2]);
}

// Everything for a tile of rows and one split.
inline void split_in_matrices(const HeadCache& cache, const AttentionTile& tile, int split,
                              const AttentionState& out, MatrixScratch& scratch) {
    const int d = cache.head_dim;
    const int start = split * kSplitPositions;
    const int32_t* blocks = tile.blocks + split * kSplitBlocks;
    const int groups = (tile.rows + kMatrixRows - 1) / kMatrixRows;
    int counts[kMaxTileRows];
    int longest = 0;
    for (int r = 0; r < tile.rows; ++r) {
        counts[r] = std::clamp(tile.visible[r] - start, 0, kSplitPositions);
        longest = std::max(longest, counts[r]);
    }
    const MatrixRegisters<kWholeRegisters> registers;

    const int key_steps = (d + kStep - 1) / kStep;
    const int query_stride = key_steps * kStep + kStep;
    for (int r = 0; r < tile.rows; ++r) {
        cut_row(tile.query + r * d, d, scratch.high + r * query_stride,
                scratch.low + r * query_stride);
    }
    for (int begin = 0; begin < longest; begin += kBlockPositions) {
        const Block<Octets> block(cache, blocks[begin / kBlockPositions]);
        const int quads = key_steps * kStep / kQuad;  // the last may be nobody's, times zeros
        for (int half = 0; half < kBlockVectors; ++half) {
            const int8_t* keys = block.keys + half * 2 * kLanes;
            for (int q = 0; q < d / kQuad; ++q) {
                join_pairs(keys + 2 * q * 2 * kBlockPositions,
                           keys + (2 * q + 1) * 2 * kBlockPositions,
                           scratch.columns[half * quads + q]);
            }
        }
        std::copy_n(block.value_scales, kBlockPositions, scratch.value_scales + begin);
        products(
            groups * kBlockVectors, key_steps, scratch.sums,
            [&](int i) {
                const int row = i / kBlockVectors * kMatrixRows * query_stride;
                return MatrixOperands{scratch.high + row, scratch.low + row,
                                      static_cast<size_t>(query_stride),
                                      scratch.columns + i % kBlockVectors * quads};
            },
            [&](int i, const MatrixSums* sums) {
                const int lane = i % kBlockVectors * kLanes;
                const F32 scale = load(block.key_scales + lane);
                float* scores = scratch.scores[i / kBlockVectors * kMatrixRows] + begin + lane;
#pragma GCC unroll 4
                for (int r = 0; r < kMatrixRows; ++r) {
                    store(scores + r * kScoreStride, mul(to_f32(whole(sums, r)), scale));
                }
            });
    }

    const int value_steps = (longest + kStep - 1) / kStep;
    float step[kMaxTileRows];
    softmax<Octets>({tile.rows, scratch.scores[0], kScoreStride, tile.query_scale, counts,
                     scratch.value_scales, scratch.weights[0], kSplitPositions, value_steps * kStep,
                     out.max, out.sum, step});
    for (int r = 0; r < tile.rows; ++r) {
        cut_row(scratch.weights[r], value_steps * kStep, scratch.high + r * kWeightStride,
                scratch.low + r * kWeightStride);
    }
    for (int dim = 0; dim < d; dim += kLanes) {
        constexpr int kBlockQuads = kBlockPositions / kQuad;
        for (int begin = 0; begin < longest; begin += kBlockPositions) {
            const int index = begin / kBlockPositions;
            const int8_t* values = Block<Octets>(cache, blocks[index]).values + 2 * dim;
            for (int q = 0; q < kBlockQuads; ++q) {
                join_pairs(values + 2 * q * 2 * d, values + (2 * q + 1) * 2 * d,
                           scratch.columns[index * kBlockQuads + q]);
            }
        }
        products(
            groups, value_steps, scratch.sums,
            [&](int i) {
                const int row = i * kMatrixRows * kWeightStride;
                return MatrixOperands{scratch.high + row, scratch.low + row, size_t{kWeightStride},
                                      scratch.columns};
            },
            [&](int i, const MatrixSums* sums) {
                const int first = i * kMatrixRows;
                float* value = out.value + static_cast<size_t>(first) * d + dim;
                for (int r = 0; r < std::min(kMatrixRows, tile.rows - first); ++r) {
                    store(value + r * d, mul(to_f32(whole(sums, r)), broadcast(step[first + r])));
                }
            });
    }
}

}  // namespace attention
}  // namespace cierzo::CIERZO_ISA
