// Tokens in order, and where runs of them ended last: 8 tokens long, and 3.
//
// Adding a token takes constant time, and so does finding a run. Entries of the tables may be out
// of date, or of another run with the same slot: who uses one compares the tokens.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cierzo {

class TokenLog {
  public:
    static constexpr size_t kNone = static_cast<size_t>(-1);
    static constexpr int32_t kMark = -1;  // between two texts; no run crosses it
    static constexpr std::array<size_t, 2> kRuns{8, 3};

    // Hashes of the runs that end at one position.
    using Hashes = std::array<uint64_t, kRuns.size()>;

    // Where runs of one slot ended last, and the time before; kNone for nowhere.
    using Ends = std::array<size_t, 2>;

    // Holds up to `most` tokens, rounded up to a power of two; beyond that the oldest go. 0: all.
    explicit TokenLog(size_t most = 0) : most_(most == 0 ? 0 : std::bit_ceil(most)) {}

    // Makes room for so many tokens in all, so that none of them is moved later.
    void reserve(size_t count);

    // Adds a token.
    void push(int32_t token);

    // It ends at that position.
    void truncate(size_t end);

    // Forgets all tokens, and gives their memory back.
    void clear() { *this = TokenLog(most_); }

    // Positions of what it holds. They stay the same while the oldest tokens go.
    size_t begin() const { return begin_; }
    size_t end() const { return end_; }
    int32_t operator[](size_t position) const { return tokens_[position & (tokens_.size() - 1)]; }

    // Where the run of kRuns[run] tokens that the last token ended may have ended before.
    const Ends& before(size_t run) const { return before_[run]; }

    // Of those runs; 0 for one that is longer than the log.
    const Hashes& hashes() const { return hashes_; }

    // Where a run with that hash, of kRuns[run] tokens, may have ended.
    Ends last(size_t run, uint64_t hash) const;

    // How many first tokens are these. Only for one that holds all.
    size_t common(const int32_t* tokens, size_t count) const;

    size_t bytes() const;

  private:
    void grow(size_t capacity);
    void remember();
    Ends positions_of(const uint32_t* entries, size_t run) const;
    size_t slot(const std::vector<uint32_t>& table, uint64_t hash) const;
    uint64_t hash(size_t end, size_t run) const;

    size_t most_;
    std::vector<int32_t> tokens_;  // a position's place is its last bits
    size_t begin_ = 0, end_ = 0;
    // Last bits of the positions at which runs ended, two by the last bits of their hashes.
    std::array<std::vector<uint32_t>, kRuns.size()> ends_;
    std::array<Ends, kRuns.size()> before_{Ends{kNone, kNone}, Ends{kNone, kNone}};
    Hashes hashes_{};
};

}  // namespace cierzo
