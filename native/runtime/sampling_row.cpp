// From a row of logits to a token, and to log-probabilities.
#include "runtime/sampling_row.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "runtime/sampling_philox.h"

namespace cierzo {
namespace {

constexpr float kGreedyBelow = 1e-5f;  // temperatures lower than this are greedy
constexpr int kNucleusGuess = 128;     // tokens that usually hold `top_p` of the mass

// Floats as integers in the same order, and back.
int32_t ordered(float value) {
    const int32_t bits = std::bit_cast<int32_t>(value);
    return bits >= 0 ? bits : bits ^ 0x7fffffff;
}

float from_ordered(int32_t key) { return std::bit_cast<float>(key >= 0 ? key : key ^ 0x7fffffff); }

int32_t middle(int32_t low, int32_t high) {
    return static_cast<int32_t>((int64_t{low} + int64_t{high}) >> 1);
}

}  // namespace

RowSampler::RowSampler(const Kernels& kernels, int vocab_size)
    : kernels_(kernels.sampling),
      vocab_size_(vocab_size),
      modified_(vocab_size),
      max_(sample_chunks(vocab_size)),
      sum_(sample_chunks(vocab_size)),
      weights_(vocab_size),
      indices_(vocab_size) {}

int32_t RowSampler::choose(const float* logits, const SamplingState& state, const uint32_t* mask,
                           TokenLogprobs* logprobs) {
    const SamplingOptions& options = state.options();
    if (!kernels_.chunk_max(logits, vocab_size_, max_.data())) return kNotFinite;
    double normaliser = 0.0;
    if (options.logprobs >= 0) {
        normaliser = log_sum_exp(logits);
        list_top(logits, options.logprobs, normaliser, &logprobs->top);
    }
    const float* x = logits;
    if (state.modifies()) {
        modified_.assign(logits, logits + vocab_size_);
        state.modify(modified_.data());
        x = modified_.data();
        if (mask == nullptr) kernels_.chunk_max(x, vocab_size_, max_.data());
    }
    if (mask != nullptr) {
        kernels_.keep_masked(x, vocab_size_, mask, modified_.data(), max_.data());
        x = modified_.data();
    }
    if (x != logits && !std::isfinite(largest())) return kNothingLeft;
    const int32_t token = draw(x, options, static_cast<uint64_t>(state.length()));
    if (options.logprobs >= 0) {
        logprobs->chosen = {token, static_cast<float>(logits[token] - normaliser)};
    }
    return token;
}

bool RowSampler::explain(const float* logits, int32_t token, int num_top, TokenLogprobs* logprobs) {
    if (!kernels_.chunk_max(logits, vocab_size_, max_.data())) return false;
    const double normaliser = log_sum_exp(logits);
    list_top(logits, num_top, normaliser, &logprobs->top);
    logprobs->chosen = {token, static_cast<float>(logits[token] - normaliser)};
    return true;
}

float RowSampler::largest() const { return *std::max_element(max_.begin(), max_.end()); }

double RowSampler::log_sum_exp(const float* x) {
    const float max = largest();
    kernels_.chunk_exp(x, vocab_size_, max, 1.0f, 0.0f, nullptr, sum_.data());
    return max + std::log(total());
}

double RowSampler::total() const {
    double sum = 0.0;
    for (const float part : sum_) sum += part;
    return sum;
}

void RowSampler::list_top(const float* x, int count, double normaliser,
                          std::vector<TokenProbability>* top) {
    top->clear();
    if (count == 0) return;
    gather_top(x, std::min(count, vocab_size_));
    for (int i = 0; i < std::min(count, vocab_size_); ++i) {
        const Candidate& candidate = candidates_[i];
        top->push_back({candidate.token, static_cast<float>(candidate.value - normaliser)});
    }
}

// Fills candidates_ with a prefix, at least `count` long, of all tokens in order; with all of them
// where fewer have a chance, as under a mask.
void RowSampler::gather_top(const float* x, int count) {
    // As many values as there are chunks whose largest is above a bound are above it, at least.
    float bound;
    if (count <= static_cast<int>(max_.size())) {
        bounds_ = max_;
        std::nth_element(bounds_.begin(), bounds_.begin() + (count - 1), bounds_.end(),
                         std::greater<>());
        bound = bounds_[count - 1];
    } else {
        // The largest bound that `count` values reach, by bisection; close is good enough.
        int32_t low = ordered(-std::numeric_limits<float>::infinity());
        int32_t high = ordered(largest()) + 1;
        int reached = vocab_size_;
        while (high - int64_t{low} > 1 && reached > count + count / 8) {
            const int32_t key = middle(low, high);
            const int found = kernels_.count_from(x, vocab_size_, from_ordered(key));
            if (found >= count) {
                low = key;
                reached = found;
            } else {
                high = key;
            }
        }
        bound = from_ordered(low);
    }
    bound = std::max(bound, std::numeric_limits<float>::lowest());  // not what is masked
    const int found =
        kernels_.gather_from(x, vocab_size_, max_.data(), bound, count, indices_.data());
    candidates_.clear();
    for (int i = 0; i < found; ++i) candidates_.push_back({x[indices_[i]], indices_[i]});
    std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
        return a.value != b.value ? a.value > b.value : a.token < b.token;
    });
}

int32_t RowSampler::draw(const float* x, const SamplingOptions& options, uint64_t position) {
    if (options.temperature < kGreedyBelow || options.top_k == 1) return first_largest(x);
    const double uniform = philox_uniform(options.seed, position);
    const float inverse = 1.0f / options.temperature;
    if (options.top_k > 0 && options.top_k < vocab_size_) {
        return draw_top_k(x, options, inverse, uniform);
    }
    kernels_.chunk_exp(x, vocab_size_, largest(), inverse, options.min_p, weights_.data(),
                       sum_.data());
    // The largest probability is 1 / total(), as weights are shares of the largest.
    if (options.top_a > 0.0f) {
        const float least = static_cast<float>(options.top_a / total());
        kernels_.keep_from(weights_.data(), vocab_size_, least, sum_.data());
    }
    if (options.top_p < 1.0f) {
        const double share = options.top_p;
        gather_top(x, std::min<int>(kNucleusGuess, static_cast<int>(max_.size())));
        for (Candidate& candidate : candidates_) candidate.value = weights_[candidate.token];
        if (const size_t prefix = listed_prefix(total() * share))
            return draw_listed(prefix, uniform);
        keep_share(share);
    }
    return draw_weighted(uniform);
}

// The lowest id among the largest values.
int32_t RowSampler::first_largest(const float* x) const {
    const auto chunk = std::max_element(max_.begin(), max_.end());
    const float* start = x + (chunk - max_.begin()) * kSampleChunk;
    return static_cast<int32_t>(std::find(start, x + vocab_size_, *chunk) - x);
}

int32_t RowSampler::draw_top_k(const float* x, const SamplingOptions& options, float inverse,
                               double uniform) {
    gather_top(x, options.top_k);
    candidates_.resize(std::min<size_t>(options.top_k, candidates_.size()));
    const int count = static_cast<int>(candidates_.size());
    for (int i = 0; i < count; ++i) weights_[i] = candidates_[i].value;
    kernels_.chunk_exp(weights_.data(), count, candidates_[0].value, inverse, options.min_p,
                       weights_.data(), sum_.data());
    double mass = 0.0;
    for (int i = 0; i < count; ++i) mass += candidates_[i].value = weights_[i];
    if (options.top_a > 0.0f) {
        const float least = static_cast<float>(options.top_a / mass);
        mass = 0.0;
        for (Candidate& candidate : candidates_) {
            if (candidate.value < least) candidate.value = 0.0f;
            mass += candidate.value;
        }
    }
    size_t prefix = candidates_.size();
    if (options.top_p < 1.0f) {
        prefix = std::max<size_t>(listed_prefix(mass * static_cast<double>(options.top_p)), 1);
    }
    return draw_listed(prefix, uniform);
}

// How many candidates, whose values are weights now, hold `mass`; 0 if all of them hold less.
size_t RowSampler::listed_prefix(double mass) const {
    double sum = 0.0;
    for (size_t i = 0; i < candidates_.size(); ++i) {
        sum += candidates_[i].value;
        if (sum >= mass) return i + 1;
    }
    return 0;
}

int32_t RowSampler::draw_listed(size_t prefix, double uniform) const {
    double mass = 0.0;
    for (size_t i = 0; i < prefix; ++i) mass += candidates_[i].value;
    const double target = uniform * mass;
    double sum = 0.0;
    size_t last = 0;
    for (size_t i = 0; i < prefix && sum <= target; ++i) {
        sum += candidates_[i].value;
        if (candidates_[i].value > 0.0f) last = i;
    }
    return candidates_[last].token;
}

// Sets weights_ to 0 outside the shortest prefix that holds `share` of the mass. The candidates,
// the first tokens of that prefix, hold less.
void RowSampler::keep_share(double share) {
    const double mass = total() * share;
    // Weights are not negative, so their bits are in their order. The prefix ends at or after the
    // last candidate, and tokens that cannot hold the rest even together may be left out.
    const double spare = (total() - mass) / vocab_size_;
    int32_t low = std::max(1, std::bit_cast<int32_t>(static_cast<float>(spare * 0.5)));
    int32_t high = std::max(low, std::bit_cast<int32_t>(candidates_.back().value)) + 1;
    while (high - low > 1) {
        const int32_t key = middle(low, high);
        if (kernels_.mass_from(weights_.data(), vocab_size_, std::bit_cast<float>(key)) >= mass) {
            low = key;
        } else {
            high = key;
        }
    }
    const float least = std::bit_cast<float>(low);
    const float more = std::bit_cast<float>(low + 1);
    const double above = kernels_.mass_from(weights_.data(), vocab_size_, more);
    const int ties = kernels_.count_from(weights_.data(), vocab_size_, least) -
                     kernels_.count_from(weights_.data(), vocab_size_, more);
    kernels_.keep_from(weights_.data(), vocab_size_, least, sum_.data());
    const double wanted = std::max(1.0, std::ceil((mass - above) / static_cast<double>(least)));
    if (wanted < ties) drop_ties(least, static_cast<int>(wanted));
}

// Keeps only the first `wanted` of the tokens that have the least weight.
void RowSampler::drop_ties(float least, int wanted) {
    for (size_t chunk = 0; chunk < sum_.size(); ++chunk) {
        float* begin = weights_.data() + chunk * kSampleChunk;
        float* end = std::min(begin + kSampleChunk, weights_.data() + vocab_size_);
        bool dropped = false;
        for (float* weight = begin; weight != end; ++weight) {
            if (*weight != least || --wanted >= 0) continue;
            *weight = 0.0f;
            dropped = true;
        }
        if (dropped) sum_[chunk] = std::accumulate(begin, end, 0.0f);
    }
}

int32_t RowSampler::draw_weighted(double uniform) const {
    const double target = uniform * total();
    double sum = 0.0;
    size_t chunk = 0;
    size_t last_chunk = 0;
    double before = 0.0;
    for (; chunk < sum_.size() && sum <= target; ++chunk) {
        if (sum_[chunk] > 0.0f) {
            last_chunk = chunk;
            before = sum;
        }
        sum += sum_[chunk];
    }
    const int begin = static_cast<int>(last_chunk) * kSampleChunk;
    const int end = std::min(begin + kSampleChunk, vocab_size_);
    int32_t last = begin;
    for (int i = begin; i < end && before <= target; ++i) {
        if (weights_[i] > 0.0f) last = i;
        before += weights_[i];
    }
    return last;
}

}  // namespace cierzo
