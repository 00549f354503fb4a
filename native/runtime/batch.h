// What a step was asked to do, and the checks that keep it from touching foreign memory.
#pragma once

#include <cstdint>
#include <span>

namespace cierzo {

// See backends/batch.py for the meaning of the fields. T tokens, S sequences, B blocks, L logits.
struct BatchView {
    std::span<const int32_t> token_ids;     // [T]
    std::span<const int32_t> positions;     // [T]
    std::span<const int32_t> query_start;   // [S + 1]
    std::span<const int32_t> context_len;   // [S]
    std::span<const int32_t> block_tables;  // [S, B]
    std::span<const int32_t> logits_rows;   // [L]

    int tokens() const { return static_cast<int>(token_ids.size()); }
    int sequences() const { return static_cast<int>(context_len.size()); }
    const int32_t* blocks(int sequence) const {
        return block_tables.data() + sequence * (block_tables.size() / context_len.size());
    }
};

struct BatchLimits {
    int max_tokens;
    int max_sequences;
    int max_model_len;
    int max_logits_rows;
    int vocab_size;
    int num_blocks;
};

// Throws std::invalid_argument, with the entry at fault, unless the step can be run as it stands:
// every index in range, and the rows of each sequence its last positions in order.
void validate(const BatchView& batch, const BatchLimits& limits);

}  // namespace cierzo
