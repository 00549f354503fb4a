// Threads that walk a list of tasks together: claiming, waiting, sleeping, adapting.
#include "runtime/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace cierzo {
namespace {

constexpr int64_t kMicrosecond = 1'000;
constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kIdleSpin = 100 * kMicrosecond;   // between steps, before sleeping
constexpr int64_t kYieldAfter = 30 * kMicrosecond;  // within a step, before giving way
constexpr int64_t kLate = 300 * kMicrosecond;       // beyond what the waiter itself worked
constexpr int64_t kWindow = 50 * kMillisecond;      // in which lost time is added up
constexpr int64_t kProbe = 15 * kMillisecond;       // the same, when a thread is tried again
constexpr int64_t kReduced = 200 * kMillisecond;    // time with one thread less
constexpr int kSpinsPerClock = 16;

int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

bool is_set(const std::atomic<bool>* flag) {
    return flag != nullptr && flag->load(std::memory_order_relaxed);
}

}  // namespace

ThreadPool::ThreadPool(int threads)
    : threads_(threads), active_(threads), probe_at_(0), lost_time_(now_ns(), kWindow) {
    if (threads < 1 || threads > 1024) {
        throw std::invalid_argument("threads must be between 1 and 1024");
    }
    for (int i = 0; i < threads; ++i) workers_.push_back(std::make_unique<Worker>());
    for (int i = 1; i < threads; ++i) {
        workers_[i]->thread = std::thread([this, i] { worker_loop(i); });
    }
}

ThreadPool::~ThreadPool() {
    stopping_.store(true);
    for (auto& worker : workers_) {
        if (!worker->thread.joinable()) continue;
        worker->asleep.store(0);
        worker->asleep.notify_one();
        worker->thread.join();
    }
}

bool ThreadPool::run(std::span<Task* const> tasks, const std::atomic<bool>* cut) {
    if (threads_ == 1) {
        for (Task* task : tasks) {
            if (is_set(cut)) return false;
            for (uint32_t chunk = 0; chunk < task->chunks; ++chunk) task->run_chunk(chunk, 0);
        }
        return true;
    }
    int active = active_.load(std::memory_order_relaxed);
    if (active < threads_) {
        const int64_t now = now_ns();
        if (now >= probe_at_.load(std::memory_order_relaxed)) {
            active_.store(++active, std::memory_order_relaxed);
            probe_at_.store(now + kReduced, std::memory_order_relaxed);
            lost_time_.begin(now, kProbe);
        }
    }
    tasks_ = tasks;
    next_task_ = 0;
    cut_ = cut;
    was_cut_ = false;
    running_.store(true);
    open_next(ticket_.load(std::memory_order_relaxed));
    for (int i = 1; i < active; ++i) {
        if (workers_[i]->asleep.load() != 0 && workers_[i]->asleep.exchange(0) != 0) {
            workers_[i]->asleep.notify_one();
        }
    }
    take_part(0);
    return !was_cut_;
}

bool ThreadPool::wanted(int thread) const {
    return running_.load(std::memory_order_acquire) &&
           thread < active_.load(std::memory_order_relaxed);
}

void ThreadPool::worker_loop(int thread) {
    std::atomic<uint32_t>& asleep = workers_[thread]->asleep;
    while (!stopping_.load(std::memory_order_relaxed)) {
        take_part(thread);
        const int64_t start = now_ns();
        bool found = false;
        while (thread < active_.load(std::memory_order_relaxed) && now_ns() - start < kIdleSpin) {
            for (int spin = 0; spin < kSpinsPerClock && !found; ++spin) {
                relax();
                found = wanted(thread);
            }
            if (found) break;
        }
        if (found) continue;
        // Says that it sleeps before it looks a last time; `run` does the reverse.
        asleep.store(1);
        if ((running_.load() && wanted(thread)) || stopping_.load()) {
            asleep.store(0);
            continue;
        }
        asleep.wait(1);
    }
}

// Works on the running step until it ends or this thread is not wanted.
void ThreadPool::take_part(int thread) {
    uint64_t worked_phase = 0;
    int64_t worked_since = 0;
    int64_t longest = 0;  // work of this thread in one phase, ns
    while (wanted(thread)) {
        const uint64_t seen = ticket_.load(std::memory_order_acquire);
        if (!claimable(seen)) {
            const int64_t start = now_ns();
            const bool took_part = worked_phase == seen >> kFieldBits;
            const int64_t own_work = took_part ? start - worked_since : longest;
            longest = std::max(longest, own_work);
            wait_for_next_phase(seen, thread, start, own_work);
            continue;
        }
        if (worked_phase != seen >> kFieldBits) {
            worked_phase = seen >> kFieldBits;
            worked_since = now_ns();
        }
        claim_and_run(thread);
    }
}

// Claims a chunk of the open phase and does it; opens the next phase after the last one.
void ThreadPool::claim_and_run(int thread) {
    const uint64_t ticket = ticket_.fetch_add(1, std::memory_order_acq_rel);
    if (!claimable(ticket)) return;
    // The chunk in our hands keeps the phase open, so these stand still.
    const uint32_t chunks = open_chunks_;
    open_task_->run_chunk(static_cast<uint32_t>((ticket & kFieldMask) - (kFull - chunks)), thread);
    if (finished_.fetch_add(1, std::memory_order_acq_rel) + 1 == chunks) open_next(ticket);
}

void ThreadPool::open_next(uint64_t ticket) {
    const uint64_t phase = (ticket >> kFieldBits) + 1;
    finished_.store(0, std::memory_order_relaxed);
    while (next_task_ < tasks_.size() && tasks_[next_task_]->chunks == 0) ++next_task_;
    if (next_task_ < tasks_.size() && is_set(cut_)) {
        was_cut_ = true;
        next_task_ = tasks_.size();
    }
    if (next_task_ == tasks_.size()) {
        ticket_.store(phase << kFieldBits | kFull, std::memory_order_release);
        running_.store(false, std::memory_order_release);  // the caller may start another step now
        return;
    }
    open_task_ = tasks_[next_task_++];
    open_chunks_ = open_task_->chunks;
    ticket_.store(phase << kFieldBits | (kFull - open_chunks_), std::memory_order_release);
}

// All chunks are claimed; others still work on theirs, for about as long as we did at most.
void ThreadPool::wait_for_next_phase(uint64_t ticket, int thread, int64_t start, int64_t own_work) {
    int64_t waited = 0;
    for (int spin = 1; wanted(thread) && ticket_.load(std::memory_order_relaxed) >> kFieldBits ==
                                             ticket >> kFieldBits;
         ++spin) {
        relax();
        if (spin % kSpinsPerClock != 0) continue;
        waited = now_ns() - start;
        // Whoever holds the chunk may be queueing for this very core.
        if (waited > kYieldAfter) sched_yield();
    }
    if (waited > kLate + own_work) report_late(ticket >> kFieldBits, waited - own_work);
}

void ThreadPool::report_late(uint64_t phase, int64_t lost) {
    if (late_phase_.exchange(phase, std::memory_order_relaxed) == phase) return;
    const int64_t now = now_ns();
    int active = active_.load(std::memory_order_relaxed);
    if (!lost_time_.add(now, lost, active)) return;
    if (active > 1 && active_.compare_exchange_strong(active, active - 1)) {
        probe_at_.store(now + kReduced, std::memory_order_relaxed);
    }
}

}  // namespace cierzo
