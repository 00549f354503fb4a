// Python bindings: sampling.
#include "bindings/bindings.h"

namespace cierzo {

void bind_sampling(nanobind::module_& m) { (void)m; }

}  // namespace cierzo
