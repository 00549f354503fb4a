// How each quantized layout lies in a block of 16 rows, and how to read it back 32 columns at a
// time.
//
// A block is one run after the other, each of 8 groups of 32 columns (the last may have fewer), so
// that memory is read in order. In a run its groups' parts of a kind lie together:
// clang-format off
//   part       of a group                                                 of which layouts
//   numbers    16 rows x 32, of 4, 5, 6 or 8 bits: as many words          all
//   scale      16 float16 (32 bytes)                                      all but K layouts
//              or 16 bytes; two times 16 for Q6_K, one a half-group       K layouts
//   min        the same as scale                                          those with a minimum
//   super      16 float16 for the run: the unit of scale bytes            K layouts
//              16 more: the unit of min bytes                             Q4_K, Q5_K
// clang-format on
// A quad is 4 consecutive columns of 16 rows: 64 bytes as `dot` wants them, row by row. A word is
// 64 bytes that hold a quad in the low bits of each, and above these some or all bits of another:
// see `pieces`.
//
// The values are w = scale * (number - zero_point) + min, exactly those of the file.
#pragma once

#include "kernels/linear.h"
#include "simd/simd.h"

namespace cierzo::CIERZO_ISA {
namespace linear {

inline constexpr int kSuper = 256;  // columns that share the units of K layouts
inline constexpr int kQuads = kGroup / 4;
inline constexpr int kQuadBytes = 64;  // and a word's

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

// Bytes of a group's parts, and of what a run has besides.
struct Sizes {
    size_t numbers, scale, min, super;

    // Of one group, without `super`.
    constexpr size_t group() const { return numbers + scale + min; }
};

constexpr Sizes sizes(Traits t) {
    Sizes s{};
    s.numbers = t.bits * kQuadBytes;
    s.scale = t.super ? 16 * t.halves : 32;
    s.min = t.min ? s.scale : 0;
    s.super = t.super ? (t.min ? 64 : 32) : 0;
    return s;
}

inline constexpr int kRun = kSuper / kGroup;  // groups

// Bytes of the runs before group `group`, or of a block that ends with it.
constexpr size_t run_offset(Traits t, int group) {
    const Sizes s = sizes(t);
    return group * s.group() + group / kRun * s.super;
}

// Where the parts of a group lie.
template <typename Byte>
struct Place {
    Byte *numbers, *scale, *min, *super;
};

template <typename Byte>
[[gnu::always_inline]] inline Place<Byte> place(Traits t, Byte* block, int groups, int group) {
    const Sizes s = sizes(t);
    const int i = group % kRun;
    const int first = group - i;
    const int count = t.super ? kRun : groups - first < kRun ? groups - first : kRun;
    Byte* numbers = block + run_offset(t, first);
    Byte* scale = numbers + count * s.numbers;
    Byte* min = scale + count * s.scale;
    Byte* super = min + count * s.min;
    return {numbers + i * s.numbers, scale + i * s.scale, min + i * s.min, super};
}

// Some of a number's bits: those under `mask`, which lie `shift` higher in a byte of word `word`.
struct Piece {
    int word, shift;
    uint8_t mask;
};

struct Pieces {
    int count;
    Piece of[3];
};

// Where the numbers of quad `quad` (0..7) lie. Few instructions put them together: of 6 bits, three
// words hold three quads and, in the bits above, a fourth; of 5 bits, five words hold eight.
constexpr Pieces pieces(int bits, int quad) {
    const int half = quad / 4;
    switch (bits) {
        case 4:
            return {1, {{quad % 4, 4 * half, 0x0f}}};
        case 5:
            if (quad == 3) return {2, {{2, 5, 0x07}, {3, 3, 0x18}}};
            if (quad == 6) return {2, {{0, 5, 0x07}, {1, 3, 0x18}}};
            if (quad == 7) return {3, {{4, 5, 0x07}, {1, 2, 0x08}, {3, 1, 0x10}}};
            return {1, {{quad - half, 0, 0x1f}}};
        case 6:
            if (quad % 4 < 3) return {1, {{quad - half, 0, 0x3f}}};
            return {3, {{3 * half, 2, 0x30}, {3 * half + 1, 4, 0x0c}, {3 * half + 2, 6, 0x03}}};
        default:
            return {1, {{quad, 0, 0xff}}};
    }
}

// Reads one group of a block.
template <Layout kLayout>
class Group {
  public:
    static constexpr Traits kTraits = traits(kLayout);

    explicit Group(const Place<const uint8_t>& at) : at_(at) {}

    // Quad `number` (0..7) as unsigned bytes. Inlined whatever the compiler thinks of it: only in
    // an unrolled loop is `number` a constant, which leaves one case.
    [[gnu::always_inline]] Bytes quad(int number) const {
        switch (number) {
            case 0:
                return put_together<0>();
            case 1:
                return put_together<1>();
            case 2:
                return put_together<2>();
            case 3:
                return put_together<3>();
            case 4:
                return put_together<4>();
            case 5:
                return put_together<5>();
            case 6:
                return put_together<6>();
            default:
                return put_together<7>();
        }
    }

    // The scale of a (half-)group, by row.
    [[gnu::always_inline]] F32 scale(int half) const {
        const uint8_t* p = at_.scale + half * kLanes;
        if constexpr (!kTraits.super) {
            return load_f16(reinterpret_cast<const uint16_t*>(p));
        } else if constexpr (kLayout == Layout::Q6_K) {
            return mul(super(0), load_i8(reinterpret_cast<const int8_t*>(p)));
        } else {
            return mul(super(0), load_u8(p));
        }
    }

    // The minimum, by row: what is added to scale * number.
    [[gnu::always_inline]] F32 min() const {
        if constexpr (kTraits.super) {
            return sub(zero_f32(), mul(super(1), load_u8(at_.min)));
        } else {
            return load_f16(reinterpret_cast<const uint16_t*>(at_.min));
        }
    }

  private:
    template <int kQuad>
    [[gnu::always_inline]] Bytes put_together() const {
        constexpr Pieces from = pieces(kTraits.bits, kQuad);
        const Bytes first = word(from.of[0]);
        if constexpr (kTraits.bits == 8) return first;
        Bytes numbers = take_bits<from.of[0].shift, from.of[0].mask>(first);
        if constexpr (from.count > 1) {
            numbers = with_bits<from.of[1].shift, from.of[1].mask>(numbers, word(from.of[1]));
        }
        if constexpr (from.count > 2) {
            numbers = with_bits<from.of[2].shift, from.of[2].mask>(numbers, word(from.of[2]));
        }
        return numbers;
    }

    Bytes word(const Piece& piece) const {
        return load_bytes(at_.numbers + piece.word * kQuadBytes);
    }

    F32 super(int unit) const {
        return load_f16(reinterpret_cast<const uint16_t*>(at_.super) + unit * kLanes);
    }

    Place<const uint8_t> at_;
};

// Reads one block of a layout.
template <Layout kLayout>
class Reader {
  public:
    static constexpr Traits kTraits = traits(kLayout);

    Reader(const Weight& weight, int block)
        : groups_(weight.cols / kGroup),
          block_bytes_(weight.block_bytes),
          data_(weight.data + block * weight.block_bytes) {}

    // That of the next block.
    Reader next() const {
        Reader other = *this;
        other.data_ += block_bytes_;
        return other;
    }

    [[gnu::always_inline]] Group<kLayout> at(int group) const {
        return Group<kLayout>(place(kTraits, data_, groups_, group));
    }

    // Asks for the jth quarter of what lies `kAhead` bytes after a group; where the block ends
    // before, in the one that is read after it, `Blocks` further. Into the second cache: the first
    // has too few places for what is on its way, and on Zen 4 asking for it is slower than not.
    template <int Blocks>
    [[gnu::always_inline]] void prefetch(int group, int j) const {
        constexpr size_t kAhead = 8192;
        constexpr size_t kLine = 64;
        constexpr size_t bytes = run_offset(kTraits, kRun) / kRun;
        size_t there = run_offset(kTraits, group / kRun * kRun) + group % kRun * bytes + kAhead;
        if (there >= block_bytes_) there += (Blocks - 1) * block_bytes_;
#pragma GCC unroll 3
        for (size_t line = j; line * kLine < bytes; line += 4) {
            __builtin_prefetch(data_ + there + line * kLine, 0, 2);
        }
    }

  private:
    int groups_;
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
