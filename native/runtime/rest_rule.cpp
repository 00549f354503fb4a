// Which threads of a pool should rest: accounts, rests, trials.
#include "runtime/rest_rule.h"

#include <algorithm>

namespace cierzo {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
// What a thread's stalls may cost in so much time before it rests. As long as the first rest: so
// a single stall costs twice its own loss at most, however many threads wait.
constexpr int64_t kWindow = 200 * kMillisecond;
constexpr int64_t kTrial = 15 * kMillisecond;  // the same, for a thread that comes back
constexpr int64_t kFirstRest = 200 * kMillisecond;
constexpr int64_t kLongestRest = 400 * kMillisecond;
constexpr int64_t kHopeless = 5'000 * kMillisecond;  // until thread 0 has a substitute again

}  // namespace

RestRule::RestRule(int threads) : threads_(threads), active_(threads) {
    for (Thread& thread : threads_) thread.window = kWindow;
}

void RestRule::step_begins(int64_t now) { between_steps_ += now - step_ended_; }

void RestRule::open_account(Thread& thread, int64_t now, int64_t window) const {
    thread.since = now - between_steps_;
    thread.window = window;
    thread.cost = 0;
}

int RestRule::late(int thread, int64_t now, int64_t lost) {
    Thread& account = threads_[thread];
    // It may have had a chunk in its hands when it was told to rest.
    if (active_ == 1 || account.until != 0) return kNobody;
    const int64_t passed = now - between_steps_ - account.since;
    // While they waited it did not work, either.
    const int64_t stalled = lost / (active_ - 1);
    if (passed - stalled > account.window) open_account(account, now - stalled, kWindow);
    account.cost += lost + stalled;
    // Where both do about as much, a thread that works is there when the disturbance ends; but one
    // that has just come back should show that it has.
    const int64_t span = std::max(account.window, passed);
    if (account.cost <= (account.window == kTrial ? span / 2 : span + span / 10)) return kNobody;
    open_account(account, now, kWindow);
    const int rests = thread == 0 ? substitute(now) : thread;
    if (rests == kNobody) return kNobody;
    Thread& resting = threads_[rests];
    const bool again = resting.rest != 0 && now - resting.back < kWindow;
    resting.rest = again ? std::min(2 * resting.rest, kLongestRest) : kFirstRest;
    resting.until = now + resting.rest;
    if (on_trial_ == rests) on_trial_ = kNobody;
    --active_;
    return rests;
}

// Thread 0 begins and ends steps, so another one rests for it: the system then has a core to move
// it to. Where it is late all the same, its core is one that a hypervisor takes away.
int RestRule::substitute(int64_t now) {
    if (now < no_substitute_until_) return kNobody;
    if (substitute_ != kNobody && threads_[substitute_].until != 0) {
        threads_[substitute_].until = now;
        no_substitute_until_ = now + kHopeless;
        return kNobody;
    }
    substitute_ = static_cast<int>(threads_.size()) - 1;
    while (threads_[substitute_].until != 0) --substitute_;
    return substitute_;
}

int RestRule::due(int64_t now) {
    const int64_t worked = now - between_steps_;
    if (on_trial_ != kNobody && worked - threads_[on_trial_].since <= kTrial) return kNobody;
    on_trial_ = kNobody;
    for (int i = 1; i < static_cast<int>(threads_.size()); ++i) {
        Thread& thread = threads_[i];
        if (thread.until == 0 || now < thread.until) continue;
        thread.until = 0;
        thread.back = now;
        open_account(thread, now, kTrial);
        on_trial_ = i;
        ++active_;
        return i;
    }
    return kNobody;
}

}  // namespace cierzo
