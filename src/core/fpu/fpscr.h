// SPDX-License-Identifier: GPL-2.0-or-later
// The Floating-Point Status and Control Register: its bits, its summary rules, and the
// instructions that move data in and out of it.
//
// Manual: Power ISA 2.06 Book I, 4.2.2 (the register), 4.4 (exceptions), 4.6.8 (instructions).
// The register is a plain uint32_t; bit 0 of the manual is the most significant one.
#pragma once

#include <cstdint>

namespace perfvisor::core::fpu {

inline constexpr uint32_t kFx = 0x80000000;      // some exception bit went from 0 to 1
inline constexpr uint32_t kFex = 0x40000000;     // some enabled exception is set
inline constexpr uint32_t kVx = 0x20000000;      // some invalid-operation bit is set
inline constexpr uint32_t kOx = 0x10000000;      // overflow
inline constexpr uint32_t kUx = 0x08000000;      // underflow
inline constexpr uint32_t kZx = 0x04000000;      // zero divide
inline constexpr uint32_t kXx = 0x02000000;      // inexact (sticky FI)
inline constexpr uint32_t kVxsnan = 0x01000000;  // signalling NaN
inline constexpr uint32_t kVxisi = 0x00800000;   // infinity - infinity
inline constexpr uint32_t kVxidi = 0x00400000;   // infinity / infinity
inline constexpr uint32_t kVxzdz = 0x00200000;   // zero / zero
inline constexpr uint32_t kVximz = 0x00100000;   // infinity * zero
inline constexpr uint32_t kVxvc = 0x00080000;    // invalid compare
inline constexpr uint32_t kFr = 0x00040000;      // fraction rounded (its magnitude grew)
inline constexpr uint32_t kFi = 0x00020000;      // fraction inexact
inline constexpr uint32_t kFprf = 0x0001f000;    // result flags: C and FPCC
inline constexpr uint32_t kFpcc = 0x0000f000;    // the condition code alone
inline constexpr uint32_t kVxsoft = 0x00000400;  // set by software
inline constexpr uint32_t kVxsqrt = 0x00000200;  // square root of a negative number
inline constexpr uint32_t kVxcvi = 0x00000100;   // invalid integer convert
inline constexpr uint32_t kVe = 0x00000080;      // invalid operation enable
inline constexpr uint32_t kOe = 0x00000040;      // overflow enable
inline constexpr uint32_t kUe = 0x00000020;      // underflow enable
inline constexpr uint32_t kZe = 0x00000010;      // zero divide enable
inline constexpr uint32_t kXe = 0x00000008;      // inexact enable
// Non-IEEE mode. 4.2.2 only allows results to differ from IEEE while it is set; here it is kept as
// written and changes nothing.
inline constexpr uint32_t kNi = 0x00000004;
inline constexpr uint32_t kRn = 0x00000003;  // rounding mode

inline constexpr uint32_t kRoundNearest = 0;
inline constexpr uint32_t kRoundZero = 1;
inline constexpr uint32_t kRoundUp = 2;    // toward +infinity
inline constexpr uint32_t kRoundDown = 3;  // toward -infinity

inline constexpr uint32_t kInvalidBits =
    kVxsnan | kVxisi | kVxidi | kVxzdz | kVximz | kVxvc | kVxsoft | kVxsqrt | kVxcvi;
inline constexpr uint32_t kExceptionBits = kOx | kUx | kZx | kXx | kInvalidBits;
inline constexpr uint32_t kReservedBits = 0x00000800;  // reads as zero

// FPRF values (4.2.2, figure "Floating-Point Result Flags"), in place.
inline constexpr uint32_t kFprfQuietNan = 0x11000;
inline constexpr uint32_t kFprfNegativeInfinity = 0x09000;
inline constexpr uint32_t kFprfNegativeNormal = 0x08000;
inline constexpr uint32_t kFprfNegativeDenormal = 0x18000;
inline constexpr uint32_t kFprfNegativeZero = 0x12000;
inline constexpr uint32_t kFprfPositiveZero = 0x02000;
inline constexpr uint32_t kFprfPositiveDenormal = 0x14000;
inline constexpr uint32_t kFprfPositiveNormal = 0x04000;
inline constexpr uint32_t kFprfPositiveInfinity = 0x05000;

// Recomputes VX and FEX, which are ORs of other bits and never set on their own.
constexpr uint32_t summarize(uint32_t fpscr) {
    fpscr &= ~(kVx | kFex);
    if ((fpscr & kInvalidBits) != 0) fpscr |= kVx;
    // VX OX UX ZX XX stand in the order of VE OE UE ZE XE, 22 bits higher.
    if ((fpscr >> 22 & fpscr & (kVe | kOe | kUe | kZe | kXe)) != 0) fpscr |= kFex;
    return fpscr;
}

// Sets exception bits, and FX if one of them was 0. The caller summarizes.
constexpr uint32_t raise(uint32_t fpscr, uint32_t exceptions) {
    if ((exceptions & ~fpscr) != 0) fpscr |= kFx;
    return fpscr | exceptions;
}

// What Rc=1 puts into CR field 1: FX FEX VX OX.
constexpr uint32_t cr1_field(uint32_t fpscr) {
    return fpscr >> 28;
}

// mffs: the FPR image of the FPSCR. The upper word is undefined in the manual, zero here.
constexpr uint64_t mffs(uint32_t fpscr) {
    return fpscr;
}

// mcrfs: returns FPSCR field `field` (0 to 7) for a CR field and clears the exception bits in it.
constexpr uint32_t mcrfs(uint32_t& fpscr, unsigned field) {
    const unsigned shift = 28 - 4 * (field & 7);
    const uint32_t copied = fpscr >> shift & 0xf;
    fpscr = summarize(fpscr & ~(uint32_t{0xf} << shift & (kFx | kExceptionBits)));
    return copied;
}

// mtfsf: replaces the 4-bit fields that `mask` selects (its bit 0x80 is field 0) by those of the
// low word of `value`. FX is written as given, never by the usual rule; FEX and VX are recomputed.
constexpr void mtfsf(uint32_t& fpscr, unsigned mask, uint64_t value) {
    uint32_t bits = 0;
    for (unsigned field = 0; field < 8; ++field) {
        if ((mask >> (7 - field) & 1) != 0) bits |= uint32_t{0xf} << (28 - 4 * field);
    }
    bits &= ~(kFex | kVx | kReservedBits);
    fpscr = summarize((fpscr & ~bits) | (static_cast<uint32_t>(value) & bits));
}

// mtfsfi: writes the 4-bit `value` into FPSCR field `field` (0 to 7), by the rules of mtfsf.
constexpr void mtfsfi(uint32_t& fpscr, unsigned field, unsigned value) {
    mtfsf(fpscr, 0x80u >> (field & 7), uint64_t{value & 0xf} << (28 - 4 * (field & 7)));
}

// mtfsb0: clears FPSCR bit `bit` (0 to 31, manual order); FEX and VX cannot be cleared this way.
constexpr void mtfsb0(uint32_t& fpscr, unsigned bit) {
    fpscr = summarize(fpscr & ~(kFx >> (bit & 31)));
}

// mtfsb1: sets FPSCR bit `bit`; an exception bit that was 0 sets FX too. FEX and VX cannot be set.
constexpr void mtfsb1(uint32_t& fpscr, unsigned bit) {
    const uint32_t set = (kFx >> (bit & 31)) & ~(kFex | kVx | kReservedBits);
    fpscr = summarize(raise(fpscr, set & kExceptionBits) | set);
}

// What an instruction with a target FPR delivers.
struct Outcome {
    uint64_t value;
    bool write;  // false: an enabled invalid operation or zero divide leaves the target as it was
};

}  // namespace perfvisor::core::fpu
