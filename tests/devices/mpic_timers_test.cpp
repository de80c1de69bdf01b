// SPDX-License-Identifier: GPL-2.0-or-later
// The MPIC's global timers against a clock that the test turns.
#include <gtest/gtest.h>

#include "devices/mpic.h"

namespace perfvisor::devices {
namespace {

constexpr uint64_t kTick = 1000000000 / Mpic::kTimerHz;  // 40 ns
constexpr uint32_t kInhibit = 0x80000000;
constexpr uint32_t kToggle = 0x80000000;
constexpr uint32_t kPriority8 = 8U << 16;

class MpicTimers : public testing::Test {
  protected:
    MpicTimers() { write(0x20080, 0); }

    uint32_t read(uint64_t offset) { return static_cast<uint32_t>(mpic.read({offset, 4, 0})); }
    void write(uint64_t offset, uint32_t value) { mpic.write({offset, 4, 0}, value); }
    // Register 0: current count, 1: base count, 2: vector/priority, 3: destination.
    static uint64_t timer(unsigned group, unsigned index, unsigned reg) {
        return (group == 0 ? 0x1100 : 0x2100) + index * 0x40 + reg * 0x10;
    }
    uint32_t iack() { return read(0x200a0); }
    void eoi() { write(0x200b0, 0); }

    uint64_t now = 1000;
    std::optional<uint64_t> deadline;
    bool external = false;
    Mpic mpic{MpicVersion::k42,
              1,
              {.external = [this](unsigned, bool level) { external = level; },
               .critical = {},
               .machine_check = {},
               .external_proxy = {},
               .deadline = [this](std::optional<uint64_t> at) { deadline = at; },
               .reset_core = {}},
              [this] { return now; }};
};

TEST_F(MpicTimers, CountDownFromTheBaseCountReloadAndToggle) {
    write(timer(0, 1, 1), 100);
    EXPECT_EQ(read(timer(0, 1, 0)), 100U);
    now += 30 * kTick;
    EXPECT_EQ(read(timer(0, 1, 0)), 70U);
    now += 70 * kTick;
    EXPECT_EQ(read(timer(0, 1, 0)), 100U | kToggle);
    now += 250 * kTick;  // Twice round and half-way.
    EXPECT_EQ(read(timer(0, 1, 0)), 50U | kToggle);
    now += 50 * kTick;
    EXPECT_EQ(read(timer(0, 1, 0)), 100U);
}

TEST_F(MpicTimers, InterruptAtTheDeadlineAndAskForTheNextAfterTheAcknowledge) {
    write(timer(0, 0, 2), kPriority8 | 0x77);
    write(timer(0, 0, 1), 1000);
    ASSERT_TRUE(deadline);
    EXPECT_EQ(*deadline, now + 1000 * kTick);
    now = *deadline - 1;
    mpic.run_timers();
    EXPECT_FALSE(external);
    now += 1;
    mpic.run_timers();
    EXPECT_TRUE(external);
    EXPECT_FALSE(deadline) << "a second one would change nothing";
    const uint64_t expired = now;
    now += 10 * kTick;
    EXPECT_EQ(iack(), 0x77U);
    ASSERT_TRUE(deadline);
    EXPECT_EQ(*deadline, expired + 1000 * kTick);
    eoi();
    EXPECT_FALSE(external);
}

TEST_F(MpicTimers, AMaskedTimerNeedsNoDeadlineButIsPendingWhenUnmasked) {
    write(timer(0, 2, 1), 10);
    EXPECT_FALSE(deadline);
    now += 100 * kTick;
    write(timer(0, 2, 2), kPriority8 | 0x22);
    EXPECT_TRUE(external);
}

TEST_F(MpicTimers, InhibitingStopsTheCountAndLettingGoStartsAfresh) {
    write(timer(0, 0, 2), kPriority8);
    write(timer(0, 0, 1), 100);
    now += 40 * kTick;
    write(timer(0, 0, 1), 100 | kInhibit);
    EXPECT_FALSE(deadline);
    now += 1000 * kTick;
    EXPECT_EQ(read(timer(0, 0, 0)), 60U);
    write(timer(0, 0, 1), 200);
    EXPECT_EQ(read(timer(0, 0, 0)), 200U);
    EXPECT_FALSE(external);
}

TEST_F(MpicTimers, ANewBaseCountWaitsForTheReload) {
    write(timer(0, 0, 1), 100);
    write(timer(0, 0, 1), 500);
    EXPECT_EQ(read(timer(0, 0, 0)), 100U);
    now += 100 * kTick;
    EXPECT_EQ(read(timer(0, 0, 0)), 500U | kToggle);
}

TEST_F(MpicTimers, TheClockRatioStretchesTheTickWithoutLosingTheCount) {
    write(timer(0, 0, 1), 100);
    now += 50 * kTick;
    write(0x1300, 0x300);  // TCR[CLKR]: 8 times slower.
    EXPECT_EQ(read(0x1300), 0x300U);
    EXPECT_EQ(read(timer(0, 0, 0)), 50U);
    now += 40 * kTick;
    EXPECT_EQ(read(timer(0, 0, 0)), 45U);
}

TEST_F(MpicTimers, GroupBIsIndependentAndHasItsOwnVectors) {
    write(timer(1, 3, 2), kPriority8 | 0xb3);
    write(timer(1, 3, 1), 10);
    EXPECT_EQ(read(timer(0, 3, 1)), kInhibit);
    now += 10 * kTick;
    mpic.run_timers();
    EXPECT_EQ(iack(), 0xb3U);
}

TEST_F(MpicTimers, ABaseCountOfZeroDoesNotExpireForEver) {
    write(timer(0, 0, 2), kPriority8);
    write(timer(0, 0, 1), 0);
    now += 1000000;
    mpic.run_timers();
    EXPECT_FALSE(external);
    EXPECT_FALSE(deadline);
}

TEST_F(MpicTimers, ResetStopsThem) {
    write(timer(0, 0, 2), kPriority8);
    write(timer(0, 0, 1), 10);
    EXPECT_TRUE(deadline);
    mpic.reset();
    EXPECT_FALSE(deadline);
    EXPECT_EQ(read(timer(0, 0, 1)), kInhibit);
}

}  // namespace
}  // namespace perfvisor::devices
