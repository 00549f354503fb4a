// What choosing a sequence's next token depends on besides the logits: its parameters and past.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cierzo {

// See engine/sampling_params.py for what each one means.
struct SamplingOptions {
    float temperature = 1.0f;
    float top_p = 1.0f;
    int top_k = 0;
    float min_p = 0.0f;
    float top_a = 0.0f;
    float presence_penalty = 0.0f;
    float frequency_penalty = 0.0f;
    float repetition_penalty = 1.0f;
    uint64_t seed = 0;
    int min_tokens = 0;
    int logprobs = -1;  // alternatives wanted; -1 for no log-probabilities at all
    std::vector<std::pair<int32_t, float>> bias;
    std::vector<int32_t> stop_ids;  // not chosen before `min_tokens`
};

class SamplingState {
  public:
    // The prompt matters only to the repetition penalty. Token ids must be from 0 to vocab - 1.
    SamplingState(SamplingOptions options, const int32_t* prompt, int prompt_size);

    const SamplingOptions& options() const { return options_; }
    // Length of the sequence: the position of the token to be chosen.
    int64_t length() const { return length_; }

    // Whether `modify` would change anything.
    bool modifies() const;
    // Applies, in this order: bias, ban of stop ids before min_tokens, repetition penalty over
    // prompt and answer (positive logits divided, others multiplied), frequency and presence
    // penalties over the answer.
    void modify(float* logits) const;
    // Adds the token that was chosen.
    void accept(int32_t token);
    // Takes the last token of the answer back: the state is as it was before it was added.
    void retract(int32_t token);

  private:
    struct Seen {
        int32_t token;
        int32_t count;  // in the answer
        bool in_prompt;
    };

    Seen& seen(int32_t token);

    SamplingOptions options_;
    int64_t length_;
    int generated_ = 0;
    bool counts_;  // whether any penalty is in use
    std::vector<Seen> seen_;
    std::unordered_map<int32_t, size_t> index_;  // token -> place in seen_
};

}  // namespace cierzo
