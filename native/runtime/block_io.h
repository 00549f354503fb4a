// Blocks of the KV cache to and from files, and a digest that tells whether bytes are the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/kv_cache.h"

namespace cierzo {

// 64 bits that differ for bytes that differ, but for one chance in 2^64; no defence against
// somebody who makes bytes up to that end. `seed` is the digest of what stands before. As fast as
// memory.
uint64_t digest(const uint8_t* data, size_t bytes, uint64_t seed = 0);

// Write a block, all layers one after the other, to a place in a file, or read it from there.
// Return the digest of its bytes. Throw std::system_error; a file that ends early is an EIO.
uint64_t save_block(const KvCache& cache, int block, int file, int64_t offset);
uint64_t load_block(KvCache& cache, int block, int file, int64_t offset);

}  // namespace cierzo
