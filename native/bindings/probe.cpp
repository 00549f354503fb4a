// Python bindings for tests and measurements: a kernel at a time, without a step around it. Only in
// builds for developers (CIERZO_PROBE); what users install has none of it.
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "bindings/bindings.h"
#include "runtime/cpu_features.h"
#include "runtime/packed_weight.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace cierzo {
namespace {

using Floats = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

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

void bind_probe(nb::module_& m) {
    m.def("dequantize_row", &dequantize_row, "weight"_a, "row"_a, "One row as float32.");
    m.def("product", &product, "weight"_a, "x"_a, "block_step"_a = 1 << 20,
          "token_step"_a = 1 << 20, "planes"_a = 1, "x @ weight.T, on one thread.");
    m.def("measure_products", &measure, "weights"_a, "x"_a, "passes"_a,
          "Seconds for x @ weight.T with each of the weights, on one thread; the best pass.");
}

}  // namespace cierzo
