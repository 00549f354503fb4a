// Python bindings: weights.
#include "bindings/bindings.h"

namespace cierzo {

void bind_weights(nanobind::module_& m) { (void)m; }

}  // namespace cierzo
