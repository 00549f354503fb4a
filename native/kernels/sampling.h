// Kernels for from a row of logits to a token.
#pragma once

namespace cierzo {

struct SamplingKernels {};

}  // namespace cierzo
