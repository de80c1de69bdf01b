// SPDX-License-Identifier: GPL-2.0-or-later
// Operands that find mistakes in floating-point units: the edges of every class and format,
// significands that make halfway cases, and pairs that nearly cancel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/fpu/fpscr.h"
#include "core/fpu/moves.h"

namespace perfvisor::core::fpu::test {

// SplitMix64: the same sequence on every host.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    uint64_t below(uint64_t limit) { return next() % limit; }

  private:
    uint64_t state_;
};

// Positive landmarks of the double and single formats; each is used with both signs.
inline constexpr std::array<uint64_t, 40> kLandmarks = {
    0x0000000000000000,  // zero
    0x0000000000000001,  // smallest double denormal
    0x0000000000000003, 0x0008000000000000,
    0x000fffffffffffff,  // largest double denormal
    0x0010000000000000,  // smallest double normal
    0x0010000000000001, 0x001fffffffffffff, 0x0020000000000000,
    0x3690000000000000,  // half of the smallest single denormal
    0x36a0000000000000,  // smallest single denormal
    0x36a8000000000000, 0x380fffffc0000000,
    0x380fffffe0000000,  // between the largest single denormal and the smallest normal
    0x380fffffffffffff,
    0x3810000000000000,  // smallest single normal
    0x3810000020000000, 0x3fe0000000000000, 0x3fefffffffffffff,
    0x3ff0000000000000,  // one
    0x3ff0000000000001, 0x3ff0000010000000, 0x3ff0000030000000, 0x3ff8000000000000,
    0x4000000000000000, 0x4008000000000000, 0x41dfffffffc00000,  // 2^31 - 1
    0x41dfffffffe00000,                                          // 2^31 - 1/2
    0x41e0000000000000,                                          // 2^31
    0x43dfffffffffffff, 0x43e0000000000000,                      // 2^63
    0x47efffffe0000000,                                          // largest single
    0x47effffff0000000,                                          // halfway to 2^128
    0x47f0000000000000, 0x7fe0000000000000,
    0x7fefffffffffffff,  // largest double
    0x7ff0000000000000,  // infinity
    0x7ff8000000000000,  // quiet NaN
    0x7ff8dead2eef1234,
    0x7ff4cafe3badf00d,  // signalling NaN
};

// A fraction with few ones, few zeros, or anything: short ones make exact and halfway results.
inline uint64_t random_fraction(Random& random) {
    const uint64_t bits = random.next() & kFractionMask;
    switch (random.below(6)) {
        case 0:
            return bits & ~((uint64_t{1} << random.below(53)) - 1);
        case 1:
            return (bits | ((uint64_t{1} << random.below(53)) - 1)) & kFractionMask;
        case 2:
            return (uint64_t{1} << random.below(52)) & kFractionMask;
        case 3:
            return kFractionMask - (uint64_t{1} << random.below(52));
        case 4:
            return bits & ~uint64_t{0x1fffffff};
        default:
            return bits;
    }
}

inline uint64_t random_sign(Random& random) {
    return random.next() & kSignBit;
}

inline uint64_t random_double(Random& random) {
    uint64_t exponent = random.below(2048);
    switch (random.below(8)) {
        case 0:
            return random_sign(random) | kLandmarks[random.below(kLandmarks.size())];
        case 1:
            exponent = random.below(60);  // denormals and their products' neighbours
            break;
        case 2:
            exponent = 2046 - random.below(4);
            break;
        case 3:
            exponent = 511 + random.below(4);  // squares near the lower edge
            break;
        case 4:
        case 5:
        case 6:
            exponent = 1023 - 32 + random.below(64);
            break;
        default:
            break;
    }
    return random_sign(random) | exponent << 52 | random_fraction(random);
}

// A value that a single can hold, in double format.
inline uint64_t random_single(Random& random) {
    uint32_t exponent = static_cast<uint32_t>(random.below(256));
    const auto fraction = static_cast<uint32_t>(random_fraction(random) >> 29);
    switch (random.below(6)) {
        case 0:
            exponent = static_cast<uint32_t>(random.below(30));
            break;
        case 1:
            exponent = static_cast<uint32_t>(225 + random.below(31));
            break;
        case 2:
            exponent = static_cast<uint32_t>(63 - 12 + random.below(24));  // tiny products
            break;
        case 3:
        case 4:
            exponent = static_cast<uint32_t>(127 - 14 + random.below(28));
            break;
        default:
            break;
    }
    const auto sign = static_cast<uint32_t>(random_sign(random) >> 32);
    return load_single(sign | exponent << 23 | fraction);
}

// Something close to -value or value: sums that cancel, quotients near one.
inline uint64_t near(Random& random, uint64_t value) {
    const uint64_t step = uint64_t{1} << random.below(54);
    return (random.next() & 1 ? value + step : value - step) ^ random_sign(random);
}

struct Operands {
    uint64_t a, b, c;
};

inline Operands random_operands(Random& random, bool single) {
    const auto any = [&] { return single ? random_single(random) : random_double(random); };
    Operands x{any(), any(), any()};
    if (random.below(6) == 0) x.b = single ? x.a ^ random_sign(random) : near(random, x.a);
    if (random.below(8) == 0) x.c = uint64_t{0x3ff} << 52;
    return x;
}

// Addends near the product of the others, for fused operations.
inline uint64_t near_product(Random& random, uint64_t a, uint64_t c) {
    const uint64_t exponent =
        ((a >> 52 & 0x7ff) + (c >> 52 & 0x7ff) - 1023 + random.below(3)) & 0x7ff;
    return random_sign(random) | exponent << 52 | random_fraction(random);
}

}  // namespace perfvisor::core::fpu::test
