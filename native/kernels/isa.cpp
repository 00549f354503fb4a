// Compiled once per instruction set (CIERZO_ISA names it): fills that set's table of kernels.
#include "kernels/kernels.h"

#include "kernels/attention_impl.h"
#include "kernels/linear_impl.h"
#if !defined(CIERZO_ISA_amx)
#include "kernels/rows_impl.h"
#include "kernels/sampling_impl.h"
#endif

#define CIERZO_STRING_(x) #x
#define CIERZO_STRING(x) CIERZO_STRING_(x)

namespace cierzo::CIERZO_ISA {

const Kernels& kernels() {
#if defined(CIERZO_ISA_amx)
    // Matrix registers serve products, attention's too.
    const Kernels& other = avx512::kernels();
    static const Kernels table{CIERZO_STRING(CIERZO_ISA), linear_kernels(), other.rows,
                               attention_kernels(), other.sampling};
#else
    static const Kernels table{CIERZO_STRING(CIERZO_ISA), linear_kernels(), row_kernels(),
                               attention_kernels(), sampling_kernels()};
#endif
    return table;
}

}  // namespace cierzo::CIERZO_ISA
