// The paged KV cache: where the parts lie.
#include "runtime/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace cierzo {
namespace {

const KvCacheShape& checked(const KvCacheShape& shape) {
    if (shape.layers < 1 || shape.blocks < 1 || shape.kv_heads < 1) {
        throw std::invalid_argument("the KV cache needs at least one layer, block and head");
    }
    if (shape.head_dim < 16 || shape.head_dim % 16 != 0 || shape.head_dim > kMaxHeadDim) {
        throw std::invalid_argument("head_dim must be a multiple of 16, 512 at most");
    }
    return shape;
}

}  // namespace

KvCache::KvCache(const KvCacheShape& shape)
    : shape_(checked(shape)),
      head_bytes_(cache_head_bytes(shape.type, shape.head_dim)),
      layer_block_bytes_(head_bytes_ * shape.kv_heads),
      memory_(layer_block_bytes_ * shape.blocks * shape.layers) {}

uint8_t* KvCache::at(int layer, int block) const {
    return memory_.data() +
           (static_cast<size_t>(layer) * shape_.blocks + block) * layer_block_bytes_;
}

HeadCache KvCache::head(int layer, int kv_head) const {
    return {at(layer, 0) + kv_head * head_bytes_, layer_block_bytes_, shape_.head_dim, shape_.type};
}

size_t KvCache::block_bytes() const { return layer_block_bytes_ * shape_.layers; }

void KvCache::copy_block(int source, int target) {
    for (int layer = 0; layer < shape_.layers; ++layer) {
        std::memcpy(at(layer, target), at(layer, source), layer_block_bytes_);
    }
}

void KvCache::give_back(std::vector<int> blocks) {
    std::sort(blocks.begin(), blocks.end());
    blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
    size_t begin = 0, end = 0;  // of what is not given back yet
    for (int layer = 0; layer < shape_.layers; ++layer) {
        for (const int block : blocks) {
            const auto at_block = static_cast<size_t>(at(layer, block) - memory_.data());
            if (at_block != end) {
                memory_.give_back(begin, end - begin);
                begin = at_block;
            }
            end = at_block + layer_block_bytes_;
        }
    }
    memory_.give_back(begin, end - begin);
}

void KvCache::read_block(int block, uint8_t* out) const {
    for (int layer = 0; layer < shape_.layers; ++layer) {
        std::memcpy(out + layer * layer_block_bytes_, at(layer, block), layer_block_bytes_);
    }
}

void KvCache::write_block(int block, const uint8_t* in) {
    for (int layer = 0; layer < shape_.layers; ++layer) {
        std::memcpy(at(layer, block), in + layer * layer_block_bytes_, layer_block_bytes_);
    }
}

}  // namespace cierzo
