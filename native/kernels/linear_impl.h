// Kernels for matrix products with packed weights, for the instruction set being compiled.
#pragma once

#include "kernels/linear.h"

namespace cierzo::CIERZO_ISA {

inline LinearKernels linear_kernels() { return {}; }

}  // namespace cierzo::CIERZO_ISA
