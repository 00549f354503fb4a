// Compiled once per instruction set (CIERZO_ISA names it): fills that set's table of kernels.
#include "kernels/attention_impl.h"
#include "kernels/kernels.h"
#include "kernels/linear_impl.h"
#include "kernels/rows_impl.h"
#include "kernels/sampling_impl.h"

#define CIERZO_STRING_(x) #x
#define CIERZO_STRING(x) CIERZO_STRING_(x)

namespace cierzo::CIERZO_ISA {

const Kernels& kernels() {
    static const Kernels table{CIERZO_STRING(CIERZO_ISA), linear_kernels(), row_kernels(),
                               attention_kernels(), sampling_kernels()};
    return table;
}

}  // namespace cierzo::CIERZO_ISA
