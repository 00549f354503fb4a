// Kernels for matrix products with packed weights, and for packing them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cierzo {

inline constexpr int kLanes = 16;  // output rows interleaved in one block
inline constexpr int kGroup = 32;  // activations that share one int8 scale

// How a weight's values lie in memory. Each keeps the values of the file type of the same name.
enum class Layout : uint8_t { F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K };

// Quantised layouts take int8 activations, float layouts float32 ones.
constexpr bool takes_quantized(Layout layout) { return layout >= Layout::Q8_0; }

// A matrix [rows, cols] in blocks of 16 rows by all columns; the last block is padded with zeros.
// Does not own `data` (64-byte aligned, `blocks() * block_bytes` bytes).
struct Weight {
    Layout layout;
    int rows;
    int cols;
    size_t block_bytes;
    uint8_t* data;

    int blocks() const { return (rows + kLanes - 1) / kLanes; }
};

// Rows of activations as int8, by row and group of 32: x = q * scale.
// `sum` holds the exact sum of each half-group of 16, `offset` the scale times the group's sum.
struct QuantizedRows {
    int8_t* q;        // [T, q_stride]
    float* scale;     // [T, scale_stride], cols / 32 used
    int32_t* sum;     // [T, 2 * scale_stride]
    float* offset;    // [T, scale_stride]
    size_t q_stride;  // padded so that rows do not fall on the same cache sets
    size_t scale_stride;
};

// out[t, r] = sum_k x[t, k] * weight[r, k] (+ residual[t, r]).
struct LinearArgs {
    const Weight* weight;
    const float* x;  // [T, x_stride], for float layouts
    size_t x_stride;
    const QuantizedRows* xq;  // for quantised layouts, `planes` rows a token
    int planes = 1;           // 2: as `quantize_rows_twice` leaves them, for 16 bits of precision
    float* out;               // [T, out_stride]; rows beyond weight->rows are not written
    size_t out_stride;
    const float* residual;  // may be null, may be `out`
    size_t residual_stride;
};

// out[t, r] = silu(gate[t, r]) * up[t, r], written as float32 and, where asked, also quantised.
struct GatedArgs {
    const Weight* gate;
    const Weight* up;
    const float* x;
    size_t x_stride;
    const QuantizedRows* xq;
    int planes = 1;  // of xq, as in LinearArgs; 2 only when gate and up both take it
    float* out;      // may be null when only the quantised form is wanted
    size_t out_stride;
    QuantizedRows* out_q;  // may be null
    int out_planes = 1;    // of out_q
};

struct LinearKernels {
    // Bytes of one block of 16 rows in a layout; 0 when `cols` does not fit the layout.
    size_t (*block_bytes)(Layout layout, int cols);
    // Packs rows of the file's bytes (row-major, as in the file) into blocks [begin, end).
    void (*pack)(const uint8_t* raw, const Weight& weight, int block_begin, int block_end);
    // Writes one row back as float32, exactly the values of the file.
    void (*dequantize_row)(const Weight& weight, int row, float* out);
    // Quantises tokens [begin, end) of x [T, x_stride], `cols` wide (a multiple of 32).
    void (*quantize_rows)(const float* x, size_t x_stride, int cols, int token_begin, int token_end,
                          const QuantizedRows& out);
    // The same to two rows a token, 2t and 2t + 1: the second holds what the first left over.
    void (*quantize_rows_twice)(const float* x, size_t x_stride, int cols, int token_begin,
                                int token_end, const QuantizedRows& out);
    // Blocks [block_begin, block_end) of the result for tokens [token_begin, token_end).
    // `scratch` is the calling thread's own, of `scratch_bytes`, 64-byte aligned.
    void (*linear)(const LinearArgs& args, int block_begin, int block_end, int token_begin,
                   int token_end, void* scratch);
    // The same for pairs of blocks (units of 32 rows, so that a group of the result is whole).
    void (*gated)(const GatedArgs& args, int pair_begin, int pair_end, int token_begin,
                  int token_end, void* scratch);
    size_t scratch_bytes;
    // Tokens that `linear` likes to get at once (a multiple of its register tile), for chunking.
    int token_tile;
};

}  // namespace cierzo
