// Python bindings for tests and simulations: the thread pool's rule, without a pool.
#include "bindings/bindings.h"
#include "runtime/rest_rule.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace cierzo {

void bind_probe_rest_rule(nb::module_& m) {
    nb::class_<RestRule>(m, "RestRule")
        .def(nb::init<int>(), "threads"_a)
        .def_ro_static("LATE", &RestRule::kLate,
                       "A wait counts if it is so many ns longer than a chunk.")
        .def_prop_ro("active", &RestRule::active)
        .def("step_begins", &RestRule::step_begins, "now"_a)
        .def("step_ends", &RestRule::step_ends, "now"_a)
        .def("late", &RestRule::late, "thread"_a, "now"_a, "lost"_a,
             "Others lost so many ns by waiting for a thread; the thread that rests now, or -1.")
        .def("due", &RestRule::due, "now"_a, "The thread that works again from now on, or -1.");
}

}  // namespace cierzo
