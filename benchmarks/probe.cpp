// Measures this machine: read bandwidth from memory and the int8 multiply-accumulate peak.
// Compiled and run by machine.py:  probe THREADS MEGABYTES  prints one line of JSON.
//
// Bandwidth counts bytes read, best of several passes, each thread over its own part:
//   plain       one forward loop, as a compiler vectorises it
//   prefetched  four streams a thread with software prefetch, as a good kernel reads
// int8 counts two operations per multiply-accumulate, from registers alone.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

using Clock = std::chrono::steady_clock;

std::atomic<uint64_t> sink;  // keeps the compiler from dropping the work

// Runs `work(thread)` on all threads at once and returns the seconds until the last is done.
double timed(int threads, const std::function<void(int)>& work) {
    std::atomic<int> ready{0};
    std::vector<std::thread> pool;
    for (int i = 1; i < threads; ++i) {
        pool.emplace_back([&, i] {
            ++ready;
            while (ready < threads) {
            }
            work(i);
        });
    }
    ++ready;
    while (ready < threads) {
    }
    const auto start = Clock::now();
    work(0);
    for (auto& thread : pool) thread.join();
    return std::chrono::duration<double>(Clock::now() - start).count();
}

void read_plain(const uint64_t* data, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; ++i) sum += data[i];
    sink += sum;
}

void read_prefetched(const uint64_t* data, size_t count) {
    constexpr size_t streams = 4, line = 8, ahead = 1024 / sizeof(uint64_t);
    const size_t part = count / streams / line * line;
    uint64_t sums[streams][line] = {};
    for (size_t i = 0; i < part; i += line) {
        for (size_t s = 0; s < streams; ++s) {
            const uint64_t* at = data + s * part + i;
            __builtin_prefetch(at + ahead, 0, 3);
            for (size_t j = 0; j < line; ++j) sums[s][j] += at[j];
        }
    }
    uint64_t sum = 0;
    for (auto& stream : sums) {
        for (uint64_t value : stream) sum += value;
    }
    sink += sum;
}

constexpr int chains = 12;  // independent sums: enough to hide the instruction's latency

#if defined(__x86_64__)
#define REGISTER "+v"
#elif defined(__aarch64__)
#define REGISTER "+w"
#else
#define REGISTER "+r"
#endif

#if defined(__AVX512VNNI__)
constexpr const char* int8_with = "vpdpbusd, 512 bits";
constexpr double int8_ops = 2.0 * 64;
using Lanes = __m512i;
inline Lanes filled(int value) { return _mm512_set1_epi8(static_cast<char>(value)); }
inline Lanes step(Lanes sum, Lanes a, Lanes b) { return _mm512_dpbusd_epi32(sum, a, b); }
#elif defined(__AVXVNNI__)
constexpr const char* int8_with = "vpdpbusd, 256 bits";
constexpr double int8_ops = 2.0 * 32;
using Lanes = __m256i;
inline Lanes filled(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }
inline Lanes step(Lanes sum, Lanes a, Lanes b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }
#elif defined(__AVX2__)
constexpr const char* int8_with = "vpmaddubsw and vpmaddwd, 256 bits";
constexpr double int8_ops = 2.0 * 32;
using Lanes = __m256i;
inline Lanes filled(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }
inline Lanes step(Lanes sum, Lanes a, Lanes b) {
    const Lanes pairs = _mm256_maddubs_epi16(a, b);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr const char* int8_with = "sdot, 128 bits";
constexpr double int8_ops = 2.0 * 16;
using Lanes = int32x4_t;
inline Lanes filled(int value) { return vreinterpretq_s32_s8(vdupq_n_s8(value)); }
inline Lanes step(Lanes sum, Lanes a, Lanes b) {
    return vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b));
}
#else
constexpr const char* int8_with = "no int8 instruction known here";
constexpr double int8_ops = 0.0;
using Lanes = float;
inline Lanes filled(int value) { return static_cast<float>(value); }
inline Lanes step(Lanes sum, Lanes a, Lanes b) { return sum + a * b; }
#endif

// Tells the compiler that the value may have changed, so that no step is left out or merged.
inline void keep(Lanes& value) { asm volatile("" : REGISTER(value)); }

inline uint64_t first_word(Lanes value) {
    uint64_t word = 0;
    std::memcpy(&word, &value, std::min(sizeof word, sizeof value));
    return word;
}

// The sums are separate variables, by recursion, because compilers keep an array in memory.
template <size_t... I>
void multiply(int64_t steps, std::index_sequence<I...>) {
    const Lanes a = filled(3), b = filled(2);
    auto run = [&](auto... sums) {
        for (int64_t n = 0; n < steps; ++n) {
            ((sums = step(sums, a, b)), ...);
            (keep(sums), ...);
        }
        return (first_word(sums) + ...);
    };
    sink += run(filled(static_cast<int>(I))...);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: probe THREADS MEGABYTES\n");
        return 2;
    }
    const int threads = std::atoi(argv[1]);
    const size_t per_thread = std::strtoull(argv[2], nullptr, 10) * 1000000 / 8 / threads;
    std::vector<std::vector<uint64_t>> data(threads);
    timed(threads,
          [&](int i) { data[i].assign(per_thread, i + 1); });  // each touches its own pages

    const double bytes = 8.0 * static_cast<double>(per_thread) * threads;
    double plain = 0, prefetched = 0, int8 = 0;
    for (int pass = 0; pass < 5; ++pass) {
        plain = std::max(
            plain, bytes / timed(threads, [&](int i) { read_plain(data[i].data(), per_thread); }));
        prefetched = std::max(prefetched, bytes / timed(threads, [&](int i) {
                                              read_prefetched(data[i].data(), per_thread);
                                          }));
        constexpr int64_t steps = 20'000'000;
        int8 = std::max(int8, int8_ops * chains * steps * threads / timed(threads, [&](int) {
                                  multiply(steps, std::make_index_sequence<chains>());
                              }));
    }
    std::printf(
        "{\"threads\": %d, \"plain_gbs\": %.1f, \"prefetched_gbs\": %.1f, \"int8_gops\": %.0f, "
        "\"int8_with\": \"%s\"}\n",
        threads, plain / 1e9, prefetched / 1e9, int8 / 1e9, int8_with);
}
