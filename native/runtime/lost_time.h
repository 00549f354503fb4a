// Whether a pool would do more with a thread less, by the time that its threads wait for others.
//
// A thread that another process keeps off its core holds up the rest with the chunk in its hands.
// Where a share f of the time is lost so, n threads do n (1 - f), and one less would do n - 1. A
// hypervisor takes a core away now and then, too, for a moment, and is no reason to do without it.
#pragma once

#include <atomic>
#include <cstdint>

namespace cierzo {

class LostTime {
  public:
    // Judges once so much time has passed, and then again, in ns.
    LostTime(int64_t now, int64_t window) : usual_window_(window) { begin(now, window); }

    // Starts anew, with another window for once.
    void begin(int64_t now, int64_t window) {
        start_.store(now, std::memory_order_relaxed);
        window_.store(window, std::memory_order_relaxed);
        lost_.store(0, std::memory_order_relaxed);
    }

    // `lost` was spent waiting until `now`. True if one of so many threads should rest.
    bool add(int64_t now, int64_t lost, int threads) {
        const int64_t total = lost_.fetch_add(lost, std::memory_order_relaxed) + lost;
        const int64_t passed = now - start_.load(std::memory_order_relaxed);
        const int64_t window = window_.load(std::memory_order_relaxed);
        if (passed < window) return false;
        begin(now, usual_window_);
        // Doing without is steadier: where both do about as much, it is better.
        return 5 * total * threads > 4 * passed;
    }

  private:
    const int64_t usual_window_;
    std::atomic<int64_t> start_;
    std::atomic<int64_t> window_;
    std::atomic<int64_t> lost_;
};

}  // namespace cierzo
