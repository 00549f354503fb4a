// Attention in vector registers.
//
// Both products have the same shape here: rows of 16-bit integers (queries, or weights) times a
// block of the cache whose lanes are contiguous (positions of the keys, or dimensions of the
// values), two products a lane and instruction. One register tile serves both: each cache vector is
// loaded once for all its rows, and sums are exact.
#pragma once

#include <algorithm>
#include <array>

#include "kernels/attention.h"
#include "kernels/attention/integers.h"
#include "kernels/attention/softmax.h"
#include "simd/simd.h"

namespace cierzo::CIERZO_ISA {
namespace attention {

// Rows x 16-lane vectors of accumulators that fit the registers beside their operands.
#if defined(CIERZO_ISA_avx512)
inline constexpr int kTileRows = 12;
inline constexpr int kTileVectors = 2;
#else
inline constexpr int kTileRows = 6;
inline constexpr int kTileVectors = 1;
#endif
// Up to here (decoding) the cache comes from memory faster than it is used: fetch ahead.
inline constexpr int kFewRows = std::min(6, kTileRows - 1);
inline constexpr int kCacheLine = 64;

// A thread's scratch.
struct VectorScratch {
    alignas(64) float scores[kTileRows][kSplitPositions];
    alignas(64) int16_t weights[kTileRows][kSplitPositions];
    alignas(64) float value_scales[kSplitPositions];
};

// A pair of a row's integers in every lane.
inline I32 broadcast_pair(const int16_t* p) {
    int32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return broadcast_i32(pair);
}

// acc[r][v] += sum over pairs k of rows[r][k] * columns[k][16 v ...]. What is `ahead`, if not null,
// is as large as the columns and read soon.
template <typename Cache, int Rows, int Vectors>
inline void accumulate(const int16_t* rows, size_t row_stride,
                       const typename Cache::Element* columns, size_t column_stride, int pairs,
                       I32 (&acc)[Rows][Vectors],
                       const std::array<const typename Cache::Element*, 2>& ahead = {}) {
    for (int k = 0; k < pairs; ++k) {
        if constexpr (Rows <= kFewRows) {
            constexpr int bytes = 2 * Vectors * kLanes * sizeof(typename Cache::Element);
            for (const auto* soon : ahead) {
                if (soon == nullptr) continue;
                const char* line = reinterpret_cast<const char*>(soon + k * column_stride);
                // Into the second cache: the first cannot hold a split.
                for (int at = 0; at < bytes; at += kCacheLine) {
                    __builtin_prefetch(line + at, 0, 2);
                }
            }
        }
        I32 column[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
            column[v] = Cache::load_pairs(columns + k * column_stride + 2 * v * kLanes);
        }
#pragma GCC unroll 12
        for (int r = 0; r < Rows; ++r) {
            const I32 factor = broadcast_pair(rows + r * row_stride + 2 * k);
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) acc[r][v] = dot_pairs(acc[r][v], factor, column[v]);
        }
    }
}

template <int Rows, int Vectors>
inline void clear(I32 (&acc)[Rows][Vectors]) {
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) acc[r][v] = zero_i32();
    }
}

// Scores of `Rows` queries with one block's positions, but for the queries' scales:
// scores[r][0..31]. `next`: the keys of the block after it, if there is one.
template <typename Cache, int Rows>
void score_block(const int16_t* query, int head_dim, const Block<Cache>& block,
                 const typename Cache::Element* next, float* scores) {
    if constexpr (Rows <= kFewRows) {
        const char* scales = reinterpret_cast<const char*>(block.key_scales);
        for (size_t at = 0; at < 2 * kBlockPositions * sizeof(float); at += kCacheLine) {
            __builtin_prefetch(scales + at);
        }
    }
    for (int first = 0; first < kBlockVectors; first += kTileVectors) {
        I32 acc[Rows][kTileVectors];
        clear(acc);
        const int column = 2 * first * kLanes;
        accumulate<Cache, Rows, kTileVectors>(
            query, head_dim, block.keys + column, 2 * kBlockPositions, head_dim / 2, acc,
            {block.values + column, next == nullptr ? nullptr : next + column});
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) {
            const int lane = (first + v) * kLanes;
            const F32 scale = load(block.key_scales + lane);
#pragma GCC unroll 12
            for (int r = 0; r < Rows; ++r) {
                store(scores + r * kSplitPositions + lane, mul(to_f32(acc[r][v]), scale));
            }
        }
    }
}

// value[r][Vectors * 16 dims] = step[r] * sum over the first `positions` of weights[r][p] *
// values[p]. After the positions' blocks the sequence has `more`, whose keys are read next.
template <typename Cache, int Rows, int Vectors>
void weigh_values(const HeadCache& cache, const int32_t* blocks, int positions, int more,
                  const int16_t* weights, const float* step, int dim, float* value) {
    I32 acc[Rows][Vectors];
    clear(acc);
    for (int begin = 0; begin < positions; begin += kBlockPositions) {
        const Block<Cache> block(cache, blocks[begin / kBlockPositions]);
        const int count = std::min(kBlockPositions, positions - begin);
        const int index = begin / kBlockPositions;
        const int after = index + kSplitBlocks;
        accumulate<Cache, Rows, Vectors>(
            weights + begin, kSplitPositions, block.values + 2 * dim, 2 * cache.head_dim,
            (count + 1) / 2, acc,
            {index < more ? Block<Cache>(cache, blocks[after]).keys + 2 * dim : nullptr, nullptr});
    }
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
            store(value + r * cache.head_dim + dim + v * kLanes,
                  mul(to_f32(acc[r][v]), broadcast(step[r])));
        }
    }
}

// Everything for `Rows` rows and one split.
template <typename Cache, int Rows>
void split_rows(const HeadCache& cache, const AttentionTile& tile, int first_row, int split,
                const AttentionState& out, VectorScratch& scratch) {
    const int d = cache.head_dim;
    const int start = split * kSplitPositions;
    const int32_t* blocks = tile.blocks + split * kSplitBlocks;
    int counts[Rows];
    int seen = 0;  // from the split's beginning, maybe beyond its end
    for (int r = 0; r < Rows; ++r) {
        const int visible = tile.visible[first_row + r] - start;
        counts[r] = std::clamp(visible, 0, kSplitPositions);
        seen = std::max(seen, visible);
    }
    const int longest = std::min(seen, kSplitPositions);
    const int padded = (longest + kLanes - 1) / kLanes * kLanes;
    for (int begin = 0; begin < longest; begin += kBlockPositions) {
        const int index = begin / kBlockPositions;
        const Block<Cache> block(cache, blocks[index]);
        const bool last = begin + kBlockPositions >= seen;
        score_block<Cache, Rows>(tile.query + first_row * d, d, block,
                                 last ? nullptr : Block<Cache>(cache, blocks[index + 1]).keys,
                                 scratch.scores[0] + begin);
        std::copy_n(block.value_scales, kBlockPositions, scratch.value_scales + begin);
    }
    float step[Rows];
    softmax<Cache>({Rows, scratch.scores[0], kSplitPositions, tile.query_scale + first_row, counts,
                    scratch.value_scales, scratch.weights[0], kSplitPositions, padded,
                    out.max + first_row, out.sum + first_row, step});
    const int more = (seen - longest + kBlockPositions - 1) / kBlockPositions;
    float* value = out.value + first_row * d;
    const int16_t* weights = scratch.weights[0];
    // Few rows: wider, so that enough chains are in flight.
    constexpr int kWide = Rows * 4 <= kTileRows * kTileVectors ? 4 : kTileVectors;
    int dim = 0;
    for (; dim + kWide * kLanes <= d; dim += kWide * kLanes) {
        weigh_values<Cache, Rows, kWide>(cache, blocks, longest, more, weights, step, dim, value);
    }
    for (; dim < d; dim += kLanes) {
        weigh_values<Cache, Rows, 1>(cache, blocks, longest, more, weights, step, dim, value);
    }
}

template <typename Cache, int Rows>
void split_rest(const HeadCache& cache, const AttentionTile& tile, int first_row, int split,
                const AttentionState& out, VectorScratch& scratch) {
    if constexpr (Rows > 0) {
        if (tile.rows - first_row == Rows) {
            split_rows<Cache, Rows>(cache, tile, first_row, split, out, scratch);
        } else {
            split_rest<Cache, Rows - 1>(cache, tile, first_row, split, out, scratch);
        }
    }
}

template <typename Cache>
void split_in_vectors(const HeadCache& cache, const AttentionTile& tile, int split,
                      const AttentionState& out, VectorScratch& scratch) {
    int row = 0;
    for (; row + kTileRows <= tile.rows; row += kTileRows) {
        split_rows<Cache, kTileRows>(cache, tile, row, split, out, scratch);
    }
    split_rest<Cache, kTileRows - 1>(cache, tile, row, split, out, scratch);
}

}  // namespace attention
}  // namespace cierzo::CIERZO_ISA
