// Python bindings: packed weights.
#include "bindings/weights.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "bindings/bindings.h"
#include "runtime/cpu_features.h"
#include "runtime/weight_packing.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace cierzo {
namespace {

using RawBytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

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

PackedWeight pack(const RawBytes& raw, const std::string& storage, int rows, int cols) {
    const Layout layout = layout_of(storage);
    check_size(raw, layout, rows, cols);
    nb::gil_scoped_release unlocked;
    return pack_weight(raw.data(), layout, rows, cols);
}

PackedWeight quantize(const RawBytes& raw, const std::string& storage, int rows, int cols,
                      const std::string& wanted) {
    const Layout from = layout_of(storage);
    const Layout to = layout_of(wanted);
    if (takes_quantized(from) || (to != Layout::Q8_0 && to != Layout::Q4_1)) {
        throw nb::value_error("quantising goes from a float type to q8_0 or q4_1");
    }
    check_size(raw, from, rows, cols);
    nb::gil_scoped_release unlocked;
    return quantize_weight(raw.data(), from, to, rows, cols);
}

nb::ndarray<nb::numpy, float> new_array(size_t rows, size_t cols, bool flat) {
    float* data = new float[rows * cols]();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    if (flat) return nb::ndarray<nb::numpy, float>(data, {cols}, owner);
    return nb::ndarray<nb::numpy, float>(data, {rows, cols}, owner);
}

nb::ndarray<nb::numpy, float> dequantize_row(const PackedWeight& weight, int row) {
    if (row < 0 || row >= weight.view().rows) throw nb::index_error("no such row");
    auto out = new_array(1, weight.view().cols, true);
    active_kernels().linear.dequantize_row(weight.view(), row, static_cast<float*>(out.data()));
    return out;
}

// x @ weight.T on the calling thread. `block_step` and `token_step` cut the work as a program's
// chunks do; `planes` is that of LinearArgs.
nb::ndarray<nb::numpy, float> product(const PackedWeight& packed, const Floats& x, int block_step,
                                      int token_step, int planes) {
    const Weight& weight = packed.view();
    const LinearKernels& kernels = active_kernels().linear;
    const int tokens = static_cast<int>(x.shape(0));
    const int cols = weight.cols;
    if (static_cast<int>(x.shape(1)) != cols) throw nb::value_error("x has the wrong width");
    if (block_step < 1 || token_step < 1 || planes < 1 || planes > 2) {
        throw nb::value_error("steps are at least 1, planes 1 or 2");
    }
    auto out = new_array(tokens, weight.rows, false);

    const size_t groups = (cols + kGroup - 1) / kGroup;
    const size_t rows = static_cast<size_t>(tokens) * planes;
    const PageBuffer numbers(rows * (groups * kGroup + 64) + 64, false);
    const PageBuffer floats(rows * groups * 4 * sizeof(float) + 64, false);
    const PageBuffer scratch(kernels.scratch_bytes, false);
    float* scale = floats.as<float>();
    const QuantizedRows xq{numbers.as<int8_t>(),
                           scale,
                           reinterpret_cast<int32_t*>(scale + rows * groups),
                           scale + 3 * rows * groups,
                           groups * kGroup + 64,
                           groups};
    if (takes_quantized(weight.layout)) {
        const auto quantize = planes == 2 ? kernels.quantize_rows_twice : kernels.quantize_rows;
        quantize(x.data(), cols, cols, 0, tokens, xq);
    }
    LinearArgs args{};
    args.weight = &weight;
    args.x = x.data();
    args.x_stride = cols;
    args.xq = &xq;
    args.planes = planes;
    args.out = static_cast<float*>(out.data());
    args.out_stride = weight.rows;
    for (int block = 0; block < weight.blocks(); block += block_step) {
        for (int token = 0; token < tokens; token += token_step) {
            kernels.linear(args, block, std::min(block + block_step, weight.blocks()), token,
                           std::min(token + token_step, tokens), scratch.data());
        }
    }
    return out;
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
        .def_prop_ro("nbytes", &PackedWeight::bytes)
        .def("dequantize_row", &dequantize_row, "row"_a, "One row as float32.")
        .def("product", &product, "x"_a, "block_step"_a = 1 << 20, "token_step"_a = 1 << 20,
             "planes"_a = 1, "x @ weight.T, on one thread; for tests and measurements.");
    m.def("pack", &pack, "raw"_a, "storage"_a, "rows"_a, "cols"_a,
          "Packs the bytes of a matrix as they lie in a file.");
    m.def("quantize", &quantize, "raw"_a, "storage"_a, "rows"_a, "cols"_a, "wanted"_a,
          "Packs a float matrix as q8_0 or q4_1.");
}

}  // namespace cierzo
