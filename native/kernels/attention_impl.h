// Kernels for attention over the paged KV cache, for the instruction set being compiled.
#pragma once

#include "kernels/attention.h"

namespace cierzo::CIERZO_ISA {

inline AttentionKernels attention_kernels() { return {}; }

}  // namespace cierzo::CIERZO_ISA
