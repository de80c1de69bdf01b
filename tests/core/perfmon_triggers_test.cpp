// SPDX-License-Identifier: GPL-2.0-or-later
// What counters count or do because of each other, of the time base, of thresholds and of triggers:
// more of the rules of perfmon_rules_test.cpp.
#include <gtest/gtest.h>

#include "perfmon_fixture.h"

namespace perfvisor::core {
namespace {

using namespace pmgc0;
using namespace pmlca;

// ---- Chaining (7.6.1) ----

TEST_F(PerfMonRule, AChainedCounterCountsRollOversToZero) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlca0 + 1, selects(82));
    m.set(kPmc0, 0xfffffff0);
    m.execute(15);
    EXPECT_EQ(m.get(kPmc0 + 1), 0u);
    m.execute(1);
    EXPECT_EQ(m.get(kPmc0 + 1), 1u);
    m.execute(3 * (uint64_t{1} << 32));
    EXPECT_EQ(m.get(kPmc0 + 1), 4u);
    EXPECT_EQ(m.get(kPmc0), 0u);
}

TEST_F(PerfMonRule, SeveralCountersMayBeChainedInAnyOrder) {
    m.set(kPmlca0 + 2, kInstructions);
    m.set(kPmlca0, selects(84));
    m.set(kPmlca0 + 3, selects(82));
    m.set(kPmlca0 + 1, selects(85));
    for (unsigned n = 0; n < 4; ++n)
        m.set(kPmc0 + n, 0xffffffff);
    m.execute(1);
    for (unsigned n = 0; n < 4; ++n)
        EXPECT_EQ(m.get(kPmc0 + n), 0u) << n;
}

TEST_F(PerfMonRule, AWriteToThePmcIsNoRollOver) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlca0 + 1, selects(82));
    m.set(kPmc0, 0x80000000);
    m.set(kPmc0, 0);
    EXPECT_EQ(m.get(kPmc0 + 1), 0u);
}

TEST_F(PerfMonRule, AFrozenCounterChainsNothing) {
    m.set(kPmlca0, kInstructions | kFCS);
    m.set(kPmlca0 + 1, selects(82));
    m.set(kPmc0, 0xffffffff);
    m.execute(10);
    EXPECT_EQ(m.get(kPmc0 + 1), 0u);
}

TEST_F(PerfMonRule, AChainedCounterHasItsOwnFreezeBits) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlca0 + 1, selects(82) | kFCS);
    m.set(kPmc0, 0xffffffff);
    m.execute(1);
    m.set_msr(msr::kPR);
    m.execute(uint64_t{1} << 32);
    EXPECT_EQ(m.get(kPmc0 + 1), 1u);
}

TEST_F(PerfMonRule, ChainsInACircleCountNothing) {
    m.set(kPmgc0, kPMIE | kFCECE);
    for (unsigned n = 0; n < 4; ++n) {
        m.set(kPmc0 + n, 0x7fffffff);
        m.set(kPmlca0 + n, selects(82 + (n + 1) % 4) | kCE);
    }
    EXPECT_EQ(m.pm.instructions_to_event(), kNever);
    m.execute(uint64_t{1} << 40);
    for (unsigned n = 0; n < 4; ++n)
        EXPECT_EQ(m.get(kPmc0 + n), 0x7fffffffu);
    m.set(kPmlca0, selects(82) | kCE);  // its own wraps
    m.execute(uint64_t{1} << 40);
    EXPECT_EQ(m.get(kPmc0), 0x7fffffffu);
}

TEST_F(PerfMonRule, TheDeadlineOfAChainIsItsLastCounters) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlca0 + 1, selects(82) | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0xffffff00);
    m.set(kPmc0 + 1, 0x7fffffff);
    EXPECT_EQ(m.pm.instructions_to_event(), 0x100u);
    m.set(kPmc0 + 1, 0x7ffffffe);
    EXPECT_EQ(m.pm.instructions_to_event(), 0x100000100u);
    m.execute(0x1000000ff);
    EXPECT_FALSE(m.pending());
    m.execute(1);
    EXPECT_TRUE(m.pending());
}

TEST_F(PerfMonRule, ADeadlineBeyond64BitsIsFarButNotLost) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlca0 + 1, selects(82));
    m.set(kPmlca0 + 2, selects(83) | kCE);
    m.set(kPmgc0, kPMIE);
    EXPECT_GE(m.pm.instructions_to_event(), uint64_t{1} << 62);
}

// ---- Time base transitions (7.2.1) ----

TEST_F(PerfMonRule, TbselSelectsTheTimeBaseBit) {
    constexpr unsigned kBits[4] = {0, 8, 12, 16};
    for (uint32_t select = 0; select < 4; ++select) {
        m.set(kPmgc0, kPMIE | kTBEE | select << 11);
        const uint64_t half = uint64_t{1} << kBits[select];
        EXPECT_EQ(m.pm.next_time_base_event(0), half);
        EXPECT_EQ(m.pm.next_time_base_event(half - 1), half);
        EXPECT_EQ(m.pm.next_time_base_event(half), 3 * half);
        EXPECT_EQ(m.pm.next_time_base_event(2 * half), 3 * half);
        EXPECT_EQ(m.pm.next_time_base_event(10 * half + half - 1), 11 * half);
    }
}

TEST_F(PerfMonRule, WithoutTbeeThereIsNoTransitionEvent) {
    m.set(kPmgc0, kPMIE | kFCECE);
    EXPECT_EQ(m.pm.next_time_base_event(0), kNever);
    m.pm.time_base_event();
    EXPECT_FALSE(m.pending());
    EXPECT_EQ(m.get(kPmgc0), kPMIE | kFCECE);
}

TEST_F(PerfMonRule, ATransitionThatDoesNothingIsNoDeadline) {
    m.set(kPmgc0, kTBEE);
    EXPECT_EQ(m.pm.next_time_base_event(0), kNever);
    m.set(kPmgc0, kTBEE | kFCECE | kFAC);
    EXPECT_EQ(m.pm.next_time_base_event(0), kNever);
}

TEST_F(PerfMonRule, ATransitionStaysPendingUntilItsInterruptIsTaken) {
    m.set(kPmgc0, kPMIE | kTBEE);
    m.check_requested();
    m.pm.time_base_event();
    EXPECT_TRUE(m.check_requested());
    EXPECT_TRUE(m.pending());
    m.pm.interrupt_taken();
    EXPECT_FALSE(m.pending());
    EXPECT_NE(m.pm.next_time_base_event(0), kNever);
}

TEST_F(PerfMonRule, ClearingPmieOrTbeeTakesATransitionAway) {
    for (const uint32_t left : {kPMIE, kTBEE}) {
        m.set(kPmgc0, kPMIE | kTBEE);
        m.pm.time_base_event();
        m.set(kPmgc0, left);
        m.set(kPmgc0, kPMIE | kTBEE);
        EXPECT_FALSE(m.pending());
    }
}

TEST_F(PerfMonRule, ATransitionFreezesUnderFcece) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmgc0, kFCECE | kTBEE);
    m.execute(9);
    m.pm.time_base_event();
    m.execute(9);
    EXPECT_EQ(m.get(kPmc0), 9u);
    EXPECT_EQ(m.get(kPmgc0), kFAC | kFCECE | kTBEE);
    EXPECT_FALSE(m.pending());
}

TEST_F(PerfMonRule, ATimeBaseAtItsEndHasNoTransitionInReach) {
    m.set(kPmgc0, kPMIE | kTBEE | kTBSEL);
    EXPECT_EQ(m.pm.next_time_base_event(kNever), kNever);
}

// ---- Thresholds and triggers (7.2.5, 7.6.2) ----

TEST_F(PerfMonRule, TheThresholdIsMultipliedByAPowerOfTwo) {
    for (uint32_t multiple = 0; multiple < 8; ++multiple) {
        m.set(kPmlcb0, multiple << 8 | 63);
        EXPECT_EQ(m.pm.threshold(0), 63u << multiple);
    }
    EXPECT_EQ(m.pm.threshold(1), 0u);
}

TEST_F(PerfMonRule, AThresholdEventCountsWhatLastedLonger) {
    m.set(kPmlca0, selects(76));
    m.set(kPmlcb0, 0x100 | 5);  // 10 cycles
    m.set(kPmlca0 + 1, selects(77));
    for (const uint64_t cycles : {9u, 10u, 11u, 12u})
        m.pm.occurred(76, cycles);
    m.pm.occurred(77, 1);
    m.pm.occurred(78, 100);
    EXPECT_EQ(m.get(kPmc0), 2u);
    EXPECT_EQ(m.get(kPmc0 + 1), 1u);
    m.set(kPmgc0, kFAC);
    m.pm.occurred(76, 100);
    EXPECT_EQ(m.get(kPmc0), 2u);
}

TEST_F(PerfMonRule, OnlyPmc0AndPmc1HaveThresholdEvents) {
    for (unsigned n = 0; n < 4; ++n)
        m.set(kPmlca0 + n, selects(76));
    m.pm.occurred(76, 1);
    for (unsigned n = 0; n < 4; ++n)
        EXPECT_EQ(m.get(kPmc0 + n), n < 2 ? 1u : 0u);
}

TEST_F(PerfMonRule, AThresholdEventOverflowsAsOthersDo) {
    m.set(kPmlca0, selects(78) | kCE);
    m.set(kPmc0, 0x7fffffff);
    m.set(kPmgc0, kPMIE);
    EXPECT_EQ(m.pm.instructions_to_event(), 1u);
    m.pm.occurred(78, 1);
    EXPECT_TRUE(m.pending());
}

TEST_F(PerfMonRule, ACounterWaitsForItsTriggerOn) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlcb0, on(trigger::kDvt0 + 3));
    m.execute(10);
    m.pm.debug_notify(0xf7);
    m.execute(10);
    EXPECT_EQ(m.get(kPmc0), 0u);
    m.pm.debug_notify(0x08);
    m.execute(10);
    EXPECT_EQ(m.get(kPmc0), 10u);
}

TEST_F(PerfMonRule, ATriggerOffStopsTheCounter) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlcb0, off(trigger::kDvt0));
    m.execute(10);
    m.pm.debug_notify(1);
    m.execute(10);
    EXPECT_EQ(m.get(kPmc0), 10u);
    m.set(kPmlcb0, off(trigger::kDvt0));  // written anew, it counts again
    m.execute(10);
    EXPECT_EQ(m.get(kPmc0), 20u);
}

TEST_F(PerfMonRule, OneSourceForBothTriggersStartsAndStopsInTurn) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlcb0, on(trigger::kDvt0) | off(trigger::kDvt0));
    for (unsigned i = 0; i < 5; ++i) {
        m.execute(10);
        m.pm.debug_notify(1);
    }
    EXPECT_EQ(m.get(kPmc0), 20u);
}

TEST_F(PerfMonRule, ATriggerThatNothingGivesKeepsTheCounterWaiting) {
    for (uint32_t by = 5; by < 8; ++by) {
        m.set(kPmc0, 0);
        m.set(kPmlca0, kInstructions);
        m.set(kPmlcb0, on(by));
        m.pm.debug_notify(0xff);
        m.execute(10);
        EXPECT_EQ(m.get(kPmc0), 0u);
        m.set(kPmlcb0, off(by));
        m.pm.debug_notify(0xff);
        m.execute(10);
        EXPECT_EQ(m.get(kPmc0), 10u);
    }
}

TEST_F(PerfMonRule, AWatchpointTriggersAtTheVeryInstruction) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlcb0, pmp(0));
    m.set(kPmc0, 0x80000000 - 20);
    m.set(kPmlca0 + 1, kInstructions);
    m.set(kPmlcb0 + 1, on(trigger::kPmw0));
    m.set(kPmlca0 + 2, kInstructions);
    m.set(kPmlcb0 + 2, off(trigger::kPmw0));
    EXPECT_EQ(m.pm.instructions_to_event(), 20u);
    m.execute(20);
    m.pm.sync();
    EXPECT_EQ(m.pm.instructions_to_event(), kNever);
    m.execute(7);
    EXPECT_EQ(m.get(kPmc0 + 1), 7u);
    EXPECT_EQ(m.get(kPmc0 + 2), 20u);
}

TEST_F(PerfMonRule, PmpChoosesTheWatchpointsPeriod) {
    m.set(kPmlca0 + 1, kInstructions);
    m.set(kPmlcb0 + 1, on(trigger::kPmw0));
    m.set(kPmlca0, kInstructions);
    m.set(kPmc0, 5);
    for (uint32_t period = 1; period < 8; ++period) {
        m.set(kPmlcb0, pmp(period));
        const uint64_t counts = uint64_t{1} << (4 * (7 - period));
        EXPECT_EQ(m.pm.instructions_to_event(), period == 7 ? 1 : counts - 5);
    }
    m.set(kPmlcb0, pmp(0));
    EXPECT_EQ(m.pm.instructions_to_event(), 0x80000000 - 5);
}

TEST_F(PerfMonRule, AWatchpointNobodyWaitsForIsNoDeadline) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlcb0, pmp(7));
    EXPECT_EQ(m.pm.instructions_to_event(), kNever);
    m.set(kPmlcb0 + 1, on(trigger::kPmw0 + 2));  // of a counter that does not run
    EXPECT_EQ(m.pm.instructions_to_event(), kNever);
}

TEST_F(PerfMonRule, AWriteToThePmcIsNoWatchpoint) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlca0 + 1, kInstructions);
    m.set(kPmlcb0 + 1, on(trigger::kPmw0));
    m.set(kPmc0, 0x80000000);
    m.execute(10);
    EXPECT_EQ(m.get(kPmc0 + 1), 0u);
}

TEST_F(PerfMonRule, PmccClearsTheCounterAtItsTriggerOn) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlcb0, on(trigger::kDvt0) | off(trigger::kDvt0 + 1) | pmlcb::kPMCC);
    m.set(kPmc0, 1000);
    m.execute(5);
    EXPECT_EQ(m.get(kPmc0), 1000u);
    m.pm.debug_notify(1);
    m.execute(5);
    m.pm.debug_notify(2);
    EXPECT_EQ(m.get(kPmc0), 5u);
}

TEST_F(PerfMonRule, OtherPmrsLeaveTheTriggersAlone) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlcb0, on(trigger::kDvt0));
    m.pm.debug_notify(1);
    m.set(kPmc0, 0);
    m.set(kPmgc0, 0);
    m.set(kPmlca0, kInstructions);
    m.execute(10);
    EXPECT_EQ(m.get(kPmc0), 10u);
}

}  // namespace
}  // namespace perfvisor::core
