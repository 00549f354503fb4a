// What the comparisons share: numbers of chance, and a list of what was not as it should be.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace cierzo::test {

// The same on every machine; the standard library's distributions are not.
class Chance {
  public:
    explicit Chance(uint32_t seed) : engine_(seed) {}

    uint32_t bits() { return engine_(); }
    // In [least, most].
    int whole(int least, int most) {
        return least + static_cast<int>(engine_() % static_cast<uint32_t>(most - least + 1));
    }
    // In [-1, 1).
    float real() { return static_cast<float>(static_cast<int32_t>(engine_())) * 0x1p-31f; }
    std::vector<float> reals(size_t count, float size = 1.0f) {
        std::vector<float> values(count);
        for (float& value : values) value = size * real();
        return values;
    }

  private:
    std::mt19937 engine_;
};

// Zeroed memory at the start of a cache line, as kernels want theirs.
template <typename T>
class Memory {
  public:
    explicit Memory(size_t count)
        : count_(count), data_(static_cast<T*>(operator new(count * sizeof(T), kLine))) {
        std::memset(data_, 0, count * sizeof(T));
    }
    ~Memory() { operator delete(data_, kLine); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    T* data() const { return data_; }
    size_t size() const { return count_; }
    const T& operator[](size_t i) const { return data_[i]; }

  private:
    static constexpr std::align_val_t kLine{64};
    size_t count_;
    T* data_;
};

// Two sets' kernels side by side, and what became of it.
class Comparison {
  public:
    Comparison(const Kernels& tried, const Kernels& plain) : tried(tried), plain(plain) {}

    const Kernels& tried;
    const Kernels& plain;

    // Every bit is the same.
    template <typename T>
    void same(const std::string& what, const T* got, const T* want, size_t count) {
        remember(got, count * sizeof(T));
        ++comparisons_;
        for (size_t i = 0; i < count; ++i) {
            if (std::memcmp(got + i, want + i, sizeof(T)) != 0) {
                return fail(what, i, static_cast<double>(got[i]), static_cast<double>(want[i]));
            }
        }
    }
    // Apart by `most(i)` at most.
    template <typename Wanted, typename Most>
    void close(const std::string& what, const float* got, const Wanted* want, size_t count,
               const Most& most) {
        remember(got, count * sizeof(float));
        ++comparisons_;
        for (size_t i = 0; i < count; ++i) {
            if (!(std::abs(double{got[i]} - double{want[i]}) <= most(i))) {
                return fail(what, i, got[i], want[i]);
            }
        }
    }

    int comparisons() const { return comparisons_; }
    int failures() const { return failures_; }
    // Of all results of the set that was tried: two that round alike agree in it.
    uint64_t digest() const { return digest_; }

  private:
    void remember(const void* data, size_t bytes) {
        const auto* p = static_cast<const uint8_t*>(data);
        for (size_t i = 0; i < bytes; ++i) digest_ = (digest_ ^ p[i]) * 0x100000001b3;  // FNV-1a
    }
    void fail(const std::string& what, size_t i, double got, double want) {
        ++failures_;
        std::printf("%s: %s [%zu]: %.9g, not %.9g\n", tried.isa, what.c_str(), i, got, want);
    }

    int comparisons_ = 0;
    int failures_ = 0;
    uint64_t digest_ = 0xcbf29ce484222325;
};

void compare_linear(Comparison& comparison);
void compare_attention(Comparison& comparison);
void compare_rows(Comparison& comparison);
void compare_sampling(Comparison& comparison);

}  // namespace cierzo::test
