// Python bindings for tests and measurements: attention's kernels alone, on the first head of a
// cache's first layer, whose block b holds positions 32 b and on. For developers, as probe.cpp.
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <numeric>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "bindings/bindings.h"
#include "runtime/cpu_features.h"
#include "runtime/kv_cache.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace cierzo {
namespace {

using Rows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

using Floats = nb::ndarray<nb::numpy, float>;

template <typename T>
nb::ndarray<nb::numpy, T> array_of(std::vector<T> values, std::vector<size_t> shape) {
    auto* kept = new std::vector<T>(std::move(values));
    nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::ndarray<nb::numpy, T>(kept->data(), shape.size(), shape.data(), owner);
}

void require_width(const KvCache& cache, const Rows& rows) {
    if (static_cast<int>(rows.shape(1)) != cache.shape().head_dim) {
        throw nb::value_error("rows must be as wide as a head");
    }
}

void store(KvCache& cache, int first, const Rows& keys, const Rows& values) {
    require_width(cache, keys);
    require_width(cache, values);
    const int count = static_cast<int>(keys.shape(0));
    if (first < 0 || static_cast<int>(values.shape(0)) != count ||
        first + count > cache.shape().blocks * kBlockPositions) {
        throw nb::value_error("no such positions");
    }
    const HeadCache head = cache.head(0, 0);
    for (int i = 0; i < count; ++i) {
        const int position = first + i;
        active_kernels().attention.store(
            head, position / kBlockPositions, position % kBlockPositions,
            keys.data() + i * keys.shape(1), values.data() + i * values.shape(1));
    }
}

struct Queries {
    std::vector<int16_t> numbers;
    std::vector<float> scales;
};

Queries quantized(const KvCache& cache, const Rows& query) {
    require_width(cache, query);
    const size_t d = query.shape(1);
    Queries q{std::vector<int16_t>(query.size()), std::vector<float>(query.shape(0))};
    for (size_t r = 0; r < query.shape(0); ++r) {
        q.scales[r] = active_kernels().attention.quantize_query(
            cache.shape().type, query.data() + r * d, static_cast<int>(d),
            q.numbers.data() + r * d);
    }
    return q;
}

// (value [rows, head_dim], max [rows], sum [rows]) of splits [first, last), merged in order; scores
// are products times `factor`, exponents of base 2.
std::tuple<Floats, Floats, Floats> attend(const KvCache& cache, const Rows& query,
                                          const std::vector<int32_t>& visible, float factor,
                                          int first, int last) {
    const size_t rows = query.shape(0);
    const size_t d = query.shape(1);
    const int positions = cache.shape().blocks * kBlockPositions;
    if (rows < 1 || rows > kMaxTileRows || visible.size() != rows || first < 0 || last <= first ||
        (last - 1) * kSplitPositions >= positions) {
        throw nb::value_error("no such rows, or no such splits");
    }
    for (int32_t count : visible) {
        if (count < 1 || count > positions) throw nb::value_error("no such positions");
    }
    Queries q = quantized(cache, query);
    for (float& scale : q.scales) scale *= factor;
    std::vector<int32_t> blocks(cache.shape().blocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    const AttentionTile tile{static_cast<int>(rows), q.numbers.data(), q.scales.data(),
                             visible.data(), blocks.data()};
    const AttentionKernels& kernels = active_kernels().attention;
    const PageBuffer scratch(kernels.scratch_bytes, false);
    std::vector<float> value[2], max[2], sum[2];
    AttentionState states[2];
    for (int i = 0; i < 2; ++i) {
        value[i].resize(rows * d);
        max[i].resize(rows);
        sum[i].resize(rows);
        states[i] = {value[i].data(), max[i].data(), sum[i].data()};
    }
    const HeadCache head = cache.head(0, 0);
    kernels.split(head, tile, first, states[0], scratch.data());
    for (int split = first + 1; split < last; ++split) {
        kernels.split(head, tile, split, states[1], scratch.data());
        kernels.merge(states[0], states[1], tile.rows, static_cast<int>(d));
    }
    return std::make_tuple(array_of(std::move(value[0]), {rows, d}),
                           array_of(std::move(max[0]), {rows}),
                           array_of(std::move(sum[0]), {rows}));
}

}  // namespace

void bind_probe_attention(nb::module_& m) {
    m.def("store_positions", &store, "cache"_a, "first"_a, "keys"_a, "values"_a,
          "Stores keys and values [n, head_dim] at positions `first` and on.");
    m.def(
        "quantize_queries",
        [](const KvCache& cache, const Rows& query) {
            Queries q = quantized(cache, query);
            const size_t rows = query.shape(0);
            return std::make_tuple(array_of(std::move(q.numbers), {rows, query.shape(1)}),
                                   array_of(std::move(q.scales), {rows}));
        },
        "cache"_a, "query"_a, "Queries as integers [rows, head_dim], and their scales [rows].");
    m.def("attend", &attend, "cache"_a, "query"_a, "visible"_a, "factor"_a, "first"_a, "last"_a,
          "Attention to splits [first, last): values, not divided by their sums; maxima; sums.");
}

}  // namespace cierzo
