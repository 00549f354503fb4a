// Norms, rotary embedding, and the passes over a row of logits.
#include <limits>

#include "compare.h"

namespace cierzo::test {

void compare_rows(Comparison& comparison) {
    Chance chance(300);
    for (const int cols : {16, 48, 576, 5120}) {
        const auto x = chance.reals(cols, 3.0f);
        const auto weight = chance.reals(cols);
        std::vector<float> got(cols), want(cols);
        comparison.tried.rows.rms_norm(x.data(), weight.data(), 1e-5f, cols, got.data());
        comparison.plain.rows.rms_norm(x.data(), weight.data(), 1e-5f, cols, want.data());
        comparison.close("norm of " + std::to_string(cols), got.data(), want.data(), want.size(),
                         [](size_t) { return 1e-6; });
    }
    for (const int dim : {16, 80, 128, 512}) {
        for (const bool interleaved : {false, true}) {
            const auto turns = chance.reals(2 * static_cast<size_t>(dim));
            auto got = chance.reals(dim);
            auto want = got;
            comparison.tried.rows.rotate(got.data(), turns.data(), dim, interleaved);
            comparison.plain.rows.rotate(want.data(), turns.data(), dim, interleaved);
            comparison.close("rotation of " + std::to_string(dim), got.data(), want.data(),
                             want.size(), [](size_t) { return 1e-6; });
        }
    }
}

namespace {

void compare_logits(Comparison& comparison, int n, bool finite) {
    Chance chance(static_cast<uint32_t>(400 + n));
    const std::string name = (finite ? "logits " : "logits not finite ") + std::to_string(n);
    auto x = chance.reals(n, 20.0f);
    x[n / 2] = x[n / 3];  // equal ones
    if (!finite) {
        x[n / 2] = std::numeric_limits<float>::quiet_NaN();
        x[n / 3] = -std::numeric_limits<float>::infinity();
    }
    const SamplingKernels& tried = comparison.tried.sampling;
    const SamplingKernels& plain = comparison.plain.sampling;
    const int chunks = sample_chunks(n);
    std::vector<float> a(n), b(n), first(chunks), second(chunks);
    const auto agree = [&](const std::string& what) {
        comparison.same(name + what, a.data(), b.data(), a.size());
        comparison.same(name + what + " by chunk", first.data(), second.data(), first.size());
    };

    const int is_finite[] = {tried.chunk_max(x.data(), n, first.data()),
                             plain.chunk_max(x.data(), n, second.data())};
    comparison.same(name + " finite", &is_finite[0], &is_finite[1], 1);
    agree(" maxima");
    const std::vector<float> max = second;
    std::vector<uint32_t> mask((n + 31) / 32);
    for (uint32_t& word : mask) word = chance.bits();
    tried.keep_masked(x.data(), n, mask.data(), a.data(), first.data());
    plain.keep_masked(x.data(), n, mask.data(), b.data(), second.data());
    agree(" masked");
    if (!finite) return;

    const float most = *std::max_element(x.begin(), x.end());
    tried.chunk_exp(x.data(), n, most, 1.25f, 0.0f, a.data(), first.data());
    plain.chunk_exp(x.data(), n, most, 1.25f, 0.0f, b.data(), second.data());
    comparison.close(name + " exponentials", a.data(), b.data(), b.size(),
                     [&](size_t i) { return 1e-6 * b[i] + 1e-37; });
    comparison.close(name + " sums", first.data(), second.data(), second.size(),
                     [&](size_t i) { return 1e-6 * second[i] + 1e-37; });

    const std::vector<float> w = b;
    for (const float bound : {0.0f, 1e-6f, w[n / 2], 1.0f, 2.0f}) {
        const double mass[] = {tried.mass_from(w.data(), n, bound),
                               plain.mass_from(w.data(), n, bound)};
        comparison.same(name + " mass", &mass[0], &mass[1], 1);
        const int count[] = {tried.count_from(w.data(), n, bound),
                             plain.count_from(w.data(), n, bound)};
        comparison.same(name + " count", &count[0], &count[1], 1);
        a = b = w;
        tried.keep_from(a.data(), n, bound, first.data());
        plain.keep_from(b.data(), n, bound, second.data());
        agree(" kept");
    }
    for (const float bound : {-30.0f, x[n / 2], most}) {
        std::vector<int32_t> got(n), want(n);
        const int found[] = {tried.gather_from(x.data(), n, max.data(), bound, 1, got.data()),
                             plain.gather_from(x.data(), n, max.data(), bound, 1, want.data())};
        comparison.same(name + " found", &found[0], &found[1], 1);
        comparison.same(name + " indices", got.data(), want.data(), want.size());
    }
}

}  // namespace

void compare_sampling(Comparison& comparison) {
    for (const int n : {1, 15, 16, 17, 255, 256, 257, 1024, 5003}) {
        compare_logits(comparison, n, true);
        compare_logits(comparison, n, false);
    }
}

}  // namespace cierzo::test
