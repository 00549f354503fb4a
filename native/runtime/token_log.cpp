// Tokens in order, and where runs of them ended last.
#include "runtime/token_log.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace cierzo {
namespace {

constexpr size_t kFirstCapacity = 1 << 9;
constexpr size_t kEntriesPerToken = 2;  // of each table: two runs share a slot without loss

}  // namespace

void TokenLog::reserve(size_t count) {
    if (most_ > 0) count = std::min(count, most_);
    if (count > tokens_.size()) grow(std::bit_ceil(std::max(count, kFirstCapacity)));
}

void TokenLog::push(int32_t token) {
    if (end_ - begin_ == tokens_.size()) {
        if (most_ == 0 || tokens_.size() < most_) {
            grow(std::max(kFirstCapacity, 2 * tokens_.size()));
        } else {
            ++begin_;
        }
    }
    tokens_[end_++ & (tokens_.size() - 1)] = token;
    remember();
}

void TokenLog::truncate(size_t end) {
    end_ = std::clamp(end, begin_, end_);
    before_.fill({kNone, kNone});
    hashes_.fill(0);
}

TokenLog::Ends TokenLog::last(size_t run, uint64_t hash) const {
    if (hash == 0 || end_ == begin_) return {kNone, kNone};
    return positions_of(&ends_[run][slot(ends_[run], hash)], run);
}

// Nothing has gone from its beginning, so tokens lie at their positions.
size_t TokenLog::common(const int32_t* tokens, size_t count) const {
    constexpr size_t kStride = 256;
    const size_t most = std::min(count, end_);
    size_t same = 0;
    while (same < most) {
        const size_t next = std::min(kStride, most - same);
        if (std::memcmp(tokens + same, tokens_.data() + same, next * sizeof(int32_t)) != 0) break;
        same += next;
    }
    while (same < most && tokens[same] == tokens_[same]) ++same;
    return same;
}

size_t TokenLog::bytes() const {
    size_t bytes = tokens_.size() * sizeof(int32_t);
    for (const auto& table : ends_) bytes += table.size() * sizeof(uint32_t);
    return bytes;
}

// Before anything has gone from the beginning: then tokens stay at their places. A slot's entry
// goes to all the slots that it may now belong to; nothing is hashed again.
void TokenLog::grow(size_t capacity) {
    tokens_.resize(capacity);
    for (auto& table : ends_) {
        const size_t before = table.size();
        table.resize(kEntriesPerToken * capacity);
        if (before == 0) continue;
        for (size_t at = before; at < table.size(); at += before) {
            std::copy_n(table.begin(), before, table.begin() + static_cast<ptrdiff_t>(at));
        }
    }
}

void TokenLog::remember() {
    for (size_t run = 0; run < kRuns.size(); ++run) {
        before_[run] = {kNone, kNone};
        hashes_[run] = 0;
        if (end_ - begin_ < kRuns[run]) continue;
        hashes_[run] = hash(end_, run);
        uint32_t* entries = &ends_[run][slot(ends_[run], hashes_[run])];
        before_[run] = positions_of(entries, run);
        entries[1] = entries[0];
        entries[0] = static_cast<uint32_t>(end_);
    }
}

// An entry has the last 32 bits of a position, of which the log holds fewer than 2^32.
TokenLog::Ends TokenLog::positions_of(const uint32_t* entries, size_t run) const {
    Ends ends;
    for (size_t i = 0; i < ends.size(); ++i) {
        const size_t age = static_cast<uint32_t>(end_) - entries[i];
        ends[i] = age + kRuns[run] <= end_ - begin_ ? end_ - age : kNone;
    }
    return ends;
}

// The first of a run's two entries.
size_t TokenLog::slot(const std::vector<uint32_t>& table, uint64_t hash) const {
    return (hash << 1) & (table.size() - 1);
}

// A polynomial of the run's tokens; its best bits are the high ones, and its slot has the low ones.
// Never 0.
uint64_t TokenLog::hash(size_t end, size_t run) const {
    constexpr uint64_t kFactor = 0x9e3779b97f4a7c15;  // odd, its bits as if by chance
    uint64_t hash = 0;
    for (size_t i = end - kRuns[run]; i < end; ++i) {
        hash = (hash + static_cast<uint32_t>((*this)[i]) + 1) * kFactor;
    }
    hash = (hash ^ hash >> 32) * kFactor;
    return hash >> 32 | uint64_t{1} << 63;
}

}  // namespace cierzo
