// Proposals of what comes next, copied from what came before.
#include "runtime/draft_index.h"

#include <algorithm>
#include <utility>

namespace cierzo {
namespace {

constexpr size_t kBack = 8, kAhead = 64;  // how far from a lost source, in tokens
constexpr size_t kPatience = 32;          // tokens for which one near it is looked for
constexpr size_t kMostAgreement = 32;     // more of it says no more
constexpr size_t kLong = 0, kShort = 1;   // of TokenLog::kRuns
constexpr size_t kFollowed = 256;         // tokens at once; of more only the last are

}  // namespace

DraftIndex::DraftIndex(std::shared_ptr<TokenLog> text, std::shared_ptr<const TokenLog> predicted,
                       std::shared_ptr<const TokenLog> recent)
    : text_(text), logs_{std::move(predicted), std::move(text), std::move(recent)} {}

void DraftIndex::extend(const int32_t* tokens, size_t count) {
    if (count > kFollowed) {  // a prompt: what it was likely to go on with nobody asks
        source_.position = lost_.position = kNone;
        for (; count > kFollowed; --count) text_->push(*tokens++);
    }
    for (size_t i = 0; i < count; ++i) push(tokens[i]);
}

void DraftIndex::truncate(size_t length) {
    if (length >= this->length()) return;
    text_->truncate(length);
    source_.position = lost_.position = kNone;
}

void DraftIndex::begin_prediction() {
    if (logs_[kPrediction]->end() == 0) return;
    source_ = {kPrediction, 0};
    agreement_ = kMostAgreement;
}

size_t DraftIndex::propose(size_t most, int32_t* out) const {
    if (!has_source()) return 0;
    const TokenLog& log = *logs_[source_.origin];
    size_t count = 0;
    while (count < most) {
        const size_t from = source_.position + count;
        int32_t token = TokenLog::kMark;
        if (from < log.end()) {
            token = log[from];
        } else if (source_.origin == kText) {
            // Here comes what is being proposed: a text that repeats itself goes on doing so.
            token = out[from - log.end()];
        }
        if (token == TokenLog::kMark) break;
        out[count++] = token;
    }
    return count;
}

void DraftIndex::push(int32_t token) {
    const bool had_source = has_source();
    const bool as_expected = had_source && (*logs_[source_.origin])[source_.position] == token;
    text_->push(token);
    if (as_expected) {
        agreement_ = std::min(agreement_ + 1, kMostAgreement);
        ++source_.position;
        return;
    }
    if (had_source) {
        lost_ = source_;
        since_lost_ = 0;
    }
    source_.position = kNone;
    if (lost_.position != kNone && ++since_lost_ > kPatience) lost_.position = kNone;
    static_cast<void>(find_run(kLong, kPrediction) || find_run(kLong, kText) || find_near(lost_) ||
                      find_run(kLong, kRecent) || find_run(kShort, kPrediction) ||
                      find_run(kShort, kText) || find_run(kShort, kRecent));
}

// Whether the source is (still) there, and something follows.
bool DraftIndex::has_source() const {
    if (source_.position == kNone) return false;
    const TokenLog& log = *logs_[source_.origin];
    return source_.position >= log.begin() && source_.position < log.end() &&
           log[source_.position] != TokenLog::kMark;
}

// Where the run that the text ends with had ended before.
bool DraftIndex::find_run(size_t run, Origin origin) {
    const TokenLog::Ends ends =
        origin == kText ? text_->before(run) : logs_[origin]->last(run, text_->hashes()[run]);
    for (const size_t end : ends) {
        if (end != kNone && follow({origin, end}, TokenLog::kRuns[run])) return true;
    }
    return false;
}

// A source that agrees with two tokens. The nearest comes first.
bool DraftIndex::find_near(Place lost) {
    if (lost.position == kNone) return false;
    for (size_t step = 0; step < kAhead; ++step) {
        if (follow({lost.origin, lost.position + step}, 2)) return true;
        if (step <= std::min(kBack, lost.position) &&
            follow({lost.origin, lost.position - step}, 2)) {
            return true;
        }
    }
    return false;
}

// Makes a place the source if so many of the text's last tokens come before it.
bool DraftIndex::follow(Place place, size_t tokens) {
    const TokenLog& log = *logs_[place.origin];
    if (place.position < log.begin() || place.position >= log.end() ||
        log[place.position] == TokenLog::kMark || agreement_at(place, tokens) < tokens) {
        return false;
    }
    source_ = place;
    lost_.position = kNone;
    agreement_ = agreement_at(place, kMostAgreement);
    return true;
}

// How many tokens before a place are the text's last, up to `most`.
size_t DraftIndex::agreement_at(Place place, size_t most) const {
    const TokenLog& log = *logs_[place.origin];
    most = std::min({most, place.position - log.begin(), length()});
    size_t same = 0;
    while (same < most && log[place.position - 1 - same] == (*text_)[length() - 1 - same]) ++same;
    return same;
}

}  // namespace cierzo
