// What choosing a sequence's next token depends on besides the logits: its parameters and past.
#include "runtime/sampling_state.h"

#include <limits>

namespace cierzo {

SamplingState::SamplingState(SamplingOptions options, const int32_t* prompt, int prompt_size)
    : options_(std::move(options)), length_(prompt_size) {
    const bool repetition = options_.repetition_penalty != 1.0f;
    counts_ = repetition || options_.frequency_penalty != 0.0f || options_.presence_penalty != 0.0f;
    if (repetition) {
        for (int i = 0; i < prompt_size; ++i) seen(prompt[i]).in_prompt = true;
    }
}

bool SamplingState::modifies() const {
    return !options_.bias.empty() || !seen_.empty() ||
           (generated_ < options_.min_tokens && !options_.stop_ids.empty());
}

void SamplingState::modify(float* logits) const {
    for (const auto& [token, bias] : options_.bias) logits[token] += bias;
    if (generated_ < options_.min_tokens) {
        for (const int32_t token : options_.stop_ids) {
            logits[token] = -std::numeric_limits<float>::infinity();
        }
    }
    const float repetition = options_.repetition_penalty;
    for (const Seen& seen : seen_) {
        if (seen.count == 0 && !seen.in_prompt) continue;  // taken back
        float logit = logits[seen.token];
        logit = logit > 0.0f ? logit / repetition : logit * repetition;
        if (seen.count > 0) {
            logit -= options_.frequency_penalty * static_cast<float>(seen.count);
            logit -= options_.presence_penalty;
        }
        logits[seen.token] = logit;
    }
}

void SamplingState::accept(int32_t token) {
    ++length_;
    ++generated_;
    if (counts_) ++seen(token).count;
}

void SamplingState::retract(int32_t token) {
    --length_;
    --generated_;
    if (counts_) --seen(token).count;
}

SamplingState::Seen& SamplingState::seen(int32_t token) {
    const auto [place, added] = index_.try_emplace(token, seen_.size());
    if (added) seen_.push_back({token, 0, false});
    return seen_[place->second];
}

}  // namespace cierzo
