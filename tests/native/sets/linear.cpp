// Products with packed weights. With small whole numbers and scales that are powers of two every
// sum is exact, so the sets must agree in every bit; with any numbers each must come as close to
// float64 as rounding lets it.
#include "compare.h"

namespace cierzo::test {
namespace {

// A quantised layout's blocks in a file: their size, columns, and where their float16 are.
struct Form {
    Layout layout;
    const char* name;
    size_t bytes;
    int cols;
    std::vector<size_t> halves;
};

const std::vector<Form> kForms = {
    {Layout::Q8_0, "q8_0", 34, 32, {0}},      {Layout::Q4_0, "q4_0", 18, 32, {0}},
    {Layout::Q4_1, "q4_1", 20, 32, {0, 2}},   {Layout::Q5_0, "q5_0", 22, 32, {0}},
    {Layout::Q5_1, "q5_1", 24, 32, {0, 2}},   {Layout::Q4_K, "q4_k", 144, 256, {0, 2}},
    {Layout::Q5_K, "q5_k", 176, 256, {0, 2}}, {Layout::Q6_K, "q6_k", 210, 256, {208}},
};

struct Shape {
    int rows;
    int cols;
};

// Packed alike by both sets.
class Packed {
  public:
    Packed(Comparison& comparison, const std::string& what, Layout layout, Shape shape,
           const std::vector<uint8_t>& raw)
        : bytes_(comparison.plain.linear.block_bytes(layout, shape.cols)),
          data_(bytes_ * blocks(shape) + kSlack),
          weight_{layout, shape.rows, shape.cols, bytes_, data_.data()} {
        comparison.tried.linear.pack(raw.data(), weight_, 0, weight_.blocks());
        const Memory<uint8_t> other(data_.size());
        Weight plain = weight_;
        plain.data = other.data();
        comparison.plain.linear.pack(raw.data(), plain, 0, plain.blocks());
        comparison.same(what + " packed", data_.data(), other.data(), data_.size());
        values_.resize(static_cast<size_t>(shape.rows) * shape.cols);
        std::vector<float> row(shape.cols);
        for (int r = 0; r < shape.rows; ++r) {
            float* values = &values_[static_cast<size_t>(r) * shape.cols];
            comparison.plain.linear.dequantize_row(plain, r, values);
            comparison.tried.linear.dequantize_row(weight_, r, row.data());
            comparison.same(what + " row", row.data(), values, row.size());
        }
    }

    const Weight& weight() const { return weight_; }
    const std::vector<float>& values() const { return values_; }

  private:
    static constexpr size_t kSlack = 64;
    static size_t blocks(Shape shape) { return (shape.rows + kLanes - 1) / kLanes; }

    size_t bytes_;
    Memory<uint8_t> data_;
    Weight weight_;
    std::vector<float> values_;
};

// Activations as int8, as one set makes them.
class Inputs {
  public:
    Inputs(const LinearKernels& kernels, const std::vector<float>& x, int tokens, int cols,
           int planes)
        : cols(cols),
          num_rows(static_cast<size_t>(tokens) * planes),
          groups((cols + kGroup - 1) / kGroup),
          numbers(num_rows * (groups * kGroup + 64) + 64),
          scales(num_rows * groups),
          sums(num_rows * groups * 2),
          offsets(num_rows * groups),
          rows{numbers.data(), scales.data(),        sums.data(),
               offsets.data(), groups * kGroup + 64, groups} {
        if (cols % kGroup != 0) return;
        (planes == 2 ? kernels.quantize_rows_twice : kernels.quantize_rows)(x.data(), cols, cols, 0,
                                                                            tokens, rows);
    }

    // What the product takes for x [T, cols].
    std::vector<double> seen(int planes) const {
        std::vector<double> values(num_rows / planes * cols);
        for (size_t row = 0; row < num_rows; ++row) {
            for (int k = 0; k < cols; ++k) {
                values[row / planes * cols + k] +=
                    double{scales[row * groups + k / kGroup]} * numbers[row * rows.q_stride + k];
            }
        }
        return values;
    }

    int cols;
    size_t num_rows;
    size_t groups;
    Memory<int8_t> numbers;
    Memory<float> scales;
    Memory<int32_t> sums;
    Memory<float> offsets;
    QuantizedRows rows;
};

std::vector<float> product(const LinearKernels& kernels, const Weight& weight,
                           const std::vector<float>& x, const QuantizedRows& xq, int tokens,
                           int planes) {
    const size_t stride = weight.rows + 3;
    std::vector<float> out(tokens * stride);
    const Memory<uint8_t> scratch(kernels.scratch_bytes);
    LinearArgs args{};
    args.weight = &weight;
    args.x = x.data();
    args.x_stride = weight.cols;
    args.xq = &xq;
    args.planes = planes;
    args.out = out.data();
    args.out_stride = stride;
    kernels.linear(args, 0, weight.blocks(), 0, tokens, scratch.data());
    std::vector<float> result;
    for (int t = 0; t < tokens; ++t) {
        result.insert(result.end(), &out[t * stride], &out[t * stride] + weight.rows);
    }
    return result;
}

void compare_product(Comparison& comparison, const std::string& what, const Packed& packed,
                     const std::vector<float>& x, int tokens, int planes, bool exact) {
    const Weight& weight = packed.weight();
    const Inputs tried(comparison.tried.linear, x, tokens, weight.cols, planes);
    const Inputs plain(comparison.plain.linear, x, tokens, weight.cols, planes);
    comparison.same(what + " numbers", tried.numbers.data(), plain.numbers.data(),
                    plain.numbers.size());
    comparison.same(what + " scales", tried.scales.data(), plain.scales.data(),
                    plain.scales.size());
    comparison.same(what + " sums", tried.sums.data(), plain.sums.data(), plain.sums.size());
    comparison.same(what + " offsets", tried.offsets.data(), plain.offsets.data(),
                    plain.offsets.size());
    const auto got = product(comparison.tried.linear, weight, x, tried.rows, tokens, planes);
    const auto want = product(comparison.plain.linear, weight, x, plain.rows, tokens, planes);
    if (exact) return comparison.same(what, got.data(), want.data(), want.size());
    std::vector<double> seen = plain.seen(planes);
    if (!takes_quantized(weight.layout)) seen.assign(x.begin(), x.end());
    std::vector<double> sums(want.size());
    std::vector<double> sizes(want.size());
    for (int t = 0; t < tokens; ++t) {
        for (int r = 0; r < weight.rows; ++r) {
            const size_t at = static_cast<size_t>(t) * weight.rows + r;
            for (int k = 0; k < weight.cols; ++k) {
                const double term = seen[static_cast<size_t>(t) * weight.cols + k] *
                                    packed.values()[static_cast<size_t>(r) * weight.cols + k];
                sums[at] += term;
                sizes[at] += std::abs(term);
            }
        }
    }
    const auto most = [&](size_t i) { return 1e-6 * sizes[i] + 1e-30; };
    comparison.close(what, got.data(), sums.data(), sums.size(), most);
    comparison.close(what + " (portable)", want.data(), sums.data(), sums.size(), most);
}

// Bytes of a file: numbers of chance, or all the largest or smallest; scales +-1/8 and +-1/4, or
// any.
std::vector<uint8_t> file_of(Chance& chance, const Form& form, Shape shape, bool exact, int fill) {
    const size_t blocks = static_cast<size_t>(shape.rows) * shape.cols / form.cols;
    std::vector<uint8_t> raw(blocks * form.bytes);
    for (uint8_t& byte : raw) {
        byte = static_cast<uint8_t>(fill < 0 ? chance.bits() >> 8 : chance.whole(0, 1) * fill);
    }
    const uint16_t powers[] = {0x3000, 0x3400, 0xb000, 0xb400};
    for (size_t block = 0; block < blocks; ++block) {
        for (size_t at : form.halves) {
            const auto any =
                static_cast<uint16_t>(chance.whole(0x1c00, 0x3bff) | chance.whole(0, 1) << 15);
            const uint16_t half = exact ? powers[chance.bits() % 4] : any;
            std::memcpy(&raw[block * form.bytes + at], &half, sizeof half);
        }
    }
    return raw;
}

// Whole numbers, of which one in a group is 127 in size, so that they are their own int8.
std::vector<float> whole_inputs(Chance& chance, size_t count, int size) {
    std::vector<float> x(count);
    for (size_t i = 0; i < count; ++i) x[i] = static_cast<float>(chance.whole(-size, size));
    for (size_t i = 0; i < count; i += kGroup) {
        x[i + chance.bits() % kGroup] = chance.whole(0, 1) == 1 ? 127.0f : -127.0f;
    }
    return x;
}

void compare_form(Comparison& comparison, const Form& form) {
    Chance chance(static_cast<uint32_t>(form.layout));
    const int least = form.cols;
    const Shape shapes[] = {{1, least}, {37, 3 * least}, {48, form.cols == 32 ? 1376 : 1536}};
    for (const Shape shape : shapes) {
        for (const bool exact : {true, false}) {
            const std::string name = std::string(form.name) + " " + std::to_string(shape.rows) +
                                     "x" + std::to_string(shape.cols) + (exact ? " exact" : " any");
            const Packed packed(comparison, name, form.layout, shape,
                                file_of(chance, form, shape, exact, -1));
            for (const int tokens : {1, 2, 3, 4, 5, 16, 17, 18, 19, 31, 270}) {
                if (tokens > 100 && exact == (shape.cols < 1000)) continue;
                const size_t count = static_cast<size_t>(tokens) * shape.cols;
                const auto x = exact ? whole_inputs(chance, count, 3) : chance.reals(count, 5.0f);
                const std::string what = name + " by " + std::to_string(tokens);
                compare_product(comparison, what, packed, x, tokens, 1, exact);
                if (!exact && (tokens == 3 || tokens == 31)) {
                    compare_product(comparison, what + " twice", packed, x, tokens, 2, false);
                }
            }
        }
    }
    // The largest numbers there are, which no sum of products may saturate at.
    const Shape shape{32, least};
    const Packed packed(comparison, std::string(form.name) + " large", form.layout, shape,
                        file_of(chance, form, shape, true, 255));
    for (const int tokens : {1, 4, 40}) {
        auto x = whole_inputs(chance, static_cast<size_t>(tokens) * least, 0);
        for (size_t i = 0; i < x.size(); ++i) {
            const size_t kind = i / least % 4;  // all alike, all the other, in turn, by two
            const size_t minus = kind < 2 ? kind : kind == 2 ? i % 2 : i / 2 % 2;
            x[i] = minus == 1 ? -127.0f : 127.0f;
        }
        compare_product(comparison, std::string(form.name) + " large by " + std::to_string(tokens),
                        packed, x, tokens, 1, true);
    }
}

void compare_floats(Comparison& comparison, Layout layout, const char* name) {
    Chance chance(100 + static_cast<uint32_t>(layout));
    for (const Shape shape : {Shape{1, 32}, Shape{37, 67}, Shape{48, 320}}) {
        const size_t count = static_cast<size_t>(shape.rows) * shape.cols;
        std::vector<uint8_t> raw(count * (layout == Layout::F32 ? 4 : 2));
        for (size_t i = 0; i < count; ++i) {
            const float value = chance.real();
            uint32_t bits;
            std::memcpy(&bits, &value, sizeof bits);
            // Any float16 below 2, subnormal ones among them.
            const uint16_t half = static_cast<uint16_t>(chance.bits() & 0xbfff);
            const uint16_t brain = static_cast<uint16_t>(bits >> 16);
            if (layout == Layout::F32) std::memcpy(&raw[4 * i], &bits, 4);
            if (layout == Layout::F16) std::memcpy(&raw[2 * i], &half, 2);
            if (layout == Layout::BF16) std::memcpy(&raw[2 * i], &brain, 2);
        }
        const std::string what = std::string(name) + " " + std::to_string(shape.cols);
        const Packed packed(comparison, what, layout, shape, raw);
        for (const int tokens : {1, 2, 5, 20}) {
            const auto x = chance.reals(static_cast<size_t>(tokens) * shape.cols);
            compare_product(comparison, what + " by " + std::to_string(tokens), packed, x, tokens,
                            1, false);
        }
    }
}

void compare_gated(Comparison& comparison, const Form& form) {
    Chance chance(200);
    const Shape shape{80, 2 * form.cols};
    const Packed gate(comparison, "gate", form.layout, shape,
                      file_of(chance, form, shape, false, -1));
    const Packed up(comparison, "up", form.layout, shape, file_of(chance, form, shape, false, -1));
    const size_t groups = (shape.rows + kGroup - 1) / kGroup;
    for (const int tokens : {1, 6, 40}) {
        const auto x = chance.reals(static_cast<size_t>(tokens) * shape.cols, 3.0f);
        std::vector<float> out[2];
        std::vector<float> back[2];  // what was quantised of it
        for (int i = 0; i < 2; ++i) {
            const LinearKernels& kernels = (i == 0 ? comparison.tried : comparison.plain).linear;
            const Inputs inputs(kernels, x, tokens, shape.cols, 1);
            const std::vector<float> none(tokens * groups * kGroup);
            const Inputs result(kernels, none, tokens, static_cast<int>(groups) * kGroup, 1);
            out[i].resize(static_cast<size_t>(tokens) * shape.rows);
            const Memory<uint8_t> scratch(kernels.scratch_bytes);
            QuantizedRows xq = inputs.rows;
            QuantizedRows out_q = result.rows;
            GatedArgs args{};
            args.gate = &gate.weight();
            args.up = &up.weight();
            args.x = x.data();
            args.x_stride = shape.cols;
            args.xq = &xq;
            args.out = out[i].data();
            args.out_stride = shape.rows;
            args.out_q = &out_q;
            kernels.gated(args, 0, static_cast<int>(groups), 0, tokens, scratch.data());
            for (const double value : result.seen(1)) {
                back[i].push_back(static_cast<float>(value));
            }
        }
        float size = 0.0f;
        for (const float value : out[1]) size = std::max(size, std::abs(value));
        const std::string what =
            std::string("gated ") + form.name + " by " + std::to_string(tokens);
        comparison.close(what, out[0].data(), out[1].data(), out[1].size(),
                         [&](size_t) { return 2e-6 * size; });
        comparison.close(what + " as int8", back[0].data(), back[1].data(), back[1].size(),
                         [&](size_t) { return size / 100.0; });
    }
}

}  // namespace

void compare_linear(Comparison& comparison) {
    for (const Form& form : kForms) compare_form(comparison, form);
    compare_floats(comparison, Layout::F32, "f32");
    compare_floats(comparison, Layout::F16, "f16");
    compare_floats(comparison, Layout::BF16, "bf16");
    compare_gated(comparison, kForms[2]);
    compare_gated(comparison, kForms[7]);
}

}  // namespace cierzo::test
