// SPDX-License-Identifier: GPL-2.0-or-later
// The performance monitor's rules, one test each, named after the rule. Section numbers are those
// of the e500 core family manual, chapter 7. Counters that follow each other, the time base or
// triggers are in perfmon_triggers_test.cpp.
#include <gtest/gtest.h>

#include "perfmon_fixture.h"

namespace perfvisor::core {
namespace {

using namespace pmgc0;
using namespace pmlca;

// ---- Registers and access ----

TEST_F(PerfMonRule, ResetClearsEveryRegister) {
    for (unsigned n = 0; n < 4; ++n) {
        m.set(kPmc0 + n, 0x12345678);
        m.set(kPmlca0 + n, kFC | selects(5));
        m.set(kPmlcb0 + n, 0x3f);
    }
    m.set(kPmgc0, kFAC | kPMIE);
    m.pm.reset();
    for (unsigned n = 0; n < 4; ++n) {
        EXPECT_EQ(m.get(kPmc0 + n), 0u);
        EXPECT_EQ(m.get(kPmlca0 + n), 0u);
        EXPECT_EQ(m.get(kPmlcb0 + n), 0u);
    }
    EXPECT_EQ(m.get(kPmgc0), 0u);
}

TEST_F(PerfMonRule, ACounterRunsAfterResetAsSoonAsAnEventIsSelected) {
    m.execute(10);
    EXPECT_EQ(m.get(kPmc0), 0u);
    m.mtpmr(kPmlca0, kInstructions);
    m.execute(10);
    EXPECT_EQ(m.get(kPmc0), 10u);
}

TEST_F(PerfMonRule, UserNumbersReflectTheSupervisorRegisters) {
    m.set(kPmgc0, kFAC | kFCECE);
    for (unsigned n = 0; n < 4; ++n) {
        m.set(kPmc0 + n, 100 + n);
        m.set(kPmlca0 + n, kFC | selects(20 + n));
        m.set(kPmlcb0 + n, 30 + n);
        EXPECT_EQ(m.get(kUserPmc0 + n), 100 + n);
        EXPECT_EQ(m.get(kUserPmlca0 + n), kFC | selects(20 + n));
        EXPECT_EQ(m.get(kUserPmlcb0 + n), 30 + n);
    }
    EXPECT_EQ(m.get(kUserPmgc0), kFAC | kFCECE);
}

TEST_F(PerfMonRule, UserNumbersAreReadOnly) {
    for (const unsigned pmr : {kUserPmc0, kUserPmlca0, kUserPmlcb0, kUserPmgc0}) {
        EXPECT_FALSE(m.pm.can_write(pmr)) << pmr;
        EXPECT_FALSE(m.pm.write(pmr, 0x20000000)) << pmr;
        EXPECT_EQ(m.get(pmr), 0u) << pmr;
    }
}

TEST_F(PerfMonRule, ExactlyTheDefinedNumbersExist) {
    unsigned readable = 0, writable = 0;
    for (unsigned pmr = 0; pmr < 1024; ++pmr) {
        readable += m.pm.read(pmr).has_value();
        writable += m.pm.write(pmr, 0);
    }
    EXPECT_EQ(readable, 26u);
    EXPECT_EQ(writable, 13u);
    EXPECT_FALSE(m.pm.read(4));
    EXPECT_FALSE(m.pm.read(20));
    EXPECT_FALSE(m.pm.read(148));
    EXPECT_FALSE(m.pm.read(401));
    EXPECT_FALSE(m.pm.read(16 + 512));
}

TEST_F(PerfMonRule, ACoreWithSixCountersHasTheirNumbers) {
    CoreModel six = kTestModel;
    six.pmc_count = 6;
    Machine e6500(six);
    EXPECT_TRUE(e6500.pm.write(21, 5));
    EXPECT_EQ(e6500.get(5), 5u);
    EXPECT_FALSE(e6500.pm.read(22));
}

TEST_F(PerfMonRule, ACoreWithoutCountersHasNoPmrAtAll) {
    CoreModel none = kTestModel;
    none.pmc_count = 0;
    Machine bare(none);
    for (unsigned pmr = 0; pmr < 1024; ++pmr)
        ASSERT_FALSE(bare.pm.read(pmr)) << pmr;
}

TEST_F(PerfMonRule, SupervisorNumbersAreThoseWithBit4) {
    for (const unsigned pmr : {16u, 19u, 144u, 147u, 272u, 275u, 400u})
        EXPECT_TRUE(PerfMon::is_supervisor(pmr)) << pmr;
    for (const unsigned pmr : {0u, 3u, 128u, 131u, 256u, 259u, 384u})
        EXPECT_FALSE(PerfMon::is_supervisor(pmr)) << pmr;
}

TEST_F(PerfMonRule, ReservedBitsReadZero) {
    m.set(kPmgc0, 0xffffffff);
    m.set(kPmlca0, 0xffffffff);
    m.set(kPmlcb0, 0xffffffff);
    m.set(kPmc0, 0xffffffff);
    EXPECT_EQ(m.get(kPmgc0), 0xe0001900u);
    EXPECT_EQ(m.get(kPmlca0), 0xfcff0003u);
    EXPECT_EQ(m.get(kPmlcb0), 0xff80e73fu);
    EXPECT_EQ(m.get(kPmc0), 0xffffffffu);
}

TEST_F(PerfMonRule, ACoreWith128EventsHasNoGuestStateOrTriggerFields) {
    CoreModel v2 = kTestModel;
    v2.pmc_event_bits = 7;
    Machine e500v2(v2);
    e500v2.set(kPmlca0, 0xffffffff);
    e500v2.set(kPmlcb0, 0xffffffff);
    EXPECT_EQ(e500v2.get(kPmlca0), 0xfc7f0000u);
    EXPECT_EQ(e500v2.get(kPmlcb0), 0x0000073fu);
}

// ---- Instruction boundaries ----

TEST_F(PerfMonRule, MfpmrReadsTheInstructionsBeforeIt) {
    m.mtpmr(kPmlca0, kInstructions);
    m.execute(3);
    EXPECT_EQ(m.mfpmr(kPmc0), 3u);
    EXPECT_EQ(m.mfpmr(kPmc0), 4u);
}

TEST_F(PerfMonRule, TheMtpmrThatUnfreezesIsNotCounted) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmgc0, kFAC);
    const uint32_t before = m.get(kPmc0);
    m.mtpmr(kPmgc0, 0);
    EXPECT_EQ(m.get(kPmc0), before);
    m.execute(1);
    EXPECT_EQ(m.get(kPmc0), before + 1);
}

TEST_F(PerfMonRule, TheMtpmrThatFreezesIsCounted) {
    m.mtpmr(kPmlca0, kInstructions);
    m.execute(5);
    m.mtpmr(kPmgc0, kFAC);
    m.execute(5);
    EXPECT_EQ(m.get(kPmc0), 6u);
}

TEST_F(PerfMonRule, CountingFromAWrittenValueBeginsWithTheNextInstruction) {
    m.mtpmr(kPmlca0, kInstructions);
    m.execute(5);
    m.mtpmr(kPmc0, 1000);
    EXPECT_EQ(m.get(kPmc0), 1000u);
    m.execute(1);
    EXPECT_EQ(m.get(kPmc0), 1001u);
}

TEST_F(PerfMonRule, ChangingTheEventKeepsTheCount) {
    m.mtpmr(kPmlca0, kInstructions);
    m.execute(5);
    m.mtpmr(kPmlca0, selects(8));
    m.execute(5);
    m.add(Total::Branches, 2);
    EXPECT_EQ(m.get(kPmc0), 8u);
}

TEST_F(PerfMonRule, AWriteThatIsRefusedDoesNotCountTheMtpmr) {
    m.mtpmr(kPmlca0, kInstructions);
    EXPECT_FALSE(m.pm.can_write(kUserPmc0));
    EXPECT_FALSE(m.mtpmr(kUserPmc0, 0));
    --m.state.totals[Total::Instructions];  // it ended in a program interrupt
    EXPECT_EQ(m.get(kPmc0), 0u);
    m.execute(1);
    EXPECT_EQ(m.get(kPmc0), 1u);
}

TEST_F(PerfMonRule, AnInstructionTakenBackIsNotCountedTwice) {
    m.mtpmr(kPmlca0, kInstructions);
    m.set(kPmlca0 + 1, selects(82));
    m.execute(5);
    EXPECT_EQ(m.get(kPmc0), 5u);
    --m.state.totals[Total::Instructions];
    EXPECT_EQ(m.get(kPmc0), 5u);
    m.execute(3);
    EXPECT_EQ(m.get(kPmc0), 7u);
    EXPECT_EQ(m.get(kPmc0 + 1), 0u);
}

// ---- Freezing (7.2.1, 7.2.3, 7.5.1) ----

TEST_F(PerfMonRule, FacFreezesAllCounters) {
    for (unsigned n = 0; n < 4; ++n)
        m.set(kPmlca0 + n, kInstructions);
    m.set(kPmgc0, kFAC);
    m.execute(100);
    for (unsigned n = 0; n < 4; ++n)
        EXPECT_EQ(m.get(kPmc0 + n), 0u);
}

TEST_F(PerfMonRule, FcFreezesOneCounter) {
    m.set(kPmlca0, kInstructions | kFC);
    m.set(kPmlca0 + 1, kInstructions);
    m.execute(100);
    EXPECT_EQ(m.get(kPmc0), 0u);
    EXPECT_EQ(m.get(kPmc0 + 1), 100u);
}

TEST_F(PerfMonRule, FacLeavesFcAsItIs) {
    m.set(kPmlca0, kInstructions | kFC);
    m.set(kPmgc0, kFAC);
    m.set(kPmgc0, 0);
    EXPECT_EQ(m.get(kPmlca0), kInstructions | kFC);
}

struct FreezeCase {
    const char* name;
    uint32_t bits, frozen_msr, counting_msr;

    friend void PrintTo(const FreezeCase& c, std::ostream* out) { *out << c.name; }
};

class FreezeBit : public testing::TestWithParam<FreezeCase> {};

TEST_P(FreezeBit, FreezesInItsStateOnly) {
    Machine m;
    const FreezeCase& c = GetParam();
    m.set_msr(c.frozen_msr);
    m.set(kPmlca0, kInstructions | c.bits);
    m.execute(7);
    EXPECT_EQ(m.get(kPmc0), 0u);
    m.set_msr(c.counting_msr);
    m.execute(20);
    m.set_msr(c.frozen_msr);
    m.execute(300);
    m.set_msr(c.counting_msr);
    m.execute(5);
    EXPECT_EQ(m.get(kPmc0), 25u);
}

INSTANTIATE_TEST_SUITE_P(PerfMonRule, FreezeBit,
                         testing::Values(FreezeCase{"FcsInSupervisorState", kFCS, 0, msr::kPR},
                                         FreezeCase{"FcuInUserState", kFCU, msr::kPR, 0},
                                         FreezeCase{"Fcm1WhileMarked", kFCM1, msr::kPMM, 0},
                                         FreezeCase{"Fcm0WhileNotMarked", kFCM0, 0, msr::kPMM},
                                         FreezeCase{"Fcgs1InGuestState", kFCGS1, msr::kGS, 0},
                                         FreezeCase{"Fcgs0InHypervisorState", kFCGS0, 0, msr::kGS},
                                         FreezeCase{"FcsAndFcm0TogetherNeedBoth", kFCS | kFCM0,
                                                    msr::kPR, msr::kPR | msr::kPMM}),
                         [](const auto& test) { return test.param.name; });

TEST_F(PerfMonRule, FcsAndFcuTogetherFreezeAlways) {
    m.set(kPmlca0, kInstructions | kFCS | kFCU);
    m.execute(10);
    m.set_msr(msr::kPR);
    m.execute(10);
    EXPECT_EQ(m.get(kPmc0), 0u);
}

TEST_F(PerfMonRule, AnInstructionThatChangesMsrCountsUnderTheMsrItRanWith) {
    m.set(kPmlca0, kInstructions | kFCU);
    m.set(kPmlca0 + 1, kInstructions | kFCS);
    m.execute(1);  // rfi
    m.set_msr(msr::kPR);
    m.execute(1);  // sc
    m.set_msr(0);
    EXPECT_EQ(m.get(kPmc0), 1u);
    EXPECT_EQ(m.get(kPmc0 + 1), 1u);
}

TEST_F(PerfMonRule, MsrChangesNobodyLooksAtAskForNothing) {
    m.set(kPmlca0, kInstructions | kCE | kFCM1);
    m.set(kPmgc0, kPMIE);
    m.check_requested();
    m.set_msr(msr::kPR | msr::kEE);
    EXPECT_FALSE(m.check_requested());
    m.set_msr(msr::kPR | msr::kEE | msr::kPMM);
    m.set_msr(msr::kPR | msr::kEE);
    EXPECT_TRUE(m.check_requested());
}

TEST_F(PerfMonRule, AnOverflowFoundAtAnMsrChangeAsksTheEngineBack) {
    m.set(kPmlca0, kInstructions | kCE | kFCU);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x7fffffff);
    m.check_requested();
    m.execute(1);
    m.set_msr(msr::kPR);
    EXPECT_TRUE(m.pm.interrupt_pending());
    EXPECT_TRUE(m.check_requested());
}

// ---- Overflow, FCECE, PMIE (7.2.7, 7.4) ----

TEST_F(PerfMonRule, OverflowIsTheMostSignificantBit) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x7ffffffe);
    m.execute(1);
    EXPECT_FALSE(m.pending());
    m.execute(1);
    EXPECT_TRUE(m.pending());
}

TEST_F(PerfMonRule, ACounterWrapsToZero) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmc0, 0xffffffff);
    m.execute(1);
    EXPECT_EQ(m.get(kPmc0), 0u);
}

TEST_F(PerfMonRule, WithoutCeAnOverflowIsNoCondition) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmgc0, kPMIE | kFCECE);
    m.set(kPmc0, 0x7fffffff);
    EXPECT_EQ(m.pm.instructions_to_event(), kNever);
    m.execute(10);
    EXPECT_FALSE(m.pending());
    EXPECT_EQ(m.get(kPmc0), 0x80000009u);
}

TEST_F(PerfMonRule, WithoutPmieAnOverflowIsNotSignalled) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmc0, 0x7fffffff);
    m.execute(10);
    EXPECT_FALSE(m.pending());
    m.set(kPmgc0, kPMIE);
    EXPECT_TRUE(m.pending());
}

TEST_F(PerfMonRule, TheInterruptIsPendingWhileTheConditionHolds) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x80000000);
    m.execute(1000);
    EXPECT_TRUE(m.pending());
    m.pm.interrupt_taken();
    EXPECT_TRUE(m.pending());
}

TEST_F(PerfMonRule, WritingThePmcTakesThePendingInterruptAway) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x80000000);
    m.mtpmr(kPmc0, 0);
    EXPECT_FALSE(m.pending());
}

TEST_F(PerfMonRule, ClearingCeTakesThePendingInterruptAway) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x80000000);
    m.mtpmr(kPmlca0, kInstructions);
    EXPECT_FALSE(m.pending());
}

TEST_F(PerfMonRule, ClearingPmieTakesThePendingInterruptAway) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x80000000);
    m.mtpmr(kPmgc0, 0);
    EXPECT_FALSE(m.pending());
}

TEST_F(PerfMonRule, WrappingTakesThePendingInterruptAway) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0xfffffff0);
    m.execute(15);
    EXPECT_TRUE(m.pending());
    m.execute(1);
    EXPECT_FALSE(m.pending());
}

TEST_F(PerfMonRule, WritingAnOverflowedValueSignalsAtOnce) {
    m.set(kPmlca0, kInstructions | kCE | kFC);
    m.set(kPmgc0, kPMIE);
    m.check_requested();
    m.mtpmr(kPmc0, 0x80000000);
    EXPECT_TRUE(m.pm.interrupt_pending());
    EXPECT_TRUE(m.check_requested());
}

TEST_F(PerfMonRule, FceceFreezesAllCountersAtTheOverflow) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmlca0 + 1, selects(8));
    m.set(kPmc0, 0x7ffffffd);
    m.set(kPmgc0, kFCECE);
    EXPECT_EQ(m.pm.instructions_to_event(), 3u);
    m.execute(3);
    m.add(Total::Branches, 2);
    m.pm.sync();
    m.execute(50);
    m.add(Total::Branches, 20);
    EXPECT_EQ(m.get(kPmgc0), kFAC | kFCECE);
    EXPECT_EQ(m.get(kPmc0), 0x80000000u);
    EXPECT_EQ(m.get(kPmc0 + 1), 2u);
    EXPECT_FALSE(m.pending());
}

TEST_F(PerfMonRule, FceceAndPmieFreezeAndSignal) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmc0, 0x7fffffff);
    m.set(kPmgc0, kFCECE | kPMIE);
    m.execute(1);
    EXPECT_TRUE(m.pending());
    EXPECT_EQ(m.get(kPmgc0), kFAC | kFCECE | kPMIE);
}

TEST_F(PerfMonRule, SoftwareClearsFacOnceTheConditionIsGone) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmc0, 0x7fffffff);
    m.set(kPmgc0, kFCECE);
    m.execute(1);
    m.mtpmr(kPmc0, 0);
    EXPECT_EQ(m.get(kPmgc0), kFAC | kFCECE);
    m.mtpmr(kPmgc0, kFCECE);
    m.execute(4);
    EXPECT_EQ(m.get(kPmgc0), kFCECE);
    EXPECT_EQ(m.get(kPmc0), 4u);
}

TEST_F(PerfMonRule, FacCannotBeClearedUnderFceceWhileTheConditionHolds) {
    m.set(kPmlca0, kInstructions | kCE | kFC);
    m.set(kPmc0, 0x80000000);
    m.mtpmr(kPmgc0, kFCECE);
    EXPECT_EQ(m.get(kPmgc0), kFAC | kFCECE);
}

TEST_F(PerfMonRule, AFrozenCounterInOverflowStillSignals) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmc0, 0x7fffffff);
    m.set(kPmgc0, kPMIE);
    m.execute(1);
    m.mtpmr(kPmlca0, kInstructions | kCE | kFC);
    EXPECT_TRUE(m.pending());
}

// ---- Deadlines ----

TEST_F(PerfMonRule, ADeadlineOfInstructionsIsExact) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x80000000 - 12345);
    EXPECT_EQ(m.pm.instructions_to_event(), 12345u);
    m.execute(12344);
    EXPECT_FALSE(m.pending());
    EXPECT_EQ(m.pm.instructions_to_event(), 1u);
}

TEST_F(PerfMonRule, ADeadlineOfLoadsAllowsForMultiples) {
    m.set(kPmlca0, selects(9) | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x80000000 - 100);
    EXPECT_EQ(m.pm.instructions_to_event(), 4u);
    m.add(Total::Loads, 68);
    m.pm.sync();
    EXPECT_EQ(m.pm.instructions_to_event(), 1u);
}

// The timing model's cycles have no bound an instruction: the model is asked to wait for them.
TEST_F(PerfMonRule, ADeadlineOfCyclesIsOneInInstructionsUnlessTheTimingModelHasIt) {
    m.set(kPmlca0, selects(1) | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x80000000 - 1000);
    EXPECT_EQ(m.pm.instructions_to_event(), 1000u);
    m.state.model.always = timing_part::kAll;
    EXPECT_EQ(m.pm.instructions_to_event(), kNever);
}

TEST_F(PerfMonRule, TheNearestOfSeveralDeadlinesCounts) {
    for (unsigned n = 0; n < 4; ++n) {
        m.set(kPmlca0 + n, kInstructions | kCE);
        m.set(kPmc0 + n, 0x80000000 - 100 * (4 - n));
    }
    m.set(kPmgc0, kPMIE);
    EXPECT_EQ(m.pm.instructions_to_event(), 100u);
    m.set(kPmlca0 + 3, kInstructions | kCE | kFCS);
    EXPECT_EQ(m.pm.instructions_to_event(), 200u);
}

TEST_F(PerfMonRule, AFrozenOrOverflowedCounterHasNoDeadline) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmgc0, kPMIE | kFAC);
    EXPECT_EQ(m.pm.instructions_to_event(), kNever);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x80000000);
    EXPECT_EQ(m.pm.instructions_to_event(), kNever);
}

TEST_F(PerfMonRule, AnEffectiveWriteAsksTheEngineBack) {
    m.check_requested();
    m.mtpmr(kPmc0, 5);
    EXPECT_TRUE(m.check_requested());
}

// ---- Events that are not there ----

TEST_F(PerfMonRule, AnEventThatIsNotThereCountsNothing) {
    m.set(kPmgc0, kPMIE | kFCECE);
    m.set(kPmlca0 + 1, kInstructions);
    for (unsigned code = 0; code < 256; ++code) {
        const Event* row = find_event(code);
        if (row && row->max_per_instruction) continue;
        m.set(kPmc0, 0x7fffffff);
        m.set(kPmlca0, selects(code) | kCE);
        EXPECT_EQ(m.pm.instructions_to_event(), kNever) << code;
        for (auto& total : m.state.totals.value)
            total += 1000;
        EXPECT_EQ(m.get(kPmc0), 0x7fffffffu) << code;
    }
    EXPECT_EQ(m.get(kPmgc0), kPMIE | kFCECE);
    EXPECT_GT(m.get(kPmc0 + 1), 0u);
}

// ---- Availability (KVM_RESERVE_PERFMON) ----

TEST_F(PerfMonRule, WhileNotReservedReadsGiveZeroAndWritesAreIgnored) {
    m.pm.set_available(false);
    for (unsigned pmr = 0; pmr < 1024; ++pmr) {
        const bool exists = m.pm.read(pmr).has_value();
        EXPECT_EQ(m.pm.write(pmr, 0xffffffff), exists && PerfMon::is_supervisor(pmr)) << pmr;
        EXPECT_EQ(m.pm.read(pmr).value_or(0), 0u) << pmr;
    }
    EXPECT_FALSE(m.pm.read(20));
    m.execute(1000);
    EXPECT_EQ(m.get(kPmc0), 0u);
}

TEST_F(PerfMonRule, WhileNotReservedNothingIsEverPending) {
    m.pm.set_available(false);
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmgc0, kPMIE | kFCECE | kTBEE);
    m.set(kPmc0, 0x80000000);
    m.pm.time_base_event();
    EXPECT_FALSE(m.pending());
    EXPECT_EQ(m.pm.instructions_to_event(), kNever);
    EXPECT_EQ(m.pm.next_time_base_event(0), kNever);
}

TEST_F(PerfMonRule, LosingTheReservationResets) {
    m.set(kPmlca0, kInstructions | kCE);
    m.set(kPmgc0, kPMIE);
    m.set(kPmc0, 0x80000000);
    m.pm.set_available(false);
    EXPECT_FALSE(m.pending());
    m.pm.set_available(true);
    EXPECT_EQ(m.get(kPmc0), 0u);
    EXPECT_EQ(m.get(kPmlca0), 0u);
    EXPECT_EQ(m.get(kPmgc0), 0u);
    EXPECT_FALSE(m.pending());
}

// ---- Save and restore ----

TEST_F(PerfMonRule, WhatNoRegisterShowsCanBeSavedToo) {
    m.set(kPmlca0, kInstructions);
    m.set(kPmlcb0, 0x88000000);
    m.set(kPmlcb0 + 1, 0x90000000);
    m.set(kPmgc0, kPMIE | kTBEE);
    m.pm.time_base_event();
    m.pm.debug_notify(1);
    EXPECT_EQ(m.pm.hidden_state(), pm_state::kTimeBase | 2);

    Machine other;
    other.pm.restore_hidden_state(m.pm.hidden_state());
    for (unsigned pmr = 0; pmr < 1024; ++pmr)
        if (const auto value = m.pm.read(pmr)) other.pm.restore(pmr, *value);
    EXPECT_EQ(other.pm.hidden_state(), pm_state::kTimeBase | 2);
    EXPECT_TRUE(other.pending());
    other.execute(10);
    EXPECT_EQ(other.get(kPmc0), 10u);
    other.pm.interrupt_taken();
    EXPECT_FALSE(other.pending());
}

TEST_F(PerfMonRule, ReadingAndWritingBackEveryRegisterChangesNothing) {
    m.set(kPmc0, 0x7ffffff0);
    m.set(kPmlca0, kInstructions | kCE | kFCM1);
    m.set(kPmlca0 + 1, selects(8));
    m.set(kPmlca0 + 2, selects(83));
    m.set(kPmlcb0, 0x123);
    m.set(kPmgc0, kPMIE | kFCECE | kTBEE);
    m.execute(7);
    m.add(Total::Branches, 3);
    for (unsigned pmr = 0; pmr < 1024; ++pmr)
        if (const auto value = m.pm.read(pmr)) m.pm.write(pmr, *value);
    EXPECT_EQ(m.pm.instructions_to_event(), 9u);
    m.execute(9);
    EXPECT_TRUE(m.pending());
    EXPECT_EQ(m.get(kPmc0), 0x80000000u);
    EXPECT_EQ(m.get(kPmc0 + 1), 3u);
    EXPECT_EQ(m.get(kPmlcb0), 0x123u);
    EXPECT_EQ(m.get(kPmgc0), kFAC | kPMIE | kFCECE | kTBEE);
}

}  // namespace
}  // namespace perfvisor::core
