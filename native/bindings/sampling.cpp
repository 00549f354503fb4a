// Python bindings: choosing tokens from rows of logits.
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>

#include "bindings/bindings.h"
#include "runtime/cpu_features.h"
#include "runtime/sampling_philox.h"
#include "runtime/sampling_row.h"

namespace nb = nanobind;

namespace cierzo {
namespace {

using Logits = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Tokens = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Masks = nb::ndarray<const uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// A sequence's SamplingState, and the log-probabilities of its last token.
struct BoundState {
    SamplingState state;
    TokenLogprobs logprobs;
};

nb::tuple listed(const std::vector<TokenProbability>& top) {
    nb::list entries;
    for (const TokenProbability& entry : top) {
        entries.append(nb::make_tuple(entry.token, entry.logprob));
    }
    return nb::tuple(entries);
}

// (token, log-probability, alternatives), as Python sees a TokenLogprobs.
using Alternatives = nb::typed<nb::tuple, nb::typed<nb::tuple, int, float>, nb::ellipsis>;
using Entry = nb::typed<nb::tuple, int, float, Alternatives>;

class BoundSampler {
  public:
    explicit BoundSampler(int vocab_size) : sampler_(active_kernels(), checked(vocab_size)) {}

    // For states[i], chooses from row rows[i] among the tokens of masks[slots[i]] (all tokens if
    // the slot is -1) and adds the token to the state.
    nb::typed<nb::list, int> choose(const Logits& logits, const std::vector<int>& rows,
                                    const nb::typed<nb::list, BoundState>& states,
                                    const Masks& masks, const std::vector<int>& slots) {
        if (rows.size() != states.size() || rows.size() != slots.size()) {
            throw std::invalid_argument("one row and one slot for each state");
        }
        for (const int row : rows) check_row(logits, row);
        for (const int slot : slots) check_slot(masks, slot);
        chosen_.clear();
        for (const nb::handle state : states) chosen_.push_back(&nb::cast<BoundState&>(state));
        tokens_.resize(rows.size());
        {
            const nb::gil_scoped_release release;
            for (size_t i = 0; i < rows.size(); ++i) {
                BoundState& bound = *chosen_[i];
                const uint32_t* mask =
                    slots[i] < 0 ? nullptr : masks.data() + slots[i] * masks.shape(1);
                tokens_[i] =
                    sampler_.choose(row_of(logits, rows[i]), bound.state, mask, &bound.logprobs);
                if (tokens_[i] >= 0) bound.state.accept(tokens_[i]);
            }
        }
        nb::list result;
        for (const int32_t token : tokens_) result.append(token);
        return result;
    }

    // (token, log-probability, alternatives) of tokens[i], judged by row first_row + i.
    nb::typed<nb::list, Entry> explain(const Logits& logits, int first_row, const Tokens& tokens,
                                       int num_top) {
        const int count = static_cast<int>(tokens.shape(0));
        std::vector<TokenLogprobs> found(count);
        if (count > 0) {
            check_row(logits, first_row);
            check_row(logits, first_row + count - 1);
        }
        bool finite = true;
        {
            const nb::gil_scoped_release release;
            for (int i = 0; i < count && finite; ++i) {
                const int32_t token = tokens.data()[i];
                if (token < 0 || token >= sampler_.vocab_size()) {
                    throw std::invalid_argument("token id outside the vocabulary");
                }
                finite = sampler_.explain(row_of(logits, first_row + i), token, num_top, &found[i]);
            }
        }
        nb::list result;
        if (!finite) return result;
        for (const TokenLogprobs& entry : found) {
            result.append(
                nb::make_tuple(entry.chosen.token, entry.chosen.logprob, listed(entry.top)));
        }
        return result;
    }

  private:
    static int checked(int vocab_size) {
        if (vocab_size < 1) throw std::invalid_argument("the vocabulary is empty");
        return vocab_size;
    }

    void check_row(const Logits& logits, int row) const {
        if (static_cast<int>(logits.shape(1)) != sampler_.vocab_size() || row < 0 ||
            row >= static_cast<int>(logits.shape(0))) {
            throw std::invalid_argument("row " + std::to_string(row) +
                                        " is not one of the logits given");
        }
    }

    void check_slot(const Masks& masks, int slot) const {
        const auto words = static_cast<size_t>(sampler_.vocab_size() + 31) / 32;
        if (slot >= 0 && (masks.shape(1) < words || slot >= static_cast<int>(masks.shape(0)))) {
            throw std::invalid_argument("slot " + std::to_string(slot) +
                                        " is not one of the masks given");
        }
    }

    const float* row_of(const Logits& logits, int row) const {
        return logits.data() + static_cast<size_t>(row) * sampler_.vocab_size();
    }

    RowSampler sampler_;
    std::vector<BoundState*> chosen_;
    std::vector<int32_t> tokens_;
};

BoundState make_state(int vocab_size, const Tokens& prompt, float temperature, float top_p,
                      int top_k, float min_p, float top_a, float presence_penalty,
                      float frequency_penalty, float repetition_penalty, uint64_t seed,
                      int min_tokens, int logprobs, std::vector<std::pair<int32_t, float>> bias,
                      std::vector<int32_t> stop_ids) {
    const auto check = [vocab_size](int32_t token) {
        if (token < 0 || token >= vocab_size) {
            throw std::invalid_argument("token id " + std::to_string(token) +
                                        " is outside the vocabulary");
        }
    };
    for (const auto& entry : bias) check(entry.first);
    for (const int32_t token : stop_ids) check(token);
    const int size = static_cast<int>(prompt.shape(0));
    for (int i = 0; i < size; ++i) check(prompt.data()[i]);
    SamplingOptions options{temperature,
                            top_p,
                            top_k,
                            min_p,
                            top_a,
                            presence_penalty,
                            frequency_penalty,
                            repetition_penalty,
                            seed,
                            min_tokens,
                            logprobs,
                            std::move(bias),
                            std::move(stop_ids)};
    return {SamplingState(std::move(options), prompt.data(), size), {}};
}

}  // namespace

void bind_sampling(nb::module_& m) {
    m.attr("NOT_FINITE") = kNotFinite;
    m.attr("NOTHING_LEFT") = kNothingLeft;

    using namespace nb::literals;
    nb::class_<BoundState>(m, "SamplingState",
                           "What choosing a sequence's next token depends on besides the logits.")
        .def_prop_ro(
            "logprobs",
            [](const BoundState& self) -> Entry {
                return nb::make_tuple(self.logprobs.chosen.token, self.logprobs.chosen.logprob,
                                      listed(self.logprobs.top));
            },
            "(token, log-probability, alternatives) of the last token chosen.")
        .def(
            "accept", [](BoundState& self, int32_t token) { self.state.accept(token); }, "token"_a,
            "Adds a token that was not chosen by a sampler.")
        .def(
            "retract", [](BoundState& self, int32_t token) { self.state.retract(token); },
            "token"_a, "Takes the last token back.")
        .def_prop_ro("length", [](const BoundState& self) { return self.state.length(); });
    m.def("sampling_state", &make_state, "vocab_size"_a, "prompt"_a, nb::kw_only(), "temperature"_a,
          "top_p"_a, "top_k"_a, "min_p"_a, "top_a"_a, "presence_penalty"_a, "frequency_penalty"_a,
          "repetition_penalty"_a, "seed"_a, "min_tokens"_a, "logprobs"_a, "bias"_a, "stop_ids"_a);
    nb::class_<BoundSampler>(m, "RowSampler", "Chooses tokens from rows of logits.")
        .def(nb::init<int>(), "vocab_size"_a)
        .def("choose", &BoundSampler::choose, "logits"_a, "rows"_a, "states"_a, "masks"_a,
             "slots"_a,
             "One token for each state, from the row at the same place, among those with a bit in "
             "the mask of its slot (slot -1: all); -1 where the logits are "
             "not finite, -2 where nothing is left to choose from.")
        .def("explain", &BoundSampler::explain, "logits"_a, "first_row"_a, "tokens"_a, "num_top"_a,
             "(token, log-probability, alternatives) of tokens[i] by row first_row + i; an empty "
             "list where any logit is not finite.");
    m.def(
        "philox4x32",
        [](const std::vector<uint32_t>& counter, const std::vector<uint32_t>& key) {
            if (counter.size() != 4 || key.size() != 2) {
                throw std::invalid_argument("a counter of 4 words and a key of 2");
            }
            const auto bits =
                philox4x32({counter[0], counter[1], counter[2], counter[3]}, {key[0], key[1]});
            return std::vector<uint32_t>(bits.begin(), bits.end());
        },
        "counter"_a, "key"_a, "Philox4x32-10 of a counter and a key.");
    m.def("philox_uniform", &philox_uniform, "seed"_a, "position"_a,
          "The number in [0, 1) that chooses the token at a position.");
}

}  // namespace cierzo
