// The operations of a recorded step: what each reads and writes, and how it is cut into chunks.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "kernels/kernels.h"
#include "runtime/activations.h"
#include "runtime/attention_plan.h"
#include "runtime/batch.h"
#include "runtime/kv_cache.h"
#include "runtime/thread_pool.h"

namespace cierzo {

// A weight made of row-stacked parts, each in a layout of its own. Does not own them.
struct Matrix {
    std::vector<const Weight*> parts;

    int rows() const;
    int cols() const { return parts.front()->cols; }
    bool takes_float() const;      // some part does
    bool takes_quantized() const;  // some part does
};

struct AttentionSizes {
    int num_heads;
    int num_kv_heads;
    int head_dim;
    std::vector<double> inv_freq;  // [head_dim / 2]
    double rope_scale;
    bool rope_interleaved;

    int group() const { return num_heads / num_kv_heads; }
    int query_width() const { return num_heads * head_dim; }
    int qkv_width() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
};

// What all operations of a step share: the batch and what follows from it.
struct StepState {
    const Kernels* kernels;
    int threads;
    BatchView batch;
    std::vector<int32_t> sequence_of;  // [T] which sequence a row belongs to
    // The rows whose logits are wanted, as if there were no others.
    std::vector<int32_t> wanted_start;      // [S + 1]
    std::vector<int32_t> wanted_positions;  // [L]
    AttentionPlan attention;                // of all rows
    AttentionPlan wanted_attention;
    std::vector<uint8_t*> scratch;  // per thread: kernel scratch, then work area
    size_t kernel_scratch_bytes;

    int rows(bool wanted) const {
        return wanted ? static_cast<int>(batch.logits_rows.size()) : batch.tokens();
    }
    AttentionRows attention_rows(bool wanted) const {
        if (wanted) return {wanted_start, wanted_positions};
        return {batch.query_start, batch.positions};
    }
    float* work_area(int thread) const {
        return reinterpret_cast<float*>(scratch[thread] + kernel_scratch_bytes);
    }
};

class Operation : public Task {
  public:
    explicit Operation(StepState& step) : step_(step) {}
    // Sets `chunks` for the step about to run.
    virtual void prepare() = 0;
    virtual const char* name() const = 0;

  protected:
    StepState& step_;
};

// Rows of the step, a few to a chunk.
class RowOperation : public Operation {
  public:
    RowOperation(StepState& step, bool wanted_rows) : Operation(step), wanted_rows_(wanted_rows) {}
    void prepare() override;
    void run_chunk(uint32_t chunk, int thread) noexcept override;

  protected:
    virtual void run_row(int row, int thread) noexcept = 0;

  private:
    bool wanted_rows_;
    int rows_per_chunk_ = 1;
};

// Token embeddings, and the cosines and sines of the tokens' positions for all layers.
class EmbedOperation : public RowOperation {
  public:
    EmbedOperation(StepState& step, const Weight* table, Activation* out,
                   const AttentionSizes& sizes, float* cos_sin)
        : RowOperation(step, false), table_(table), out_(out), sizes_(sizes), cos_sin_(cos_sin) {}
    const char* name() const override { return "embed"; }

  protected:
    void run_row(int row, int thread) noexcept override;

  private:
    const Weight* table_;
    Activation* out_;
    const AttentionSizes& sizes_;
    float* cos_sin_;  // [T, 2 * head_dim]: see RowKernels::rotate
};

// out[i] = x[logits_rows[i]].
class GatherOperation : public RowOperation {
  public:
    GatherOperation(StepState& step, const Activation* x, Activation* out)
        : RowOperation(step, true), x_(x), out_(out) {}
    const char* name() const override { return "gather"; }

  protected:
    void run_row(int row, int thread) noexcept override;

  private:
    const Activation* x_;
    Activation* out_;
};

// out[i] = rms_norm(x[i]).
class NormOperation : public RowOperation {
  public:
    NormOperation(StepState& step, const Activation* x, std::vector<float> weight, float eps,
                  Activation* out)
        : RowOperation(step, x->wanted_rows),
          x_(x),
          weight_(std::move(weight)),
          eps_(eps),
          out_(out) {}
    const char* name() const override { return "rms_norm"; }

  protected:
    void run_row(int row, int thread) noexcept override;

  private:
    const Activation* x_;
    std::vector<float> weight_;
    float eps_;
    Activation* out_;
};

// Quantises what its producer could not.
class QuantizeOperation : public RowOperation {
  public:
    QuantizeOperation(StepState& step, Activation* x) : RowOperation(step, x->wanted_rows), x_(x) {}
    const char* name() const override { return "quantize"; }

  protected:
    void run_row(int row, int thread) noexcept override;

  private:
    Activation* x_;
};

// Turns q and k by position and stores k and v.
class RopeStoreOperation : public RowOperation {
  public:
    RopeStoreOperation(StepState& step, Activation* qkv, const KvCache& cache, int layer,
                       const AttentionSizes& sizes, const float* cos_sin)
        : RowOperation(step, false),
          qkv_(qkv),
          cache_(cache),
          layer_(layer),
          sizes_(sizes),
          cos_sin_(cos_sin) {}
    const char* name() const override { return "rope_and_store"; }

  protected:
    void run_row(int row, int thread) noexcept override;

  private:
    Activation* qkv_;
    const KvCache& cache_;
    int layer_;
    const AttentionSizes& sizes_;
    const float* cos_sin_;
};

// A range of 16-row blocks of a product, cut so that early chunks are large and late ones small.
class ProductOperation : public Operation {
  public:
    ProductOperation(StepState& step, bool wanted_rows, int units)
        : Operation(step), wanted_rows_(wanted_rows), units_(units) {}
    void prepare() override;
    void run_chunk(uint32_t chunk, int thread) noexcept override;

  protected:
    virtual void run_range(int begin, int end, int token_begin, int token_end,
                           void* scratch) noexcept = 0;

  private:
    bool wanted_rows_;
    int units_;  // that can be told apart
    int planned_rows_ = -1;
    int token_step_ = 1;
    std::vector<int> bounds_;  // of the ranges of units
};

class LinearOperation : public ProductOperation {
  public:
    LinearOperation(StepState& step, const Activation* x, Matrix weight, const Activation* residual,
                    Activation* out);
    const char* name() const override { return "linear"; }

  protected:
    void run_range(int begin, int end, int token_begin, int token_end,
                   void* scratch) noexcept override;

  private:
    struct Part {
        const Weight* weight;
        int first_block;
        int first_row;
    };
    const Activation* x_;
    std::vector<Part> parts_;
    const Activation* residual_;  // may be null
    Activation* out_;
};

class GatedOperation : public ProductOperation {
  public:
    GatedOperation(StepState& step, const Activation* x, const Weight* gate, const Weight* up,
                   Activation* out)
        : ProductOperation(step, x->wanted_rows, gate->rows / (2 * kLanes)),
          x_(x),
          gate_(gate),
          up_(up),
          out_(out) {}
    const char* name() const override { return "gated"; }

  protected:
    void run_range(int begin, int end, int token_begin, int token_end,
                   void* scratch) noexcept override;

  private:
    const Activation* x_;
    const Weight* gate_;
    const Weight* up_;
    Activation* out_;
};

// Partial softmax states of blocks whose splits run on several threads; shared by all layers.
class AttentionPartials {
  public:
    AttentionPartials(const AttentionSizes& sizes, int max_token_splits, int max_blocks);
    int max_token_splits() const { return max_token_splits_; }
    AttentionState at(const AttentionBlock& block, int kv_head, int split) const;
    // Counts so many of a block's splits as done; true with the last one, after which the count
    // starts anew.
    bool complete(int block, int kv_head, int count, int splits);

  private:
    const AttentionSizes& sizes_;
    int max_token_splits_;
    PageBuffer memory_;
    std::vector<std::atomic<int>> done_;  // [block, kv_head]
};

class AttentionOperation : public Operation {
  public:
    AttentionOperation(StepState& step, const Activation* qkv, const KvCache& cache, int layer,
                       const AttentionSizes& sizes, AttentionPartials& partials, Activation* out)
        : Operation(step),
          qkv_(qkv),
          cache_(cache),
          layer_(layer),
          sizes_(sizes),
          partials_(partials),
          out_(out) {}
    void prepare() override { chunks = static_cast<uint32_t>(plan().units.size()); }
    void run_chunk(uint32_t chunk, int thread) noexcept override;
    const char* name() const override { return "attention"; }
    // Floats of the work area that a chunk needs.
    static size_t work_area_floats(const AttentionSizes& sizes);

  private:
    const AttentionPlan& plan() const {
        return qkv_->wanted_rows ? step_.wanted_attention : step_.attention;
    }
    void finish(const AttentionBlock& block, int kv_head, const AttentionState& state) noexcept;

    const Activation* qkv_;
    const KvCache& cache_;
    int layer_;
    const AttentionSizes& sizes_;
    AttentionPartials& partials_;
    Activation* out_;
};

}  // namespace cierzo
