// Attention. What is stored is the same in every bit. A row that sees one position has its score
// for a maximum, and queries of nothing but zeros weigh all positions alike: then every sum must be
// exact. Of any queries only rounding may differ.
#include "compare.h"

namespace cierzo::test {
namespace {

struct Heads {
    CacheType type;
    int dim;
    int positions;
};

// A head's cache as one set stores it; blocks in reverse order.
class Cache {
  public:
    Cache(const AttentionKernels& kernels, const Heads& heads, const std::vector<float>& keys,
          const std::vector<float>& values)
        : stride_((cache_head_bytes(heads.type, heads.dim) + 63) / 64 * 64),
          blocks_((heads.positions + kBlockPositions - 1) / kBlockPositions),
          data_(stride_ * blocks_.size()),
          head_{data_.data(), stride_, heads.dim, heads.type} {
        const auto last = static_cast<int32_t>(blocks_.size()) - 1;
        for (int32_t i = 0; i <= last; ++i) blocks_[i] = last - i;
        for (int p = 0; p < heads.positions; ++p) {
            kernels.store(head_, blocks_[p / kBlockPositions], p % kBlockPositions,
                          &keys[static_cast<size_t>(p) * heads.dim],
                          &values[static_cast<size_t>(p) * heads.dim]);
        }
    }

    const HeadCache& head() const { return head_; }
    const int32_t* blocks() const { return blocks_.data(); }
    const Memory<uint8_t>& bytes() const { return data_; }

  private:
    size_t stride_;
    std::vector<int32_t> blocks_;
    Memory<uint8_t> data_;
    HeadCache head_;
};

struct Attended {
    std::vector<int16_t> query;
    std::vector<float> scale, value, max, sum, out;
};

Attended attend(const AttentionKernels& kernels, const Cache& cache, const Heads& heads,
                const std::vector<float>& query, const std::vector<int32_t>& visible) {
    const int rows = static_cast<int>(visible.size());
    const size_t size = query.size();
    Attended a{std::vector<int16_t>(size), std::vector<float>(rows), std::vector<float>(size),
               std::vector<float>(rows),   std::vector<float>(rows), std::vector<float>(size)};
    std::vector<float*> out(rows);
    for (int r = 0; r < rows; ++r) {
        const size_t at = static_cast<size_t>(r) * heads.dim;
        a.scale[r] = kernels.quantize_query(heads.type, &query[at], heads.dim, &a.query[at]);
        out[r] = &a.out[at];
    }
    const AttentionTile tile{rows, a.query.data(), a.scale.data(), visible.data(), cache.blocks()};
    const Memory<uint8_t> scratch(kernels.scratch_bytes);
    const AttentionState total{a.value.data(), a.max.data(), a.sum.data()};
    kernels.split(cache.head(), tile, 0, total, scratch.data());
    std::vector<float> value(size), max(rows), sum(rows);
    const AttentionState next{value.data(), max.data(), sum.data()};
    for (int split = 1; split * kSplitPositions < heads.positions; ++split) {
        kernels.split(cache.head(), tile, split, next, scratch.data());
        kernels.merge(total, next, rows, heads.dim);
    }
    kernels.finish(total, rows, heads.dim, out.data());
    return a;
}

void compare_heads(Comparison& comparison, const Heads& heads) {
    Chance chance(static_cast<uint32_t>(heads.dim * 1000 + heads.positions));
    const std::string name = std::string(heads.type == CacheType::I16 ? "int16" : "int8") +
                             " heads of " + std::to_string(heads.dim) + ", " +
                             std::to_string(heads.positions) + " positions";
    const size_t stored = static_cast<size_t>(heads.positions) * heads.dim;
    auto keys = chance.reals(stored);
    auto values = chance.reals(stored);
    // As large as they get, in the first ones.
    for (size_t i = 0; i < stored && i < static_cast<size_t>(2 * heads.dim); ++i) {
        keys[i] = i < static_cast<size_t>(heads.dim) ? 1.0f : keys[i] < 0 ? -1.0f : 1.0f;
        values[i] = keys[i];
    }
    const Cache tried(comparison.tried.attention, heads, keys, values);
    const Cache plain(comparison.plain.attention, heads, keys, values);
    comparison.same(name + ", stored", tried.bytes().data(), plain.bytes().data(),
                    plain.bytes().size());
    for (const int rows : {1, 2, 3, 4, 5, 6, 7, 13}) {
        const std::string what = name + " by " + std::to_string(rows);
        const size_t size = static_cast<size_t>(rows) * heads.dim;
        auto query = chance.reals(size, 0.2f);
        std::copy_n(keys.begin(), heads.dim, query.begin());
        const auto both = [&](const std::vector<float>& q, const std::vector<int32_t>& visible) {
            return std::pair{attend(comparison.tried.attention, tried, heads, q, visible),
                             attend(comparison.plain.attention, plain, heads, q, visible)};
        };
        const auto all_same = [&](const std::string& which, const auto& pair) {
            const auto& [a, b] = pair;
            comparison.same(which + " queries", a.query.data(), b.query.data(), size);
            comparison.same(which + " scales", a.scale.data(), b.scale.data(), rows);
            comparison.same(which + " maxima", a.max.data(), b.max.data(), rows);
            comparison.same(which + " sums", a.sum.data(), b.sum.data(), rows);
            comparison.same(which + " values", a.value.data(), b.value.data(), size);
        };
        std::vector<int32_t> visible(rows);
        for (int32_t& count : visible) count = chance.whole(1, heads.positions);
        visible[rows - 1] = heads.positions;
        all_same(what + ", all alike", both(std::vector<float>(size), visible));
        // With one position seen the exponent is what the maximum's product was rounded by, which
        // the portable set cannot tell.
        const auto [one, other] = both(query, std::vector<int32_t>(rows, 1));
        comparison.same(what + ", one seen: maxima", one.max.data(), other.max.data(), rows);
        comparison.close(what + ", one seen", one.out.data(), other.out.data(), size,
                         [](size_t) { return 1e-6; });
        const auto [a, b] = both(query, visible);
        comparison.close(what, a.out.data(), b.out.data(), size, [](size_t) { return 1e-4; });
    }
}

}  // namespace

void compare_attention(Comparison& comparison) {
    for (const CacheType type : {CacheType::I16, CacheType::I8}) {
        for (const int dim : {16, 80, 128, 512}) {
            for (const int positions : {1, 33, 600}) {
                if (dim == 512 && positions > 100) continue;
                compare_heads(comparison, {type, dim, positions});
            }
        }
    }
}

}  // namespace cierzo::test
