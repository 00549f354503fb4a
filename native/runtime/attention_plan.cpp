// How a step's attention is cut into units of work.
#include "runtime/attention_plan.h"

#include <algorithm>

#include "kernels/attention.h"

namespace cierzo {
namespace {

constexpr int kUnitsPerThread = 4;

int splits_of(int positions) { return (positions + kSplitPositions - 1) / kSplitPositions; }

}  // namespace

void AttentionPlanner::plan(const AttentionRows& rows, AttentionPlan& plan) const {
    plan.blocks.clear();
    plan.units.clear();
    // As many tokens a block as the kernel takes, unless that leaves threads without work.
    int tokens_per_block = std::max(1, kMaxTileRows / group);
    while (tokens_per_block > 4 &&
           static_cast<int>(rows.positions.size()) / tokens_per_block * kv_heads <
               kUnitsPerThread * threads) {
        tokens_per_block /= 2;
    }

    int64_t work = 0;  // token-splits over all blocks
    for (int s = 0; s + 1 < static_cast<int>(rows.start.size()); ++s) {
        const int begin = rows.start[s];
        for (int end = rows.start[s + 1]; end > begin;) {
            const int first = std::max(begin, end - tokens_per_block);
            const int splits = splits_of(rows.positions[end - 1] + 1);
            plan.blocks.push_back({s, first, end - first, splits, -1});
            work += int64_t{splits} * (end - first);
            end = first;
        }
    }
    std::stable_sort(plan.blocks.begin(), plan.blocks.end(),
                     [](const AttentionBlock& a, const AttentionBlock& b) {
                         return a.splits * a.tokens > b.splits * b.tokens;
                     });

    // A block whose work would keep one thread busy while the others are done is cut by splits.
    const int64_t fair = work * kv_heads / (int64_t{kUnitsPerThread} * threads);
    int partials = 0;
    for (int b = 0; b < static_cast<int>(plan.blocks.size()); ++b) {
        AttentionBlock& block = plan.blocks[b];
        const int size = block.splits * block.tokens;
        const bool cut =
            threads > 1 && block.splits > 1 && size > fair && partials + size <= max_partials;
        if (cut) {
            block.first_partial = partials;
            partials += size;
        }
    }
    // By head, so that threads which work at the same time read the same part of the cache.
    for (int kv_head = 0; kv_head < kv_heads; ++kv_head) {
        for (int b = 0; b < static_cast<int>(plan.blocks.size()); ++b) {
            const AttentionBlock& block = plan.blocks[b];
            // Splits that follow each other, so that a thread knows what it reads next.
            const int64_t most = block.first_partial < 0 ? block.splits : fair / block.tokens;
            const int size = static_cast<int>(std::max<int64_t>(1, most));
            for (int split = 0; split < block.splits; split += size) {
                plan.units.push_back({b, kv_head, split, std::min(size, block.splits - split)});
            }
        }
    }
}

}  // namespace cierzo
