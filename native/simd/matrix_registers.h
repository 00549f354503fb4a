// The matrix registers of AMX, while they are in use.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace cierzo::CIERZO_ISA {

inline constexpr int kMatrixRows = 16;
inline constexpr int kMatrixRowBytes = 64;

// Sums of one register: [row][lane].
using MatrixSums = int32_t[kMatrixRows][kMatrixRowBytes / sizeof(int32_t)];

// What a register holds: at most 16 rows of at most 64 bytes.
struct MatrixShape {
    uint8_t rows = kMatrixRows;
    uint16_t row_bytes = kMatrixRowBytes;
};

// As the architecture's manual lays them out: palette 1, then bytes a row, then rows.
struct alignas(64) MatrixLayout {
    uint8_t palette = 1, first_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};

    constexpr explicit MatrixLayout(const MatrixShape (&shapes)[8]) {
        for (int i = 0; i < 8; ++i) {
            row_bytes[i] = shapes[i].row_bytes;
            rows[i] = shapes[i].rows;
        }
    }
};

// The registers of this thread, while it lives; their contents are undefined at first. Of a layout
// that is a constant: GCC takes the instruction to read eight bytes alone, and drops stores to the
// others.
template <const MatrixLayout& kLayout>
class MatrixRegisters {
  public:
    MatrixRegisters() { _tile_loadconfig(&kLayout); }
    // With registers in use a thread costs the system 8 KB more to put aside.
    ~MatrixRegisters() { _tile_release(); }
    MatrixRegisters(const MatrixRegisters&) = delete;
    MatrixRegisters& operator=(const MatrixRegisters&) = delete;
};

// Before registers are loaded with what was just stored: GCC takes `_tile_loadd` to read nothing,
// and could put the stores off, or leave them out.
inline void settle_stores() { asm volatile("" : : : "memory"); }

}  // namespace cierzo::CIERZO_ISA
