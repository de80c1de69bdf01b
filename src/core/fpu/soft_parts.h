// SPDX-License-Identifier: GPL-2.0-or-later
// Inside the reference floating-point unit: taking operands apart, rounding, delivering results.
//
// Manual: Power ISA 2.06 Book I, 4.2.2 (FPRF), 4.3.2 (NaN results), 4.4 (exceptions),
// 4.5.1 (execution model).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/fpu/fpscr.h"
#include "core/fpu/moves.h"
#include "core/fpu/wide.h"

namespace perfvisor::core::fpu::soft {

enum class Precision : uint8_t { kSingle, kDouble };

struct Format {
    int min_exponent;
    int max_exponent;
    int dropped_bits;         // of a 64-bit significand
    int exponent_adjustment;  // for enabled overflow and underflow
    uint64_t largest;         // the largest finite number, in double format
};

template <Precision P>
inline constexpr Format kFormat =
    P == Precision::kDouble ? Format{-1022, 1023, 11, 1536, 0x7fefffffffffffff}
                            : Format{-126, 127, 40, 192, 0x47efffffe0000000};

inline constexpr uint64_t kInfinityBits = uint64_t{0x7ff} << 52;

// An operand. If kFinite, its value is significand / 2^63 * 2^exponent with the top bit of the
// significand set; zeros, infinities and NaNs have no meaningful exponent or significand.
struct Operand {
    enum class Kind : uint8_t { kZero, kFinite, kInfinity, kNan };
    Kind kind;
    bool negative;
    int exponent;
    uint64_t significand;

    [[nodiscard]] bool is_zero() const { return kind == Kind::kZero; }
    [[nodiscard]] bool is_infinite() const { return kind == Kind::kInfinity; }
    [[nodiscard]] bool is_nan() const { return kind == Kind::kNan; }
};

inline Operand unpack(uint64_t value) {
    using Kind = Operand::Kind;
    const bool negative = (value & kSignBit) != 0;
    const int biased = static_cast<int>(value >> 52 & 0x7ff);
    const uint64_t fraction = value & kFractionMask;
    if (biased == 0x7ff) return {fraction != 0 ? Kind::kNan : Kind::kInfinity, negative, 0, 0};
    if (biased != 0) return {Kind::kFinite, negative, biased - 1023, kSignBit | fraction << 11};
    if (fraction == 0) return {Kind::kZero, negative, 0, 0};
    const int shift = std::countl_zero(fraction);
    return {Kind::kFinite, negative, -1011 - shift, fraction << shift};
}

inline uint64_t signed_value(bool negative, uint64_t magnitude) {
    return (negative ? kSignBit : 0) | magnitude;
}

inline uint64_t signed_zero(bool negative) {
    return signed_value(negative, 0);
}
inline uint64_t signed_infinity(bool negative) {
    return signed_value(negative, kInfinityBits);
}

inline uint32_t round_mode(uint32_t fpscr) {
    return fpscr & kRn;
}

// The sign of an exact zero sum of operands of opposite signs (4.5.1).
inline bool zero_sum_negative(uint32_t fpscr) {
    return round_mode(fpscr) == kRoundDown;
}

// Whether rounding increments a significand whose lost part is `lost`, `half` being half a unit in
// the last place and `odd` telling the last kept bit.
inline bool rounds_up(uint32_t mode, bool negative, bool odd, uint64_t lost, uint64_t half) {
    switch (mode) {
        case kRoundNearest:
            return lost > half || (lost == half && odd);
        case kRoundUp:
            return lost != 0 && !negative;
        case kRoundDown:
            return lost != 0 && negative;
        default:
            return false;
    }
}

// FPRF of an exact zero, infinity or NaN.
inline uint32_t special_class(uint64_t value) {
    const bool negative = (value & kSignBit) != 0;
    if (is_nan(value)) return kFprfQuietNan;
    if ((value & ~kSignBit) == 0) return negative ? kFprfNegativeZero : kFprfPositiveZero;
    return negative ? kFprfNegativeInfinity : kFprfPositiveInfinity;
}

// Delivers a zero, an infinity or a quiet NaN that needs no rounding.
inline Outcome deliver_special(uint32_t& fpscr, uint64_t value) {
    fpscr = summarize((fpscr & ~(kFr | kFi | kFprf)) | special_class(value));
    return {value, true};
}

// An exception that, when enabled, leaves the target and FPRF unchanged (4.4.1, 4.4.2).
inline Outcome deliver_exceptional(uint32_t& fpscr, uint32_t causes, uint32_t enable,
                                   uint64_t value) {
    fpscr = raise(fpscr & ~(kFr | kFi), causes);
    if ((fpscr & enable) == 0) return deliver_special(fpscr, value);
    fpscr = summarize(fpscr);
    return {0, false};
}

inline Outcome invalid(uint32_t& fpscr, uint32_t causes, uint64_t quiet_nan = kDefaultNan) {
    return deliver_exceptional(fpscr, causes, kVe, quiet_nan);
}

// The result when some operand is a NaN: the first of frA, frB, frC that is one, made quiet
// (4.3.2). `causes` are invalid operations besides a signalling NaN.
template <Precision P>
Outcome deliver_nan(uint32_t& fpscr, uint64_t a, uint64_t b, uint64_t c, uint32_t causes = 0) {
    uint64_t nan = is_nan(a) ? a : is_nan(b) ? b : c;
    if (P == Precision::kSingle) nan &= ~uint64_t{0x1fffffff};
    nan |= kQuietBit;
    if (is_signaling(a) || is_signaling(b) || is_signaling(c)) causes |= kVxsnan;
    if (causes != 0) return invalid(fpscr, causes, nan);
    return deliver_special(fpscr, nan);
}

// The double-format image of a nonzero significand (top bit anywhere). Single operands cannot
// leave the double range here; other operands of single instructions might, which 4.2.1 leaves
// undefined: their exponent is clamped.
inline uint64_t pack(bool negative, int exponent, uint64_t significand) {
    const int shift = std::countl_zero(significand);
    significand <<= shift;
    exponent -= shift;
    if (exponent < -1022) {
        const int right = std::min(-1022 - exponent, 52);
        return signed_value(negative, significand >> 11 >> right);
    }
    const auto biased = static_cast<uint64_t>(std::min(exponent + 1023, 2046));
    return signed_value(negative, (biased << 52) | (significand << 1 >> 12));
}

// Rounds significand / 2^63 * 2^exponent (top bit set, lowest bit jammed) and delivers it, negated
// afterwards if `negate`. Tininess is detected before rounding (4.4.4).
template <Precision P>
Outcome deliver_rounded(uint32_t& fpscr, bool negative, int exponent, uint64_t significand,
                        bool negate = false) {
    constexpr Format kTo = kFormat<P>;
    constexpr uint64_t kUnit = uint64_t{1} << kTo.dropped_bits;
    const bool tiny = exponent < kTo.min_exponent;
    uint32_t causes = 0;
    if (tiny && (fpscr & kUe) != 0) {
        causes |= kUx;
        exponent += kTo.exponent_adjustment;
    } else if (tiny) {
        significand = shift_right_jam(significand, kTo.min_exponent - exponent);
        exponent = kTo.min_exponent;
    }
    const uint64_t lost = significand & (kUnit - 1);
    const uint32_t mode = round_mode(fpscr);
    bool up = rounds_up(mode, negative, (significand & kUnit) != 0, lost, kUnit / 2);
    bool inexact = lost != 0;
    significand -= lost;
    if (up) significand += kUnit;
    if (up && significand == 0) {
        significand = kSignBit;
        ++exponent;
    }
    if (inexact && tiny) causes |= kUx;
    const bool denormal = tiny && (fpscr & kUe) == 0 && (significand & kSignBit) == 0;

    bool infinite = false;
    bool saturated = false;
    if (exponent > kTo.max_exponent) {
        causes |= kOx;
        if ((fpscr & kOe) != 0) {
            exponent -= kTo.exponent_adjustment;
        } else {
            infinite = mode == kRoundNearest || mode == (negative ? kRoundDown : kRoundUp);
            saturated = !infinite;
            inexact = true;
            up = infinite;
        }
    }
    if (inexact) causes |= kXx;

    const bool sign = negative != negate;
    uint64_t value = 0;
    uint32_t result_class = sign ? kFprfNegativeNormal : kFprfPositiveNormal;
    if (infinite || significand == 0) {
        value = infinite ? signed_infinity(sign) : signed_zero(sign);
        result_class = special_class(value);
    } else if (saturated) {
        value = signed_value(sign, kTo.largest);
    } else {
        value = pack(sign, exponent, significand);
        if (denormal) result_class = sign ? kFprfNegativeDenormal : kFprfPositiveDenormal;
    }
    fpscr = raise(fpscr & ~(kFr | kFi | kFprf), causes);
    fpscr |= result_class | (inexact ? kFi : 0) | (inexact && up ? kFr : 0);
    fpscr = summarize(fpscr);
    return {value, true};
}

template <Precision P>
Outcome deliver_rounded(uint32_t& fpscr, const Operand& value, bool negate = false) {
    return deliver_rounded<P>(fpscr, value.negative, value.exponent, value.significand, negate);
}

}  // namespace perfvisor::core::fpu::soft
