// SPDX-License-Identifier: GPL-2.0-or-later
// FPSCR instructions, loads and stores of singles, sign operations and select, and the two-word
// integers below the reference unit.

#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "core/fpu/fpscr.h"
#include "core/fpu/moves.h"
#include "core/fpu/wide.h"
#include "fpu_operands.h"

namespace perfvisor::core::fpu {
namespace {

TEST(Fpscr, SummariesAreRecomputedNotWritten) {
    uint32_t fpscr = 0;
    mtfsf(fpscr, 0xff, kFex | kVx);
    EXPECT_EQ(fpscr, 0u);
    mtfsf(fpscr, 0xff, kVxsnan | kVe);
    EXPECT_EQ(fpscr, kVx | kFex | kVxsnan | kVe);
    mtfsb0(fpscr, 1);
    mtfsb0(fpscr, 2);
    EXPECT_EQ(fpscr, kVx | kFex | kVxsnan | kVe);
    mtfsb0(fpscr, 24);  // VE
    EXPECT_EQ(fpscr, kVx | kVxsnan);
    mtfsb0(fpscr, 7);  // VXSNAN
    EXPECT_EQ(fpscr, 0u);
    mtfsb1(fpscr, 1);
    mtfsb1(fpscr, 2);
    EXPECT_EQ(fpscr, 0u);
}

TEST(Fpscr, EachEnableMakesItsOwnExceptionCount) {
    const uint32_t exceptions[] = {kVxcvi, kOx, kUx, kZx, kXx};
    const uint32_t enables[] = {kVe, kOe, kUe, kZe, kXe};
    for (size_t i = 0; i < 5; ++i) {
        for (size_t j = 0; j < 5; ++j) {
            EXPECT_EQ((summarize(exceptions[i] | enables[j]) & kFex) != 0, i == j);
        }
    }
}

TEST(Fpscr, MtfsfWritesOnlyTheSelectedFieldsAndFxAsGiven) {
    uint32_t fpscr = 0xffffffff & ~kReservedBits;
    mtfsf(fpscr, 0x01, 0);
    EXPECT_EQ(fpscr, 0xfffff7f0);
    fpscr = 0;
    mtfsf(fpscr, 0x80, kOx);  // OX from 0 to 1 without FX
    EXPECT_EQ(fpscr, kOx);
    mtfsf(fpscr, 0x40, kUx | kXx);
    EXPECT_EQ(fpscr, kOx | kUx | kXx);
    mtfsf(fpscr, 0xff, 0xffffffff00000000 | kFx | kRoundUp);
    EXPECT_EQ(fpscr, kFx | kRoundUp);
    mtfsf(fpscr, 0x04, 0xffffffff);
    EXPECT_EQ(fpscr & kReservedBits, 0u);
}

TEST(Fpscr, MtfsfiWritesOneField) {
    uint32_t fpscr = kXx;
    mtfsfi(fpscr, 7, 3);
    EXPECT_EQ(fpscr, kXx | kRoundDown);
    mtfsfi(fpscr, 0, 0xf);
    EXPECT_EQ(fpscr, kXx | kRoundDown | kFx | kOx);
}

TEST(Fpscr, Mtfsb1SetsFxOnlyForANewException) {
    uint32_t fpscr = 0;
    mtfsb1(fpscr, 30);
    EXPECT_EQ(fpscr, kRoundUp);
    mtfsb1(fpscr, 21);
    EXPECT_EQ(fpscr, kFx | kVx | kVxsoft | kRoundUp);
    mtfsb0(fpscr, 0);
    mtfsb1(fpscr, 21);
    EXPECT_EQ(fpscr, kVx | kVxsoft | kRoundUp);
    mtfsb1(fpscr, 20);
    EXPECT_EQ(fpscr, kVx | kVxsoft | kRoundUp) << "reserved";
}

TEST(Fpscr, McrfsReturnsAFieldAndClearsItsExceptionBits) {
    const uint32_t full = 0xffffffff & ~kReservedBits;
    uint32_t fpscr = full;
    EXPECT_EQ(mcrfs(fpscr, 0), 0xfu);
    EXPECT_EQ(fpscr, full & ~(kFx | kOx));
    EXPECT_EQ(mcrfs(fpscr, 1), 0xfu);
    EXPECT_EQ(mcrfs(fpscr, 2), 0xfu);
    EXPECT_EQ(mcrfs(fpscr, 3), 0xfu);  // VXVC FR FI C: only the first is an exception
    EXPECT_EQ(fpscr & 0x000f0000, kFr | kFi | 0x10000);
    EXPECT_EQ(mcrfs(fpscr, 4), 0xfu);
    EXPECT_EQ(fpscr & 0x0000f000, 0xf000u);
    EXPECT_NE(fpscr & kVx, 0u);
    EXPECT_EQ(mcrfs(fpscr, 5), 0x7u);
    EXPECT_EQ(fpscr & (kVx | kFex | kExceptionBits), 0u);
    EXPECT_EQ(mcrfs(fpscr, 7), 0xfu);
    EXPECT_EQ(fpscr & 0xff, 0xffu);
}

TEST(LoadSingle, HasTheSameValueAsTheSingle) {
    test::Random random(5);
    for (int i = 0; i < 200000; ++i) {
        auto word = static_cast<uint32_t>(random.next());
        if (i % 4 == 0) word &= 0x807fffff;  // denormals
        if (i % 16 == 1) word &= 0x80000003;
        const auto single = std::bit_cast<float>(word);
        if (single != single) continue;
        ASSERT_EQ(load_single(word), std::bit_cast<uint64_t>(static_cast<double>(single)))
            << std::hex << word;
        ASSERT_EQ(store_single(load_single(word)), word);
    }
}

TEST(LoadSingle, KeepsNansAsTheyAre) {
    EXPECT_EQ(load_single(0x7f800001), 0x7ff0000020000000u);
    EXPECT_EQ(load_single(0xffc12345), 0xfff82468a0000000u);
    EXPECT_EQ(store_single(0x7ff0000020000000), 0x7f800001u);
}

TEST(StoreSingle, TakesBitsWithoutRounding) {
    EXPECT_EQ(store_single(0x3fffffffffffffff), 0x3fffffffu);  // truncated
    EXPECT_EQ(store_single(0x380fffffffffffff), 0x007fffffu);  // denormalized, truncated
    EXPECT_EQ(store_single(0xb6a0000000000000), 0x80000001u);
    EXPECT_EQ(store_single(0xb690000000000000), 0x80000000u);  // below the range: undefined
    EXPECT_EQ(store_single(0x7fefffffffffffff), 0x7f7fffffu);  // above it: bits as they fall
    EXPECT_EQ(store_single(0x47f0000000000000), 0x7f800000u);
    EXPECT_EQ(store_single(0x8000000000000000), 0x80000000u);
}

TEST(Moves, ChangeOnlyTheSign) {
    const uint64_t signaling = 0x7ff4000000000001;
    EXPECT_EQ(fneg(signaling), signaling | kSignBit);
    EXPECT_EQ(fnabs(signaling), signaling | kSignBit);
    EXPECT_EQ(fabs(signaling | kSignBit), signaling);
}

TEST(Select, TakesTheFirstForZeroAndAbove) {
    EXPECT_EQ(fsel(0, 1, 2), 1u);
    EXPECT_EQ(fsel(kSignBit, 1, 2), 1u);
    EXPECT_EQ(fsel(kSignBit | 1, 1, 2), 2u);
    EXPECT_EQ(fsel(0x7ff0000000000000, 1, 2), 1u);
    EXPECT_EQ(fsel(0xfff0000000000000, 1, 2), 2u);
    EXPECT_EQ(fsel(0x7ff8000000000000, 1, 2), 2u);
    EXPECT_EQ(fsel(0x7ff4000000000000, 1, 2), 2u);
}

TEST(Wide, PortableProductEqualsTheNativeOne) {
    test::Random random(9);
    for (int i = 0; i < 10000; ++i) {
        const uint64_t x = random.next() >> random.below(64), y = random.next();
        ASSERT_EQ(multiply_portable(x, y), multiply(x, y));
    }
    EXPECT_EQ(multiply_portable(~uint64_t{0}, ~uint64_t{0}), (Wide{~uint64_t{1}, 1}));
}

TEST(Wide, ShiftsJamWhatTheyLose) {
    const Wide top{uint64_t{1} << 63, 1};
    EXPECT_EQ(shift_right_jam(top, 1), (Wide{uint64_t{1} << 62, 1}));
    EXPECT_EQ(shift_right_jam(top, 64), (Wide{0, uint64_t{1} << 63 | 1}));
    EXPECT_EQ(shift_right_jam(top, 100), (Wide{0, uint64_t{1} << 27 | 1}));
    EXPECT_EQ(shift_right_jam(top, 127), (Wide{0, 1}));
    EXPECT_EQ(shift_right_jam(top, 5000), (Wide{0, 1}));
    EXPECT_EQ(shift_right_jam(Wide{0, 0}, 5000), (Wide{0, 0}));
    EXPECT_EQ(shift_right_jam(Wide{uint64_t{1} << 63, 0}, 127), (Wide{0, 1}));
    EXPECT_EQ(shift_left(Wide{0, 3}, 127), (Wide{uint64_t{1} << 63, 0}));
    EXPECT_EQ(leading_zeros(Wide{0, 1}), 127);
}

}  // namespace
}  // namespace perfvisor::core::fpu
