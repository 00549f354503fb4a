// Kernels for attention over the paged KV cache, and the layout of that cache.
//
// A context is cut into splits of 256 positions, counted from position 0. For one row (one head of
// one token) a split gives a maximum, a sum of exponentials and a weighted sum of values; the
// splits are then merged in order. Nothing in this depends on which other rows are there, so one
// thread may do all splits of a row, or many threads one each.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cierzo {

inline constexpr int kBlockPositions = 32;  // positions in a cache block
inline constexpr int kSplitBlocks = 8;
inline constexpr int kSplitPositions = kSplitBlocks * kBlockPositions;
inline constexpr int kMaxHeadDim = 512;
inline constexpr int kMaxTileRows = 48;  // rows that a call of `split` takes at most

enum class CacheType : uint8_t { I16, I8 };

// K and V as integers, K [head_dim / 2][32][2], V [16][head_dim][2]: what a product adds up lies
// in pairs. Then 32 scales of K and 32 of V as float32.
constexpr size_t cache_head_bytes(CacheType type, int head_dim) {
    const size_t numbers = size_t{2} * kBlockPositions * head_dim;
    return (type == CacheType::I16 ? 2 : 1) * numbers + 2 * kBlockPositions * sizeof(float);
}

// One KV head of one layer in all blocks: block b lies at data + b * block_stride.
struct HeadCache {
    uint8_t* data;
    size_t block_stride;
    int head_dim;
    CacheType type;
};

// Softmax over some of a row's positions, not yet divided by its sum. Exponents are of base 2.
struct AttentionState {
    float* value;  // [rows, head_dim]
    float* max;    // [rows]
    float* sum;    // [rows]
};

// Rows that attend to the same sequence and KV head.
struct AttentionTile {
    int rows;
    const int16_t* query;      // [rows, head_dim]
    const float* query_scale;  // [rows] of these integers, times log2(e) / sqrt(head_dim)
    const int32_t* visible;    // [rows] positions that the row sees: its own and all before, > 0
    const int32_t* blocks;     // the sequence's cache blocks
};

struct AttentionKernels {
    // Stores one position's key and value (head_dim numbers each) in slot `slot` of a block.
    void (*store)(const HeadCache& cache, int block, int slot, const float* key,
                  const float* value);
    // A query (one head of one token) as integers, for a cache of this type; gives their scale.
    float (*quantize_query)(CacheType type, const float* query, int head_dim, int16_t* q);
    // Attention of a tile to split `split`. Rows that do not reach it get max = -inf, sum = 0,
    // value = 0. `scratch` is the thread's own, `scratch_bytes` large, 64-byte aligned.
    void (*split)(const HeadCache& cache, const AttentionTile& tile, int split,
                  const AttentionState& out, void* scratch);
    // Merges `rows` rows of the next split into `total`.
    void (*merge)(const AttentionState& total, const AttentionState& next, int rows, int head_dim);
    // out = value / sum, row by row to out[row] (head_dim numbers each).
    void (*finish)(const AttentionState& total, int rows, int head_dim, float* const* out);
    size_t scratch_bytes;
};

}  // namespace cierzo
