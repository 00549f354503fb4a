// From a row of logits to a token, and to log-probabilities.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "runtime/sampling_state.h"

namespace cierzo {

struct TokenProbability {
    int32_t token;
    float logprob;
};

// The log-probability of a token and the most likely ones in its place (ties: lower id first).
struct TokenLogprobs {
    TokenProbability chosen;
    std::vector<TokenProbability> top;
};

// Given in place of a token.
inline constexpr int32_t kNotFinite = -1;    // the logits are not all finite numbers
inline constexpr int32_t kNothingLeft = -2;  // bias, bans and penalties leave nothing

// Chooses tokens from rows of one width. Holds the scratch space, so one thread at a time.
// The result depends on the row and the state alone.
//
// Candidates are ordered by logit, ties by lower id. `min_p` first drops tokens below that share
// of the largest probability, `top_k` keeps the first k, `top_a` drops those below that share of
// the square of the largest probability, `top_p` keeps the shortest prefix that holds that share
// of what is left; one uniform number then picks from the prefix by its running sum.
class RowSampler {
  public:
    RowSampler(const Kernels& kernels, int vocab_size);

    int vocab_size() const { return vocab_size_; }
    // The next token of the sequence, or one of the negative values above. `mask` has a bit for
    // each token that may be chosen, lowest bit first; null allows all. Fills `logprobs` (from the
    // logits as they are, before any change) if the state asks for them.
    int32_t choose(const float* logits, const SamplingState& state, const uint32_t* mask,
                   TokenLogprobs* logprobs);
    // Log-probability of `token` and `num_top` alternatives. False if the logits are not finite.
    bool explain(const float* logits, int32_t token, int num_top, TokenLogprobs* logprobs);

  private:
    struct Candidate {
        float value;
        int32_t token;
    };

    // These read a row whose chunk maxima are in max_.
    float largest() const;
    int32_t first_largest(const float* x) const;
    double log_sum_exp(const float* x);
    void gather_top(const float* x, int count);
    void list_top(const float* x, int count, double normaliser, std::vector<TokenProbability>* top);
    int32_t draw(const float* x, const SamplingOptions& options, uint64_t position);
    int32_t draw_top_k(const float* x, const SamplingOptions& options, float inverse,
                       double uniform);

    // These work on candidates_, or on weights_ with their sums by chunk in sum_.
    size_t listed_prefix(double mass) const;
    int32_t draw_listed(size_t prefix, double uniform) const;
    void keep_share(double share);
    void drop_ties(float least, int wanted);
    int32_t draw_weighted(double uniform) const;
    double total() const;

    const SamplingKernels& kernels_;
    int vocab_size_;
    std::vector<float> modified_;        // the row, where parameters change it
    std::vector<float> max_;             // by chunk
    std::vector<float> bounds_;          // the same, being sorted
    std::vector<float> sum_;             // by chunk
    std::vector<float> weights_;         // probabilities, not normalised
    std::vector<int32_t> indices_;       // gathered
    std::vector<Candidate> candidates_;  // gathered and sorted
};

}  // namespace cierzo
