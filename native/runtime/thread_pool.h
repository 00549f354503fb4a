// Threads that walk a list of tasks together, chunk by chunk.
//
// All of a step's hand-over goes through one 64-bit ticket: the number of the open phase (a phase
// is one task of one step) above a count of claimed chunks. A thread claims a chunk with one
// fetch_add; whoever completes the last chunk of a phase opens the next one with one store. Nobody
// waits for threads to arrive, only for chunks to be done, so a thread that lost its core holds up
// nothing but the chunk in its hands, and on return it finds the current phase in the ticket.
//
// Whoever opens a phase late, because it was kept off its core, is known by that; a thread that
// costs the others more than it is worth rests for a while (rest_rule.h). Which thread runs which
// chunk is left to chance; results must not depend on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "runtime/rest_rule.h"

namespace cierzo {

// Work that may be done in pieces, in any order, by any thread.
class Task {
  public:
    virtual ~Task() = default;
    // Does chunk `chunk` of `chunks`; `thread` (below the pool's size) tells scratch apart.
    virtual void run_chunk(uint32_t chunk, int thread) noexcept = 0;
    uint32_t chunks = 0;  // set before the step; 0 skips the task
};

class ThreadPool {
  public:
    // Counts the calling thread, so that `threads` - 1 are started.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    // Runs all chunks of each task, one task after the other. One caller at a time. Once `cut` is
    // set, by any thread, no further task begins; false if any was left out so.
    bool run(std::span<Task* const> tasks, const std::atomic<bool>* cut = nullptr);

    int threads() const { return threads_; }
    // Threads in use now: fewer than `threads()` while other processes have cores.
    int active_threads() const { return active_.load(std::memory_order_relaxed); }

  private:
    // A chunk number is `field - (kFull - chunks)`; nothing is left to claim from kFull on.
    static constexpr int kFieldBits = 24;
    static constexpr uint64_t kFieldMask = (uint64_t{1} << kFieldBits) - 1;
    static constexpr uint64_t kFull = uint64_t{1} << (kFieldBits - 1);

    struct alignas(64) Worker {
        std::atomic<uint32_t> asleep{0};
        std::atomic<bool> rests{false};
        // When it ran out of chunks: the phase, the time, and how long a chunk took it, about.
        std::atomic<uint64_t> idle_phase{0};
        std::atomic<int64_t> idle_since{0};
        std::atomic<int64_t> chunk_time{0};
        std::thread thread;
    };

    static bool claimable(uint64_t ticket) { return (ticket & kFieldMask) < kFull; }

    void worker_loop(int thread);
    void take_part(int thread);
    bool claim_and_run(int thread, int64_t since);
    void open_next(uint64_t ticket);
    void wait_for_next_phase(uint64_t ticket, int thread, int64_t start);
    void look_for_loss(uint64_t phase, int thread, int64_t now);
    void bring_back();
    void wake(int thread);
    bool wanted(int thread) const;

    const int threads_;
    std::vector<std::unique_ptr<Worker>> workers_;  // entry 0 is the caller's, without a thread

    alignas(64) std::atomic<uint64_t> ticket_{kFull};
    alignas(64) std::atomic<uint32_t> finished_{0};  // chunks done in the open phase
    alignas(64) std::atomic<bool> running_{false};
    std::atomic<bool> stopping_{false};
    // Written by whoever opens a phase, read by those who hold one of its chunks.
    alignas(64) std::span<Task* const> tasks_;
    size_t next_task_ = 0;
    const std::atomic<bool>* cut_ = nullptr;
    bool was_cut_ = false;
    Task* open_task_ = nullptr;
    uint32_t open_chunks_ = 0;

    RestRule rule_;  // touched by whoever opens a phase, too
    alignas(64) std::atomic<int> active_;
};

}  // namespace cierzo
