// What a text is likely to go on with: what followed its last tokens before.
//
// That is looked for in the text itself, in what is predicted, and in answers that were given of
// late. A source is a place in one of these logs that the text's end agrees with. As long as the
// text goes on as it does there, it is kept. When it does not, a place that ends with the same 8
// tokens is the next source, of the prediction or else of the text; else one near the old source,
// so that a copied text with an edit is in step again after two tokens; else one of the recent
// answers; else one that ends with the same 3 tokens, in that order again.
//
// Adding a token takes constant time, and so does proposing one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "runtime/token_log.h"

namespace cierzo {

class DraftIndex {
  public:
    enum Origin : size_t { kPrediction, kText, kRecent };

    // `text` is what there is of it so far, and grows with it. What is in the others is no part of
    // the text, and they may grow too.
    DraftIndex(std::shared_ptr<TokenLog> text, std::shared_ptr<const TokenLog> predicted,
               std::shared_ptr<const TokenLog> recent);

    // The text goes on with these tokens.
    void extend(const int32_t* tokens, size_t count);

    // The text ends after its first `length` tokens.
    void truncate(size_t length);

    // From here on it may be as predicted: what was read so far is the prompt.
    void begin_prediction();

    // Writes up to `most` tokens that are likely to come next; how many.
    size_t propose(size_t most, int32_t* out) const;

    // Tokens of the text.
    size_t length() const { return text_->end(); }

    // How many of the last tokens the source agrees with, 32 at most; 0 without a source.
    size_t agreement() const { return has_source() ? agreement_ : 0; }

    // Where what is proposed comes from, if anything is.
    Origin origin() const { return source_.origin; }

  private:
    static constexpr size_t kNone = TokenLog::kNone;

    struct Place {
        Origin origin = kText;
        size_t position = kNone;
    };

    void push(int32_t token);
    bool has_source() const;
    bool find_run(size_t run, Origin origin);
    bool find_near(Place lost);
    size_t agreement_at(Place place, size_t most) const;
    bool follow(Place place, size_t tokens);

    std::shared_ptr<TokenLog> text_;
    std::array<std::shared_ptr<const TokenLog>, 3> logs_;  // by origin
    Place source_;                                         // what comes here is likely to come next
    size_t agreement_ = 0;
    Place lost_;  // the last source, while one near it is looked for
    size_t since_lost_ = 0;
};

}  // namespace cierzo
