// From the file's bytes to packed blocks, and back to float32 by row.
//
// The block formats are ggml's (a struct of scales and numbers for 32 or 256 columns of one row).
// Four columns move at a time: one 32-bit word of the source becomes one row's part of a quad.
#pragma once

#include <cstring>

#include "kernels/linear/formats.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

// Where the parts of one ggml block lie.
struct FileBlock {
    size_t bytes;
    int cols;
    size_t low, high, scale,
        min;             // of `low`: the packed numbers; `scale` of K layouts: d
    size_t scale_bytes;  // K layouts: the packed scales (and minima)
};

constexpr FileBlock file_block(Layout layout) {
    switch (layout) {
        case Layout::Q8_0:
            return {34, 32, 2, 0, 0, 0, 0};
        case Layout::Q4_0:
            return {18, 32, 2, 0, 0, 0, 0};
        case Layout::Q4_1:
            return {20, 32, 4, 0, 0, 2, 0};
        case Layout::Q5_0:
            return {22, 32, 6, 2, 0, 0, 0};
        case Layout::Q5_1:
            return {24, 32, 8, 4, 0, 2, 0};
        case Layout::Q4_K:
            return {144, 256, 16, 0, 0, 2, 4};
        case Layout::Q5_K:
            return {176, 256, 48, 16, 0, 2, 4};
        case Layout::Q6_K:
            return {210, 256, 0, 128, 208, 0, 192};
        default:
            return {};
    }
}

inline uint32_t word(const uint8_t* p) {
    uint32_t w;
    std::memcpy(&w, p, sizeof w);
    return w;
}
inline void put_word(uint8_t* p, uint32_t w) { std::memcpy(p, &w, sizeof w); }
inline void copy_half(uint8_t* to, const uint8_t* from) { std::memcpy(to, from, 2); }

// The 6-bit scale and minimum of group `g` of 8 in the 12 bytes of Q4_K and Q5_K.
inline void unpack_scale_min(const uint8_t* p, int g, uint8_t& scale, uint8_t& min) {
    if (g < 4) {
        scale = p[g] & 63;
        min = p[g + 4] & 63;
    } else {
        scale = static_cast<uint8_t>((p[g + 4] & 15) | (p[g - 4] >> 6 << 4));
        min = static_cast<uint8_t>((p[g + 4] >> 4) | (p[g] >> 6 << 4));
    }
}

// Four numbers (one a byte) of quad `j` in group `g` of a file block.
template <Layout kLayout>
inline uint32_t file_numbers(const uint8_t* block, int g, int j) {
    constexpr FileBlock f = file_block(kLayout);
    const uint8_t* low = block + f.low;
    if constexpr (kLayout == Layout::Q8_0) {
        return word(low + 4 * j) ^ 0x80808080u;  // signed to offset by 128
    } else if constexpr (kLayout == Layout::Q6_K) {
        // Two halves of 128 columns; groups 0 and 1 of a half are low nibbles, 2 and 3 high ones.
        const int half = g / 4;
        const int group = g % 4;
        const uint32_t l = word(low + 64 * half + 32 * (group % 2) + 4 * j) >> (group / 2 * 4);
        const uint32_t h = word(block + f.high + 32 * half + 4 * j) >> (2 * group);
        return (l & 0x0f0f0f0fu) | ((h & 0x03030303u) << 4);
    } else if constexpr (traits(kLayout).super) {
        uint32_t w = (word(low + 32 * (g / 2) + 4 * j) >> (g % 2 * 4)) & 0x0f0f0f0fu;
        if constexpr (kLayout == Layout::Q5_K) {
            w |= ((word(block + f.high + 4 * j) >> g) & 0x01010101u) << 4;
        }
        return w;
    } else {
        uint32_t w = (word(low + 4 * (j % 4)) >> (j / 4 * 4)) & 0x0f0f0f0fu;
        if constexpr (traits(kLayout).bits == 5) {
            const uint32_t bits = word(block + f.high) >> (4 * j);
            for (int i = 0; i < 4; ++i) w |= ((bits >> i) & 1u) << (8 * i + 4);
        }
        return w;
    }
}

// Writes row `lane` of a packed block from the row's bytes in the file.
template <Layout kLayout>
inline void pack_row(const uint8_t* row, int cols, int lane, uint8_t* out) {
    constexpr Traits t = traits(kLayout);
    constexpr FileBlock f = file_block(kLayout);
    for (int group = 0; group < cols / kGroup; ++group) {
        const uint8_t* block = row + static_cast<size_t>(group) * kGroup / f.cols * f.bytes;
        const int g = group % (f.cols / kGroup);
        uint32_t numbers[kQuads];
        for (int j = 0; j < kQuads; ++j) numbers[j] = file_numbers<kLayout>(block, g, j);

        const Place<uint8_t> to = place(t, out, cols / kGroup, group);
        uint32_t words[kQuads] = {};
        for (int j = 0; j < kQuads; ++j) {
            const Pieces into = pieces(t.bits, j);
            for (int i = 0; i < into.count; ++i) {
                const Piece& piece = into.of[i];
                words[piece.word] |= (numbers[j] & piece.mask * 0x01010101u) << piece.shift;
            }
        }
        for (int i = 0; i < t.bits; ++i) {
            put_word(to.numbers + i * kQuadBytes + 4 * lane, words[i]);
        }

        if constexpr (!t.super) {
            copy_half(to.scale + 2 * lane, block + f.scale);
            if constexpr (t.min) copy_half(to.min + 2 * lane, block + f.min);
        } else {
            if constexpr (kLayout == Layout::Q6_K) {
                to.scale[lane] = block[f.scale_bytes + 2 * g];
                to.scale[kLanes + lane] = block[f.scale_bytes + 2 * g + 1];
            } else {
                unpack_scale_min(block + f.scale_bytes, g, to.scale[lane], to.min[lane]);
            }
            if (g == 0) {
                copy_half(to.super + 2 * lane, block + f.scale);
                if constexpr (t.min) copy_half(to.super + 2 * (kLanes + lane), block + f.min);
            }
        }
    }
}

// Float layouts: [cols][16].
template <typename Element>
inline void pack_float_row(const uint8_t* row, int cols, int lane, uint8_t* out) {
    for (int k = 0; k < cols; ++k) {
        std::memcpy(out + (static_cast<size_t>(k) * kLanes + lane) * sizeof(Element),
                    row + k * sizeof(Element), sizeof(Element));
    }
}

constexpr size_t float_bytes(Layout layout) { return layout == Layout::F32 ? 4 : 2; }

inline size_t block_bytes(Layout layout, int cols) {
    if (cols <= 0) return 0;
    if (!takes_quantized(layout)) return cols * kLanes * float_bytes(layout);
    const FileBlock f = file_block(layout);
    return cols % f.cols == 0 ? run_offset(traits(layout), cols / kGroup) : 0;
}

inline void pack(const uint8_t* raw, const Weight& weight, int block_begin, int block_end) {
    const bool quantized = takes_quantized(weight.layout);
    const FileBlock f = file_block(weight.layout);
    const size_t row_bytes =
        quantized ? weight.cols / f.cols * f.bytes : weight.cols * float_bytes(weight.layout);
    for (int block = block_begin; block < block_end; ++block) {
        uint8_t* out = weight.data + block * weight.block_bytes;
        const int rows =
            weight.rows - block * kLanes < kLanes ? weight.rows - block * kLanes : kLanes;
        if (rows < kLanes) std::memset(out, 0, weight.block_bytes);
        for (int lane = 0; lane < rows; ++lane) {
            const uint8_t* row = raw + (static_cast<size_t>(block) * kLanes + lane) * row_bytes;
            if (!quantized) {
                if (weight.layout == Layout::F32) {
                    pack_float_row<uint32_t>(row, weight.cols, lane, out);
                } else {
                    pack_float_row<uint16_t>(row, weight.cols, lane, out);
                }
                continue;
            }
            with_layout(weight.layout,
                        [&]<Layout kLayout>() { pack_row<kLayout>(row, weight.cols, lane, out); });
        }
    }
}

// GCC 12 at -O3 concludes, wrongly, that some of these have no effect, and leaves the call out.
#if defined(__GNUC__) && !defined(__clang__)
#define CIERZO_OPAQUE __attribute__((noipa))
#else
#define CIERZO_OPAQUE
#endif

template <Layout kLayout>
CIERZO_OPAQUE inline void dequantize_packed_row(const Weight& weight, int row, float* out) {
    constexpr Traits t = traits(kLayout);
    const Reader<kLayout> reader(weight, row / kLanes);
    const int lane = row % kLanes;
    for (int group = 0; group < weight.cols / kGroup; ++group) {
        const Group<kLayout> from = reader.at(group);
        alignas(64) uint8_t numbers[kQuads][kQuadBytes];
        for (int j = 0; j < kQuads; ++j) store_bytes(numbers[j], from.quad(j));
        alignas(64) float scale[2][kLanes];
        alignas(64) float min[kLanes] = {};
        for (int half = 0; half < t.halves; ++half) store(scale[half], from.scale(half));
        if constexpr (t.min) store(min, from.min());
        for (int j = 0; j < kQuads; ++j) {
            for (int i = 0; i < 4; ++i) {
                const int number = numbers[j][4 * lane + i] - t.zero_point;
                const float product = scale[j / 4 * (t.halves - 1)][lane] * number;
                out[group * kGroup + 4 * j + i] = t.min ? product + min[lane] : product;
            }
        }
    }
}

inline void dequantize_row(const Weight& weight, int row, float* out) {
    if (takes_quantized(weight.layout)) {
        with_layout(weight.layout,
                    [&]<Layout kLayout>() { dequantize_packed_row<kLayout>(weight, row, out); });
        return;
    }
    const uint8_t* block = weight.data + row / kLanes * weight.block_bytes;
    const size_t size = float_bytes(weight.layout);
    for (int k = 0; k < weight.cols; ++k) {
        const uint8_t* p = block + static_cast<size_t>(k) * kLanes * size;
        alignas(64) float lanes[kLanes];
        if (weight.layout == Layout::F32) {
            std::memcpy(lanes, p, sizeof lanes);
        } else if (weight.layout == Layout::F16) {
            store(lanes, load_f16(reinterpret_cast<const uint16_t*>(p)));
        } else {
            store(lanes, load_bf16(reinterpret_cast<const uint16_t*>(p)));
        }
        out[k] = lanes[row % kLanes];
    }
}

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
