// Which threads of a pool should rest, because the others do more without them.
//
// A thread that another process keeps off its core holds up the rest with the chunk in its hands.
// It is worth the time that it works; it costs what the others lose by waiting for it. When the
// cost is the greater it rests for a while, and is tried again. What everybody's threads lose now
// and then (a hypervisor that takes a core away for a moment, an interrupt, a late wake-up) is
// written down for the thread that lost it, so that it never adds up to a reason to rest: with 64
// threads somebody is always late. benchmarks/pool_rule.py judges this by simulation.
//
// Not for several threads at once: the pool calls it where only one of them can be.
#pragma once

#include <cstdint>
#include <vector>

namespace cierzo {

class RestRule {
  public:
    static constexpr int kNobody = -1;
    // A wait counts if it is so much longer than a chunk takes the waiter, in ns.
    static constexpr int64_t kLate = 300'000;

    explicit RestRule(int threads);

    // Between steps nobody works and nobody is late. Times are in ns of one clock.
    void step_begins(int64_t now);
    void step_ends(int64_t now) { step_ended_ = now; }

    // The others waited for `thread` until `now`, for `lost` ns of all their time together. Gives
    // the thread that should rest from now on.
    int late(int thread, int64_t now, int64_t lost);

    // A thread that has rested enough, and works again from now on.
    int due(int64_t now);

    int active() const { return active_; }

  private:
    struct Thread {
        int64_t since = 0;   // when its account was opened, in time of steps
        int64_t window = 0;  // time of steps that it is judged by
        int64_t cost = 0;    // of its stalls, the time of all threads
        int64_t rest = 0;    // how long it rested the last time
        int64_t back = 0;    // when it came back
        int64_t until = 0;   // when its rest ends; it rests while this is not 0
    };

    void open_account(Thread& thread, int64_t now, int64_t window) const;
    int substitute(int64_t now);

    std::vector<Thread> threads_;
    int active_;
    int on_trial_ = kNobody;    // came back of late
    int substitute_ = kNobody;  // rests in place of thread 0
    int64_t no_substitute_until_ = 0;
    int64_t between_steps_ = 0;  // all of it, which is no time of steps
    int64_t step_ended_ = 0;
};

}  // namespace cierzo
