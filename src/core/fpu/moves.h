// SPDX-License-Identifier: GPL-2.0-or-later
// Floating-point data movement that never touches the FPSCR: load and store single, sign
// manipulation, select.
//
// Manual: Power ISA 2.06 Book I, 4.6.2 (DOUBLE), 4.6.3 (SINGLE), 4.6.5 (moves), 4.6.9 (fsel).
#pragma once

#include <bit>
#include <cstdint>

namespace perfvisor::core::fpu {

inline constexpr uint64_t kSignBit = uint64_t{1} << 63;
inline constexpr uint64_t kFractionMask = (uint64_t{1} << 52) - 1;
inline constexpr uint64_t kQuietBit = uint64_t{1} << 51;
inline constexpr uint64_t kDefaultNan = 0x7ff8000000000000;

// lfs: the double with the value of single `word`. NaNs keep their kind; nothing is signalled.
constexpr uint64_t load_single(uint32_t word) {
    const uint64_t sign = uint64_t{word & 0x80000000} << 32;
    const uint32_t exponent = word >> 23 & 0xff;
    const uint64_t fraction = uint64_t{word & 0x7fffff} << 29;
    if (exponent - 1 < 254) return sign | (uint64_t{exponent} + 896) << 52 | fraction;
    if (exponent == 255) return sign | uint64_t{0x7ff} << 52 | fraction;
    if (fraction == 0) return sign;
    // Denormalized: shift the leading one (bit 51 at most) to bit 52, which counts in the exponent.
    const int shift = std::countl_zero(fraction) - 11;
    const uint64_t exponent_below = uint64_t{896} - static_cast<uint64_t>(shift);
    return sign | ((exponent_below << 52) + (fraction << shift));
}

// stfs: the single that SINGLE() makes of a double, without rounding. Below the denormalized
// singles the manual leaves the result undefined; it is a zero of the same sign here.
constexpr uint32_t store_single(uint64_t value) {
    const uint32_t exponent = static_cast<uint32_t>(value >> 52) & 0x7ff;
    const uint32_t sign = static_cast<uint32_t>(value >> 32) & 0x80000000;
    if (exponent > 896) {
        return (static_cast<uint32_t>(value >> 32) & 0xc0000000) |
               (static_cast<uint32_t>(value >> 29) & 0x3fffffff);
    }
    if (exponent < 874) return sign;
    const uint64_t fraction = (value & kFractionMask) | uint64_t{1} << 52;
    return sign | static_cast<uint32_t>(fraction >> (29 + 897 - exponent));
}

constexpr uint64_t fneg(uint64_t b) {
    return b ^ kSignBit;
}
constexpr uint64_t fabs(uint64_t b) {
    return b & ~kSignBit;
}
constexpr uint64_t fnabs(uint64_t b) {
    return b | kSignBit;
}

constexpr bool is_nan(uint64_t value) {
    return (value & ~kSignBit) > uint64_t{0x7ff} << 52;
}
constexpr bool is_signaling(uint64_t value) {
    return is_nan(value) && (value & kQuietBit) == 0;
}

// fsel: c if a >= 0 (-0 counts as 0), else b; also b if a is a NaN.
constexpr uint64_t fsel(uint64_t a, uint64_t c, uint64_t b) {
    const bool below_zero = (a & kSignBit) != 0 && a != kSignBit;
    return below_zero || is_nan(a) ? b : c;
}

}  // namespace perfvisor::core::fpu
