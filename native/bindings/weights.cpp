// Python bindings: packed weights.
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <array>
#include <string>

#include "bindings/bindings.h"
#include "runtime/cpu_features.h"
#include "runtime/weight_packing.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace cierzo {
namespace {

using RawBytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

constexpr std::array<const char*, 11> kNames = {"f32",  "f16",  "bf16", "q8_0", "q4_0", "q4_1",
                                                "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"};

Layout layout_of(const std::string& name) {
    for (size_t i = 0; i < kNames.size(); ++i) {
        if (name == kNames[i]) return static_cast<Layout>(i);
    }
    throw nb::value_error(("there is no storage type called " + name).c_str());
}

void check_size(const RawBytes& raw, Layout layout, int rows, int cols) {
    if (rows <= 0 || cols <= 0 || raw.size() != file_bytes(layout, rows, cols)) {
        throw nb::value_error(("a matrix of " + std::to_string(rows) + " x " +
                               std::to_string(cols) + " does not take " +
                               std::to_string(raw.size()) + " bytes of this type")
                                  .c_str());
    }
}

PackedWeight pack(const RawBytes& raw, const std::string& storage, int rows, int cols,
                  int threads) {
    const Layout layout = layout_of(storage);
    check_size(raw, layout, rows, cols);
    nb::gil_scoped_release unlocked;
    return pack_weight(raw.data(), layout, rows, cols, threads);
}

PackedWeight quantize(const RawBytes& raw, const std::string& storage, int rows, int cols,
                      const std::string& wanted, int threads) {
    const Layout from = layout_of(storage);
    const Layout to = layout_of(wanted);
    if (takes_quantized(from) || (to != Layout::Q8_0 && to != Layout::Q4_1)) {
        throw nb::value_error("quantizing goes from a float type to q8_0 or q4_1");
    }
    check_size(raw, from, rows, cols);
    nb::gil_scoped_release unlocked;
    return quantize_weight(raw.data(), from, to, rows, cols, threads);
}

}  // namespace

void bind_weights(nb::module_& m) {
    nb::class_<PackedWeight>(m, "PackedWeight", "A matrix laid out for the kernels.")
        .def_prop_ro("rows", [](const PackedWeight& w) { return w.view().rows; })
        .def_prop_ro("cols", [](const PackedWeight& w) { return w.view().cols; })
        .def_prop_ro("layout",
                     [](const PackedWeight& w) {
                         return std::string(kNames[static_cast<size_t>(w.view().layout)]);
                     })
        .def_prop_ro("nbytes", &PackedWeight::bytes);
    m.def("pack", &pack, "raw"_a, "storage"_a, "rows"_a, "cols"_a, "threads"_a = 1,
          "Packs the bytes of a matrix as they lie in a file.");
    m.def("quantize", &quantize, "raw"_a, "storage"_a, "rows"_a, "cols"_a, "wanted"_a,
          "threads"_a = 1, "Packs a float matrix as q8_0 or q4_1.");
}

}  // namespace cierzo
