// The Python module cierzo._native.
#include "bindings/bindings.h"

NB_MODULE(_native, m) {
    m.doc() = "Cierzo's CPU kernels and their runtime.";
    cierzo::bind_cpu_features(m);
    cierzo::bind_weights(m);
    cierzo::bind_runtime(m);
    cierzo::bind_sampling(m);
    cierzo::bind_drafts(m);
#ifdef CIERZO_PROBE
    cierzo::bind_probe(m);
    cierzo::bind_probe_attention(m);
    cierzo::bind_probe_rest_rule(m);
#endif
}
