// How each quantized layout lies in a block of 16 rows, and how to read it back 32 columns at a
// time.
//
// A block is made of planes, one after the other, each running over the groups of 32 columns:
// clang-format off
//   plane      of a group                                                 of which layouts
//   low        16 rows x 32 numbers of 4 bits (256 bytes) or of 8 (512)   all
//   high       their fifth bit (64 bytes), or fifth and sixth (128)       5-bit ones, Q6_K
//   scale      16 float16 (32 bytes)                                      all but K layouts
//              or 16 bytes; two times 16 for Q6_K, one a half-group       K layouts
//   min        the same as scale                                          those with a minimum
//   super      16 float16 for each 256 columns: the unit of scale bytes   K layouts
//   super_min  the same: the unit of min bytes                            Q4_K, Q5_K
// clang-format on
// A quad is 4 consecutive columns of 16 rows: 64 bytes as `dot` wants them, row by row. A 64-byte
// load of the 4-bit plane holds quad j in its low and quad j + 4 in its high nibbles. In a high
// plane, bit j (bits 2j, 2j + 1) of a byte belongs to quad j.
//
// The values are w = scale * (number - zero_point) + min, exactly those of the file.
#pragma once

#include "kernels/linear.h"
#include "simd/simd.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

inline constexpr int kSuper = 256;  // columns that share the units of K layouts
inline constexpr int kQuads = kGroup / 4;
inline constexpr int kQuadBytes = 64;

// What a layout is made of.
struct Traits {
    int bits;        // 4, 5, 6 or 8
    int halves;      // scales in a group of 32
    int zero_point;  // subtracted from the number
    bool min;        // has a minimum
    bool super;      // scales are bytes in units that 256 columns share
};

constexpr Traits traits(Layout layout) {
    switch (layout) {
        case Layout::Q8_0:
            return {8, 1, 128, false, false};
        case Layout::Q4_0:
            return {4, 1, 8, false, false};
        case Layout::Q4_1:
            return {4, 1, 0, true, false};
        case Layout::Q5_0:
            return {5, 1, 16, false, false};
        case Layout::Q5_1:
            return {5, 1, 0, true, false};
        case Layout::Q4_K:
            return {4, 1, 0, true, true};
        case Layout::Q5_K:
            return {5, 1, 0, true, true};
        case Layout::Q6_K:
            return {6, 2, 32, false, true};
        default:
            return {};
    }
}

// Offsets of the planes in a block, and their sizes for one group (or 256 columns).
struct Planes {
    size_t low_bytes, high_bytes, scale_bytes, min_bytes;
    size_t high, scale, min, super, super_min, end;
};

constexpr Planes planes(Traits t, int cols) {
    const size_t groups = cols / kGroup;
    const size_t supers = cols / kSuper;
    Planes p{};
    p.low_bytes = t.bits == 8 ? 512 : 256;
    p.high_bytes = t.bits == 8 ? 0 : (t.bits - 4) * 64;
    p.scale_bytes = t.super ? 16 * t.halves : 32;
    p.min_bytes = t.min ? p.scale_bytes : 0;
    p.high = groups * p.low_bytes;
    p.scale = p.high + groups * p.high_bytes;
    p.min = p.scale + groups * p.scale_bytes;
    p.super = p.min + groups * p.min_bytes;
    p.super_min = p.super + (t.super ? supers * 32 : 0);
    p.end = p.super_min + (t.super && t.min ? supers * 32 : 0);
    return p;
}

// a with the bits of `from` under Mask << position (0..7) at bit 4 and up. The position is a
// constant once the caller's loop is unrolled, which leaves one case.
template <uint8_t Mask>
[[gnu::always_inline]] inline Bytes with_bit_four(Bytes a, Bytes from, int position) {
    switch (position) {
        case 0:
            return with_bits<-4, Mask << 4>(a, from);
        case 1:
            return with_bits<-3, Mask << 4>(a, from);
        case 2:
            return with_bits<-2, Mask << 4>(a, from);
        case 3:
            return with_bits<-1, Mask << 4>(a, from);
        case 4:
            return with_bits<0, Mask << 4>(a, from);
        case 5:
            return with_bits<1, Mask << 4>(a, from);
        case 6:
            return with_bits<2, Mask << 4>(a, from);
        default:
            return with_bits<3, Mask << 4>(a, from);
    }
}

// Reads one block of a layout.
template <Layout kLayout>
class Reader {
  public:
    static constexpr Traits kTraits = traits(kLayout);

    Reader(const Weight& weight, int block)
        : planes_(planes(kTraits, weight.cols)),
          block_bytes_(weight.block_bytes),
          data_(weight.data + block * weight.block_bytes) {}

    // That of the next block.
    Reader next() const {
        Reader other = *this;
        other.data_ += block_bytes_;
        return other;
    }

    // Quads j and j + 4 of a group, j in 0..3, as unsigned bytes. Inlined whatever the compiler
    // thinks of it: only in an unrolled loop over j is `j` a constant.
    [[gnu::always_inline]] void quad_pair(int group, int j, Bytes& first, Bytes& second) const {
        const uint8_t* low = data_ + group * planes_.low_bytes + j * kQuadBytes;
        if constexpr (kTraits.bits == 8) {
            first = load_bytes(low);
            second = load_bytes(low + kQuads / 2 * kQuadBytes);
            return;
        }
        const Bytes both = load_bytes(low);
        first = low_nibbles(both);
        second = high_nibbles(both);
        const uint8_t* high = data_ + planes_.high + group * planes_.high_bytes;
        if constexpr (kTraits.bits == 5) {
            const Bytes bits = load_bytes(high);
            first = with_bit_four<1>(first, bits, j);
            second = with_bit_four<1>(second, bits, j + 4);
        } else if constexpr (kTraits.bits == 6) {
            first = with_bit_four<3>(first, load_bytes(high), 2 * j);
            second = with_bit_four<3>(second, load_bytes(high + kQuadBytes), 2 * j);
        }
    }

    // Asks for what lies `kAhead` bytes after a pair of quads, maybe in a later block.
    [[gnu::always_inline]] void prefetch(int group, int j) const {
        constexpr size_t kAhead = 2048;
        const uint8_t* low = data_ + group * planes_.low_bytes + j * kQuadBytes + kAhead;
        __builtin_prefetch(low);
        if constexpr (kTraits.bits == 8) __builtin_prefetch(low + kQuads / 2 * kQuadBytes);
        if constexpr (kTraits.bits == 5 || kTraits.bits == 6) {
            // As many groups ahead as the low plane, one line for each high bit of a number.
            const uint8_t* high = data_ + planes_.high + group * planes_.high_bytes +
                                  kAhead / planes_.low_bytes * planes_.high_bytes;
            if (j < kTraits.bits - 4) __builtin_prefetch(high + j * kQuadBytes);
        }
    }

    // The scale of a (half-)group, by row.
    [[gnu::always_inline]] F32 scale(int group, int half) const {
        const uint8_t* p = data_ + planes_.scale + group * planes_.scale_bytes + half * kLanes;
        if constexpr (!kTraits.super) {
            return load_f16(reinterpret_cast<const uint16_t*>(p));
        } else if constexpr (kLayout == Layout::Q6_K) {
            return mul(super(planes_.super, group), load_i8(reinterpret_cast<const int8_t*>(p)));
        } else {
            return mul(super(planes_.super, group), load_u8(p));
        }
    }

    // The minimum of a group, by row: what is added to scale * number.
    [[gnu::always_inline]] F32 min(int group) const {
        const uint8_t* p = data_ + planes_.min + group * planes_.min_bytes;
        if constexpr (kTraits.super) {
            return sub(zero_f32(), mul(super(planes_.super_min, group), load_u8(p)));
        } else {
            return load_f16(reinterpret_cast<const uint16_t*>(p));
        }
    }

  private:
    F32 super(size_t plane, int group) const {
        constexpr int groups = kSuper / kGroup;
        return load_f16(reinterpret_cast<const uint16_t*>(data_ + plane + group / groups * 32));
    }

    Planes planes_;
    size_t block_bytes_;
    const uint8_t* data_;
};

// Calls `work.template operator()<layout>()` for a quantised layout known at run time.
template <typename Work>
inline void with_layout(Layout layout, Work&& work) {
    switch (layout) {
        case Layout::Q8_0:
            return work.template operator()<Layout::Q8_0>();
        case Layout::Q4_0:
            return work.template operator()<Layout::Q4_0>();
        case Layout::Q4_1:
            return work.template operator()<Layout::Q4_1>();
        case Layout::Q5_0:
            return work.template operator()<Layout::Q5_0>();
        case Layout::Q5_1:
            return work.template operator()<Layout::Q5_1>();
        case Layout::Q4_K:
            return work.template operator()<Layout::Q4_K>();
        case Layout::Q5_K:
            return work.template operator()<Layout::Q5_K>();
        case Layout::Q6_K:
            return work.template operator()<Layout::Q6_K>();
        default:
            return;
    }
}

}  // namespace linear
}  // namespace cierzo::CIERZO_ISA
