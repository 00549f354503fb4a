// Python bindings: packed weights.
#include "bindings/weights.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

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

// Rows of activations as a product takes them, and a thread's scratch.
class Inputs {
  public:
    Inputs(const float* x, int tokens, int cols, int planes)
        : groups_((cols + kGroup - 1) / kGroup),
          numbers_(static_cast<size_t>(tokens) * planes * (groups_ * kGroup + 64) + 64, false),
          floats_(static_cast<size_t>(tokens) * planes * groups_ * 4 * sizeof(float) + 64, false),
          scratch_(active_kernels().linear.scratch_bytes, false) {
        const size_t rows = static_cast<size_t>(tokens) * planes;
        float* scale = floats_.as<float>();
        rows_ = {numbers_.as<int8_t>(),
                 scale,
                 reinterpret_cast<int32_t*>(scale + rows * groups_),
                 scale + 3 * rows * groups_,
                 groups_ * kGroup + 64,
                 groups_};
        if (cols % kGroup == 0) {
            const LinearKernels& kernels = active_kernels().linear;
            const auto quantize = planes == 2 ? kernels.quantize_rows_twice : kernels.quantize_rows;
            quantize(x, cols, cols, 0, tokens, rows_);
        }
        args_.x = x;
        args_.x_stride = cols;
        args_.xq = &rows_;
        args_.planes = planes;
    }
    Inputs(const Inputs&) = delete;
    Inputs& operator=(const Inputs&) = delete;

    LinearArgs args(const Weight& weight, float* out) const {
        LinearArgs args = args_;
        args.weight = &weight;
        args.out = out;
        args.out_stride = weight.rows;
        return args;
    }
    void* scratch() const { return scratch_.data(); }

  private:
    size_t groups_;
    PageBuffer numbers_;
    PageBuffer floats_;
    PageBuffer scratch_;
    QuantizedRows rows_{};
    LinearArgs args_{};
};

// x @ weight.T on the calling thread. `block_step` and `token_step` cut the work as a program's
// chunks do; `planes` is that of LinearArgs.
nb::ndarray<nb::numpy, float> product(const PackedWeight& packed, const Floats& x, int block_step,
                                      int token_step, int planes) {
    const Weight& weight = packed.view();
    const int tokens = static_cast<int>(x.shape(0));
    if (static_cast<int>(x.shape(1)) != weight.cols) throw nb::value_error("x has the wrong width");
    if (block_step < 1 || token_step < 1 || planes < 1 || planes > 2) {
        throw nb::value_error("steps are at least 1, planes 1 or 2");
    }
    auto out = new_array(tokens, weight.rows, false);
    const Inputs inputs(x.data(), tokens, weight.cols, planes);
    const LinearArgs args = inputs.args(weight, static_cast<float*>(out.data()));
    for (int block = 0; block < weight.blocks(); block += block_step) {
        for (int token = 0; token < tokens; token += token_step) {
            active_kernels().linear.linear(args, block,
                                           std::min(block + block_step, weight.blocks()), token,
                                           std::min(token + token_step, tokens), inputs.scratch());
        }
    }
    return out;
}

// Seconds that the products of x with weights of one shape take together on one thread, without
// what comes before and after: the best of several passes.
double measure(const std::vector<const PackedWeight*>& weights, const Floats& x, int passes) {
    if (weights.empty() || passes < 1) throw nb::value_error("nothing to measure");
    const Weight& shape = weights.front()->view();
    for (const PackedWeight* weight : weights) {
        if (weight->view().rows != shape.rows || weight->view().cols != shape.cols ||
            static_cast<int>(x.shape(1)) != shape.cols) {
            throw nb::value_error("weights and x must agree in shape");
        }
    }
    const int tokens = static_cast<int>(x.shape(0));
    const Inputs inputs(x.data(), tokens, shape.cols, 1);
    std::vector<float> out(static_cast<size_t>(tokens) * shape.rows);
    nb::gil_scoped_release unlocked;
    double best = std::numeric_limits<double>::infinity();
    for (int pass = 0; pass < passes; ++pass) {
        const auto start = std::chrono::steady_clock::now();
        for (const PackedWeight* weight : weights) {
            active_kernels().linear.linear(inputs.args(weight->view(), out.data()), 0,
                                           shape.blocks(), 0, tokens, inputs.scratch());
        }
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
        best = std::min(best, taken.count());
    }
    return best;
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
    m.def("measure_products", &measure, "weights"_a, "x"_a, "passes"_a,
          "Seconds for x @ weight.T with each of the weights, on one thread; the best pass.");
    m.def("pack", &pack, "raw"_a, "storage"_a, "rows"_a, "cols"_a,
          "Packs the bytes of a matrix as they lie in a file.");
    m.def("quantize", &quantize, "raw"_a, "storage"_a, "rows"_a, "cols"_a, "wanted"_a,
          "Packs a float matrix as q8_0 or q4_1.");
}

}  // namespace cierzo
