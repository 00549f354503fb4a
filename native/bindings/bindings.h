// What each file of this folder adds to the Python module cierzo._native.
#pragma once

#include <nanobind/nanobind.h>

namespace cierzo {

void bind_cpu_features(nanobind::module_& m);
void bind_weights(nanobind::module_& m);
void bind_runtime(nanobind::module_& m);
void bind_sampling(nanobind::module_& m);
void bind_drafts(nanobind::module_& m);
// In builds for developers only.
void bind_probe(nanobind::module_& m);
void bind_probe_attention(nanobind::module_& m);
void bind_probe_rest_rule(nanobind::module_& m);

}  // namespace cierzo
