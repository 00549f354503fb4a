// The activations of a recorded forward pass, and the few buffers that they share.
#pragma once

#include <deque>
#include <vector>

#include "kernels/linear.h"
#include "runtime/page_buffer.h"

namespace cierzo {

// One [rows, width] value of the forward pass; a buffer is assigned when recording is over.
struct Activation {
    int id;
    int width;
    int rows;                          // at most
    int born;                          // operation that writes it
    int dies;                          // last operation that reads it
    bool as_float = false;             // some operation reads (or only writes) float32
    bool as_int8 = false;              // some operation reads int8
    int planes = 1;                    // int8 rows that make one row: 2 for twice the bits
    bool producer_quantizes = false;   // its producer writes int8 on the way, where asked
    bool wanted_rows = false;          // rows of the step whose logits are wanted, no others
    Activation* overwrites = nullptr;  // may take over this one's buffer if it dies at our birth

    float* data = nullptr;
    size_t stride = 0;
    QuantizedRows quantized{};
};

class Activations {
  public:
    Activation* add(int width, int rows, int born);
    // Assigns buffers; activations that live at different times share one.
    void allocate();
    size_t bytes() const;
    const std::deque<Activation>& all() const { return all_; }

  private:
    struct Slot {
        size_t bytes;
        int busy_until;
        PageBuffer memory;
    };

    uint8_t* take(size_t bytes, int born, int dies);

    std::deque<Activation> all_;  // addresses stay
    std::deque<Slot> slots_;
};

}  // namespace cierzo
