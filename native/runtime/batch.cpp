// What a step was asked to do: the checks.
#include "runtime/batch.h"

#include <stdexcept>
#include <string>

#include "kernels/attention.h"

namespace cierzo {
namespace {

void require(bool holds, const std::string& what) {
    if (!holds) throw std::invalid_argument("batch: " + what);
}

std::string entry(const char* name, size_t index, int value) {
    return std::string(name) + "[" + std::to_string(index) + "] is " + std::to_string(value);
}

void check_tokens(const BatchView& batch, const BatchLimits& limits) {
    const size_t tokens = batch.token_ids.size();
    require(
        tokens >= 1 && tokens <= static_cast<size_t>(limits.max_tokens),
        std::to_string(tokens) + " tokens; a step takes 1 to " + std::to_string(limits.max_tokens));
    require(batch.positions.size() == tokens, "positions and token_ids differ in length");
    for (size_t i = 0; i < tokens; ++i) {
        const int id = batch.token_ids[i];
        if (id < 0 || id >= limits.vocab_size) {
            require(false, entry("token_ids", i, id) + ", outside the vocabulary of " +
                               std::to_string(limits.vocab_size));
        }
    }
}

// One sequence: its rows, its positions, its blocks.
void check_sequence(const BatchView& batch, const BatchLimits& limits, int s) {
    const int begin = batch.query_start[s];
    const int end = batch.query_start[s + 1];
    const int context = batch.context_len[s];
    require(begin < end && end <= batch.tokens(),
            entry("query_start", s + 1, end) + ": sequences need at least one row each, in order");
    require(context >= end - begin && context <= limits.max_model_len,
            entry("context_len", s, context) + ", outside " + std::to_string(end - begin) + " to " +
                std::to_string(limits.max_model_len));
    for (int row = begin; row < end; ++row) {
        const int expected = context - (end - row);
        if (batch.positions[row] != expected) {
            require(false, entry("positions", row, batch.positions[row]) + ", expected " +
                               std::to_string(expected));
        }
    }
    const size_t width = batch.block_tables.size() / batch.context_len.size();
    const size_t needed = (context + kBlockPositions - 1) / kBlockPositions;
    require(needed <= width, "block_tables has " + std::to_string(width) + " columns; sequence " +
                                 std::to_string(s) + " needs " + std::to_string(needed));
    for (size_t i = 0; i < needed; ++i) {
        const int block = batch.blocks(s)[i];
        if (block < 0 || block >= limits.num_blocks) {
            require(false, entry("block_tables", s * width + i, block) + ", outside the " +
                               std::to_string(limits.num_blocks) + " blocks of the cache");
        }
    }
}

}  // namespace

void validate(const BatchView& batch, const BatchLimits& limits) {
    check_tokens(batch, limits);
    const size_t sequences = batch.context_len.size();
    require(sequences >= 1 && sequences <= static_cast<size_t>(limits.max_sequences),
            std::to_string(sequences) + " sequences; a step takes 1 to " +
                std::to_string(limits.max_sequences));
    require(batch.query_start.size() == sequences + 1,
            "query_start needs one entry more than context_len");
    require(batch.query_start.front() == 0 && batch.query_start.back() == batch.tokens(),
            "query_start must begin with 0 and end with the number of tokens");
    require(batch.block_tables.size() % sequences == 0, "block_tables needs a row a sequence");
    for (size_t s = 0; s < sequences; ++s) check_sequence(batch, limits, static_cast<int>(s));

    require(batch.logits_rows.size() <= static_cast<size_t>(limits.max_logits_rows),
            std::to_string(batch.logits_rows.size()) + " rows of logits; a step gives at most " +
                std::to_string(limits.max_logits_rows));
    int last = -1;
    for (size_t i = 0; i < batch.logits_rows.size(); ++i) {
        const int row = batch.logits_rows[i];
        if (row <= last || row >= batch.tokens()) {
            require(false, entry("logits_rows", i, row) + ": rows must ascend and lie in the step");
        }
        last = row;
    }
}

}  // namespace cierzo
