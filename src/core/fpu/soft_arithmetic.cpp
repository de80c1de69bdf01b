// SPDX-License-Identifier: GPL-2.0-or-later
// The reference floating-point unit: add, subtract, multiply, divide, fused multiply-add, square
// root and the estimates.
//
// Manual: Power ISA 2.06 Book I, 4.6.6 (arithmetic), 4.4.1 (invalid operations), 4.5.

#include <algorithm>
#include <bit>
#include <utility>

#include "core/fpu/soft.h"
#include "core/fpu/soft_parts.h"
#include "core/fpu/wide.h"

namespace perfvisor::core::fpu::soft {

namespace {

constexpr uint64_t kOne = uint64_t{1023} << 52;

// The nonzero difference or sum of magnitudes x +/- y, y being the smaller or equal exponent.
template <Precision P>
Outcome add_finite(uint32_t& fpscr, Operand x, Operand y) {
    if (x.exponent < y.exponent) std::swap(x, y);
    // One bit of headroom for the carry; ten zero bits remain below a double's fraction.
    const uint64_t larger = x.significand >> 1;
    const uint64_t smaller = shift_right_jam(y.significand >> 1, x.exponent - y.exponent);
    bool negative = x.negative;
    uint64_t sum = 0;
    if (x.negative == y.negative) {
        sum = larger + smaller;
    } else if (larger >= smaller) {
        sum = larger - smaller;
    } else {
        sum = smaller - larger;
        negative = !negative;
    }
    if (sum == 0) return deliver_special(fpscr, signed_zero(zero_sum_negative(fpscr)));
    const int shift = std::countl_zero(sum);
    return deliver_rounded<P>(fpscr, negative, x.exponent + 1 - shift, sum << shift);
}

// a + b, or a - b with `flip` the sign bit.
template <Precision P>
Outcome add_or_sub(uint32_t& fpscr, uint64_t a, uint64_t b, uint64_t flip) {
    const Operand x = unpack(a);
    const Operand y = unpack(b ^ flip);
    if (x.is_nan() || y.is_nan()) return deliver_nan<P>(fpscr, a, b, b);
    if (x.is_infinite() && y.is_infinite() && x.negative != y.negative) {
        return invalid(fpscr, kVxisi);
    }
    if (x.is_infinite() || y.is_infinite()) {
        return deliver_special(fpscr, signed_infinity(x.is_infinite() ? x.negative : y.negative));
    }
    if (x.is_zero() && y.is_zero()) {
        const bool negative = x.negative == y.negative ? x.negative : zero_sum_negative(fpscr);
        return deliver_special(fpscr, signed_zero(negative));
    }
    if (x.is_zero()) return deliver_rounded<P>(fpscr, y);
    if (y.is_zero()) return deliver_rounded<P>(fpscr, x);
    return add_finite<P>(fpscr, x, y);
}

struct Product {
    bool negative;
    int exponent;
    Wide significand;  // top bit set
};

Product multiply_finite(const Operand& x, const Operand& y) {
    Product product{x.negative != y.negative, x.exponent + y.exponent + 1,
                    multiply(x.significand, y.significand)};
    if ((product.significand.high & kSignBit) == 0) {
        product.significand = shift_left(product.significand, 1);
        --product.exponent;
    }
    return product;
}

uint64_t jam(Wide significand) {
    return significand.high | (significand.low != 0 ? 1 : 0);
}

template <Precision P>
Outcome multiply_values(uint32_t& fpscr, uint64_t a, uint64_t c) {
    const Operand x = unpack(a);
    const Operand y = unpack(c);
    if (x.is_nan() || y.is_nan()) return deliver_nan<P>(fpscr, a, c, c);
    const bool negative = x.negative != y.negative;
    if (x.is_infinite() || y.is_infinite()) {
        if (x.is_zero() || y.is_zero()) return invalid(fpscr, kVximz);
        return deliver_special(fpscr, signed_infinity(negative));
    }
    if (x.is_zero() || y.is_zero()) return deliver_special(fpscr, signed_zero(negative));
    const Product product = multiply_finite(x, y);
    return deliver_rounded<P>(fpscr, negative, product.exponent, jam(product.significand));
}

// The quotient of two significands with their top bits set: at least 55 bits, jammed, top bit set.
// `exponent` is lowered by one if x < y.
uint64_t divide_significands(uint64_t x, uint64_t y, int& exponent) {
    const uint64_t divisor = y >> 11;
    uint64_t remainder = x >> 11;
    uint64_t quotient = remainder >= divisor ? 1 : 0;
    if (quotient != 0) remainder -= divisor;
    for (int step = 0; step < 5; ++step) {  // 11 bits each: remainder << 11 fits 64 bits
        remainder <<= 11;
        quotient = quotient << 11 | remainder / divisor;
        remainder %= divisor;
    }
    const int shift = std::countl_zero(quotient);  // 8 or 9
    exponent -= shift - 8;
    return quotient << shift | (remainder != 0 ? 1 : 0);
}

template <Precision P>
Outcome divide_values(uint32_t& fpscr, uint64_t a, uint64_t b) {
    const Operand x = unpack(a);
    const Operand y = unpack(b);
    if (x.is_nan() || y.is_nan()) return deliver_nan<P>(fpscr, a, b, b);
    const bool negative = x.negative != y.negative;
    if (x.is_infinite()) {
        if (y.is_infinite()) return invalid(fpscr, kVxidi);
        return deliver_special(fpscr, signed_infinity(negative));
    }
    if (y.is_infinite()) return deliver_special(fpscr, signed_zero(negative));
    if (y.is_zero()) {
        if (x.is_zero()) return invalid(fpscr, kVxzdz);
        return deliver_exceptional(fpscr, kZx, kZe, signed_infinity(negative));
    }
    if (x.is_zero()) return deliver_special(fpscr, signed_zero(negative));
    int exponent = x.exponent - y.exponent;
    const uint64_t quotient = divide_significands(x.significand, y.significand, exponent);
    return deliver_rounded<P>(fpscr, negative, exponent, quotient);
}

// product + addend, both finite and nonzero, rounded once.
template <Precision P>
Outcome fuse_finite(uint32_t& fpscr, const Product& product, const Operand& addend, bool negate) {
    const int difference = product.exponent - addend.exponent;
    Wide x = shift_right_jam(product.significand, 1);
    Wide y{addend.significand >> 1, addend.significand << 63};
    x = shift_right_jam(x, std::max(-difference, 0));
    y = shift_right_jam(y, std::max(difference, 0));
    bool negative = product.negative;
    Wide sum{0, 0};
    if (product.negative == addend.negative) {
        sum = x + y;
    } else if (x >= y) {
        sum = x - y;
    } else {
        sum = y - x;
        negative = addend.negative;
    }
    if (sum == Wide{0, 0}) {
        return deliver_special(fpscr, signed_zero(zero_sum_negative(fpscr) != negate));
    }
    const int shift = leading_zeros(sum);
    const int exponent = std::max(product.exponent, addend.exponent) + 1 - shift;
    return deliver_rounded<P>(fpscr, negative, exponent, jam(shift_left(sum, shift)), negate);
}

// (a * c + b), with b's sign changed by `flip` and the rounded result negated if `negate`. NaNs
// keep their sign in every form (4.6.6.2).
template <Precision P>
Outcome fuse(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b, uint64_t flip, bool negate) {
    const Operand x = unpack(a);
    const Operand y = unpack(c);
    const Operand z = unpack(b ^ flip);
    const bool bad_product = (x.is_infinite() && y.is_zero()) || (x.is_zero() && y.is_infinite());
    const uint32_t causes = bad_product ? kVximz : 0;
    if (x.is_nan() || y.is_nan() || z.is_nan()) return deliver_nan<P>(fpscr, a, b, c, causes);
    if (bad_product) return invalid(fpscr, causes);
    const bool negative = x.negative != y.negative;
    if (x.is_infinite() || y.is_infinite()) {
        if (z.is_infinite() && z.negative != negative) return invalid(fpscr, kVxisi);
        return deliver_special(fpscr, signed_infinity(negative != negate));
    }
    if (z.is_infinite()) return deliver_special(fpscr, signed_infinity(z.negative != negate));
    if (x.is_zero() || y.is_zero()) {
        if (!z.is_zero()) return deliver_rounded<P>(fpscr, z, negate);
        const bool zero = negative == z.negative ? negative : zero_sum_negative(fpscr);
        return deliver_special(fpscr, signed_zero(zero != negate));
    }
    const Product product = multiply_finite(x, y);
    if (z.is_zero()) {
        return deliver_rounded<P>(fpscr, negative, product.exponent, jam(product.significand),
                                  negate);
    }
    return fuse_finite<P>(fpscr, product, z, negate);
}

// The square root of significand / 2^63 * 2^exponent: 56 bits and a jammed one, top bit set.
uint64_t root_significand(uint64_t significand, int& exponent) {
    // The radicand, two bits at a time from the top, scaled so that its exponent is even.
    Wide radicand = {significand >> 1, significand << 63};
    if (exponent % 2 != 0) {
        radicand = shift_left(radicand, 1);
        --exponent;
    }
    exponent /= 2;
    uint64_t root = 0;
    uint64_t remainder = 0;
    for (int step = 0; step < 56; ++step) {
        remainder = remainder << 2 | radicand.high >> 62;
        radicand = shift_left(radicand, 2);
        const uint64_t trial = root << 2 | 1;
        root <<= 1;
        if (remainder >= trial) {
            remainder -= trial;
            root |= 1;
        }
    }
    const int shift = std::countl_zero(root);
    return root << shift | (remainder != 0 ? 1 : 0);
}

template <Precision P>
Outcome square_root(uint32_t& fpscr, uint64_t b) {
    const Operand x = unpack(b);
    if (x.is_nan()) return deliver_nan<P>(fpscr, b, b, b);
    if (x.is_zero()) return deliver_special(fpscr, b);
    if (x.negative) return invalid(fpscr, kVxsqrt);
    if (x.is_infinite()) return deliver_special(fpscr, b);
    int exponent = x.exponent;
    const uint64_t root = root_significand(x.significand, exponent);
    return deliver_rounded<P>(fpscr, false, exponent, root);
}

template <Precision P>
Outcome reciprocal_root(uint32_t& fpscr, uint64_t b) {
    const Operand x = unpack(b);
    if (x.is_nan()) return deliver_nan<P>(fpscr, b, b, b);
    if (x.is_zero()) {
        return deliver_exceptional(fpscr, kZx, kZe, signed_infinity(x.negative));
    }
    if (x.negative) return invalid(fpscr, kVxsqrt);
    if (x.is_infinite()) return deliver_special(fpscr, signed_zero(false));
    uint32_t scratch = round_mode(fpscr);
    const uint64_t root = square_root<Precision::kDouble>(scratch, b).value;
    const Outcome outcome = divide_values<P>(fpscr, kOne, root);
    if ((scratch & kFi) != 0) fpscr = summarize(raise(fpscr, kXx) | kFi);
    return outcome;
}

constexpr Precision kD = Precision::kDouble;
constexpr Precision kS = Precision::kSingle;

}  // namespace

Outcome add(uint32_t& fpscr, uint64_t a, uint64_t b) {
    return add_or_sub<kD>(fpscr, a, b, 0);
}
Outcome adds(uint32_t& fpscr, uint64_t a, uint64_t b) {
    return add_or_sub<kS>(fpscr, a, b, 0);
}

Outcome sub(uint32_t& fpscr, uint64_t a, uint64_t b) {
    return add_or_sub<kD>(fpscr, a, b, kSignBit);
}
Outcome subs(uint32_t& fpscr, uint64_t a, uint64_t b) {
    return add_or_sub<kS>(fpscr, a, b, kSignBit);
}

Outcome mul(uint32_t& fpscr, uint64_t a, uint64_t c) {
    return multiply_values<kD>(fpscr, a, c);
}
Outcome muls(uint32_t& fpscr, uint64_t a, uint64_t c) {
    return multiply_values<kS>(fpscr, a, c);
}
Outcome div(uint32_t& fpscr, uint64_t a, uint64_t b) {
    return divide_values<kD>(fpscr, a, b);
}
Outcome divs(uint32_t& fpscr, uint64_t a, uint64_t b) {
    return divide_values<kS>(fpscr, a, b);
}

Outcome madd(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fuse<kD>(fpscr, a, c, b, 0, false);
}
Outcome madds(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fuse<kS>(fpscr, a, c, b, 0, false);
}
Outcome msub(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fuse<kD>(fpscr, a, c, b, kSignBit, false);
}
Outcome msubs(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fuse<kS>(fpscr, a, c, b, kSignBit, false);
}
Outcome nmadd(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fuse<kD>(fpscr, a, c, b, 0, true);
}
Outcome nmadds(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fuse<kS>(fpscr, a, c, b, 0, true);
}
Outcome nmsub(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fuse<kD>(fpscr, a, c, b, kSignBit, true);
}
Outcome nmsubs(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fuse<kS>(fpscr, a, c, b, kSignBit, true);
}

Outcome sqrt(uint32_t& fpscr, uint64_t b) {
    return square_root<kD>(fpscr, b);
}
Outcome sqrts(uint32_t& fpscr, uint64_t b) {
    return square_root<kS>(fpscr, b);
}
Outcome fre(uint32_t& fpscr, uint64_t b) {
    return divide_values<kD>(fpscr, kOne, b);
}
Outcome fres(uint32_t& fpscr, uint64_t b) {
    return divide_values<kS>(fpscr, kOne, b);
}
Outcome frsqrte(uint32_t& fpscr, uint64_t b) {
    return reciprocal_root<kD>(fpscr, b);
}
Outcome frsqrtes(uint32_t& fpscr, uint64_t b) {
    return reciprocal_root<kS>(fpscr, b);
}

}  // namespace perfvisor::core::fpu::soft
