// Kernels for from a row of logits to a token, for the instruction set being compiled.
#pragma once

#include "kernels/sampling.h"

namespace cierzo::CIERZO_ISA {

inline SamplingKernels sampling_kernels() { return {}; }

}  // namespace cierzo::CIERZO_ISA
