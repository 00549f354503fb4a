// How a step's attention is cut into units of work, the same for every layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cierzo {

// Rows that attend, sequence by sequence; within one, positions ascend.
struct AttentionRows {
    std::span<const int32_t> start;      // [S + 1] first row of each sequence
    std::span<const int32_t> positions;  // [rows]
};

// Consecutive tokens of one sequence that one kernel call handles for one KV head.
struct AttentionBlock {
    int sequence;
    int first_token;  // row
    int tokens;
    int splits;         // of 256 positions that its last token sees
    int first_partial;  // where its partial states lie, in tokens x splits; -1: one thread does all
};

// Consecutive splits of a block for one KV head.
struct AttentionUnit {
    int block;
    int kv_head;
    int first_split;
    int splits;
};

struct AttentionPlan {
    std::vector<AttentionBlock> blocks;
    std::vector<AttentionUnit> units;  // head by head, large ones first
};

struct AttentionPlanner {
    int kv_heads;
    int group;  // query heads a KV head
    int threads;
    int max_partials;  // token-splits that the partial states have room for, a KV head

    // Fills `plan` (reusing its memory). Long contexts of few tokens are spread over threads.
    void plan(const AttentionRows& rows, AttentionPlan& plan) const;
};

}  // namespace cierzo
