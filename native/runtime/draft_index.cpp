// Proposals of what comes next, copied from earlier in the text.
#include "runtime/draft_index.h"

#include <algorithm>

namespace cierzo {
namespace {

constexpr int32_t kMark = -1;              // ends a prediction; no run of tokens crosses it
constexpr size_t kLong = 8, kShort = 3;    // tokens of a run
constexpr size_t kBack = 8, kAhead = 64;   // how far from a lost source, in tokens
constexpr size_t kPatience = 32;           // tokens for which one near it is looked for
constexpr size_t kMostAgreement = 32;      // more of it says no more
constexpr size_t kFirstEntries = 1 << 10;  // of a table

}  // namespace

DraftIndex::DraftIndex(const int32_t* predicted, size_t count)
    : text_(count == 0 ? 0 : count + 1),
      tables_{Table{kLong, std::vector<uint32_t>(kFirstEntries), 0},
              Table{kShort, std::vector<uint32_t>(kFirstEntries), 0}} {
    for (size_t i = 0; i < count; ++i) {
        log_.push_back(predicted[i]);
        for (Table& table : tables_) remember(table);
    }
    if (count > 0) log_.push_back(kMark);
}

void DraftIndex::extend(const int32_t* tokens, size_t count) {
    for (size_t i = 0; i < count; ++i) push(tokens[i]);
}

void DraftIndex::truncate(size_t length) {
    if (length >= this->length()) return;
    log_.resize(text_ + length);
    source_ = lost_ = kNone;
}

void DraftIndex::begin_prediction() {
    if (text_ == 0) return;
    source_ = 0;
    agreement_ = kMostAgreement;
}

size_t DraftIndex::propose(size_t most, int32_t* out) const {
    if (source_ == kNone) return 0;
    size_t count = 0;
    while (count < most) {
        const size_t from = source_ + count;
        // Beyond the log is what is being proposed: a text that repeats itself goes on doing so.
        const int32_t token = from < log_.size() ? log_[from] : out[from - log_.size()];
        if (token == kMark) break;
        out[count++] = token;
    }
    return count;
}

void DraftIndex::push(int32_t token) {
    const bool as_expected = source_ != kNone && log_[source_] == token;
    log_.push_back(token);
    for (Table& table : tables_) remember(table);
    if (as_expected) {
        agreement_ = std::min(agreement_ + 1, kMostAgreement);
        if (log_[++source_] == kMark) source_ = kNone;
        return;
    }
    if (source_ != kNone) {
        lost_ = source_;
        since_lost_ = 0;
        source_ = kNone;
    }
    if (lost_ != kNone && ++since_lost_ > kPatience) lost_ = kNone;
    if (find_in(tables_[0]) || (lost_ != kNone && find_near(lost_))) return;
    find_in(tables_[1]);
}

// Notes where the log's last run ends, and where it had ended before.
void DraftIndex::remember(Table& table) {
    const size_t end = log_.size();
    table.before = 0;
    if (end < table.order) return;
    if (end > table.ends.size() / 2) {
        table.ends.assign(table.ends.size() * 2, 0);
        for (size_t past = table.order; past < end; ++past) {
            table.ends[slot(table, past)] = static_cast<uint32_t>(past);
        }
    }
    uint32_t& entry = table.ends[slot(table, end)];
    table.before = entry;
    entry = static_cast<uint32_t>(end);
}

// FNV-1a over the tokens of the run that ends there, its high bits folded in.
size_t DraftIndex::slot(const Table& table, size_t end) const {
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = end - table.order; i < end; ++i) {
        hash = (hash ^ static_cast<uint32_t>(log_[i])) * 0x100000001b3;
    }
    return (hash ^ hash >> 32) & (table.ends.size() - 1);
}

// A source that agrees with two tokens. The nearest comes first.
bool DraftIndex::find_near(size_t lost) {
    for (size_t step = 0; step < kAhead; ++step) {
        if (agrees(lost + step, 2)) {
            set_source(lost + step);
            return true;
        }
        if (step <= std::min(kBack, lost) && agrees(lost - step, 2)) {
            set_source(lost - step);
            return true;
        }
    }
    return false;
}

bool DraftIndex::find_in(const Table& table) {
    if (length() < table.order || !agrees(table.before, table.order)) return false;
    set_source(table.before);
    return true;
}

// Whether there is something before the log's end whose last tokens are the log's.
bool DraftIndex::agrees(size_t source, size_t tokens) const {
    const size_t end = log_.size();
    if (source < tokens || source >= end || length() < tokens) return false;
    for (size_t back = 1; back <= tokens; ++back) {
        if (log_[source - back] != log_[end - back]) return false;
    }
    return log_[source] != kMark;
}

void DraftIndex::set_source(size_t source) {
    source_ = source;
    lost_ = kNone;
    agreement_ = 0;
    const size_t end = log_.size();
    const size_t most = std::min({source, length(), kMostAgreement});
    while (agreement_ < most && log_[source - 1 - agreement_] == log_[end - 1 - agreement_]) {
        ++agreement_;
    }
}

}  // namespace cierzo
