// The activations of a recorded forward pass: which buffer each gets.
#include "runtime/activations.h"

#include <algorithm>

namespace cierzo {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kAliasBytes = 1024;  // rows this far apart fall on few cache sets

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// Bytes from row to row: whole cache lines, not a multiple of 1 kB.
size_t padded(size_t row_bytes) {
    const size_t lines = round_up(row_bytes, kCacheLine);
    return lines % kAliasBytes == 0 ? lines + kCacheLine : lines;
}

}  // namespace

Activation* Activations::add(int width, int rows, int born) {
    Activation fresh{};
    fresh.id = static_cast<int>(all_.size());
    fresh.width = width;
    fresh.rows = rows;
    fresh.born = fresh.dies = born;
    return &all_.emplace_back(fresh);
}

uint8_t* Activations::take(size_t bytes, int born, int dies) {
    for (Slot& slot : slots_) {
        if (slot.busy_until < born && slot.bytes >= bytes) {
            slot.busy_until = dies;
            return slot.memory.data();
        }
    }
    slots_.push_back({bytes, dies, PageBuffer(bytes)});
    return slots_.back().memory.data();
}

void Activations::allocate() {
    for (Activation& a : all_) {
        if (a.as_float) {
            a.stride = padded(a.width * sizeof(float)) / sizeof(float);
            const Activation* old = a.overwrites;
            if (old != nullptr && old->dies == a.born && old->width == a.width &&
                old->rows == a.rows) {
                a.data = old->data;
                for (Slot& slot : slots_) {
                    if (slot.memory.as<float>() == a.data) slot.busy_until = a.dies;
                }
            } else {
                a.data = reinterpret_cast<float*>(
                    take(a.rows * a.stride * sizeof(float), a.born, a.dies));
            }
        }
        if (a.as_int8) {
            const size_t groups = round_up(a.width, kGroup) / kGroup;
            a.quantized.q_stride = padded(round_up(a.width, kGroup));
            a.quantized.scale_stride = groups + 1;
            const size_t rows = static_cast<size_t>(a.rows) * a.planes;
            const size_t q_bytes = round_up(rows * a.quantized.q_stride, kCacheLine);
            const size_t scale_bytes =
                round_up(rows * a.quantized.scale_stride * sizeof(float), kCacheLine);
            uint8_t* memory = take(q_bytes + 4 * scale_bytes, a.born, a.dies);
            a.quantized.q = reinterpret_cast<int8_t*>(memory);
            a.quantized.scale = reinterpret_cast<float*>(memory + q_bytes);
            a.quantized.sum = reinterpret_cast<int32_t*>(memory + q_bytes + scale_bytes);
            a.quantized.offset = reinterpret_cast<float*>(memory + q_bytes + 3 * scale_bytes);
        }
    }
}

size_t Activations::bytes() const {
    size_t total = 0;
    for (const Slot& slot : slots_) total += slot.bytes;
    return total;
}

}  // namespace cierzo
