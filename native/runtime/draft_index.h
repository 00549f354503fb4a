// What a text is likely to go on with: what followed its last tokens earlier in it.
//
// The index keeps the text as a log of tokens, and for runs of 8 and of 3 tokens where each ended
// last. A source is a place in the log that the end of the log agrees with. As long as the text
// goes on as it does there, it is kept. When it does not, the last place that ends with the same 8
// tokens is the next source; else one near the old, so that a copied text with an edit is in step
// again after two tokens; else the last one that ends with the same 3.
//
// Adding a token takes constant time, and so does proposing one. Entries of the tables may be out
// of date: each is checked against the log.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cierzo {

class DraftIndex {
  public:
    // The `predicted` tokens are said to come first; they are no part of the text.
    DraftIndex(const int32_t* predicted, size_t count);

    // The text goes on with these tokens.
    void extend(const int32_t* tokens, size_t count);

    // The text ends after its first `length` tokens.
    void truncate(size_t length);

    // From here on it may be as predicted: what was read so far is the prompt.
    void begin_prediction();

    // Writes up to `most` tokens that are likely to come next; how many.
    size_t propose(size_t most, int32_t* out) const;

    // Tokens of the text.
    size_t length() const { return log_.size() - text_; }

    // How many of the last tokens the source agrees with, 32 at most; 0 without a source.
    size_t agreement() const { return source_ == kNone ? 0 : agreement_; }

    // Whether what is proposed comes from the prediction.
    bool from_prediction() const { return source_ != kNone && source_ < text_; }

  private:
    static constexpr size_t kNone = static_cast<size_t>(-1);

    // Where runs of `order` tokens ended last, by a hash of them; 0 for nowhere.
    struct Table {
        size_t order;
        std::vector<uint32_t> ends;
        size_t before;  // where the log's last run had ended before
    };

    void push(int32_t token);
    void remember(Table& table);
    size_t slot(const Table& table, size_t end) const;
    bool find_near(size_t lost);
    bool find_in(const Table& table);
    bool agrees(size_t source, size_t tokens) const;
    void set_source(size_t source);

    std::vector<int32_t> log_;     // what was predicted and a mark, then the text
    size_t text_;                  // where the text begins
    std::array<Table, 2> tables_;  // the longer runs first
    size_t source_ = kNone;        // what comes here is likely to come next
    size_t agreement_ = 0;
    size_t lost_ = kNone;  // the last source, while one near it is looked for
    size_t since_lost_ = 0;
};

}  // namespace cierzo
