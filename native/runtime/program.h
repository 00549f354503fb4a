// A forward pass, recorded once and replayed for every step.
//
// The recording methods mirror `Ops` (backends/ops.py). `compile` assigns buffers; from then on
// `run` validates a batch, cuts the operations to its size and lets the thread pool walk them.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/operations.h"

namespace cierzo {

inline constexpr int64_t kLogitsFloats = int64_t{16} << 20;  // 64 MB, committed row by row

struct ProgramLimits {
    int max_batch_tokens;
    int max_batch_sequences;
    int max_model_len;
};

class Program {
  public:
    // Throws std::invalid_argument when sizes do not fit each other.
    Program(std::shared_ptr<ThreadPool> pool, std::shared_ptr<KvCache> cache, AttentionSizes sizes,
            const ProgramLimits& limits);

    Activation* embed(const Weight& table);
    // Of the step's rows those whose logits are wanted. What is made of them has no others, either.
    Activation* wanted_rows(Activation* x);
    Activation* rms_norm(Activation* x, std::vector<float> weight, float eps);
    Activation* linear(Activation* x, const Matrix& weight, Activation* residual);
    Activation* rope_and_store(Activation* qkv, int layer);
    Activation* paged_attention(Activation* qkv, int layer);
    Activation* gated_mlp(Activation* x, const Weight& gate, const Weight& up, const Matrix& down,
                          Activation* residual, bool precise);
    Activation* logits(Activation* x, std::vector<float> norm, float eps, const Matrix& lm_head);
    // Ends the recording; `logits` is what `run` gives.
    void compile(const Activation* logits);

    // Runs one step. The logits [L, vocab_size] lie in `logits_data()` until the next. False if it
    // was cut: then there are none, and what the step should have stored may be there in part.
    bool run(const BatchView& batch);
    // While it is set, no operation of a step begins. For any thread.
    void set_cut(bool cut) { cut_.store(cut, std::memory_order_relaxed); }
    const float* logits_data() const { return logits_memory_.as<float>(); }
    int vocab_size() const { return vocab_size_; }
    // Rows of logits that a step may ask for: so many that they take a bounded amount of memory,
    // but one a sequence in any case. 0 until `logits` is recorded.
    int max_logits_rows() const { return max_logits_rows_; }
    // The same, one operation at a time: seconds by name of operation.
    std::vector<std::pair<std::string, double>> profile(const BatchView& batch);

    const ProgramLimits& limits() const { return limits_; }

  private:
    template <typename T, typename... Args>
    void record(Args&&... args);
    int next_operation() const { return static_cast<int>(operations_.size()); }
    // Declares that the operation about to be recorded reads `x` for `weight`.
    void reads_for(Activation* x, const Matrix& weight);
    // A new activation with the rows of `x`.
    Activation* like(const Activation* x, int width);
    void reads_float(Activation* x);
    void must_record() const;
    void prepare(const BatchView& batch);

    std::shared_ptr<ThreadPool> pool_;
    std::shared_ptr<KvCache> cache_;
    AttentionSizes sizes_;
    ProgramLimits limits_;
    StepState step_;
    AttentionPlanner planner_;
    AttentionPartials partials_;
    Activations activations_;
    std::vector<std::unique_ptr<Operation>> operations_;
    std::vector<Task*> tasks_;
    std::atomic<bool> cut_{false};
    PageBuffer cos_sin_;
    PageBuffer scratch_;
    PageBuffer logits_memory_;
    int vocab_size_ = 0;
    int max_logits_rows_ = 0;
    int embedding_rows_ = 0;
    bool compiled_ = false;
};

}  // namespace cierzo
