// SPDX-License-Identifier: GPL-2.0-or-later
// 128-bit unsigned integers as two words, for significands wider than a register on any host.
#pragma once

#include <bit>
#include <cstdint>

namespace perfvisor::core::fpu {

struct Wide {
    uint64_t high;
    uint64_t low;
    constexpr bool operator==(const Wide&) const = default;
};

constexpr bool operator>=(Wide x, Wide y) {
    return x.high != y.high ? x.high > y.high : x.low >= y.low;
}

constexpr Wide operator+(Wide x, Wide y) {
    const uint64_t low = x.low + y.low;
    return {x.high + y.high + (low < x.low ? 1 : 0), low};
}

constexpr Wide operator-(Wide x, Wide y) {
    return {x.high - y.high - (x.low < y.low ? 1 : 0), x.low - y.low};
}

constexpr int leading_zeros(Wide x) {
    return x.high != 0 ? std::countl_zero(x.high) : 64 + std::countl_zero(x.low);
}

// Shifts by 0 to 127 bits.
constexpr Wide shift_left(Wide x, int count) {
    if (count == 0) return x;
    if (count >= 64) return {x.low << (count - 64), 0};
    return {x.high << count | x.low >> (64 - count), x.low << count};
}

// Right shifts that "jam": ones shifted out are kept as a one in the lowest bit, so that rounding
// later still sees that something was lost. Any count of 0 or more.
constexpr uint64_t shift_right_jam(uint64_t x, int count) {
    if (count == 0) return x;
    if (count >= 64) return x != 0 ? 1 : 0;
    return x >> count | ((x << (64 - count)) != 0 ? 1 : 0);
}

constexpr Wide shift_right_jam(Wide x, int count) {
    if (count == 0) return x;
    if (count >= 128) return {0, (x.high | x.low) != 0 ? uint64_t{1} : 0};
    if (count > 64) {
        return {0, shift_right_jam(x.high, count - 64) | (x.low != 0 ? 1 : 0)};
    }
    if (count == 64) return {0, x.high | (x.low != 0 ? 1 : 0)};
    return {x.high >> count, x.high << (64 - count) | shift_right_jam(x.low, count)};
}

// The full product, from 32-bit pieces: for hosts without a 128-bit integer type.
constexpr Wide multiply_portable(uint64_t x, uint64_t y) {
    const uint64_t x1 = x >> 32, x0 = x & 0xffffffff;
    const uint64_t y1 = y >> 32, y0 = y & 0xffffffff;
    const uint64_t low = x0 * y0;
    const uint64_t middle = x1 * y0 + (low >> 32);  // cannot overflow: (2^32-1)^2 + 2^32-1 < 2^64
    const uint64_t other = x0 * y1 + (middle & 0xffffffff);
    return {x1 * y1 + (middle >> 32) + (other >> 32), other << 32 | (low & 0xffffffff)};
}

constexpr Wide multiply(uint64_t x, uint64_t y) {
#ifdef __SIZEOF_INT128__
    __extension__ using Native = unsigned __int128;
    const Native product = static_cast<Native>(x) * y;
    return {static_cast<uint64_t>(product >> 64), static_cast<uint64_t>(product)};
#else
    return multiply_portable(x, y);
#endif
}

}  // namespace perfvisor::core::fpu
