// Kernels for attention over the paged KV cache.
#pragma once

namespace cierzo {

struct AttentionKernels {};

}  // namespace cierzo
