// A forward pass, recorded once and replayed for every step.
#include "runtime/program.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "runtime/cpu_features.h"

namespace cierzo {
namespace {

// Room for partial attention states, in floats: 32 MB, committed when contexts get long.
constexpr size_t kPartialFloats = size_t{8} << 20;

void require(bool holds, const std::string& what) {
    if (!holds) throw std::invalid_argument(what);
}

const AttentionSizes& checked(const AttentionSizes& sizes, const KvCache& cache) {
    require(
        sizes.num_heads > 0 && sizes.num_kv_heads > 0 && sizes.num_heads % sizes.num_kv_heads == 0,
        "num_heads must be a multiple of num_kv_heads");
    require(sizes.group() <= kMaxTileRows,
            "at most " + std::to_string(kMaxTileRows) + " query heads may share a KV head");
    require(
        sizes.head_dim == cache.shape().head_dim && sizes.num_kv_heads == cache.shape().kv_heads,
        "the cache was made for other heads");
    require(sizes.inv_freq.size() == static_cast<size_t>(sizes.head_dim / 2),
            "inv_freq needs head_dim / 2 entries");
    return sizes;
}

const ProgramLimits& checked(const ProgramLimits& limits) {
    require(
        limits.max_batch_tokens > 0 && limits.max_batch_sequences > 0 && limits.max_model_len > 0,
        "a program's limits must be positive");
    return limits;
}

int max_partials(const AttentionSizes& sizes) {
    return static_cast<int>(kPartialFloats / (sizes.num_heads * (sizes.head_dim + 2)));
}

}  // namespace

Program::Program(std::shared_ptr<ThreadPool> pool, std::shared_ptr<KvCache> cache,
                 AttentionSizes sizes, const ProgramLimits& limits)
    : pool_(std::move(pool)),
      cache_(std::move(cache)),
      sizes_(checked(sizes, *cache_)),
      limits_(checked(limits)),
      planner_{sizes_.num_kv_heads, sizes_.group(), pool_->threads(), max_partials(sizes_)},
      partials_(sizes_, planner_.max_partials, limits.max_batch_tokens),
      cos_sin_(2 * sizeof(float) * limits.max_batch_tokens * sizes_.head_dim) {
    step_.kernels = &active_kernels();
    step_.threads = pool_->threads();
    step_.sequence_of.resize(limits.max_batch_tokens);
}

template <typename T, typename... Args>
void Program::record(Args&&... args) {
    operations_.push_back(std::make_unique<T>(step_, std::forward<Args>(args)...));
}

void Program::must_record() const {
    if (compiled_) throw std::logic_error("the program is compiled; nothing can be added");
}

void Program::reads_float(Activation* x) {
    x->as_float = true;
    x->dies = next_operation();
}

void Program::reads_for(Activation* x, const Matrix& weight) {
    require(x->width == weight.cols(), "a matrix of " + std::to_string(weight.cols()) +
                                           " columns cannot take an activation of width " +
                                           std::to_string(x->width));
    if (weight.takes_quantized() && !x->as_int8) {
        x->as_int8 = true;
        if (!x->producer_quantizes) {
            x->as_float = true;
            record<QuantizeOperation>(x);
        }
    }
    if (weight.takes_float()) x->as_float = true;
    x->dies = next_operation();
}

Activation* Program::like(const Activation* x, int width) {
    Activation* out = activations_.add(width, x->rows, next_operation());
    out->wanted_rows = x->wanted_rows;
    return out;
}

Activation* Program::embed(const Weight& table) {
    must_record();
    Activation* out = activations_.add(table.cols, limits_.max_batch_tokens, next_operation());
    out->as_float = true;
    embedding_rows_ = table.rows;
    record<EmbedOperation>(&table, out, sizes_, cos_sin_.as<float>());
    return out;
}

Activation* Program::wanted_rows(Activation* x) {
    must_record();
    if (x->wanted_rows) return x;
    reads_float(x);
    Activation* out = like(x, x->width);
    out->as_float = true;
    out->wanted_rows = true;
    record<GatherOperation>(x, out);
    return out;
}

Activation* Program::rms_norm(Activation* x, std::vector<float> weight, float eps) {
    must_record();
    require(static_cast<int>(weight.size()) == x->width, "a norm's weight must be as wide as x");
    require(x->width % 16 == 0, "the hidden size must be a multiple of 16");
    reads_float(x);
    Activation* out = like(x, x->width);
    out->producer_quantizes = true;
    record<NormOperation>(x, std::move(weight), eps, out);
    return out;
}

Activation* Program::linear(Activation* x, const Matrix& weight, Activation* residual) {
    must_record();
    reads_for(x, weight);
    if (residual != nullptr) {
        require(residual->wanted_rows == x->wanted_rows, "a residual must have the product's rows");
        require(residual->width == weight.rows(), "a residual must be as wide as the product");
        reads_float(residual);
    }
    Activation* out = like(x, weight.rows());
    out->as_float = true;
    out->overwrites = residual;
    record<LinearOperation>(x, weight, residual, out);
    return out;
}

Activation* Program::rope_and_store(Activation* qkv, int layer) {
    must_record();
    require(qkv->width == sizes_.qkv_width(), "rope_and_store takes q, k and v side by side");
    require(layer >= 0 && layer < cache_->shape().layers, "the cache has no such layer");
    require(!qkv->wanted_rows, "the cache takes keys and values of all rows");
    reads_float(qkv);
    record<RopeStoreOperation>(qkv, *cache_, layer, sizes_, cos_sin_.as<float>());
    return qkv;  // q lies in its first columns
}

Activation* Program::paged_attention(Activation* qkv, int layer) {
    must_record();
    require(qkv->width == sizes_.qkv_width(), "paged_attention takes rope_and_store's result");
    require(layer >= 0 && layer < cache_->shape().layers, "the cache has no such layer");
    reads_float(qkv);
    Activation* out = like(qkv, sizes_.query_width());
    out->as_float = true;
    out->producer_quantizes = sizes_.group() * sizes_.head_dim % kGroup == 0;
    record<AttentionOperation>(qkv, *cache_, layer, sizes_, partials_, out);
    return out;
}

Activation* Program::gated_mlp(Activation* x, const Weight& gate, const Weight& up,
                               const Matrix& down, Activation* residual, bool precise) {
    must_record();
    require(gate.rows == up.rows && gate.cols == up.cols, "gate and up must have the same shape");
    require(gate.rows % kGroup == 0, "the intermediate size must be a multiple of 32");
    reads_for(x, Matrix{{&gate, &up}});
    Activation* middle = like(x, gate.rows);
    middle->producer_quantizes = true;
    if (precise) {
        if (takes_quantized(gate.layout) && takes_quantized(up.layout)) x->planes = 2;
        middle->planes = 2;
    }
    record<GatedOperation>(x, &gate, &up, middle);
    return linear(middle, down, residual);
}

Activation* Program::logits(Activation* x, std::vector<float> norm, float eps,
                            const Matrix& lm_head) {
    must_record();
    require(static_cast<int>(norm.size()) == x->width, "a norm's weight must be as wide as x");
    x = wanted_rows(x);
    reads_float(x);
    max_logits_rows_ = static_cast<int>(std::clamp<int64_t>(
        kLogitsFloats / lm_head.rows(),
        std::min(limits_.max_batch_sequences, limits_.max_batch_tokens), limits_.max_batch_tokens));
    Activation* rows = activations_.add(x->width, max_logits_rows_, next_operation());
    rows->producer_quantizes = true;
    rows->wanted_rows = true;
    // The noise of int8 activations shows most in the logits themselves, and here twice the bits
    // cost little: the weights are read once, for few rows.
    rows->planes = 2;
    record<NormOperation>(x, std::move(norm), eps, rows);
    Activation* out = linear(rows, lm_head, nullptr);
    // Not one of the shared buffers: the caller reads it after the step.
    out->as_float = false;
    vocab_size_ = out->width;
    logits_memory_ =
        PageBuffer(sizeof(float) * max_logits_rows_ * out->width, /*huge_pages=*/false);
    out->data = logits_memory_.as<float>();
    out->stride = out->width;
    return out;
}

void Program::compile(const Activation* logits) {
    must_record();
    require(logits->data != nullptr && logits->data == logits_memory_.as<float>(),
            "a forward pass must end with logits");
    activations_.allocate();
    size_t widest = AttentionOperation::work_area_floats(sizes_);
    for (const Activation& activation : activations_.all()) {
        widest = std::max(widest, static_cast<size_t>(activation.width));
    }
    step_.kernel_scratch_bytes =
        (std::max(step_.kernels->linear.scratch_bytes, step_.kernels->attention.scratch_bytes) +
         63) /
        64 * 64;
    const size_t per_thread =
        (step_.kernel_scratch_bytes + widest * sizeof(float) + 4095) / 4096 * 4096 + 64;
    scratch_ = PageBuffer(per_thread * step_.threads);
    for (int i = 0; i < step_.threads; ++i)
        step_.scratch.push_back(scratch_.data() + i * per_thread);
    for (const auto& operation : operations_) tasks_.push_back(operation.get());
    compiled_ = true;
}

void Program::prepare(const BatchView& batch) {
    if (!compiled_) throw std::logic_error("compile the program before running it");
    validate(batch, {limits_.max_batch_tokens, limits_.max_batch_sequences, limits_.max_model_len,
                     max_logits_rows_, embedding_rows_, cache_->shape().blocks});
    step_.batch = batch;
    for (int s = 0; s < batch.sequences(); ++s) {
        std::fill(step_.sequence_of.begin() + batch.query_start[s],
                  step_.sequence_of.begin() + batch.query_start[s + 1], s);
    }
    step_.wanted_start.clear();
    step_.wanted_positions.clear();
    for (const int32_t row : batch.logits_rows) {
        // Rows of one sequence follow each other.
        while (step_.wanted_start.size() <= static_cast<size_t>(step_.sequence_of[row])) {
            step_.wanted_start.push_back(static_cast<int32_t>(step_.wanted_positions.size()));
        }
        step_.wanted_positions.push_back(batch.positions[row]);
    }
    step_.wanted_start.resize(batch.sequences() + 1,
                              static_cast<int32_t>(step_.wanted_positions.size()));
    planner_.plan(step_.attention_rows(false), step_.attention);
    planner_.plan(step_.attention_rows(true), step_.wanted_attention);
    for (const auto& operation : operations_) operation->prepare();
}

bool Program::run(const BatchView& batch) {
    prepare(batch);
    return pool_->run(tasks_, &cut_);
}

std::vector<std::pair<std::string, double>> Program::profile(const BatchView& batch) {
    prepare(batch);
    std::vector<std::pair<std::string, double>> times;
    for (size_t i = 0; i < tasks_.size(); ++i) {
        const auto start = std::chrono::steady_clock::now();
        pool_->run(std::span<Task* const>(&tasks_[i], 1));
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        times.emplace_back(operations_[i]->name(), took.count());
    }
    return times;
}

}  // namespace cierzo
