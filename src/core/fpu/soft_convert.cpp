// SPDX-License-Identifier: GPL-2.0-or-later
// The reference floating-point unit: round to single, conversions to and from integers, compares.
//
// Manual: Power ISA 2.06 Book I, 4.6.7 (rounding and conversion), 4.6.8 (compare), A.1 to A.3.

#include "core/fpu/soft.h"
#include "core/fpu/soft_parts.h"

namespace perfvisor::core::fpu::soft {

namespace {

// Operand magnitudes at or above 2^64 never fit; below that the integer part is 64 bits wide and
// the rest is `lost`, the top bit of which weighs one half.
template <int Bits>
Outcome to_integer(uint32_t& fpscr, uint64_t b, uint32_t mode) {
    const Operand x = unpack(b);
    const uint64_t most_positive = (uint64_t{1} << (Bits - 1)) - 1;
    const uint64_t most_negative = ~most_positive;
    const auto invalid_convert = [&](uint32_t causes, uint64_t value) -> Outcome {
        fpscr = raise(fpscr & ~(kFr | kFi), causes);
        const bool write = (fpscr & kVe) == 0;
        if (write) fpscr = (fpscr & ~kFprf) | kFprfQuietNan;
        fpscr = summarize(fpscr);
        return {value, write};
    };
    if (x.is_nan()) {
        const uint64_t value = Bits == 32 ? uint64_t{0x80000000} : most_negative;
        return invalid_convert(kVxcvi | (is_signaling(b) ? kVxsnan : 0), value);
    }
    uint64_t magnitude = 0;
    uint64_t lost = 0;
    bool fits = !x.is_infinite();
    if (x.kind == Operand::Kind::kFinite) {
        if (x.exponent > 63) {
            fits = false;
        } else if (x.exponent == 63) {
            magnitude = x.significand;
        } else if (x.exponent >= 0) {
            magnitude = x.significand >> (63 - x.exponent);
            lost = x.significand << (x.exponent + 1);
        } else {
            lost = shift_right_jam(x.significand, -1 - x.exponent);
        }
    }
    const bool up = rounds_up(mode, x.negative, (magnitude & 1) != 0, lost, kSignBit);
    if (up) ++magnitude;  // no wrap: at 63 or more nothing is lost
    if (magnitude > most_positive + (x.negative ? 1 : 0)) fits = false;
    if (!fits) return invalid_convert(kVxcvi, x.negative ? most_negative : most_positive);

    fpscr = raise(fpscr & ~(kFr | kFi), lost != 0 ? kXx : 0);
    fpscr = summarize(fpscr | (lost != 0 ? kFi : 0) | (up ? kFr : 0));
    return {x.negative ? uint64_t{0} - magnitude : magnitude, true};
}

// Less than, for two operands that are not NaNs.
bool less(uint64_t a, uint64_t b) {
    if (((a | b) & ~kSignBit) == 0) return false;
    const bool a_negative = (a & kSignBit) != 0;
    if (a_negative != ((b & kSignBit) != 0)) return a_negative;
    return a_negative ? a > b : a < b;
}

uint32_t compare(uint32_t& fpscr, uint64_t a, uint64_t b, bool ordered) {
    uint32_t field = 2;
    if (is_nan(a) || is_nan(b)) {
        field = 1;
    } else if (less(a, b)) {
        field = 8;
    } else if (less(b, a)) {
        field = 4;
    }
    uint32_t causes = is_signaling(a) || is_signaling(b) ? kVxsnan : 0;
    // 4.6.8: with invalid operations enabled a signalling NaN hides the invalid compare.
    if (ordered && field == 1 && (causes == 0 || (fpscr & kVe) == 0)) causes |= kVxvc;
    fpscr = summarize(raise((fpscr & ~kFpcc) | field << 12, causes));
    return field;
}

}  // namespace

Outcome frsp(uint32_t& fpscr, uint64_t b) {
    const Operand x = unpack(b);
    if (x.is_nan()) return deliver_nan<Precision::kSingle>(fpscr, b, b, b);
    if (x.kind != Operand::Kind::kFinite) return deliver_special(fpscr, b);
    return deliver_rounded<Precision::kSingle>(fpscr, x);
}

Outcome fctiw(uint32_t& fpscr, uint64_t b) {
    return to_integer<32>(fpscr, b, round_mode(fpscr));
}
Outcome fctiwz(uint32_t& fpscr, uint64_t b) {
    return to_integer<32>(fpscr, b, kRoundZero);
}
Outcome fctid(uint32_t& fpscr, uint64_t b) {
    return to_integer<64>(fpscr, b, round_mode(fpscr));
}
Outcome fctidz(uint32_t& fpscr, uint64_t b) {
    return to_integer<64>(fpscr, b, kRoundZero);
}

Outcome fcfid(uint32_t& fpscr, uint64_t b) {
    if (b == 0) return deliver_special(fpscr, 0);
    const bool negative = (b & kSignBit) != 0;
    const uint64_t magnitude = negative ? uint64_t{0} - b : b;
    const int shift = std::countl_zero(magnitude);
    return deliver_rounded<Precision::kDouble>(fpscr, negative, 63 - shift, magnitude << shift);
}

uint32_t fcmpu(uint32_t& fpscr, uint64_t a, uint64_t b) {
    return compare(fpscr, a, b, false);
}
uint32_t fcmpo(uint32_t& fpscr, uint64_t a, uint64_t b) {
    return compare(fpscr, a, b, true);
}

}  // namespace perfvisor::core::fpu::soft
