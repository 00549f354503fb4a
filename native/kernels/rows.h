// Kernels for work on single rows: norms, rotary embedding, quantisation.
#pragma once

namespace cierzo {

struct RowKernels {};

}  // namespace cierzo
