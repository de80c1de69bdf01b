// SPDX-License-Identifier: GPL-2.0-or-later
// Time base, decrementer, fixed-interval timer and watchdog.
#include "core_fixture.h"

namespace perfvisor::core {
namespace {

constexpr uint32_t kDis = 0x08000000, kFis = 0x04000000, kEnw = 0x80000000, kWis = 0x40000000;
constexpr uint32_t kDie = 0x04000000, kFie = 0x00800000, kWie = 0x08000000, kAre = 0x00400000;
constexpr uint64_t kNever = ~uint64_t{0};

// TCR with the fixed-interval timer, or the watchdog, on time base bit `bit` (0 the lowest).
constexpr uint32_t fit_on(unsigned bit) {
    return ((63 - bit) & 3) << 24 | (63 - bit) >> 2 << 13;
}
constexpr uint32_t watchdog_on(unsigned bit) {
    return ((63 - bit) & 3) << 30 | (63 - bit) >> 2 << 17;
}
// Both on the most significant bit, which never changes here.
constexpr uint32_t kQuiet = 0;

struct TimersTest : ::testing::Test {
    CpuState state;
    TestTime time;
    Timers timers{state, time};

    void pass(uint64_t ticks) { time.extra += ticks; }
    uint32_t tsr() {
        timers.update();
        return timers.tsr();
    }
};

// The cores of a VM come up one after the other; Linux hangs if their time bases differ.
TEST_F(TimersTest, TimeBaseIsTheSourcesSoThatAllCoresAgree) {
    EXPECT_EQ(timers.time_base(), 0u);
    pass(5);
    EXPECT_EQ(timers.time_base(), 5u);
    timers.write_time_base(1);
    timers.reset();
    EXPECT_EQ(timers.time_base(), 5u);
    EXPECT_EQ(Timers(state, time).time_base(), 5u);
}

TEST_F(TimersTest, TimeBaseHalvesAreWrittenApart) {
    pass(0x123);
    timers.write_tbu(7);
    EXPECT_EQ(timers.time_base(), 0x700000123u);
    timers.write_tbl(0xfffffffe);
    pass(3);
    EXPECT_EQ(timers.time_base(), 0x800000001u);
}

TEST_F(TimersTest, DecrementerCountsToZeroSetsDisAndStops) {
    timers.write_decrementer(100);
    pass(40);
    EXPECT_EQ(timers.decrementer(), 60u);
    EXPECT_EQ(timers.ticks_to_next_event(), 60u);
    pass(59);
    EXPECT_EQ(tsr() & kDis, 0u);
    pass(1);
    EXPECT_EQ(timers.decrementer(), 0u);
    EXPECT_EQ(tsr() & kDis, kDis);
    pass(1000);
    EXPECT_EQ(timers.decrementer(), 0u);
    timers.clear_tsr(kDis);
    EXPECT_EQ(tsr() & kDis, 0u) << "one event only";
}

TEST_F(TimersTest, WritingZeroToTheDecrementerIsNoEvent) {
    timers.write_decrementer(10);
    timers.write_decrementer(0);
    pass(100);
    EXPECT_EQ(tsr() & kDis, 0u);
}

TEST_F(TimersTest, AutoReloadRepeatsWithDecarsPeriod) {
    timers.write_decar(50);
    timers.write_tcr(kAre | kDie);
    timers.write_decrementer(10);
    for (unsigned n = 0; n < 5; ++n) {
        const uint64_t ticks = timers.ticks_to_next_event();
        EXPECT_EQ(ticks, n == 0 ? 10u : 50u);
        pass(ticks);
        EXPECT_TRUE(tsr() & kDis);
        EXPECT_EQ(timers.decrementer(), 50u);
        timers.clear_tsr(kDis);
    }
    pass(50 * 1000 + 7);
    EXPECT_EQ(timers.decrementer(), 43u) << "also before an update";
    EXPECT_TRUE(tsr() & kDis);
    EXPECT_EQ(timers.decrementer(), 43u);
}

TEST_F(TimersTest, AutoReloadOfZeroStops) {
    timers.write_tcr(kAre);
    timers.write_decrementer(10);
    pass(11);
    EXPECT_TRUE(tsr() & kDis);
    EXPECT_EQ(timers.decrementer(), 0u);
}

TEST_F(TimersTest, ConditionsNeedStatusAndEnable) {
    timers.write_decrementer(1);
    pass(1);
    timers.update();
    EXPECT_FALSE(timers.decrementer_pending());
    timers.write_tcr(kDie);
    EXPECT_TRUE(timers.decrementer_pending());
    timers.clear_tsr(kDis);
    EXPECT_FALSE(timers.decrementer_pending());
}

TEST_F(TimersTest, FixedIntervalTimerFiresOnEachRiseOfItsBit) {
    timers.write_tcr(fit_on(9) | kFie);
    EXPECT_EQ(timers.ticks_to_next_event(), 512u);
    pass(511);
    EXPECT_EQ(tsr() & kFis, 0u);
    pass(1);
    EXPECT_EQ(tsr() & kFis, kFis);
    EXPECT_TRUE(timers.fixed_interval_pending());
    timers.clear_tsr(kFis);
    EXPECT_EQ(timers.ticks_to_next_event(), 1024u);
    pass(1023);
    EXPECT_EQ(tsr() & kFis, 0u);
    pass(1);
    EXPECT_EQ(tsr() & kFis, kFis);
}

TEST_F(TimersTest, EveryFixedIntervalPeriodHasItsBit) {
    for (unsigned bit = 0; bit < 62; ++bit) {
        timers.reset();
        timers.write_time_base(0);
        timers.write_tcr(fit_on(bit));
        const uint64_t half = uint64_t{1} << bit;
        EXPECT_EQ(timers.ticks_to_next_event(), half) << bit;
        timers.write_time_base(half - 1);
        EXPECT_EQ(timers.ticks_to_next_event(), 1u) << bit;
        timers.clear_tsr(~0u);
        timers.write_time_base(half - 1);
        pass(1);
        EXPECT_TRUE(tsr() & kFis) << bit;
    }
}

TEST_F(TimersTest, AWrittenRiseOfTheBitCountsToo) {
    timers.write_tcr(fit_on(20));
    timers.write_tbl(1u << 20);
    EXPECT_TRUE(timers.tsr() & kFis);
}

TEST_F(TimersTest, TheTimeBaseMayWrap) {
    timers.write_tcr(fit_on(4));
    timers.write_time_base(~uint64_t{0} - 3);
    timers.clear_tsr(~0u);
    EXPECT_EQ(timers.ticks_to_next_event(), 4u + 16u);
    pass(4 + 15);
    EXPECT_EQ(tsr() & kFis, 0u);
    pass(1);
    EXPECT_EQ(tsr() & kFis, kFis);
}

TEST_F(TimersTest, WatchdogGoesThroughItsStatesToTheReset) {
    timers.write_tcr(watchdog_on(5) | kWie | 0x20000000);
    pass(32);
    EXPECT_EQ(timers.update(), 0u);
    EXPECT_EQ(timers.tsr() & (kEnw | kWis), kEnw);
    EXPECT_FALSE(timers.watchdog_pending());
    pass(64);
    EXPECT_EQ(timers.update(), 0u);
    EXPECT_EQ(timers.tsr() & (kEnw | kWis), kEnw | kWis);
    EXPECT_TRUE(timers.watchdog_pending());
    pass(63);
    EXPECT_EQ(timers.update(), 0u);
    pass(1);
    EXPECT_EQ(timers.update(), 2u);
    EXPECT_EQ(timers.tsr() >> 28 & 3, 2u);
}

TEST_F(TimersTest, AWatchdogThatIsFedNeverResets) {
    timers.write_tcr(watchdog_on(5) | 0x10000000);
    for (unsigned n = 0; n < 100; ++n) {
        pass(64);
        EXPECT_EQ(timers.update(), 0u);
        timers.clear_tsr(kEnw | kWis);
    }
}

TEST_F(TimersTest, WithoutWrcTheWatchdogNeverResetsAndComesToRest) {
    timers.write_tcr(watchdog_on(5) | kQuiet);
    pass(64 * 50);
    EXPECT_EQ(timers.update(), 0u);
    EXPECT_EQ(timers.tsr() & (kEnw | kWis), kEnw | kWis);
    EXPECT_GT(timers.ticks_to_next_event(), uint64_t{1} << 62);
}

TEST_F(TimersTest, WrcIsStickyUntilReset) {
    timers.write_tcr(0x20000000);
    timers.write_tcr(0);
    EXPECT_EQ(timers.tcr(), 0x20000000u);
    timers.reset();
    EXPECT_EQ(timers.tcr(), 0u);
}

// What the deadline says and what update() does must be the same for any settings.
TEST_F(TimersTest, NothingChangesBeforeTheDeadlineAndSomethingAtIt) {
    Random random(7);
    for (unsigned n = 0; n < 3000; ++n) {
        switch (random.below(5)) {
            case 0:
                timers.write_tcr(fit_on(random.below(14)) | watchdog_on(random.below(14)) |
                                 (random.one_in(2) ? kAre : 0));
                break;
            case 1:
                timers.write_decrementer(random.below(3000));
                break;
            case 2:
                timers.write_decar(random.below(3000));
                break;
            case 3:
                timers.write_tbl(random.next());
                break;
            default:
                timers.clear_tsr(random.next() & ~0x30000000u);
        }
        pass(random.below(100));
        timers.update();
        const uint64_t ticks = timers.ticks_to_next_event();
        if (ticks > 100000) continue;
        const uint32_t before = timers.tsr();
        ASSERT_GT(ticks, 0u);
        EXPECT_EQ(timers.next_event_tick(), timers.time_base() + ticks);
        EXPECT_EQ(timers.cycles_to_next_event(), ticks);
        pass(ticks - 1);
        ASSERT_EQ(tsr(), before) << n;
        pass(1);
        ASSERT_NE(tsr(), before) << n;
    }
}

}  // namespace
}  // namespace perfvisor::core
