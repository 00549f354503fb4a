// The paged KV cache: blocks of 32 positions, each holding one (layer, KV head) after the other.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attention.h"
#include "runtime/page_buffer.h"

namespace cierzo {

struct KvCacheShape {
    int layers;
    int blocks;
    int kv_heads;
    int head_dim;  // a multiple of 16
    CacheType type;
};

class KvCache {
  public:
    // Address space for all blocks; memory is taken when a block is first written.
    explicit KvCache(const KvCacheShape& shape);

    const KvCacheShape& shape() const { return shape_; }
    HeadCache head(int layer, int kv_head) const;

    // What one layer keeps of a block, and where.
    size_t layer_block_bytes() const { return layer_block_bytes_; }
    uint8_t* at(int layer, int block) const;

    // Copies a block over all layers.
    void copy_block(int source, int target);

    // Gives the memory of blocks back to the system; what they held is lost. Blocks side by side
    // are given back in one piece, so that huge pages go whole.
    void give_back(std::vector<int> blocks);

    // Bytes of one block over all layers, and its export and import (layer by layer).
    size_t block_bytes() const;
    void read_block(int block, uint8_t* out) const;
    void write_block(int block, const uint8_t* in);

  private:
    KvCacheShape shape_;
    size_t head_bytes_;         // K and V of one head in one block
    size_t layer_block_bytes_;  // of all heads
    PageBuffer memory_;
};

}  // namespace cierzo
