// SPDX-License-Identifier: GPL-2.0-or-later
// The floating-point unit as the engines call it: host arithmetic where that is exact to the bit,
// the reference unit (soft.h) for everything else. Same names, same contract as there.
//
// The fast paths run while RN is "nearest" and XE is 0, for operands and results that are normal
// (or exactly zero) and well inside the exponent range. There none of the other exceptions can
// happen, so VE, OE, UE and ZE do not matter. The result is the host's, and FI and FR come from
// the exact rounding error: TwoSum for sums, and for products, quotients and roots the difference
// of integer significands modulo 2^64, which is exact because the error is less than 2^54 units.
// The host's own status flags are never read; its rounding mode must be the default one.
//
// Single results: the double result is first made "odd" (its last bit set if inexact, see
// to_odd()), which holds all that a second rounding needs, so that rounding it to single equals
// one rounding of the exact value.
#pragma once

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/fpu/fpscr.h"
#include "core/fpu/moves.h"
#include "core/fpu/soft.h"

namespace perfvisor::core::fpu {

namespace fast {

// False on hosts that compute doubles in another precision (x87): all goes to the reference unit.
inline constexpr bool kHostIsExact = FLT_EVAL_METHOD == 0 && std::numeric_limits<double>::is_iec559;

// A double result and how it relates to the exact one.
struct Rounded {
    uint64_t value;
    uint32_t inexact;  // 0 or 1
    uint32_t away;     // 0 or 1: larger in magnitude than the exact result
};

inline bool usable(uint32_t fpscr) {
    return kHostIsExact && (fpscr & (kXe | kRn)) == 0;
}

inline uint32_t exponent_of(uint64_t value) {
    return static_cast<uint32_t>(value >> 52) & 0x7ff;
}
inline bool in_range(uint32_t exponent, uint32_t lowest, uint32_t highest) {
    return exponent - lowest <= highest - lowest;
}
inline bool is_normal(uint32_t exponent) {
    return in_range(exponent, 1, 2046);
}
inline bool is_zero(uint64_t value) {
    return value << 1 == 0;
}
inline uint64_t significand_of(uint64_t value) {
    return (value & kFractionMask) | uint64_t{1} << 52;
}

inline uint32_t normal_class(uint64_t value) {
    return (value & kSignBit) != 0 ? kFprfNegativeNormal : kFprfPositiveNormal;
}
inline uint32_t zero_class(uint64_t value) {
    return (value & kSignBit) != 0 ? kFprfNegativeZero : kFprfPositiveZero;
}

// FPSCR after a result of class `fprf`. With XE=0, FEX cannot change; nor can VX.
inline void set_status(uint32_t& fpscr, uint32_t fprf, uint32_t inexact, uint32_t away) {
    const uint32_t before = fpscr;
    uint32_t result = fprf | inexact * (kFi | kXx) | away * kFr;
    // A branch, because it is taken once and keeps FPSCR off the path of the next instruction.
    if ((result & ~before & kXx) != 0) [[unlikely]] {
        result |= kFx;
    }
    fpscr = (before & ~(kFr | kFi | kFprf)) | result;
}

inline Outcome deliver_zero(uint32_t& fpscr, uint64_t value) {
    set_status(fpscr, zero_class(value), 0, 0);
    return {value, true};
}

// The neighbour of the exact result, on either side of it, whose last bit is one; or the result
// itself if exact.
inline uint64_t to_odd(const Rounded& r) {
    return (r.value - r.away) | r.inexact;
}

inline bool fits_single(uint32_t exponent) {
    return in_range(exponent, 897, 1150);
}

// Rounds a double to the nearest single, ties to even, unless that is out of the normal range.
inline bool round_single(Rounded& r) {
    const uint64_t odd = to_odd(r);
    const uint64_t value = (odd + 0x0fffffff + (odd >> 29 & 1)) & ~uint64_t{0x1fffffff};
    r = {value, odd != value ? 1u : 0u, value > odd ? 1u : 0u};
    // Tininess is detected before rounding, overflow after it.
    return fits_single(exponent_of(odd)) && fits_single(exponent_of(value));
}

enum class To : uint8_t { kDouble, kSingle };

// The functions from here on return false, with `fpscr` untouched, if the reference unit must do
// it. They are always inlined: an Outcome through memory would cost more than the arithmetic.

// Delivers a normal result.
template <To kTo>
[[gnu::always_inline]] inline bool deliver(uint32_t& fpscr, Rounded r, uint64_t flip,
                                           Outcome& outcome) {
    if (kTo == To::kSingle && !round_single(r)) return false;
    r.value ^= flip;
    set_status(fpscr, normal_class(r.value), r.inexact, r.away);
    outcome = {r.value, true};
    return true;
}

// r, the rounded sum of x and y, with its error by TwoSum (exact barring overflow).
inline Rounded with_sum_error(double x, double y, double r) {
    const double from_y = r - x;
    const double error = (x - (r - from_y)) + (y - from_y);
    const uint32_t inexact = error != 0 ? 1 : 0;
    const auto value = std::bit_cast<uint64_t>(r);
    const auto differs = static_cast<uint32_t>((value ^ std::bit_cast<uint64_t>(error)) >> 63);
    return {value, inexact, differs & inexact};
}

template <To kTo>
[[gnu::always_inline]] inline bool add(uint32_t& fpscr, uint64_t a, uint64_t b, Outcome& outcome) {
    if (!usable(fpscr)) return false;
    const auto x = std::bit_cast<double>(a);
    const auto y = std::bit_cast<double>(b);
    const double r = x + y;
    const auto value = std::bit_cast<uint64_t>(r);
    if (!in_range(exponent_of(value), 1, 2044)) [[unlikely]] {
        if (!is_zero(value)) return false;
        outcome = deliver_zero(fpscr, value);
        return true;
    }
    return deliver<kTo>(fpscr, with_sum_error(x, y, r), 0, outcome);
}

// The sign of `error`, the exact result less the delivered one in some unit, as flags.
inline Rounded with_error(uint64_t value, uint64_t error) {
    return {value, error != 0 ? 1u : 0u, static_cast<uint32_t>(error >> 63)};
}

template <To kTo>
[[gnu::always_inline]] inline bool multiply(uint32_t& fpscr, uint64_t a, uint64_t c,
                                            Outcome& outcome) {
    if (!usable(fpscr)) return false;
    const auto value = std::bit_cast<uint64_t>(std::bit_cast<double>(a) * std::bit_cast<double>(c));
    const uint32_t ea = exponent_of(a), ec = exponent_of(c), er = exponent_of(value);
    if (!is_normal(ea) || !is_normal(ec) || !in_range(er, 2, 2046)) [[unlikely]] {
        const bool exact_zero = (is_zero(a) && ec != 0x7ff) || (is_zero(c) && ea != 0x7ff);
        if (!exact_zero) return false;
        outcome = deliver_zero(fpscr, value);
        return true;
    }
    const uint32_t shift = er - ea - ec + 1075;  // 52 or 53
    const uint64_t error = significand_of(a) * significand_of(c) - (significand_of(value) << shift);
    return deliver<kTo>(fpscr, with_error(value, error), 0, outcome);
}

template <To kTo>
[[gnu::always_inline]] inline bool divide(uint32_t& fpscr, uint64_t a, uint64_t b,
                                          Outcome& outcome) {
    if (!usable(fpscr)) return false;
    const auto value = std::bit_cast<uint64_t>(std::bit_cast<double>(a) / std::bit_cast<double>(b));
    const uint32_t ea = exponent_of(a), eb = exponent_of(b), er = exponent_of(value);
    if (!is_normal(ea) || !is_normal(eb) || !in_range(er, 2, 2046)) [[unlikely]] {
        if (!is_zero(a) || !is_normal(eb)) return false;
        outcome = deliver_zero(fpscr, value);
        return true;
    }
    const uint32_t shift = ea - eb - er + 1075;  // 52 or 53
    const uint64_t error = (significand_of(a) << shift) - significand_of(value) * significand_of(b);
    return deliver<kTo>(fpscr, with_error(value, error), 0, outcome);
}

template <To kTo>
[[gnu::always_inline]] inline bool square_root(uint32_t& fpscr, uint64_t b, Outcome& outcome) {
    const uint32_t eb = exponent_of(b);
    if (!usable(fpscr) || (b & kSignBit) != 0 || !is_normal(eb)) return false;
    const auto value = std::bit_cast<uint64_t>(std::sqrt(std::bit_cast<double>(b)));
    const uint32_t shift = eb - 2 * exponent_of(value) + 1075;  // 52 or 53
    const uint64_t root = significand_of(value);
    return deliver<kTo>(fpscr, with_error(value, (significand_of(b) << shift) - root * root), 0,
                        outcome);
}

inline constexpr uint64_t kOne = uint64_t{1023} << 52;

// 1 / sqrt(b), rounded at each step, like the reference unit's estimate.
template <To kTo>
[[gnu::always_inline]] inline bool reciprocal_root(uint32_t& fpscr, uint64_t b, Outcome& outcome) {
    uint32_t scratch = fpscr & kRn;
    Outcome root;
    if (!usable(fpscr) || !square_root<To::kDouble>(scratch, b, root)) return false;
    if (!divide<kTo>(fpscr, kOne, root.value, outcome)) return false;
    const uint32_t inexact = scratch & (kFi | kXx);
    if ((inexact & ~fpscr & kXx) != 0) fpscr |= kFx;
    fpscr |= inexact;
    return true;
}

[[gnu::always_inline]] inline bool to_single(uint32_t& fpscr, uint64_t b, Outcome& outcome) {
    if (!usable(fpscr)) return false;
    if (is_zero(b)) {
        outcome = deliver_zero(fpscr, b);
        return true;
    }
    return deliver<To::kSingle>(fpscr, {b, 0, 0}, 0, outcome);
}

// To a 32-bit integer toward zero; magnitudes below 2^31 always fit.
[[gnu::always_inline]] inline bool to_word_toward_zero(uint32_t& fpscr, uint64_t b,
                                                       Outcome& outcome) {
    if (!kHostIsExact || (fpscr & kXe) != 0 || exponent_of(b) >= 1023 + 31) return false;
    const auto x = std::bit_cast<double>(b);
    const auto integer = static_cast<int32_t>(x);
    set_status(fpscr, fpscr & kFprf, static_cast<double>(integer) != x ? 1 : 0, 0);
    outcome = {static_cast<uint64_t>(int64_t{integer}), true};
    return true;
}

// Fused multiply-add needs a host that has it; in fast.cpp. `flip_addend` and `flip_result` are 0
// or the sign bit.
Outcome fuse_double(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b, uint64_t flip_addend,
                    uint64_t flip_result);
Outcome fuse_single(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b, uint64_t flip_addend,
                    uint64_t flip_result);

// Whether this host runs fused multiply-add on the fast path.
bool has_host_fma();

}  // namespace fast

inline Outcome add(uint32_t& fpscr, uint64_t a, uint64_t b) {
    Outcome outcome;
    return fast::add<fast::To::kDouble>(fpscr, a, b, outcome) ? outcome : soft::add(fpscr, a, b);
}
inline Outcome adds(uint32_t& fpscr, uint64_t a, uint64_t b) {
    Outcome outcome;
    return fast::add<fast::To::kSingle>(fpscr, a, b, outcome) ? outcome : soft::adds(fpscr, a, b);
}
inline Outcome sub(uint32_t& fpscr, uint64_t a, uint64_t b) {
    Outcome outcome;
    return fast::add<fast::To::kDouble>(fpscr, a, fneg(b), outcome) ? outcome
                                                                    : soft::sub(fpscr, a, b);
}
inline Outcome subs(uint32_t& fpscr, uint64_t a, uint64_t b) {
    Outcome outcome;
    return fast::add<fast::To::kSingle>(fpscr, a, fneg(b), outcome) ? outcome
                                                                    : soft::subs(fpscr, a, b);
}
inline Outcome mul(uint32_t& fpscr, uint64_t a, uint64_t c) {
    Outcome outcome;
    return fast::multiply<fast::To::kDouble>(fpscr, a, c, outcome) ? outcome
                                                                   : soft::mul(fpscr, a, c);
}
inline Outcome muls(uint32_t& fpscr, uint64_t a, uint64_t c) {
    Outcome outcome;
    return fast::multiply<fast::To::kSingle>(fpscr, a, c, outcome) ? outcome
                                                                   : soft::muls(fpscr, a, c);
}
inline Outcome div(uint32_t& fpscr, uint64_t a, uint64_t b) {
    Outcome outcome;
    return fast::divide<fast::To::kDouble>(fpscr, a, b, outcome) ? outcome : soft::div(fpscr, a, b);
}
inline Outcome divs(uint32_t& fpscr, uint64_t a, uint64_t b) {
    Outcome outcome;
    return fast::divide<fast::To::kSingle>(fpscr, a, b, outcome) ? outcome
                                                                 : soft::divs(fpscr, a, b);
}
inline Outcome sqrt(uint32_t& fpscr, uint64_t b) {
    Outcome outcome;
    return fast::square_root<fast::To::kDouble>(fpscr, b, outcome) ? outcome : soft::sqrt(fpscr, b);
}
inline Outcome sqrts(uint32_t& fpscr, uint64_t b) {
    Outcome outcome;
    return fast::square_root<fast::To::kSingle>(fpscr, b, outcome) ? outcome
                                                                   : soft::sqrts(fpscr, b);
}

inline Outcome madd(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fast::fuse_double(fpscr, a, c, b, 0, 0);
}
inline Outcome madds(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fast::fuse_single(fpscr, a, c, b, 0, 0);
}
inline Outcome msub(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fast::fuse_double(fpscr, a, c, b, kSignBit, 0);
}
inline Outcome msubs(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fast::fuse_single(fpscr, a, c, b, kSignBit, 0);
}
inline Outcome nmadd(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fast::fuse_double(fpscr, a, c, b, 0, kSignBit);
}
inline Outcome nmadds(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fast::fuse_single(fpscr, a, c, b, 0, kSignBit);
}
inline Outcome nmsub(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fast::fuse_double(fpscr, a, c, b, kSignBit, kSignBit);
}
inline Outcome nmsubs(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    return fast::fuse_single(fpscr, a, c, b, kSignBit, kSignBit);
}

inline Outcome fre(uint32_t& fpscr, uint64_t b) {
    return div(fpscr, fast::kOne, b);
}
inline Outcome fres(uint32_t& fpscr, uint64_t b) {
    return divs(fpscr, fast::kOne, b);
}
inline Outcome frsqrte(uint32_t& fpscr, uint64_t b) {
    Outcome outcome;
    return fast::reciprocal_root<fast::To::kDouble>(fpscr, b, outcome) ? outcome
                                                                       : soft::frsqrte(fpscr, b);
}
inline Outcome frsqrtes(uint32_t& fpscr, uint64_t b) {
    Outcome outcome;
    return fast::reciprocal_root<fast::To::kSingle>(fpscr, b, outcome) ? outcome
                                                                       : soft::frsqrtes(fpscr, b);
}

inline Outcome frsp(uint32_t& fpscr, uint64_t b) {
    Outcome outcome;
    return fast::to_single(fpscr, b, outcome) ? outcome : soft::frsp(fpscr, b);
}
inline Outcome fctiwz(uint32_t& fpscr, uint64_t b) {
    Outcome outcome;
    return fast::to_word_toward_zero(fpscr, b, outcome) ? outcome : soft::fctiwz(fpscr, b);
}

namespace fast {

inline uint32_t compare(uint32_t& fpscr, uint64_t a, uint64_t b) {
    const auto x = std::bit_cast<double>(a);
    const auto y = std::bit_cast<double>(b);
    const uint32_t field = x < y ? 8 : x > y ? 4 : 2;
    fpscr = (fpscr & ~kFpcc) | field << 12;
    return field;
}

}  // namespace fast

// Compares without a NaN change FPCC only.
inline uint32_t fcmpu(uint32_t& fpscr, uint64_t a, uint64_t b) {
    return is_nan(a) || is_nan(b) ? soft::fcmpu(fpscr, a, b) : fast::compare(fpscr, a, b);
}
inline uint32_t fcmpo(uint32_t& fpscr, uint64_t a, uint64_t b) {
    return is_nan(a) || is_nan(b) ? soft::fcmpo(fpscr, a, b) : fast::compare(fpscr, a, b);
}

// Rarely executed: straight to the reference unit.
using soft::fcfid;
using soft::fctid;
using soft::fctidz;
using soft::fctiw;

}  // namespace perfvisor::core::fpu
