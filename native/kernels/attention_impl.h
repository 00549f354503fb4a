// Kernels for attention over the paged KV cache, for the instruction set being compiled.
//
// Both products of attention have the same shape here: rows of floats (queries, or probabilities)
// times a block of the cache that is contiguous in the lanes (positions of the transposed keys, or
// dimensions of the values). One register tile serves both: each cache vector is loaded and
// widened once for all its rows, and each output element is one chain of fused multiply-adds.
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>

#include "kernels/attention.h"
#include "kernels/linear.h"
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
inline constexpr int kBlockVectors = kBlockPositions / kLanes;
// Up to here (decoding) the cache comes from memory faster than it is used: fetch ahead.
inline constexpr int kFewRows = 6;

// The two element types of the cache: how 16 of them become floats, and where the scales lie.
struct Half {
    using Element = uint16_t;
    static F32 load(const uint16_t* p) { return load_f16(p); }
};

struct Byte {
    using Element = int8_t;
    static F32 load(const int8_t* p) { return load_i8(p); }
};

template <typename Cache>
struct Block {
    using Element = typename Cache::Element;
    const Element* keys;    // [head_dim][32]
    const Element* values;  // [32][head_dim]
    const uint16_t* key_scales;
    const uint16_t* value_scales;

    Block(const HeadCache& cache, int index)
        : keys(reinterpret_cast<const Element*>(cache.data + index * cache.block_stride)),
          values(keys + kBlockPositions * cache.head_dim),
          key_scales(reinterpret_cast<const uint16_t*>(values + kBlockPositions * cache.head_dim)),
          value_scales(key_scales + kBlockPositions) {}
};

// acc[r][v] += sum over k of rows[r][k] * columns[k][16 v ...], k ascending. `ahead`, if not null,
// is as large as the columns and read soon.
template <typename Cache, int Rows, int Vectors>
inline void accumulate(const float* rows, size_t row_stride, const typename Cache::Element* columns,
                       size_t column_stride, int depth, F32 (&acc)[Rows][Vectors],
                       const typename Cache::Element* ahead = nullptr) {
    for (int k = 0; k < depth; ++k) {
        if constexpr (Rows <= kFewRows) {
            if (ahead != nullptr) __builtin_prefetch(ahead + k * column_stride);
        }
        F32 column[Vectors];
        for (int v = 0; v < Vectors; ++v) {
            column[v] = Cache::load(columns + k * column_stride + v * kLanes);
        }
        for (int r = 0; r < Rows; ++r) {
            const F32 factor = broadcast(rows[r * row_stride + k]);
            for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(factor, column[v], acc[r][v]);
        }
    }
}

// Scores of `Rows` queries with one block's positions: scores[r][0..31].
template <typename Cache, int Rows>
void score_block(const float* query, int head_dim, const Block<Cache>& block, float* scores) {
    for (int first = 0; first < kBlockVectors; first += kTileVectors) {
        F32 acc[Rows][kTileVectors];
        for (auto& row : acc) {
            for (F32& vector : row) vector = zero_f32();
        }
        accumulate<Cache, Rows, kTileVectors>(query, head_dim, block.keys + first * kLanes,
                                              kBlockPositions, head_dim, acc, block.values);
        for (int v = 0; v < kTileVectors; ++v) {
            const int lane = (first + v) * kLanes;
            if constexpr (std::is_same_v<Cache, Byte>) {
                const F32 scale = load_f16(block.key_scales + lane);
                for (int r = 0; r < Rows; ++r) acc[r][v] = mul(acc[r][v], scale);
            }
            for (int r = 0; r < Rows; ++r) store(scores + r * kSplitPositions + lane, acc[r][v]);
        }
    }
}

// value[r][Vectors * 16 dims] = sum over the first `positions` of weights[r][p] * values[p].
template <typename Cache, int Rows, int Vectors>
void weigh_values(const HeadCache& cache, const int32_t* blocks, int positions,
                  const float* weights, int dim, float* value) {
    F32 acc[Rows][Vectors];
    for (auto& row : acc) {
        for (F32& vector : row) vector = zero_f32();
    }
    for (int begin = 0; begin < positions; begin += kBlockPositions) {
        const Block<Cache> block(cache, blocks[begin / kBlockPositions]);
        accumulate<Cache, Rows, Vectors>(weights + begin, kSplitPositions, block.values + dim,
                                         cache.head_dim,
                                         std::min(kBlockPositions, positions - begin), acc);
    }
    for (int r = 0; r < Rows; ++r) {
        for (int v = 0; v < Vectors; ++v) {
            store(value + r * cache.head_dim + dim + v * kLanes, acc[r][v]);
        }
    }
}

// Turns a row's scores into 2^(score - max), zero beyond `count`; gives max and sum.
inline void exponentials(float* scores, int count, int padded, float& max, float& sum) {
    const float infinity = std::numeric_limits<float>::infinity();
    F32 highest = broadcast(-infinity);
    for (int i = 0; i < count; i += kLanes) {
        const F32 x = load(scores + i);
        highest = vmax(highest, first_lanes(count - i, x, broadcast(-infinity)));
    }
    max = reduce_max(highest);
    const F32 shift = broadcast(max);
    F32 total = zero_f32();
    for (int i = 0; i < count; i += kLanes) {
        const F32 p = exp2_nonpositive(sub(load(scores + i), shift));
        const F32 kept = first_lanes(count - i, p, zero_f32());
        total = add(total, kept);
        store(scores + i, kept);
    }
    sum = reduce_add(total);
    for (int i = (count + kLanes - 1) / kLanes * kLanes; i < padded; i += kLanes) {
        store(scores + i, zero_f32());
    }
}

// Everything for `Rows` rows and one split.
template <typename Cache, int Rows>
void split_rows(const HeadCache& cache, const AttentionTile& tile, int first_row, int split,
                const AttentionState& out, float* scores) {
    const int d = cache.head_dim;
    const int start = split * kSplitPositions;
    const int32_t* blocks = tile.blocks + split * kSplitBlocks;
    int counts[Rows];
    int longest = 0;
    for (int r = 0; r < Rows; ++r) {
        counts[r] = std::clamp(tile.visible[first_row + r] - start, 0, kSplitPositions);
        longest = std::max(longest, counts[r]);
    }
    const float* query = tile.query + first_row * d;
    for (int begin = 0; begin < longest; begin += kBlockPositions) {
        score_block<Cache, Rows>(query, d, Block<Cache>(cache, blocks[begin / kBlockPositions]),
                                 scores + begin);
    }
    const int padded = (longest + kLanes - 1) / kLanes * kLanes;
    for (int r = 0; r < Rows; ++r) {
        exponentials(scores + r * kSplitPositions, counts[r], padded, out.max[first_row + r],
                     out.sum[first_row + r]);
    }
    if constexpr (std::is_same_v<Cache, Byte>) {
        for (int i = 0; i < padded; i += kLanes) {
            const Block<Cache> block(cache, blocks[i / kBlockPositions]);
            const F32 scale = load_f16(block.value_scales + i % kBlockPositions);
            for (int r = 0; r < Rows; ++r) {
                float* p = scores + r * kSplitPositions + i;
                store(p, mul(load(p), scale));
            }
        }
    }
    float* value = out.value + first_row * d;
    // Few rows: wider, so that enough chains are in flight.
    constexpr int kWide = Rows * 4 <= kTileRows * kTileVectors ? 4 : kTileVectors;
    int dim = 0;
    for (; dim + kWide * kLanes <= d; dim += kWide * kLanes) {
        weigh_values<Cache, Rows, kWide>(cache, blocks, longest, scores, dim, value);
    }
    for (; dim < d; dim += kLanes) {
        weigh_values<Cache, Rows, 1>(cache, blocks, longest, scores, dim, value);
    }
}

template <typename Cache, int Rows>
void split_rest(const HeadCache& cache, const AttentionTile& tile, int first_row, int split,
                const AttentionState& out, float* scores) {
    if constexpr (Rows > 0) {
        if (tile.rows - first_row == Rows) {
            split_rows<Cache, Rows>(cache, tile, first_row, split, out, scores);
        } else {
            split_rest<Cache, Rows - 1>(cache, tile, first_row, split, out, scores);
        }
    }
}

template <typename Cache>
void split_tile(const HeadCache& cache, const AttentionTile& tile, int split,
                const AttentionState& out, float* scores) {
    int row = 0;
    for (; row + kTileRows <= tile.rows; row += kTileRows) {
        split_rows<Cache, kTileRows>(cache, tile, row, split, out, scores);
    }
    split_rest<Cache, kTileRows - 1>(cache, tile, row, split, out, scores);
}

inline void split(const HeadCache& cache, const AttentionTile& tile, int index,
                  const AttentionState& out, void* scratch) {
    float* scores = static_cast<float*>(scratch);
    if (cache.type == CacheType::F16) {
        split_tile<Half>(cache, tile, index, out, scores);
    } else {
        split_tile<Byte>(cache, tile, index, out, scores);
    }
}

inline void merge(const AttentionState& total, const AttentionState& next, int rows, int head_dim) {
    for (int r = 0; r < rows; ++r) {
        // A row that ends before this split is as if it were alone.
        if (next.sum[r] == 0.0f) continue;
        const float max = std::max(total.max[r], next.max[r]);
        const F32 old_factor = exp2_nonpositive(broadcast(total.max[r] - max));
        const F32 new_factor = exp2_nonpositive(broadcast(next.max[r] - max));
        float* value = total.value + static_cast<size_t>(r) * head_dim;
        const float* added = next.value + static_cast<size_t>(r) * head_dim;
        for (int i = 0; i < head_dim; i += kLanes) {
            store(value + i, fma(load(added + i), new_factor, mul(load(value + i), old_factor)));
        }
        alignas(64) float sums[kLanes];
        store(sums,
              fma(broadcast(next.sum[r]), new_factor, mul(broadcast(total.sum[r]), old_factor)));
        total.max[r] = max;
        total.sum[r] = sums[0];
    }
}

inline void finish(const AttentionState& total, int rows, int head_dim, float* const* out) {
    for (int r = 0; r < rows; ++r) {
        const F32 inverse = broadcast(1.0f / total.sum[r]);
        const float* value = total.value + static_cast<size_t>(r) * head_dim;
        for (int i = 0; i < head_dim; i += kLanes) {
            store(out[r] + i, mul(load(value + i), inverse));
        }
    }
}

inline void store_halves(const HeadCache& cache, uint8_t* data, int slot, const float* key,
                         const float* value) {
    const int d = cache.head_dim;
    uint16_t* keys = reinterpret_cast<uint16_t*>(data);
    uint16_t* values = keys + kBlockPositions * d + slot * d;
    const F32 limit = broadcast(65504.0f);
    const F32 floor = broadcast(-65504.0f);
    alignas(64) uint16_t halves[kLanes];
    for (int i = 0; i < d; i += kLanes) {
        store_f16(values + i, vmax(vmin(load(value + i), limit), floor));
        store_f16(halves, vmax(vmin(load(key + i), limit), floor));
        for (int lane = 0; lane < kLanes; ++lane) {
            keys[(i + lane) * kBlockPositions + slot] = halves[lane];
        }
    }
}

// q = round(x / scale) with scale = absmax / 127 as float16; gives the scale.
inline uint16_t quantize_head(const float* x, int head_dim, int8_t* q, int stride) {
    F32 highest = zero_f32();
    for (int i = 0; i < head_dim; i += kLanes) highest = vmax(highest, vabs(load(x + i)));
    const float absmax = std::min(reduce_max(highest), 65504.0f * 127.0f);
    alignas(64) uint16_t halves[kLanes];
    store_f16(halves, broadcast(absmax / 127.0f));
    alignas(64) float scales[kLanes];
    store(scales, load_f16(halves));
    const F32 inverse = broadcast(scales[0] > 0.0f ? 1.0f / scales[0] : 0.0f);
    alignas(64) int8_t bytes[kLanes];
    for (int i = 0; i < head_dim; i += kLanes) {
        const F32 scaled = mul(load(x + i), inverse);
        store_i8(bytes, round_to_i32(vmax(vmin(scaled, broadcast(127.0f)), broadcast(-127.0f))));
        for (int lane = 0; lane < kLanes; ++lane) q[(i + lane) * stride] = bytes[lane];
    }
    return halves[0];
}

inline void store_position(const HeadCache& cache, int block, int slot, const float* key,
                           const float* value) {
    uint8_t* data = cache.data + block * cache.block_stride;
    if (cache.type == CacheType::F16) {
        store_halves(cache, data, slot, key, value);
        return;
    }
    const int d = cache.head_dim;
    int8_t* keys = reinterpret_cast<int8_t*>(data);
    int8_t* values = keys + kBlockPositions * d;
    uint16_t* scales = reinterpret_cast<uint16_t*>(values + kBlockPositions * d);
    scales[slot] = quantize_head(key, d, keys + slot, kBlockPositions);
    scales[kBlockPositions + slot] = quantize_head(value, d, values + slot * d, 1);
}

}  // namespace attention

inline AttentionKernels attention_kernels() {
    return {attention::store_position, attention::split, attention::merge, attention::finish,
            sizeof(float) * attention::kTileRows * kSplitPositions};
}

}  // namespace cierzo::CIERZO_ISA
