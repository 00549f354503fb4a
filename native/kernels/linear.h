// Kernels for matrix products with packed weights.
#pragma once

namespace cierzo {

struct LinearKernels {};

}  // namespace cierzo
