// Philox4x32-10: random numbers that are a function of a key and a counter, with no state.
//
// J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.
#pragma once

#include <array>
#include <cstdint>

namespace cierzo {

// Ten rounds over a 128-bit counter with a 64-bit key.
inline std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter,
                                          std::array<uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        const uint64_t a = uint64_t{0xD2511F53} * counter[0];
        const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
        counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
                   static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
        key[0] += 0x9E3779B9;
        key[1] += 0xBB67AE85;
    }
    return counter;
}

// Uniform in [0, 1) with 53 random bits, for the token at `position` of a sequence.
inline double philox_uniform(uint64_t seed, uint64_t position) {
    const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
    const auto bits =
        philox4x32({low(position), low(position >> 32), 0, 0}, {low(seed), low(seed >> 32)});
    return static_cast<double>((uint64_t{bits[0]} << 32 | bits[1]) >> 11) * 0x1p-53;
}

}  // namespace cierzo
