// Python bindings: which instruction set is in use.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/bindings.h"
#include "runtime/cpu_features.h"

namespace cierzo {

void bind_cpu_features(nanobind::module_& m) {
    m.def("available_isas", &available_isas,
          "Instruction sets compiled in and supported here, best first.");
    m.def(
        "active_isa", [] { return std::string(active_kernels().isa); },
        "The instruction set in use: CIERZO_ISA's, else the best available.");
}

}  // namespace cierzo
