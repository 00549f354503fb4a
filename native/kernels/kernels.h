// The table of kernels that one instruction set offers, and the choice among the sets.
//
// `isa.cpp` is compiled once per instruction set; each compilation fills one `Kernels` from the
// `*_impl.h` files beside it. The runtime only ever calls through the table.
#pragma once

#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/rows.h"
#include "kernels/sampling.h"

namespace cierzo {

struct Kernels {
    const char* isa;
    LinearKernels linear;
    RowKernels rows;
    AttentionKernels attention;
    SamplingKernels sampling;
};

// One per compiled instruction set; only those compiled in are defined.
namespace portable {
const Kernels& kernels();
}
namespace avx2 {
const Kernels& kernels();
}
namespace avxvnni {
const Kernels& kernels();
}
namespace avx512 {
const Kernels& kernels();
}
namespace amx {
const Kernels& kernels();
}
namespace dotprod {
const Kernels& kernels();
}
namespace i8mm {
const Kernels& kernels();
}

}  // namespace cierzo
