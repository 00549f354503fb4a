// Laying out a checkpoint's matrix for the kernels, on as many threads as it is given.
#pragma once

#include <cstdint>

#include "runtime/packed_weight.h"

namespace cierzo {

// Bytes that `rows` by `cols` numbers take in a file of this layout.
size_t file_bytes(Layout layout, int rows, int cols);

// Packs the file's bytes, value for value.
// Throws std::invalid_argument when `cols` does not suit the layout.
PackedWeight pack_weight(const uint8_t* raw, Layout layout, int rows, int cols, int threads);

// Packs float numbers as Q8_0 (8 bits) or Q4_1 (4 bits): per row and group of 32 the scale, and
// minimum, with the least squared error found.
PackedWeight quantize_weight(const uint8_t* raw, Layout stored, Layout wanted, int rows, int cols,
                             int threads);

}  // namespace cierzo
