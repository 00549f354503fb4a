// work KIND TIMES: one kernel's work, so many times, with the set that CIERZO_ISA names. What one
// time takes is what two take less what one does.
//   product-T    T tokens times 512 rows of 5,120 columns in Q4_K
//   attention-R  R rows of one KV head of 128 numbers, in a cache of int16, to 2,048 positions
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/cpu_features.h"

namespace {

using namespace cierzo;

constexpr int kRows = 512;
constexpr int kCols = 5120;
constexpr int kHeadDim = 128;
constexpr int kPositions = 2048;

// Zeroed, at the start of a cache line.
template <typename T>
T* memory(size_t count) {
    const size_t bytes = (count * sizeof(T) + 4095) / 4096 * 4096;
    void* p = std::aligned_alloc(4096, bytes);
    std::memset(p, 0, bytes);
    return static_cast<T*>(p);
}

// What is computed makes no difference to how many instructions it takes.
float* numbers(size_t count) {
    float* x = memory<float>(count);
    for (size_t i = 0; i < count; ++i) x[i] = static_cast<float>(i * 37 % 101) - 50.0f;
    return x;
}

void multiply(int tokens, int times) {
    const LinearKernels& kernels = active_kernels().linear;
    const size_t block = kernels.block_bytes(Layout::Q4_K, kCols);
    const Weight weight{Layout::Q4_K, kRows, kCols, block,
                        memory<uint8_t>(block * (kRows / kLanes) + 4096)};
    const size_t groups = kCols / kGroup;
    const QuantizedRows rows{memory<int8_t>(tokens * (kCols + 64)),
                             memory<float>(tokens * groups),
                             memory<int32_t>(2 * tokens * groups),
                             memory<float>(tokens * groups),
                             kCols + 64,
                             groups};
    kernels.quantize_rows(numbers(static_cast<size_t>(tokens) * kCols), kCols, kCols, 0, tokens,
                          rows);
    LinearArgs args{};
    args.weight = &weight;
    args.xq = &rows;
    args.out = memory<float>(static_cast<size_t>(tokens) * kRows);
    args.out_stride = kRows;
    void* scratch = memory<uint8_t>(kernels.scratch_bytes);
    for (int i = 0; i < times; ++i) kernels.linear(args, 0, kRows / kLanes, 0, tokens, scratch);
}

void attend(int rows, int times) {
    const AttentionKernels& kernels = active_kernels().attention;
    const size_t stride = cache_head_bytes(CacheType::I16, kHeadDim);
    const int blocks = kPositions / kBlockPositions;
    const HeadCache cache{memory<uint8_t>(stride * blocks), stride, kHeadDim, CacheType::I16};
    std::vector<int32_t> order(blocks);
    for (int i = 0; i < blocks; ++i) order[i] = i;
    const size_t size = static_cast<size_t>(rows) * kHeadDim;
    const std::vector<float> scale(rows, 1e-6f);
    const std::vector<int32_t> visible(rows, kPositions);
    const AttentionTile tile{rows, memory<int16_t>(size), scale.data(), visible.data(),
                             order.data()};
    const AttentionState total{memory<float>(size), memory<float>(rows), memory<float>(rows)};
    const AttentionState next{memory<float>(size), memory<float>(rows), memory<float>(rows)};
    void* scratch = memory<uint8_t>(kernels.scratch_bytes);
    for (int i = 0; i < times; ++i) {
        kernels.split(cache, tile, 0, total, scratch);
        for (int split = 1; split < kPositions / kSplitPositions; ++split) {
            kernels.split(cache, tile, split, next, scratch);
            kernels.merge(total, next, rows, kHeadDim);
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const std::string kind = argv[1];
    const size_t dash = kind.find('-');
    const int count = std::atoi(kind.c_str() + dash + 1);
    (kind[0] == 'p' ? multiply : attend)(count, std::atoi(argv[2]));
    return 0;
}
