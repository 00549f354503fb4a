// Kernels for work on single rows: norms, rotary embedding, quantisation, for the instruction set being compiled.
#pragma once

#include "kernels/rows.h"

namespace cierzo::CIERZO_ISA {

inline RowKernels row_kernels() { return {}; }

}  // namespace cierzo::CIERZO_ISA
