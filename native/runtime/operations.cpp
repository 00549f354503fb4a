// The operations of a recorded step: embedding, norms, rotary embedding, products.
#include "runtime/operations.h"

#include <algorithm>
#include <cmath>

namespace cierzo {
namespace {

constexpr int kChunksPerThread = 4;
constexpr int kMaxRowsPerChunk = 32;
constexpr int kSmallestShare = 12;  // a range of a product is at least 1/12 of a thread's share
constexpr int kPair = 2;            // blocks that the kernels like to do together

// The same rows from `row` and column `col` (a multiple of 32) on.
QuantizedRows from(const QuantizedRows& all, int row, int col) {
    QuantizedRows part = all;
    const int group = col / kGroup;
    part.q += row * all.q_stride + col;
    part.scale += row * all.scale_stride + group;
    part.sum += 2 * (row * all.scale_stride + group);
    part.offset += row * all.scale_stride + group;
    return part;
}

bool any_part(const Matrix& matrix, bool quantized) {
    return std::any_of(matrix.parts.begin(), matrix.parts.end(), [quantized](const Weight* part) {
        return cierzo::takes_quantized(part->layout) == quantized;
    });
}

}  // namespace

int Matrix::rows() const {
    int total = 0;
    for (const Weight* part : parts) total += part->rows;
    return total;
}

bool Matrix::takes_float() const { return any_part(*this, false); }

bool Matrix::takes_quantized() const { return any_part(*this, true); }

void RowOperation::prepare() {
    const int rows = step_.rows(wanted_rows_);
    const int wanted = kChunksPerThread * step_.threads;
    rows_per_chunk_ = std::clamp((rows + wanted - 1) / wanted, 1, kMaxRowsPerChunk);
    chunks = static_cast<uint32_t>((rows + rows_per_chunk_ - 1) / rows_per_chunk_);
}

void RowOperation::run_chunk(uint32_t chunk, int thread) noexcept {
    const int begin = static_cast<int>(chunk) * rows_per_chunk_;
    const int end = std::min(begin + rows_per_chunk_, step_.rows(wanted_rows_));
    for (int row = begin; row < end; ++row) run_row(row, thread);
}

void EmbedOperation::run_row(int row, int) noexcept {
    step_.kernels->linear.dequantize_row(*table_, step_.batch.token_ids[row],
                                         out_->data + row * out_->stride);
    const int d = sizes_.head_dim;
    float* cosine = cos_sin_ + static_cast<size_t>(row) * 2 * d;
    float* sine = cosine + d;
    const double position = step_.batch.positions[row];
    for (int i = 0; i < d / 2; ++i) {
        const int first = sizes_.rope_interleaved ? 2 * i : i;
        const int second = sizes_.rope_interleaved ? first + 1 : i + d / 2;
        const double angle = position * sizes_.inv_freq[i];
        cosine[first] = cosine[second] = static_cast<float>(std::cos(angle) * sizes_.rope_scale);
        sine[second] = static_cast<float>(std::sin(angle) * sizes_.rope_scale);
        sine[first] = -sine[second];
    }
}

void GatherOperation::run_row(int row, int) noexcept {
    std::copy_n(x_->data + step_.batch.logits_rows[row] * x_->stride, x_->width,
                out_->data + row * out_->stride);
}

void NormOperation::run_row(int row, int thread) noexcept {
    float* out = out_->as_float ? out_->data + row * out_->stride : step_.work_area(thread);
    step_.kernels->rows.rms_norm(x_->data + row * x_->stride, weight_.data(), eps_, out_->width,
                                 out);
    if (out_->as_int8) {
        const LinearKernels& kernels = step_.kernels->linear;
        const auto quantize =
            out_->planes == 2 ? kernels.quantize_rows_twice : kernels.quantize_rows;
        quantize(out, 0, out_->width, 0, 1, from(out_->quantized, row * out_->planes, 0));
    }
}

void QuantizeOperation::run_row(int row, int) noexcept {
    step_.kernels->linear.quantize_rows(x_->data, x_->stride, x_->width, row, row + 1,
                                        x_->quantized);
}

void RopeStoreOperation::run_row(int row, int) noexcept {
    const int d = sizes_.head_dim;
    float* q = qkv_->data + row * qkv_->stride;
    float* k = q + sizes_.query_width();
    const float* v = k + sizes_.num_kv_heads * d;
    const float* cos_sin = cos_sin_ + static_cast<size_t>(row) * 2 * d;
    for (int head = 0; head < sizes_.num_heads + sizes_.num_kv_heads; ++head) {
        step_.kernels->rows.rotate(q + head * d, cos_sin, d, sizes_.rope_interleaved);
    }
    const int position = step_.batch.positions[row];
    const int block = step_.batch.blocks(step_.sequence_of[row])[position / kBlockPositions];
    for (int head = 0; head < sizes_.num_kv_heads; ++head) {
        step_.kernels->attention.store(cache_.head(layer_, head), block, position % kBlockPositions,
                                       k + head * d, v + head * d);
    }
}

void ProductOperation::prepare() {
    const int rows = step_.rows(wanted_rows_);
    if (rows == planned_rows_) return;
    planned_rows_ = rows;
    // Each range takes a share of what is left, so that threads end together without many chunks.
    bounds_.assign(1, 0);
    const int smallest = std::max(1, units_ / (kSmallestShare * step_.threads));
    for (int left = units_; left > 0 && rows > 0;) {
        const int share = step_.threads == 1 ? left : left / (2 * step_.threads);
        const int size = std::min(left, std::max(smallest, share));
        left -= size;
        bounds_.push_back(units_ - left);
    }
    // A narrow matrix and many tokens: cut the tokens too.
    const int ranges = static_cast<int>(bounds_.size()) - 1;
    const int tile = std::max(1, step_.kernels->linear.token_tile);
    const int wanted = ranges > 0 ? (kChunksPerThread * step_.threads + ranges - 1) / ranges : 1;
    token_step_ = step_.threads == 1 ? rows : (rows / std::max(1, wanted) + tile - 1) / tile * tile;
    token_step_ = std::max(token_step_, tile);
    chunks = static_cast<uint32_t>(ranges * ((rows + token_step_ - 1) / token_step_));
}

void ProductOperation::run_chunk(uint32_t chunk, int thread) noexcept {
    const int token_parts = (planned_rows_ + token_step_ - 1) / token_step_;
    const int range = static_cast<int>(chunk) / token_parts;
    const int token_begin = static_cast<int>(chunk) % token_parts * token_step_;
    run_range(bounds_[range], bounds_[range + 1], token_begin,
              std::min(token_begin + token_step_, planned_rows_), step_.scratch[thread]);
}

LinearOperation::LinearOperation(StepState& step, const Activation* x, Matrix weight,
                                 const Activation* residual, Activation* out)
    : ProductOperation(step, x->wanted_rows,
                       [&weight] {
                           int blocks = 0;
                           for (const Weight* part : weight.parts) blocks += part->blocks();
                           return (blocks + kPair - 1) / kPair;
                       }()),
      x_(x),
      residual_(residual),
      out_(out) {
    int first_block = 0;
    int first_row = 0;
    for (const Weight* part : weight.parts) {
        parts_.push_back({part, first_block, first_row});
        first_block += part->blocks();
        first_row += part->rows;
    }
}

void LinearOperation::run_range(int begin, int end, int token_begin, int token_end,
                                void* scratch) noexcept {
    for (const Part& part : parts_) {
        const int from = std::max(kPair * begin - part.first_block, 0);
        const int to = std::min(kPair * end - part.first_block, part.weight->blocks());
        if (from >= to) continue;
        LinearArgs args{};
        args.weight = part.weight;
        args.x = x_->data;
        args.x_stride = x_->stride;
        args.xq = &x_->quantized;
        args.planes = x_->planes;
        args.out = out_->data + part.first_row;
        args.out_stride = out_->stride;
        if (residual_ != nullptr) {
            args.residual = residual_->data + part.first_row;
            args.residual_stride = residual_->stride;
        }
        step_.kernels->linear.linear(args, from, to, token_begin, token_end, scratch);
    }
}

void GatedOperation::run_range(int begin, int end, int token_begin, int token_end,
                               void* scratch) noexcept {
    GatedArgs args{};
    args.gate = gate_;
    args.up = up_;
    args.x = x_->data;
    args.x_stride = x_->stride;
    args.xq = &x_->quantized;
    args.planes = x_->planes;
    args.out_planes = out_->planes;
    args.out = out_->as_float ? out_->data : nullptr;
    args.out_stride = out_->stride;
    args.out_q = out_->as_int8 ? &out_->quantized : nullptr;
    step_.kernels->linear.gated(args, begin, end, token_begin, token_end, scratch);
}

// --- attention ---------------------------------------------------------------------------------

AttentionPartials::AttentionPartials(const AttentionSizes& sizes, int max_token_splits,
                                     int max_blocks)
    : sizes_(sizes),
      max_token_splits_(max_token_splits),
      memory_(static_cast<size_t>(max_token_splits) * sizes.num_heads * (sizes.head_dim + 2) *
                  sizeof(float),
              false),
      done_(static_cast<size_t>(max_blocks) * sizes.num_kv_heads) {}

AttentionState AttentionPartials::at(const AttentionBlock& block, int kv_head, int split) const {
    const int rows = block.tokens * sizes_.group();
    const size_t row_floats = sizes_.head_dim + 2;
    const size_t before = static_cast<size_t>(block.first_partial) * sizes_.num_heads +
                          (static_cast<size_t>(kv_head) * block.splits + split) * rows;
    float* value = memory_.as<float>() + before * row_floats;
    float* max = value + static_cast<size_t>(rows) * sizes_.head_dim;
    return {value, max, max + rows};
}

bool AttentionPartials::complete(int block, int kv_head, int count, int splits) {
    std::atomic<int>& done = done_[static_cast<size_t>(block) * sizes_.num_kv_heads + kv_head];
    if (done.fetch_add(count, std::memory_order_acq_rel) + count < splits) return false;
    done.store(0, std::memory_order_relaxed);
    return true;
}

size_t AttentionOperation::work_area_floats(const AttentionSizes& sizes) {
    const int query = sizes.head_dim / 2 + 1;  // 16-bit integers and their scale
    return static_cast<size_t>(kMaxTileRows) * (query + 2 * (sizes.head_dim + 2));
}

void AttentionOperation::run_chunk(uint32_t chunk, int thread) noexcept {
    const AttentionUnit unit = plan().units[chunk];
    const AttentionBlock& block = plan().blocks[unit.block];
    const std::span<const int32_t> positions = step_.attention_rows(qkv_->wanted_rows).positions;
    const AttentionKernels& kernels = step_.kernels->attention;
    const HeadCache cache = cache_.head(layer_, unit.kv_head);
    const int d = sizes_.head_dim;
    const int group = sizes_.group();
    const int rows = block.tokens * group;

    float* query_scale = step_.work_area(thread);
    int16_t* query = reinterpret_cast<int16_t*>(query_scale + kMaxTileRows);
    int32_t visible[kMaxTileRows];
    // exp(x) = 2^(x log2 e), folded into the queries' scales.
    const float factor = static_cast<float>(1.4426950408889634 / std::sqrt(double(d)));
    for (int r = 0; r < rows; ++r) {
        const int row = block.first_token + r / group;
        const int head = unit.kv_head * group + r % group;
        query_scale[r] =
            factor * kernels.quantize_query(cache.type, qkv_->data + row * qkv_->stride + head * d,
                                            d, query + r * d);
        visible[r] = positions[row] + 1;
    }
    const AttentionTile tile{rows, query, query_scale, visible, step_.batch.blocks(block.sequence)};

    float* area = query_scale + kMaxTileRows * (d / 2 + 1);
    const AttentionState total{area, area + rows * d, area + rows * (d + 1)};
    area += kMaxTileRows * (d + 2);
    const AttentionState next{area, area + rows * d, area + rows * (d + 1)};
    void* scratch = step_.scratch[thread];

    if (block.first_partial < 0) {
        kernels.split(cache, tile, 0, total, scratch);
        for (int split = 1; split < block.splits; ++split) {
            kernels.split(cache, tile, split, next, scratch);
            kernels.merge(total, next, rows, d);
        }
        finish(block, unit.kv_head, total);
        return;
    }
    for (int split = unit.first_split; split < unit.first_split + unit.splits; ++split) {
        kernels.split(cache, tile, split, partials_.at(block, unit.kv_head, split), scratch);
    }
    if (!partials_.complete(unit.block, unit.kv_head, unit.splits, block.splits)) return;
    const AttentionState merged = partials_.at(block, unit.kv_head, 0);
    for (int split = 1; split < block.splits; ++split) {
        kernels.merge(merged, partials_.at(block, unit.kv_head, split), rows, d);
    }
    finish(block, unit.kv_head, merged);
}

void AttentionOperation::finish(const AttentionBlock& block, int kv_head,
                                const AttentionState& state) noexcept {
    const int d = sizes_.head_dim;
    const int group = sizes_.group();
    const int column = kv_head * group * d;
    float* out[kMaxTileRows];
    for (int row = 0; row < block.tokens * group; ++row) {
        out[row] = out_->data + (block.first_token + row / group) * out_->stride + column +
                   row % group * d;
    }
    step_.kernels->attention.finish(state, block.tokens * group, d, out);
    if (out_->as_int8 && out_->producer_quantizes) {
        step_.kernels->linear.quantize_rows(out_->data + block.first_token * out_->stride + column,
                                            out_->stride, group * d, 0, block.tokens,
                                            from(out_->quantized, block.first_token, column));
    }
}

}  // namespace cierzo
