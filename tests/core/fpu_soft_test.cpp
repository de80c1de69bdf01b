// SPDX-License-Identifier: GPL-2.0-or-later
// The rules of Power ISA 2.06 Book I chapter 4, one by one, on the reference floating-point unit.

#include <gtest/gtest.h>

#include <array>
#include <bit>

#include "core/fpu/fpscr.h"
#include "core/fpu/moves.h"
#include "core/fpu/soft.h"
#include "fpu_operands.h"

namespace perfvisor::core::fpu {
namespace {

constexpr uint64_t kInf = 0x7ff0000000000000;
constexpr uint64_t kMinusInf = 0xfff0000000000000;
constexpr uint64_t kMax = 0x7fefffffffffffff;
constexpr uint64_t kMinNormal = 0x0010000000000000;
constexpr uint64_t kMaxSingle = 0x47efffffe0000000;
constexpr uint64_t kMinNormalSingle = 0x3810000000000000;
constexpr uint64_t kQuiet = 0x7ff8000000001234;
constexpr uint64_t kSignaling = 0xfff4000000005678;
constexpr uint64_t kSignalingMadeQuiet = 0xfffc000000005678;
constexpr uint64_t kMinusZero = kSignBit;

uint64_t bits(double value) {
    return std::bit_cast<uint64_t>(value);
}

// What an instruction delivers, starting from FPSCR `start`.
struct Run {
    uint64_t value = 0;
    bool write = false;
    uint32_t fpscr = 0;
};
template <typename... Operand>
Run run(Outcome (*function)(uint32_t&, Operand...), uint32_t start,
        std::type_identity_t<Operand>... operands) {
    uint32_t fpscr = start;
    const Outcome outcome = function(fpscr, operands...);
    return {outcome.value, outcome.write, fpscr};
}

void expect(const Run& run, uint64_t value, uint32_t fpscr) {
    EXPECT_TRUE(run.write);
    EXPECT_EQ(run.value, value) << std::hex << run.value;
    EXPECT_EQ(run.fpscr, fpscr) << std::hex << run.fpscr << " not " << fpscr;
}
void expect_unchanged_target(const Run& run, uint32_t fpscr) {
    EXPECT_FALSE(run.write);
    EXPECT_EQ(run.fpscr, fpscr) << std::hex << run.fpscr << " not " << fpscr;
}

TEST(SoftRounding, FollowsTheRoundingMode) {
    const uint64_t one = bits(1), tiny = bits(0x1p-60);
    const uint64_t up = one + 1;
    const uint32_t inexact = kFx | kXx | kFi | kFprfPositiveNormal;
    expect(run(soft::add, kRoundNearest, one, tiny), one, inexact | kRoundNearest);
    expect(run(soft::add, kRoundZero, one, tiny), one, inexact | kRoundZero);
    expect(run(soft::add, kRoundUp, one, tiny), up, inexact | kFr | kRoundUp);
    expect(run(soft::add, kRoundDown, one, tiny), one, inexact | kRoundDown);
    const uint32_t negative = kFx | kXx | kFi | kFprfNegativeNormal;
    expect(run(soft::add, kRoundUp, fneg(one), fneg(tiny)), fneg(one), negative | kRoundUp);
    expect(run(soft::add, kRoundDown, fneg(one), fneg(tiny)), fneg(up),
           negative | kFr | kRoundDown);
}

TEST(SoftRounding, BreaksTiesToEven) {
    const uint64_t half_ulp = bits(0x1p-53);
    const uint32_t inexact = kFx | kXx | kFi | kFprfPositiveNormal;
    expect(run(soft::add, 0, bits(1), half_ulp), bits(1), inexact);
    expect(run(soft::add, 0, bits(1) + 1, half_ulp), bits(1) + 2, inexact | kFr);
    expect(run(soft::frsp, 0, 0x3ff0000010000000), 0x3ff0000000000000, inexact);
    expect(run(soft::frsp, 0, 0x3ff0000030000000), 0x3ff0000040000000, inexact | kFr);
    expect(run(soft::frsp, 0, 0x3ff0000010000001), 0x3ff0000020000000, inexact | kFr);
}

TEST(SoftRounding, CarriesIntoTheExponent) {
    expect(run(soft::frsp, 0, 0x3fffffffffffffff), bits(2),
           kFx | kXx | kFi | kFr | kFprfPositiveNormal);
}

// FR tells whether the magnitude grew; FI and the truncated result do not depend on the mode.
TEST(SoftRounding, SetsFractionRoundedExactlyWhenTheMagnitudeGrew) {
    test::Random random(521288629);
    using Ternary = Outcome (*)(uint32_t&, uint64_t, uint64_t, uint64_t);
    const Ternary operations[] = {
        soft::madd,
        soft::madds,
        [](uint32_t& f, uint64_t a, uint64_t, uint64_t b) { return soft::add(f, a, b); },
        [](uint32_t& f, uint64_t a, uint64_t, uint64_t b) { return soft::subs(f, a, b); },
        [](uint32_t& f, uint64_t a, uint64_t c, uint64_t) { return soft::mul(f, a, c); },
        [](uint32_t& f, uint64_t a, uint64_t, uint64_t b) { return soft::divs(f, a, b); },
        [](uint32_t& f, uint64_t, uint64_t, uint64_t b) { return soft::frsp(f, b); },
        [](uint32_t& f, uint64_t, uint64_t, uint64_t b) { return soft::sqrt(f, b); },
        [](uint32_t& f, uint64_t, uint64_t, uint64_t b) { return soft::fcfid(f, b); }};
    int grown = 0;
    for (int i = 0; i < 50000; ++i) {
        const test::Operands x = test::random_operands(random, i % 2 == 0);
        for (const Ternary operation : operations) {
            uint32_t truncated_status = kRoundZero;
            const uint64_t truncated = operation(truncated_status, x.a, x.c, x.b).value;
            ASSERT_EQ(truncated_status & kFr, 0u);
            for (const uint32_t mode : {kRoundNearest, kRoundUp, kRoundDown}) {
                uint32_t fpscr = mode;
                const uint64_t value = operation(fpscr, x.a, x.c, x.b).value;
                ASSERT_EQ(fpscr & kFi, truncated_status & kFi);
                if ((fpscr & kFi) == 0) continue;
                const bool larger = fabs(value) > fabs(truncated);
                ASSERT_EQ((fpscr & kFr) != 0, larger)
                    << std::hex << x.a << " " << x.b << " " << x.c << " mode " << mode;
                grown += larger ? 1 : 0;
            }
        }
    }
    EXPECT_GT(grown, 1000);
}

TEST(SoftZero, SumOfOppositesIsPositiveUnlessRoundingDown) {
    for (const uint32_t mode : {kRoundNearest, kRoundZero, kRoundUp}) {
        expect(run(soft::sub, mode, bits(3), bits(3)), 0, kFprfPositiveZero | mode);
        expect(run(soft::add, mode, 0, kMinusZero), 0, kFprfPositiveZero | mode);
        expect(run(soft::nmsub, mode, bits(3), bits(3), bits(9)), kMinusZero,
               kFprfNegativeZero | mode);
    }
    expect(run(soft::sub, kRoundDown, bits(3), bits(3)), kMinusZero,
           kFprfNegativeZero | kRoundDown);
    expect(run(soft::add, 0, kMinusZero, kMinusZero), kMinusZero, kFprfNegativeZero);
    expect(run(soft::madd, kRoundDown, 0, bits(1), kMinusZero), kMinusZero,
           kFprfNegativeZero | kRoundDown);
}

TEST(SoftNan, FirstOfFraFrbFrcWinsAndBecomesQuiet) {
    const uint64_t other = 0x7ff8000000004321;
    expect(run(soft::add, 0, kQuiet, other), kQuiet, kFprfQuietNan);
    expect(run(soft::add, 0, bits(1), other), other, kFprfQuietNan);
    expect(run(soft::madd, 0, bits(1), kQuiet, other), other, kFprfQuietNan);  // frB before frC
    expect(run(soft::madd, 0, bits(1), kQuiet, bits(1)), kQuiet, kFprfQuietNan);
    const uint32_t snan = kFx | kVx | kVxsnan | kFprfQuietNan;
    expect(run(soft::add, 0, kQuiet, kSignaling), kQuiet, snan);
    expect(run(soft::mul, 0, bits(1), kSignaling), kSignalingMadeQuiet, snan);
}

TEST(SoftNan, KeepsItsSignThroughSubtractionAndNegation) {
    expect(run(soft::sub, 0, bits(1), kQuiet), kQuiet, kFprfQuietNan);
    expect(run(soft::nmadd, 0, bits(1), bits(1), kQuiet), kQuiet, kFprfQuietNan);
    expect(run(soft::nmsub, 0, kInf, 0, bits(1)), kDefaultNan, kFx | kVx | kVximz | kFprfQuietNan);
}

TEST(SoftNan, RoundToSingleDropsTheLowFraction) {
    expect(run(soft::frsp, 0, 0x7ff8dead2eef1234), 0x7ff8dead20000000, kFprfQuietNan);
    expect(run(soft::frsp, 0, 0xfff0000000000001), 0xfff8000000000000,
           kFx | kVx | kVxsnan | kFprfQuietNan);
}

struct InvalidCase {
    const char* what;
    Run (*execute)(uint32_t fpscr);
    uint32_t cause;
    uint64_t value;
};

const InvalidCase kInvalidCases[] = {
    {"inf-inf", [](uint32_t f) { return run(soft::sub, f, kInf, kInf); }, kVxisi, kDefaultNan},
    {"inf+-inf", [](uint32_t f) { return run(soft::adds, f, kInf, kMinusInf); }, kVxisi,
     kDefaultNan},
    {"inf/inf", [](uint32_t f) { return run(soft::div, f, kInf, kMinusInf); }, kVxidi, kDefaultNan},
    {"0/0", [](uint32_t f) { return run(soft::divs, f, 0, kMinusZero); }, kVxzdz, kDefaultNan},
    {"inf*0", [](uint32_t f) { return run(soft::mul, f, kMinusZero, kInf); }, kVximz, kDefaultNan},
    {"inf*1-inf", [](uint32_t f) { return run(soft::msub, f, kInf, bits(1), kInf); }, kVxisi,
     kDefaultNan},
    {"inf*0+quiet", [](uint32_t f) { return run(soft::madd, f, kInf, 0, kQuiet); }, kVximz, kQuiet},
    {"inf*0+signaling", [](uint32_t f) { return run(soft::madd, f, kInf, 0, kSignaling); },
     kVximz | kVxsnan, kSignalingMadeQuiet},
    {"sqrt(-1)", [](uint32_t f) { return run(soft::sqrt, f, bits(-1)); }, kVxsqrt, kDefaultNan},
    {"frsqrte(-inf)", [](uint32_t f) { return run(soft::frsqrte, f, kMinusInf); }, kVxsqrt,
     kDefaultNan},
    {"signaling", [](uint32_t f) { return run(soft::frsp, f, kSignaling); }, kVxsnan,
     0xfffc000000000000},
};

TEST(SoftInvalid, DisabledDeliversQuietNan) {
    for (const InvalidCase& c : kInvalidCases) {
        SCOPED_TRACE(c.what);
        expect(c.execute(kFr | kFi | kFprfNegativeZero), c.value,
               kFx | kVx | c.cause | kFprfQuietNan);
    }
}

TEST(SoftInvalid, EnabledLeavesTargetAndResultFlagsAlone) {
    for (const InvalidCase& c : kInvalidCases) {
        SCOPED_TRACE(c.what);
        expect_unchanged_target(c.execute(kVe | kFr | kFi | kFprfNegativeZero),
                                kFx | kFex | kVx | c.cause | kFprfNegativeZero | kVe);
    }
}

TEST(SoftInvalid, DoesNotSetFxAgainForABitAlreadySet) {
    const uint32_t before = kVx | kVxisi | kFprfQuietNan;
    expect(run(soft::sub, before, kInf, kInf), kDefaultNan, before);
}

TEST(SoftZeroDivide, DisabledDeliversSignedInfinity) {
    expect(run(soft::div, kFr | kFi, bits(1), kMinusZero), kMinusInf,
           kFx | kZx | kFprfNegativeInfinity);
    expect(run(soft::fres, 0, 0), kInf, kFx | kZx | kFprfPositiveInfinity);
    expect(run(soft::frsqrte, 0, kMinusZero), kMinusInf, kFx | kZx | kFprfNegativeInfinity);
    // An infinite dividend is no zero divide.
    expect(run(soft::div, 0, kInf, 0), kInf, kFprfPositiveInfinity);
}

TEST(SoftZeroDivide, EnabledLeavesTargetAndResultFlagsAlone) {
    const uint32_t before = kZe | kFr | kFi | kFprfQuietNan;
    const uint32_t after = kFx | kFex | kZx | kZe | kFprfQuietNan;
    expect_unchanged_target(run(soft::divs, before, bits(-1), 0), after);
    expect_unchanged_target(run(soft::frsqrte, before, 0), after);
}

TEST(SoftOverflow, DisabledResultDependsOnModeAndSign) {
    const uint32_t common = kFx | kOx | kXx | kFi;
    const uint64_t minus_max = fneg(kMax);
    const auto positive = [](uint32_t mode) { return run(soft::mul, mode, kMax, bits(2)); };
    const auto negative = [](uint32_t mode) { return run(soft::mul, mode, kMax, bits(-2)); };
    expect(positive(kRoundNearest), kInf, common | kFr | kFprfPositiveInfinity);
    expect(negative(kRoundNearest), kMinusInf, common | kFr | kFprfNegativeInfinity);
    expect(positive(kRoundZero), kMax, common | kFprfPositiveNormal | kRoundZero);
    expect(negative(kRoundZero), minus_max, common | kFprfNegativeNormal | kRoundZero);
    expect(positive(kRoundUp), kInf, common | kFr | kFprfPositiveInfinity | kRoundUp);
    expect(negative(kRoundUp), minus_max, common | kFprfNegativeNormal | kRoundUp);
    expect(positive(kRoundDown), kMax, common | kFprfPositiveNormal | kRoundDown);
    expect(negative(kRoundDown), kMinusInf, common | kFr | kFprfNegativeInfinity | kRoundDown);
    expect(run(soft::muls, kRoundZero, kMaxSingle, bits(2)), kMaxSingle,
           common | kFprfPositiveNormal | kRoundZero);
}

TEST(SoftOverflow, IsDetectedAfterRounding) {
    // Halfway between the largest single and 2^128 rounds to even, which is 2^128.
    expect(run(soft::frsp, 0, 0x47effffff0000000), kInf,
           kFx | kOx | kXx | kFi | kFr | kFprfPositiveInfinity);
    expect(run(soft::frsp, 0, 0x47efffffefffffff), kMaxSingle,
           kFx | kXx | kFi | kFprfPositiveNormal);
}

TEST(SoftOverflow, EnabledDeliversAdjustedExponent) {
    // 2^1023 * 2 = 2^1024, less 1536; exact, so that XX and FI stay clear.
    expect(run(soft::mul, kOe, bits(0x1p1023), bits(2)), bits(0x1p-512),
           kFx | kFex | kOx | kOe | kFprfPositiveNormal);
    expect(run(soft::muls, kOe, bits(-0x1p127), bits(2)), bits(-0x1p-64),
           kFx | kFex | kOx | kOe | kFprfNegativeNormal);
    expect(run(soft::mul, kOe, kMax, bits(0x1.8p1)), bits(0x1.8p-511) - 1,
           kFx | kFex | kOx | kXx | kFi | kOe | kFprfPositiveNormal);
    // frsp may leave the single range: the exponent is adjusted in double format (A.1).
    expect(run(soft::frsp, kOe, bits(0x1p1000)), bits(0x1p808),
           kFx | kFex | kOx | kOe | kFprfPositiveNormal);
}

TEST(SoftUnderflow, DisabledNeedsLossOfAccuracy) {
    expect(run(soft::mul, 0, kMinNormal, bits(0.5)), kMinNormal / 2, kFprfPositiveDenormal);
    expect(run(soft::mul, 0, kMinNormal + 1, bits(0.5)), kMinNormal / 2,
           kFx | kUx | kXx | kFi | kFprfPositiveDenormal);
    expect(run(soft::mul, 0, kMinNormal + 3, bits(-0.5)), fneg(kMinNormal / 2 + 2),
           kFx | kUx | kXx | kFi | kFr | kFprfNegativeDenormal);
    expect(run(soft::mul, 0, 1, bits(0.5)), 0, kFx | kUx | kXx | kFi | kFprfPositiveZero);
    expect(run(soft::mul, kRoundUp, 1, bits(0.5)), 1,
           kFx | kUx | kXx | kFi | kFr | kFprfPositiveDenormal | kRoundUp);
    expect(run(soft::div, 0, 1, kMax), 0, kFx | kUx | kXx | kFi | kFprfPositiveZero);
}

TEST(SoftUnderflow, TininessIsDetectedBeforeRounding) {
    // Rounds up to the smallest normal number, yet the exact value is tiny.
    expect(run(soft::frsp, 0, kMinNormalSingle - 1), kMinNormalSingle,
           kFx | kUx | kXx | kFi | kFr | kFprfPositiveNormal);
    expect(run(soft::mul, 0, kMinNormal * 2 - 1, bits(0.5)), kMinNormal,
           kFx | kUx | kXx | kFi | kFr | kFprfPositiveNormal);
}

TEST(SoftUnderflow, EnabledDeliversAdjustedExponentEvenIfExact) {
    expect(run(soft::mul, kUe, kMinNormal, bits(0.5)), bits(0x1p513),
           kFx | kFex | kUx | kUe | kFprfPositiveNormal);
    expect(run(soft::mul, kUe, 1, 1), bits(0x1p-612), kFx | kFex | kUx | kUe | kFprfPositiveNormal);
    expect(run(soft::frsp, kUe, bits(-0x1.000001p-130)), bits(-0x1p62),
           kFx | kFex | kUx | kXx | kFi | kUe | kFprfNegativeNormal);
    expect(run(soft::add, kUe, kMinNormal + 1, fneg(kMinNormal)), bits(0x1p462),
           kFx | kFex | kUx | kUe | kFprfPositiveNormal);
}

TEST(SoftInexact, EnabledSetsFexAndDelivers) {
    expect(run(soft::div, kXe, bits(1), bits(3)), 0x3fd5555555555555,
           kFx | kFex | kXx | kFi | kXe | kFprfPositiveNormal);
}

TEST(SoftSingle, ClassifiesSingleDenormals) {
    expect(run(soft::muls, 0, kMinNormalSingle, bits(0.5)), bits(0x1p-127), kFprfPositiveDenormal);
    expect(run(soft::adds, 0, bits(-0x1p-149), kMinusZero), bits(-0x1p-149), kFprfNegativeDenormal);
    expect(run(soft::mul, 0, kMinNormalSingle, bits(0.5)), bits(0x1p-127), kFprfPositiveNormal);
}

TEST(SoftSingle, RoundsOnceFromTheExactResult) {
    // Through a rounded double this would be a tie: the sticky part lies 2^-80 below.
    expect(run(soft::madds, 0, bits(1), bits(1 + 0x1p-24), bits(0x1p-80)), 0x3ff0000020000000,
           kFx | kXx | kFi | kFr | kFprfPositiveNormal);
    expect(run(soft::madds, 0, bits(1), bits(1 + 0x1p-24), bits(-0x1p-80)), bits(1),
           kFx | kXx | kFi | kFprfPositiveNormal);
}

TEST(SoftFused, RoundsOnce) {
    const uint64_t x = bits(1 + 0x1p-30);
    // x*x - 1 exactly: 2^-29 + 2^-60, of which a rounded product would lose the second part.
    expect(run(soft::msub, 0, x, x, bits(1)), bits(0x1p-29 + 0x1p-60), kFprfPositiveNormal);
    expect(run(soft::nmsub, 0, x, x, bits(1)), bits(-0x1p-29 - 0x1p-60), kFprfNegativeNormal);
    // The negative forms round before they negate.
    expect(run(soft::nmadd, kRoundUp, bits(1), bits(1), bits(0x1p-60)), fneg(bits(1) + 1),
           kFx | kXx | kFi | kFr | kFprfNegativeNormal | kRoundUp);
}

TEST(SoftFused, IntermediateProductDoesNotOverflow) {
    expect(run(soft::msub, 0, kMax, bits(2), kMax), kMax, kFprfPositiveNormal);
}

TEST(SoftConvert, WordRoundsAndSaturates) {
    const uint32_t kept = kFprfNegativeZero;
    expect(run(soft::fctiw, kept, bits(2.5)), 2, kFx | kXx | kFi | kept);
    expect(run(soft::fctiw, kept, bits(3.5)), 4, kFx | kXx | kFi | kFr | kept);
    expect(run(soft::fctiwz, kept | kRoundUp, bits(-2.9)), static_cast<uint64_t>(-2),
           kFx | kXx | kFi | kept | kRoundUp);
    expect(run(soft::fctiw, kept | kFi | kFr, bits(-2147483648.0)), 0xffffffff80000000, kept);
    expect(run(soft::fctiw, kept, bits(-2147483648.5)), 0xffffffff80000000, kFx | kXx | kFi | kept);
    const uint32_t invalid = kFx | kVx | kVxcvi | kFprfQuietNan;
    expect(run(soft::fctiw, kept, bits(2147483647.5)), 0x7fffffff, invalid);
    expect(run(soft::fctiwz, kept, bits(2147483647.5)), 0x7fffffff, kFx | kXx | kFi | kept);
    expect(run(soft::fctiw, 0, kInf), 0x7fffffff, invalid);
    expect(run(soft::fctiwz, 0, kMinusInf), 0xffffffff80000000, invalid);
    expect(run(soft::fctiw, 0, kQuiet), 0x80000000, invalid);
    expect(run(soft::fctiw, 0, kSignaling), 0x80000000, invalid | kVxsnan);
    expect_unchanged_target(run(soft::fctiw, kVe | kept, kQuiet),
                            kFx | kFex | kVx | kVxcvi | kVe | kept);
}

TEST(SoftConvert, DoublewordRoundsAndSaturates) {
    expect(run(soft::fctid, 0, bits(-0x1p63)), uint64_t{1} << 63, 0);
    expect(run(soft::fctid, 0, bits(0x1p63)), ~uint64_t{0} >> 1,
           kFx | kVx | kVxcvi | kFprfQuietNan);
    expect(run(soft::fctid, 0, 0x43dfffffffffffff), 0x7ffffffffffffc00, 0);
    expect(run(soft::fctidz, kRoundUp, bits(0.75)), 0, kFx | kXx | kFi | kRoundUp);
    expect(run(soft::fctid, kRoundUp, bits(0x1p-1074)), 1, kFx | kXx | kFi | kFr | kRoundUp);
    expect(run(soft::fcfid, 0, 0), 0, kFprfPositiveZero);
    expect(run(soft::fcfid, 0, ~uint64_t{0}), bits(-1), kFprfNegativeNormal);
    expect(run(soft::fcfid, 0, uint64_t{1} << 63), bits(-0x1p63), kFprfNegativeNormal);
    expect(run(soft::fcfid, 0, 0x7fffffffffffffff), bits(0x1p63),
           kFx | kXx | kFi | kFr | kFprfPositiveNormal);
}

TEST(SoftEstimate, IsWithinTheArchitecturesPrecision) {
    test::Random random(77);
    for (int i = 0; i < 20000; ++i) {
        const double x = std::bit_cast<double>(fabs(test::random_single(random)));
        if (!(x > 1e-37 && x < 1e37)) continue;
        const auto reciprocal = std::bit_cast<double>(run(soft::fres, 0, bits(x)).value);
        ASSERT_LE(std::abs(reciprocal * x - 1), 1.0 / 256);
        const auto root = std::bit_cast<double>(run(soft::frsqrte, 0, bits(x)).value);
        ASSERT_LE(std::abs(root * root * x - 1), 1.0 / 32);
    }
    expect(run(soft::fres, 0, kMinusInf), kMinusZero, kFprfNegativeZero);
    expect(run(soft::frsqrte, 0, kInf), 0, kFprfPositiveZero);
}

TEST(SoftCompare, OrdersAndSetsTheConditionCode) {
    struct {
        uint64_t a, b;
        uint32_t field;
    } const cases[] = {
        {bits(1), bits(2), 8},  {bits(2), bits(1), 4},  {bits(-1), bits(-2), 4},
        {bits(-1), bits(1), 8}, {0, kMinusZero, 2},     {kMinusZero, 1, 8},
        {kInf, kMax, 4},        {kMinusInf, kMax, 8},   {kInf, kInf, 2},
        {kQuiet, bits(1), 1},   {kMinusInf, kQuiet, 1},
    };
    for (const auto& c : cases) {
        // C, FR and FI stay as they were.
        const uint32_t kept = kFr | kFi | (kFprf & ~kFpcc);
        uint32_t fpscr = kept | kFpcc;
        EXPECT_EQ(soft::fcmpu(fpscr, c.a, c.b), c.field);
        EXPECT_EQ(fpscr, kept | c.field << 12);
    }
}

TEST(SoftCompare, SignalsNansByItsKind) {
    const auto compare = [](auto* function, uint32_t fpscr, uint64_t b) {
        EXPECT_EQ(function(fpscr, bits(1), b), 1u);
        return fpscr;
    };
    const uint32_t unordered = 0x1000;
    EXPECT_EQ(compare(soft::fcmpu, 0, kQuiet), unordered);
    EXPECT_EQ(compare(soft::fcmpu, 0, kSignaling), unordered | kFx | kVx | kVxsnan);
    EXPECT_EQ(compare(soft::fcmpo, 0, kQuiet), unordered | kFx | kVx | kVxvc);
    EXPECT_EQ(compare(soft::fcmpo, 0, kSignaling), unordered | kFx | kVx | kVxsnan | kVxvc);
    EXPECT_EQ(compare(soft::fcmpo, kVe, kSignaling), unordered | kFx | kFex | kVx | kVxsnan | kVe);
    EXPECT_EQ(compare(soft::fcmpo, kVe, kQuiet), unordered | kFx | kFex | kVx | kVxvc | kVe);
}

TEST(SoftSquareRoot, RoundsCorrectly) {
    expect(run(soft::sqrt, 0, bits(9)), bits(3), kFprfPositiveNormal);
    expect(run(soft::sqrt, 0, bits(2)), 0x3ff6a09e667f3bcd,
           kFx | kXx | kFi | kFr | kFprfPositiveNormal);
    expect(run(soft::sqrt, 0, 1), bits(0x1p-537), kFprfPositiveNormal);
    expect(run(soft::sqrt, 0, kMinusZero), kMinusZero, kFprfNegativeZero);
}

TEST(NonIeeeMode, ChangesNothing) {
    expect(run(soft::mul, kNi, kMinNormal, bits(0.5)), kMinNormal / 2, kFprfPositiveDenormal | kNi);
}

}  // namespace
}  // namespace perfvisor::core::fpu
