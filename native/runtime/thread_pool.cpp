// Threads that walk a list of tasks together: claiming, waiting, sleeping, adapting.
#include "runtime/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace cierzo {
namespace {

constexpr int64_t kMicrosecond = 1'000;
constexpr int64_t kIdleSpin = 100 * kMicrosecond;   // between steps, before sleeping
constexpr int64_t kYieldAfter = 30 * kMicrosecond;  // within a step, before giving way
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

int checked(int threads) {
    if (threads < 1 || threads > 1024) {
        throw std::invalid_argument("threads must be between 1 and 1024");
    }
    return threads;
}

bool is_set(const std::atomic<bool>* flag) {
    return flag != nullptr && flag->load(std::memory_order_relaxed);
}

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(checked(threads)), rule_(threads), active_(threads) {
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
    tasks_ = tasks;
    next_task_ = 0;
    cut_ = cut;
    was_cut_ = false;
    rule_.step_begins(now_ns());
    running_.store(true);
    open_next(ticket_.load(std::memory_order_relaxed));
    for (int i = 1; i < threads_; ++i) {
        if (!workers_[i]->rests.load(std::memory_order_relaxed)) wake(i);
    }
    take_part(0);
    return !was_cut_;
}

void ThreadPool::wake(int thread) {
    std::atomic<uint32_t>& asleep = workers_[thread]->asleep;
    if (asleep.load() != 0 && asleep.exchange(0) != 0) asleep.notify_one();
}

bool ThreadPool::wanted(int thread) const {
    return running_.load(std::memory_order_acquire) && !workers_[thread]->rests.load();
}

void ThreadPool::worker_loop(int thread) {
    std::atomic<uint32_t>& asleep = workers_[thread]->asleep;
    while (!stopping_.load(std::memory_order_relaxed)) {
        take_part(thread);
        const int64_t start = now_ns();
        bool found = false;
        while (!workers_[thread]->rests.load(std::memory_order_relaxed) &&
               now_ns() - start < kIdleSpin) {
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
    Worker& self = *workers_[thread];
    uint64_t worked_phase = 0;
    int64_t worked_since = 0;
    int64_t worked_chunks = 0;  // in that phase
    int64_t longest = 0;        // that a chunk of the step took this thread, about, ns
    while (wanted(thread)) {
        const uint64_t seen = ticket_.load(std::memory_order_acquire);
        if (!claimable(seen)) {
            const int64_t start = now_ns();
            int64_t chunk_time = longest;
            if (worked_phase == seen >> kFieldBits && worked_chunks > 0) {
                // The first chunks of a phase are the largest.
                chunk_time = 2 * (start - worked_since) / std::max<int64_t>(2, worked_chunks);
                longest = std::max(longest, chunk_time);
            }
            self.idle_since.store(start, std::memory_order_relaxed);
            self.chunk_time.store(chunk_time, std::memory_order_relaxed);
            self.idle_phase.store(seen >> kFieldBits, std::memory_order_release);
            wait_for_next_phase(seen, thread, start);
            continue;
        }
        if (worked_phase != seen >> kFieldBits) {
            worked_phase = seen >> kFieldBits;
            worked_since = now_ns();
            worked_chunks = 0;
        }
        worked_chunks += claim_and_run(thread, worked_since) ? 1 : 0;
    }
}

// Claims a chunk of the open phase and does it; opens the next phase after the last one. False if
// none was left. `since`: when this thread began with the phase.
bool ThreadPool::claim_and_run(int thread, int64_t since) {
    const uint64_t ticket = ticket_.fetch_add(1, std::memory_order_acq_rel);
    if (!claimable(ticket)) return false;
    // The chunk in our hands keeps the phase open, so these stand still.
    const uint32_t chunks = open_chunks_;
    open_task_->run_chunk(static_cast<uint32_t>((ticket & kFieldMask) - (kFull - chunks)), thread);
    if (finished_.fetch_add(1, std::memory_order_acq_rel) + 1 != chunks) return true;
    const int64_t now = now_ns();
    if (now - since > RestRule::kLate) look_for_loss(ticket >> kFieldBits, thread, now);
    open_next(ticket);
    return true;
}

void ThreadPool::open_next(uint64_t ticket) {
    const uint64_t phase = (ticket >> kFieldBits) + 1;
    if (active_.load(std::memory_order_relaxed) < threads_) bring_back();
    finished_.store(0, std::memory_order_relaxed);
    while (next_task_ < tasks_.size() && tasks_[next_task_]->chunks == 0) ++next_task_;
    if (next_task_ < tasks_.size() && is_set(cut_)) {
        was_cut_ = true;
        next_task_ = tasks_.size();
    }
    if (next_task_ == tasks_.size()) {
        rule_.step_ends(now_ns());
        ticket_.store(phase << kFieldBits | kFull, std::memory_order_release);
        running_.store(false, std::memory_order_release);  // the caller may start another step now
        return;
    }
    open_task_ = tasks_[next_task_++];
    open_chunks_ = open_task_->chunks;
    ticket_.store(phase << kFieldBits | (kFull - open_chunks_), std::memory_order_release);
}

// All chunks are claimed; others still work on theirs, for about as long as we did at most.
void ThreadPool::wait_for_next_phase(uint64_t ticket, int thread, int64_t start) {
    for (int spin = 1; wanted(thread) && ticket_.load(std::memory_order_relaxed) >> kFieldBits ==
                                             ticket >> kFieldBits;
         ++spin) {
        relax();
        // Whoever holds the chunk may be queueing for this very core.
        if (spin % kSpinsPerClock == 0 && now_ns() - start > kYieldAfter) sched_yield();
    }
}

// `thread` has done the last chunk. Those that waited for it much longer than a chunk takes them
// lost that time; one that did nothing in this step does not know how long a chunk takes.
void ThreadPool::look_for_loss(uint64_t phase, int thread, int64_t now) {
    int64_t lost = 0;
    for (const auto& worker : workers_) {
        if (worker->idle_phase.load(std::memory_order_acquire) != phase) continue;
        const int64_t chunk_time = worker->chunk_time.load(std::memory_order_relaxed);
        const int64_t waited = now - worker->idle_since.load(std::memory_order_relaxed);
        if (chunk_time > 0 && waited > RestRule::kLate + chunk_time) lost += waited;
    }
    if (lost == 0) return;
    const int rests = rule_.late(thread, now, lost);
    if (rests != RestRule::kNobody) workers_[rests]->rests.store(true);
    active_.store(rule_.active(), std::memory_order_relaxed);
}

void ThreadPool::bring_back() {
    const int thread = rule_.due(now_ns());
    if (thread == RestRule::kNobody) return;
    workers_[thread]->rests.store(false);
    active_.store(rule_.active(), std::memory_order_relaxed);
    wake(thread);
}

}  // namespace cierzo
