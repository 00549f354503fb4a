// Blocks of the KV cache to and from files, and a digest that tells whether bytes are the same.
#include "runtime/block_io.h"

#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace cierzo {
namespace {

constexpr int kLanes = 8;  // as many products at once as hide the time that one takes
constexpr size_t kStripe = kLanes * sizeof(uint64_t);
// Odd: 2^64 by the golden ratio, and by the square root of 2.
constexpr uint64_t kFactor = 0x9E3779B97F4A7C15;
constexpr uint64_t kOther = 0xB504F333F9DE6485;

// Each step can be undone, so no two words lead from one state to the same. A product carries a
// difference to higher bits alone: hence the rotation, and a second one, lest the difference that a
// highest bit makes be one bit again, which the next word could undo.
uint64_t step(uint64_t state, uint64_t word) {
    return std::rotl((state ^ word) * kFactor, 31) * kOther;
}

// Every bit of the result depends on every bit of the state.
uint64_t stir(uint64_t state) {
    state = (state ^ (state >> 32)) * kFactor;
    state = (state ^ (state >> 29)) * kFactor;
    return state ^ (state >> 32);
}

[[noreturn]] void fail(int error) {
    throw std::system_error(error, std::generic_category(), "a block of the KV cache");
}

// Calls `move(done)` for the rest of `bytes` until all are moved; it returns what read or write do.
template <typename Move>
void move_all(size_t bytes, const Move& move) {
    for (size_t done = 0; done < bytes;) {
        const ssize_t moved = move(done);
        if (moved > 0) {
            done += static_cast<size_t>(moved);
        } else if (moved == 0) {
            fail(EIO);
        } else if (errno != EINTR) {
            fail(errno);
        }
    }
}

}  // namespace

uint64_t digest(const uint8_t* data, size_t bytes, uint64_t seed) {
    uint64_t lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) lanes[i] = stir(seed + i);
    const auto take = [&lanes](const uint8_t* stripe) {
        for (int i = 0; i < kLanes; ++i) {
            uint64_t word;
            std::memcpy(&word, stripe + i * sizeof word, sizeof word);
            lanes[i] = step(lanes[i], word);
        }
    };
    const size_t whole = bytes - bytes % kStripe;
    for (size_t at = 0; at < whole; at += kStripe) take(data + at);
    if (whole < bytes) {
        uint8_t last[kStripe] = {};
        std::memcpy(last, data + whole, bytes - whole);
        take(last);
    }
    uint64_t result = stir(bytes);
    for (const uint64_t lane : lanes) result = stir(step(result, lane));
    return result;
}

uint64_t save_block(const KvCache& cache, int block, int file, int64_t offset) {
    const size_t bytes = cache.layer_block_bytes();
    uint64_t result = 0;
    for (int layer = 0; layer < cache.shape().layers; ++layer, offset += bytes) {
        const uint8_t* data = cache.at(layer, block);
        result = digest(data, bytes, result);
        move_all(bytes, [&](size_t done) {
            return pwrite(file, data + done, bytes - done, offset + static_cast<int64_t>(done));
        });
    }
    return result;
}

uint64_t load_block(KvCache& cache, int block, int file, int64_t offset) {
    const size_t bytes = cache.layer_block_bytes();
    uint64_t result = 0;
    for (int layer = 0; layer < cache.shape().layers; ++layer, offset += bytes) {
        uint8_t* data = cache.at(layer, block);
        move_all(bytes, [&](size_t done) {
            return pread(file, data + done, bytes - done, offset + static_cast<int64_t>(done));
        });
        result = digest(data, bytes, result);
    }
    return result;
}

}  // namespace cierzo
