#include "runtime/weight_packing.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/cpu_features.h"
#include "runtime/half.h"

namespace cierzo {
namespace {

constexpr int kBlocksAtOnce = 8;
constexpr size_t kWorthThreads = size_t{1} << 20;  // bytes from which starting threads pays
constexpr int kRefinements = 4;

// Calls work(begin, end) for ranges of [0, blocks), from several threads when there is much to do.
template <typename Work>
void for_blocks(int blocks, size_t bytes, int threads, const Work& work) {
    std::atomic<int> next{0};
    const auto drain = [&] {
        for (int begin; (begin = next.fetch_add(kBlocksAtOnce)) < blocks;) {
            work(begin, std::min(begin + kBlocksAtOnce, blocks));
        }
    };
    std::vector<std::jthread> helpers;
    if (bytes >= kWorthThreads) {
        for (int i = 1; i < threads; ++i) helpers.emplace_back(drain);
    }
    drain();
}

PackedWeight allocate(Layout layout, int rows, int cols) {
    const size_t block_bytes = active_kernels().linear.block_bytes(layout, cols);
    if (rows <= 0 || block_bytes == 0) {
        throw std::invalid_argument("a row of " + std::to_string(cols) +
                                    " numbers is not a whole number of this type's blocks");
    }
    return PackedWeight(layout, rows, cols, block_bytes);
}

float read_float(const uint8_t* raw, Layout stored, size_t index) {
    if (stored == Layout::F32) {
        float x;
        std::memcpy(&x, raw + 4 * index, sizeof x);
        return x;
    }
    uint16_t bits;
    std::memcpy(&bits, raw + 2 * index, sizeof bits);
    if (stored == Layout::F16) return half_to_float(bits);
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float x;
    std::memcpy(&x, &wide, sizeof x);
    return x;
}

float as_half(float x, uint8_t* out) {
    const uint16_t half = float_to_half(std::clamp(x, -65504.0f, 65504.0f));
    std::memcpy(out, &half, sizeof half);
    return half_to_float(half);
}

// ggml's Q8_0: float16 scale, 32 signed bytes.
void quantize_8(const float* x, uint8_t* out) {
    float absmax = 0;
    for (int i = 0; i < kGroup; ++i) absmax = std::max(absmax, std::fabs(x[i]));
    // A scale that rounds down in float16 would push the largest number beyond 127.
    const float scale = as_half(absmax / 127.0f, out);
    for (int i = 0; i < kGroup; ++i) {
        const float q = scale > 0 ? std::nearbyint(x[i] / scale) : 0.0f;
        out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::clamp(q, -127.0f, 127.0f)));
    }
}

// ggml's Q4_1: float16 scale and minimum, 32 numbers of 4 bits. Starts from the range of the
// numbers, then alternates rounding with the least-squares scale and minimum for what was rounded.
void quantize_4(const float* x, uint8_t* out) {
    const auto [low, high] = std::minmax_element(x, x + kGroup);
    float scale = (*high - *low) / 15.0f;
    float min = *low;
    float best_error = INFINITY;
    for (int round = 0; round <= kRefinements; ++round) {
        uint8_t header[4];
        const float d = as_half(scale, header);
        const float m = as_half(min, header + 2);
        float q[kGroup];
        float error = 0, sum_q = 0, sum_qq = 0, sum_x = 0, sum_qx = 0;
        for (int i = 0; i < kGroup; ++i) {
            q[i] = d > 0 ? std::clamp(std::nearbyint((x[i] - m) / d), 0.0f, 15.0f) : 0.0f;
            const float miss = d * q[i] + m - x[i];
            error += miss * miss;
            sum_q += q[i];
            sum_qq += q[i] * q[i];
            sum_x += x[i];
            sum_qx += q[i] * x[i];
        }
        if (error < best_error) {
            best_error = error;
            std::memcpy(out, header, sizeof header);
            for (int i = 0; i < kGroup / 2; ++i) {
                out[4 + i] = static_cast<uint8_t>(static_cast<int>(q[i]) |
                                                  static_cast<int>(q[i + kGroup / 2]) << 4);
            }
        }
        const float spread = kGroup * sum_qq - sum_q * sum_q;
        if (spread <= 0) break;
        scale = (kGroup * sum_qx - sum_q * sum_x) / spread;
        min = (sum_x - scale * sum_q) / kGroup;
        if (!(scale > 0)) break;
    }
}

}  // namespace

size_t file_bytes(Layout layout, int rows, int cols) {
    const size_t numbers = static_cast<size_t>(rows) * cols;
    switch (layout) {
        case Layout::F32:
            return numbers * 4;
        case Layout::F16:
        case Layout::BF16:
            return numbers * 2;
        case Layout::Q8_0:
            return numbers / 32 * 34;
        case Layout::Q4_0:
            return numbers / 32 * 18;
        case Layout::Q4_1:
            return numbers / 32 * 20;
        case Layout::Q5_0:
            return numbers / 32 * 22;
        case Layout::Q5_1:
            return numbers / 32 * 24;
        case Layout::Q4_K:
            return numbers / 256 * 144;
        case Layout::Q5_K:
            return numbers / 256 * 176;
        case Layout::Q6_K:
            return numbers / 256 * 210;
    }
    return 0;
}

PackedWeight pack_weight(const uint8_t* raw, Layout layout, int rows, int cols, int threads) {
    PackedWeight packed = allocate(layout, rows, cols);
    const Weight& view = packed.view();
    for_blocks(view.blocks(), packed.bytes(), threads,
               [&](int begin, int end) { active_kernels().linear.pack(raw, view, begin, end); });
    return packed;
}

PackedWeight quantize_weight(const uint8_t* raw, Layout stored, Layout wanted, int rows, int cols,
                             int threads) {
    PackedWeight packed = allocate(wanted, rows, cols);
    const Weight& view = packed.view();
    const size_t row_bytes = file_bytes(wanted, 1, cols);
    const size_t group_bytes = file_bytes(wanted, 1, kGroup);
    for_blocks(view.blocks(), packed.bytes(), threads, [&](int begin, int end) {
        std::vector<uint8_t> file(row_bytes * kLanes);
        for (int block = begin; block < end; ++block) {
            const int block_rows = std::min(kLanes, rows - block * kLanes);
            for (int lane = 0; lane < block_rows; ++lane) {
                const size_t first = (static_cast<size_t>(block) * kLanes + lane) * cols;
                for (int k = 0; k < cols; k += kGroup) {
                    float x[kGroup];
                    for (int i = 0; i < kGroup; ++i) x[i] = read_float(raw, stored, first + k + i);
                    uint8_t* out = file.data() + lane * row_bytes + k / kGroup * group_bytes;
                    wanted == Layout::Q8_0 ? quantize_8(x, out) : quantize_4(x, out);
                }
            }
            Weight one = view;
            one.rows = block_rows;
            one.data = view.data + block * view.block_bytes;
            active_kernels().linear.pack(file.data(), one, 0, 1);
        }
    });
    return packed;
}

}  // namespace cierzo
