// Python bindings: runtime.
#include "bindings/bindings.h"

namespace cierzo {

void bind_runtime(nanobind::module_& m) { (void)m; }

}  // namespace cierzo
