// SPDX-License-Identifier: GPL-2.0-or-later
// The fast floating-point paths give what the reference unit gives: result, target update and
// every FPSCR bit, over random operands in all modes.

#include <gtest/gtest.h>

#include <cmath>

#include "core/fpu/fast.h"
#include "core/fpu/soft.h"
#include "fpu_operands.h"

namespace perfvisor::core::fpu {
namespace {

using test::Operands;
using test::Random;
using Unary = Outcome (*)(uint32_t&, uint64_t);
using Binary = Outcome (*)(uint32_t&, uint64_t, uint64_t);
using Ternary = Outcome (*)(uint32_t&, uint64_t, uint64_t, uint64_t);

// Mostly the state in which programs run, now and then any other.
uint32_t random_status(Random& random) {
    uint32_t fpscr = static_cast<uint32_t>(random.next()) & (kFx | kXx | kFr | kFi | kFprf);
    switch (random.below(8)) {
        case 0:
            fpscr = static_cast<uint32_t>(random.next()) & ~kReservedBits;
            break;
        case 1:
            fpscr |= static_cast<uint32_t>(random.next()) & (kVe | kOe | kUe | kZe);
            break;
        default:
            break;
    }
    return summarize(fpscr);
}

struct Case {
    const char* name;
    bool single;
    Unary fast1, soft1;
    Binary fast2, soft2;
    Ternary fast3, soft3;
};

#define UNARY(name, single)                                                 \
    Case {                                                                  \
#name, single, name, soft::name, nullptr, nullptr, nullptr, nullptr \
    }
#define BINARY(name, single)                                                \
    Case {                                                                  \
#name, single, nullptr, nullptr, name, soft::name, nullptr, nullptr \
    }
#define TERNARY(name, single)                                               \
    Case {                                                                  \
#name, single, nullptr, nullptr, nullptr, nullptr, name, soft::name \
    }

class FastPath : public testing::TestWithParam<Case> {};

TEST_P(FastPath, EqualsReferenceOnRandomOperands) {
    const Case& op = GetParam();
    Random random(2463534242);
    uint64_t unused_results = 0;
    for (int i = 0; i < 250000; ++i) {
        Operands x = test::random_operands(random, op.single && i % 4 != 0);
        if (op.fast3 != nullptr && i % 3 == 0) x.b = test::near_product(random, x.a, x.c);
        const uint32_t before = random_status(random);
        uint32_t fast_status = before, soft_status = before;
        Outcome fast{}, soft{};
        if (op.fast1 != nullptr) {
            fast = op.fast1(fast_status, x.b);
            soft = op.soft1(soft_status, x.b);
        } else if (op.fast2 != nullptr) {
            fast = op.fast2(fast_status, x.a, x.b);
            soft = op.soft2(soft_status, x.a, x.b);
        } else {
            fast = op.fast3(fast_status, x.a, x.c, x.b);
            soft = op.soft3(soft_status, x.a, x.c, x.b);
        }
        unused_results += soft.write ? 0 : 1;
        ASSERT_TRUE(fast.value == soft.value && fast.write == soft.write &&
                    fast_status == soft_status)
            << std::hex << op.name << " a=" << x.a << " b=" << x.b << " c=" << x.c
            << " fpscr=" << before << "\n fast " << fast.value << " fpscr=" << fast_status
            << "\n soft " << soft.value << " fpscr=" << soft_status;
    }
    EXPECT_GT(unused_results, 0u) << "no enabled exception was met";
}

INSTANTIATE_TEST_SUITE_P(
    Fpu, FastPath,
    testing::Values(BINARY(add, false), BINARY(adds, true), BINARY(sub, false), BINARY(subs, true),
                    BINARY(mul, false), BINARY(muls, true), BINARY(div, false), BINARY(divs, true),
                    UNARY(sqrt, false), UNARY(sqrts, true), TERNARY(madd, false),
                    TERNARY(madds, true), TERNARY(msub, false), TERNARY(msubs, true),
                    TERNARY(nmadd, false), TERNARY(nmadds, true), TERNARY(nmsub, false),
                    TERNARY(nmsubs, true), UNARY(frsp, false), UNARY(fre, false), UNARY(fres, true),
                    UNARY(frsqrte, false), UNARY(frsqrtes, true), UNARY(fctiwz, false)),
    [](const testing::TestParamInfo<Case>& op) { return std::string(op.param.name); });

TEST(FastCompare, EqualsReferenceOnRandomOperands) {
    Random random(88172645463325252);
    for (int i = 0; i < 250000; ++i) {
        const Operands x = test::random_operands(random, false);
        const uint32_t before = random_status(random);
        uint32_t fast_status = before, soft_status = before;
        ASSERT_EQ(fcmpu(fast_status, x.a, x.b), soft::fcmpu(soft_status, x.a, x.b));
        ASSERT_EQ(fast_status, soft_status);
        ASSERT_EQ(fcmpo(fast_status, x.a, x.b), soft::fcmpo(soft_status, x.a, x.b));
        ASSERT_EQ(fast_status, soft_status);
    }
}

// The host's IEEE arithmetic is a second witness for values, where it has the same operation.
TEST(SoftArithmetic, EqualsHostArithmeticInRoundToNearest) {
    Random random(362436069);
    for (int i = 0; i < 200000; ++i) {
        const Operands x = test::random_operands(random, false);
        const auto a = std::bit_cast<double>(x.a), b = std::bit_cast<double>(x.b),
                   c = std::bit_cast<double>(x.c);
        const auto same = [](double host, uint64_t soft) {
            return std::isnan(host) ? is_nan(soft) : std::bit_cast<uint64_t>(host) == soft;
        };
        uint32_t fpscr = 0;
        ASSERT_TRUE(same(a + b, soft::add(fpscr, x.a, x.b).value)) << a << " + " << b;
        ASSERT_TRUE(same(a - b, soft::sub(fpscr, x.a, x.b).value)) << a << " - " << b;
        ASSERT_TRUE(same(a * c, soft::mul(fpscr, x.a, x.c).value)) << a << " * " << c;
        ASSERT_TRUE(same(a / b, soft::div(fpscr, x.a, x.b).value)) << a << " / " << b;
        ASSERT_TRUE(same(std::sqrt(b), soft::sqrt(fpscr, x.b).value)) << "sqrt " << b;
        ASSERT_TRUE(same(std::fma(a, c, b), soft::madd(fpscr, x.a, x.c, x.b).value))
            << a << " * " << c << " + " << b;
        const auto narrow = static_cast<double>(static_cast<float>(b));
        ASSERT_TRUE(same(narrow, soft::frsp(fpscr, x.b).value)) << "frsp " << b;
    }
}

}  // namespace
}  // namespace perfvisor::core::fpu
