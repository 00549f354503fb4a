// The matrix registers of AMX, while they are in use.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace cierzo::CIERZO_ISA {

inline constexpr int kMatrixRows = 16;
inline constexpr int kMatrixRowBytes = 64;

// Sums of one register: [row][lane].
using MatrixSums = int32_t[kMatrixRows][kMatrixRowBytes / sizeof(int32_t)];

// What sums begin with, loaded as every row of a register (a stride of 0): behind `_tile_zero` a
// product waits until the one before is done.
alignas(kMatrixRowBytes) inline constexpr uint8_t kZeros[kMatrixRowBytes] = {};

// What a register holds: at most 16 rows of at most 64 bytes.
struct MatrixShape {
    uint8_t rows = kMatrixRows;
    uint16_t row_bytes = kMatrixRowBytes;
};

// Those of this thread, while it lives; their contents are undefined at first.
class MatrixRegisters {
  public:
    explicit MatrixRegisters(const MatrixShape (&shapes)[8]) {
        // As the architecture's manual lays them out: palette 1, then bytes a row, then rows.
        struct alignas(64) {
            uint8_t palette = 1, first_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {};
            uint8_t rows[16] = {};
        } layout;
        for (int i = 0; i < 8; ++i) {
            layout.row_bytes[i] = shapes[i].row_bytes;
            layout.rows[i] = shapes[i].rows;
        }
        _tile_loadconfig(&layout);
    }
    // With registers in use a thread costs the system 8 KB more to put aside.
    ~MatrixRegisters() { _tile_release(); }
    MatrixRegisters(const MatrixRegisters&) = delete;
    MatrixRegisters& operator=(const MatrixRegisters&) = delete;
};

}  // namespace cierzo::CIERZO_ISA
