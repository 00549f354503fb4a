// What tiles of many tokens work on: a slice of a pair of blocks, unpacked, and where sums go.
#pragma once

#include "kernels/linear/few_tokens.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

inline constexpr int kSliceGroups = 20;  // groups of a slice: 30 KB of unpacked pair
// Tokens whose sums fit the scratch at once: whole tiles.
#if defined(CIERZO_ISA_amx)
inline constexpr int kPanelTokens = 256;
#else
inline constexpr int kPanelTokens = 258;
#endif

// One unpacked group of 16 rows. bias = -kBias * scale.
struct UnpackedGroup {
    uint8_t quads[kQuads][kQuadBytes];
    float scale[2][kLanes];  // layouts with a minimum keep it in scale[1]
    float bias[2][kLanes];
};

// Where a tile of finished sums goes, in place of the scratch: row r to out + r
// * out_stride, with a residual added where there is one.
struct Target {
    float* out = nullptr;
    size_t out_stride = 0;
    const float* residual = nullptr;
    size_t residual_stride = 0;

    Target at(int row, int col) const {
        if (out == nullptr) return {};
        return {out + row * out_stride + col, out_stride,
                residual == nullptr ? nullptr : residual + row * residual_stride + col,
                residual_stride};
    }

    // Sixteen columns from `col` of row r, on to their place.
    [[gnu::always_inline]] void put(int r, int col, F32 value) const {
        if (residual != nullptr) value = add(value, load(residual + r * residual_stride + col));
        store(out + r * out_stride + col, value);
    }
};

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
