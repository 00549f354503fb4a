// Kernels for attention over the paged KV cache, for the instruction set being compiled.
#pragma once

#include <algorithm>

#include "kernels/attention.h"
#include "kernels/attention/integers.h"
#if defined(CIERZO_ISA_amx)
#include "kernels/attention/matrix_tiles.h"
#endif
#include "kernels/attention/vector_tiles.h"
#include "simd/simd.h"

namespace cierzo::CIERZO_ISA {
namespace attention {

#if defined(CIERZO_ISA_amx)
inline constexpr size_t kScratchBytes = std::max(sizeof(VectorScratch), sizeof(MatrixScratch));
#else
inline constexpr size_t kScratchBytes = sizeof(VectorScratch);
#endif

inline void split(const HeadCache& cache, const AttentionTile& tile, int index,
                  const AttentionState& out, void* scratch) {
#if defined(CIERZO_ISA_amx)
    if (cache.type == CacheType::I8 && tile.rows >= kFewestMatrixRows) {
        split_in_matrices(cache, tile, index, out, *static_cast<MatrixScratch*>(scratch));
        return;
    }
#endif
    VectorScratch& vectors = *static_cast<VectorScratch*>(scratch);
    if (cache.type == CacheType::I16) {
        split_in_vectors<Words>(cache, tile, index, out, vectors);
    } else {
        split_in_vectors<Octets>(cache, tile, index, out, vectors);
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

inline void store_position(const HeadCache& cache, int block, int slot, const float* key,
                           const float* value) {
    if (cache.type == CacheType::I16) {
        store_head<Words>(cache, block, slot, key, value);
    } else {
        store_head<Octets>(cache, block, slot, key, value);
    }
}

inline float quantize_query(CacheType type, const float* query, int head_dim, int16_t* q) {
    return quantize(query, head_dim, type == CacheType::I16 ? Words::kQuery : Octets::kQuery, q);
}

}  // namespace attention

inline AttentionKernels attention_kernels() {
    return {attention::store_position, attention::quantize_query, attention::split,
            attention::merge,          attention::finish,         attention::kScratchBytes};
}

}  // namespace cierzo::CIERZO_ISA
