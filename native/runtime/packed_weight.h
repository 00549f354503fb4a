// A matrix laid out for the kernels, and the memory that it lies in.
#pragma once

#include <cstddef>
#include <utility>

#include "kernels/linear.h"
#include "runtime/page_buffer.h"

namespace cierzo {

// Owns the memory that its view points to.
class PackedWeight {
  public:
    PackedWeight(Layout layout, int rows, int cols, size_t block_bytes)
        : view_{layout, rows, cols, block_bytes, nullptr},
          memory_(static_cast<size_t>(view_.blocks()) * block_bytes) {
        view_.data = memory_.data();
    }

    const Weight& view() const { return view_; }
    size_t bytes() const { return memory_.bytes(); }

  private:
    Weight view_;
    PageBuffer memory_;
};

}  // namespace cierzo
