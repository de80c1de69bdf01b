// SPDX-License-Identifier: GPL-2.0-or-later
// The performance monitor's rules as guest code meets them, one test each, named after the rule
// (docs/perfmon.md). tests/core/perfmon_rules_test.cpp has the same rules without an engine.
// Section numbers are those of the e500 core family manual, chapter 7.
#include "isa/operands.h"
#include "perfmon_guest.h"

using namespace perfvisor;
using namespace perfvisor::test;
using namespace perfvisor::core::pmgc0;
using namespace perfvisor::core::pmlca;
using core::Interrupt;
using core::Total;
namespace msr = core::msr;
namespace trigger = core::trigger;

namespace {

class PmRule : public testing::Test {
  protected:
    PmGuest guest;
};

std::string number(uint64_t n) {
    return std::to_string(n);
}

// mtmsr of what MSR is, with `set` set and `cleared` cleared; uses r3 and r4.
std::string change_msr(uint32_t set, uint32_t cleared) {
    return " mfmsr r3\n li32 r4," + number(set) + "\n or r3,r3,r4\n li32 r4," + number(cleared) +
           "\n andc r3,r3,r4\n mtmsr r3\n";
}

// To user mode behind it; uses r3 and r4.
const std::string kToUser = R"(
    mfmsr r3
    ori r3,r3,0x4000
    mtspr 27,r3
    bl user
    user: mflr r4
    addi r4,r4,16
    mtspr 26,r4
    rfi
)";

constexpr const char* kSpinTo2000 = " li r5,1000\n mtctr r5\n spin: nop\n bdnz spin\n";

// mtspr DEVENT with DVTn; uses r3.
std::string notify(unsigned n) {
    return " li r3," + number(0x80 >> n) + "\n mtspr 975,r3\n";
}

}  // namespace

// ---- Access (7.2) ----

TEST_F(PmRule, UserModeReadsTheUserRegisters) {
    guest.set(kPmc0 + 2, 1234);
    guest.set(kPmlca0 + 1, kFC | selects(5));
    guest.set(kPmlcb0 + 3, 0x13f);
    guest.set(kPmgc0, kTBEE);
    guest.handler(Interrupt::SystemCall, "wait 0");
    ASSERT_TRUE(
        guest.runs(kToUser + "mfpmr r10,2\n mfpmr r11,129\n mfpmr r12,259\n mfpmr r13,384\n sc 0"));
    EXPECT_EQ(guest.gpr(10), 1234u);
    EXPECT_EQ(guest.gpr(11), kFC | selects(5));
    EXPECT_EQ(guest.gpr(12), 0x13fu);
    EXPECT_EQ(guest.gpr(13), kTBEE);
}

TEST_F(PmRule, SupervisorNumbersAreForbiddenInUserMode) {
    for (const char* access : {"mfpmr r10,16", "mtpmr 16,r10", "mfpmr r10,400", "mtpmr 400,r10",
                               "mfpmr r10,22", "mtpmr 1023,r10"}) {
        guest.reset();
        guest.handler(Interrupt::Program, "mfspr r20,62\n wait 0");
        ASSERT_TRUE(guest.runs(kToUser + access));
        EXPECT_EQ(guest.gpr(20), core::esr::kPPR) << access;
    }
}

TEST_F(PmRule, UserRegistersCannotBeWrittenInEitherMode) {
    for (const std::string& mode : {std::string(), kToUser})
        for (const char* access : {"mtpmr 0,r10", "mtpmr 131,r10", "mtpmr 384,r10"}) {
            guest.reset();
            guest.handler(Interrupt::Program, "mfspr r20,62\n wait 0");
            ASSERT_TRUE(guest.runs(mode + access));
            EXPECT_EQ(guest.gpr(20), core::esr::kPIL) << access;
        }
}

TEST_F(PmRule, NumbersThatDoNotExistAreIllegal) {
    for (const char* access : {"mfpmr r10,4", "mfpmr r10,20", "mtpmr 20,r10", "mtpmr 148,r10",
                               "mfpmr r10,401", "mfpmr r10,1023"}) {
        guest.reset();
        guest.handler(Interrupt::Program, "mfspr r20,62\n wait 0");
        ASSERT_TRUE(guest.runs(access));
        EXPECT_EQ(guest.gpr(20), core::esr::kPIL) << access;
    }
}

TEST_F(PmRule, ReservedBitsReadZero) {
    std::string text = " li r3,-1\n";
    for (const unsigned pmr : {kPmlca0, kPmlcb0, kPmc0, kPmgc0})
        text += " mtpmr " + number(pmr) + ",r3\n";
    ASSERT_TRUE(guest.runs(text + "mfpmr r10,144\n mfpmr r11,272\n mfpmr r12,16\n mfpmr r13,400\n"
                                  "wait 0"));
    EXPECT_EQ(guest.gpr(10), 0xfcff0003u);
    EXPECT_EQ(guest.gpr(11), 0xff80e73fu);
    EXPECT_EQ(guest.gpr(12), 0xffffffffu);
    EXPECT_EQ(guest.gpr(13), 0xe0001900u);
}

TEST_F(PmRule, CountersRunAfterResetAsSoonAsAnEventIsSelected) {
    ASSERT_TRUE(guest.runs("nop\n nop\n" + set_pmr(kPmlca0, selects(kInstructions)) +
                           "nop\n nop\n mfpmr r10,16\n wait 0"));
    EXPECT_EQ(guest.gpr(10), 2u);
}

// ---- Freezing (7.2.1, 7.2.3, 7.5.1) ----

TEST_F(PmRule, FacFreezesAllCounters) {
    std::string text;
    for (unsigned n = 0; n < 4; ++n)
        text += set_pmr(kPmlca0 + n, selects(kInstructions));
    for (unsigned n = 0; n < 4; ++n)
        guest.set(kPmc0 + n, 0);
    guest.set(kPmgc0, kFAC);
    ASSERT_TRUE(guest.runs(text + repeat(50, "nop") + "wait 0"));
    for (unsigned n = 0; n < 4; ++n)
        EXPECT_EQ(guest.pmc(n), 0u);
}

TEST_F(PmRule, FcFreezesOneCounter) {
    guest.set(kPmlca0, selects(kInstructions) | kFC);
    guest.set(kPmlca0 + 1, selects(kInstructions));
    ASSERT_TRUE(guest.runs(repeat(50, "nop") + "mfpmr r10,16\n mfpmr r11,17\n wait 0"));
    EXPECT_EQ(guest.gpr(10), 0u);
    EXPECT_EQ(guest.gpr(11), 51u);
}

TEST_F(PmRule, FcsFreezesInSupervisorStateAndFcuInUserState) {
    guest.set(kPmlca0, selects(kInstructions) | kFCS);
    guest.set(kPmlca0 + 1, selects(kInstructions) | kFCU);
    guest.set(kPmlca0 + 2, selects(kInstructions) | kFCS | kFCU);
    guest.handler(Interrupt::SystemCall, "nop\n nop\n wait 0");
    ASSERT_TRUE(guest.runs(kToUser + repeat(7, "nop") + "sc 0"));
    EXPECT_EQ(guest.pmc(0), 7u + 1);
    EXPECT_EQ(guest.pmc(1), length(kToUser) + 3);
    EXPECT_EQ(guest.pmc(2), 0u);
}

TEST_F(PmRule, Fcm1FreezesWhileMarkedAndFcm0WhileNotMarked) {
    guest.set(kPmlca0, selects(kInstructions) | kFCM1);
    guest.set(kPmlca0 + 1, selects(kInstructions) | kFCM0);
    guest.set(kPmlca0 + 2, selects(kInstructions) | kFCM0 | kFCM1);
    const std::string mark = change_msr(msr::kPMM, 0), unmark = change_msr(0, msr::kPMM);
    ASSERT_TRUE(guest.runs(mark + repeat(30, "nop") + unmark + repeat(5, "nop") + "wait 0"));
    // The mtmsr counts under the MSR that it was executed with.
    EXPECT_EQ(guest.pmc(0), length(mark) + 5 + 1);
    EXPECT_EQ(guest.pmc(1), 30 + length(unmark));
    EXPECT_EQ(guest.pmc(2), 0u);
}

TEST_F(PmRule, AnInterruptClearsTheMarkAndRfiBringsItBack) {
    guest.set(kPmlca0, selects(kInstructions) | kFCM0);
    guest.handler(Interrupt::SystemCall, repeat(20, "nop") + "rfi");
    const std::string mark = change_msr(msr::kPMM, 0);
    ASSERT_TRUE(guest.runs(mark + "nop\n sc 0\n nop\n nop\n mfpmr r10,16\n wait 0"));
    EXPECT_EQ(guest.gpr(10), 4u);
}

TEST_F(PmRule, Fcgs0FreezesOutsideGuestState) {
    // This core has no category E.HV: MSR[GS] is 0 for ever.
    guest.set(kPmlca0, selects(kInstructions) | kFCGS0);
    guest.set(kPmlca0 + 1, selects(kInstructions) | kFCGS1);
    ASSERT_TRUE(guest.runs(change_msr(msr::kGS, 0) + repeat(9, "nop") +
                           "mfpmr r10,16\n mfpmr r11,17\n mfmsr r12\n wait 0"));
    EXPECT_EQ(guest.gpr(10), 0u);
    EXPECT_EQ(guest.gpr(11), length(change_msr(0, 0)) + 9 + 1);
    EXPECT_EQ(guest.gpr(12) & msr::kGS, 0u);
}

// ---- Overflow and its interrupt (7.2.7, 7.4) ----

TEST_F(PmRule, FceceFreezesAllCountersAtTheOverflowingInstruction) {
    guest.set(kPmlca0, selects(kInstructions) | kCE);
    guest.set(kPmlca0 + 1, selects(kLoads));
    guest.set(kPmc0, 0x80000000 - 21);
    guest.set(kPmgc0, kFCECE);
    guest.state().gpr[5] = Guest::kData;
    ASSERT_TRUE(guest.runs(repeat(10, "lwz r6,0(r5)\n nop") + "lwz r6,0(r5)\n lwz r6,0(r5)\n" +
                           repeat(20, "nop") + "wait 0"));
    EXPECT_EQ(guest.pmc(0), 0x80000000u);
    EXPECT_EQ(guest.pmc(1), 11u);
    EXPECT_EQ(guest.get(kPmgc0), kFAC | kFCECE);
}

TEST_F(PmRule, WritingAnOverflowedValueInterruptsBehindTheMtpmr) {
    guest.set(kPmlca0, selects(kInstructions) | kCE);
    guest.set(kPmgc0, kPMIE);
    guest.handler(Interrupt::PerformanceMonitor, "mfspr r20,26\n wait 0");
    const std::string text = "wrteei 1\n" + set_pmr(kPmc0, 0x80000000);
    ASSERT_TRUE(guest.runs(text + "nop\n nop\n wait 0"));
    EXPECT_EQ(guest.gpr(20), Guest::kCode + 4 * length(text));
}

TEST_F(PmRule, AFrozenCounterInOverflowStillInterrupts) {
    guest.set(kPmlca0, selects(kInstructions) | kCE | kFC);
    guest.set(kPmgc0, kPMIE | kFAC);
    guest.handler(Interrupt::PerformanceMonitor, "li r20,1\n wait 0");
    ASSERT_TRUE(guest.runs("wrteei 1\n" + set_pmr(kPmc0, 0xffffffff) + "nop\n wait 0"));
    EXPECT_EQ(guest.gpr(20), 1u);
}

TEST_F(PmRule, WithMsrEeOffTheInterruptStaysPending) {
    guest.set(kPmlca0, selects(kInstructions) | kCE);
    guest.set(kPmc0, 0x80000000 - 3);
    guest.set(kPmgc0, kPMIE);
    guest.handler(Interrupt::PerformanceMonitor, "mfspr r20,26\n mfpmr r21,16\n wait 0");
    ASSERT_TRUE(guest.runs(repeat(100, "nop") + "wrteei 1\n nop\n wait 0"));
    EXPECT_EQ(guest.gpr(20), Guest::kCode + 4 * 101);
    EXPECT_EQ(guest.gpr(21), 0x80000000u - 3 + 102);
}

namespace {

// Overflows with MSR[EE] 0, does `text`, sets EE; whether the interrupt was taken.
bool interrupts_after(const std::string& text, uint32_t count = 0x80000000 - 3) {
    PmGuest guest;
    guest.set(kPmlca0, selects(kInstructions) | kCE);
    guest.set(kPmc0, count);
    guest.set(kPmgc0, kPMIE);
    guest.handler(Interrupt::PerformanceMonitor, "li r20,1\n wait 0");
    EXPECT_TRUE(guest.runs(repeat(10, "nop") + text + "wrteei 1\n nop\n nop\n wait 0"));
    return guest.gpr(20) == 1;
}

}  // namespace

TEST_F(PmRule, WritingThePmcOutOfOverflowTakesThePendingInterruptAway) {
    EXPECT_TRUE(interrupts_after("nop\n"));
    EXPECT_FALSE(interrupts_after(set_pmr(kPmc0, 5)));
    EXPECT_TRUE(interrupts_after(set_pmr(kPmc0, 0x80000005)));
}

TEST_F(PmRule, ClearingCeTakesThePendingInterruptAway) {
    EXPECT_FALSE(interrupts_after(set_pmr(kPmlca0, selects(kInstructions))));
    EXPECT_TRUE(interrupts_after(set_pmr(kPmlca0, selects(kBranches) | kCE)));
}

TEST_F(PmRule, ClearingPmieTakesThePendingInterruptAway) {
    EXPECT_FALSE(interrupts_after(set_pmr(kPmgc0, 0)));
    EXPECT_TRUE(interrupts_after(set_pmr(kPmgc0, 0) + set_pmr(kPmgc0, kPMIE)));
}

TEST_F(PmRule, WrappingTakesThePendingInterruptAway) {
    EXPECT_FALSE(interrupts_after("", 0xffffffff - 5));
    EXPECT_TRUE(interrupts_after("", 0xffffffff - 15));
}

TEST_F(PmRule, TakingTheInterruptChangesNoPmr) {
    guest.set(kPmlca0, selects(kInstructions) | kCE);
    guest.set(kPmc0, 0x7fffffff);
    guest.set(kPmgc0, kPMIE);
    guest.handler(Interrupt::PerformanceMonitor, "mfpmr r20,400\n mfpmr r21,144\n wait 0");
    ASSERT_TRUE(guest.runs("wrteei 1\n nop\n wait 0"));
    EXPECT_EQ(guest.gpr(20), kPMIE);
    EXPECT_EQ(guest.gpr(21), selects(kInstructions) | kCE);
}

TEST_F(PmRule, WhileTheConditionHoldsTheInterruptComesAgain) {
    guest.set(kPmlca0, selects(kInstructions) | kCE | kFC);
    guest.set(kPmc0, 0x80000000);
    guest.set(kPmgc0, kPMIE);
    // The first three times the handler leaves the cause as it is.
    guest.handler(Interrupt::PerformanceMonitor,
                  "addi r20,r20,1\n cmpwi r20,4\n blt out\n li r21,0\n mtpmr 16,r21\n out: rfi");
    ASSERT_TRUE(guest.runs("wrteei 1\n nop\n nop\n wait 0"));
    EXPECT_EQ(guest.gpr(20), 4u);
}

TEST_F(PmRule, TheInterruptIsBelowTheFixedIntervalTimerAndAboveTheDecrementer) {
    for (const auto& [kind, id, undo] :
         {std::tuple{Interrupt::FixedIntervalTimer, 1, " lis r31,0x0400\n mtspr 336,r31\n"},
          std::tuple{Interrupt::PerformanceMonitor, 2, " li r31,0\n mtpmr 16,r31\n"},
          std::tuple{Interrupt::Decrementer, 3, " lis r31,0x0800\n mtspr 336,r31\n"},
          std::tuple{Interrupt::Doorbell, 4, ""}})
        guest.log_interrupts(kind, " li r30," + number(id) + "\n", undo);
    guest.log_interrupts(Interrupt::ExternalInput, " li r30,0\n", "");
    guest.set(kPmlca0, selects(kInstructions) | kCE);
    guest.set(kPmc0, 0x7fffffff);
    guest.set(kPmgc0, kPMIE);
    // DIE, FIE; TSR[DIS] and [FIS] set from outside, a doorbell.
    guest.core().timers().set_tsr(0x0c000000);
    guest.core().timers().write_tcr(0x04800000);
    guest.core().post_doorbell(false);
    ASSERT_TRUE(guest.runs("li r28,0\n nop\n wrteei 1\n nop\n wait 0"));
    EXPECT_EQ(guest.logged(), (std::vector<uint32_t>{1, 2, 3, 4}));
}

TEST_F(PmRule, TheInterruptIsBelowTheExternalInput) {
    guest.handler(Interrupt::ExternalInput, "wait 0");
    guest.handler(Interrupt::PerformanceMonitor, "li r20,1\n wait 0");
    guest.set(kPmlca0, selects(kInstructions) | kCE);
    guest.set(kPmc0, 0x80000000);
    guest.set(kPmgc0, kPMIE);
    guest.core().set_line(core::Line::External, true);
    ASSERT_TRUE(guest.runs("nop\n wrteei 1\n nop\n wait 0"));
    EXPECT_EQ(guest.gpr(20), 0u);
    EXPECT_EQ(guest.total(Total::ExternalInterrupts), 1u);
}

TEST_F(PmRule, AnOverflowEndsAWait) {
    guest.handler(Interrupt::PerformanceMonitor, "mfspr r20,26\n self: b self");
    guest.set(kPmlca0, selects(kInstructions) | kCE);
    guest.set(kPmc0, 0x80000000 - 5);
    guest.set(kPmgc0, kPMIE);
    guest.program("wrteei 1\n nop\n nop\n nop\n wait 0\n nop");
    // The wait itself is the overflowing instruction: the interrupt is taken behind it.
    EXPECT_FALSE(guest.run(100));
    EXPECT_EQ(guest.gpr(20), Guest::kCode + 20);
}

// ---- Chaining (7.6.1) ----

TEST_F(PmRule, AChainedCounterCountsTheWrapsOfAnother) {
    guest.set(kPmc0, 0xffffffff - 9);
    guest.set(kPmlca0, selects(kInstructions));
    guest.set(kPmlca0 + 1, selects(82));
    guest.set(kPmc0 + 1, 0x7fffffff);
    guest.set(kPmlca0 + 3, selects(83));  // of a counter that does not wrap
    ASSERT_TRUE(
        guest.runs(repeat(9, "nop") + "mfpmr r10,17\n mfpmr r11,17\n mfpmr r12,19\n wait 0"));
    EXPECT_EQ(guest.gpr(10), 0x7fffffffu);
    EXPECT_EQ(guest.gpr(11), 0x80000000u);
    EXPECT_EQ(guest.gpr(12), 0u);
}

TEST_F(PmRule, AChainOverflowsAtTheInstructionThatWraps) {
    guest.set(kPmc0, 0xffffffff - 30);
    guest.set(kPmlca0, selects(kInstructions));
    guest.set(kPmlca0 + 1, selects(82) | kCE);
    guest.set(kPmc0 + 1, 0x7fffffff);
    guest.set(kPmgc0, kPMIE | kFCECE);
    guest.handler(Interrupt::PerformanceMonitor, "mfspr r20,26\n wait 0");
    ASSERT_TRUE(guest.runs("wrteei 1\n" + repeat(100, "nop") + "wait 0"));
    EXPECT_EQ(guest.gpr(20), Guest::kCode + 4 * 31);
    EXPECT_EQ(guest.pmc(0), 0u);
    EXPECT_EQ(guest.pmc(1), 0x80000000u);
}

TEST_F(PmRule, AWriteToThePmcIsNoWrap) {
    guest.set(kPmc0, 0xfffffff0);
    guest.set(kPmlca0, selects(kInstructions));
    guest.set(kPmlca0 + 1, selects(82));
    ASSERT_TRUE(guest.runs(set_pmr(kPmc0, 0) + "nop\n mfpmr r10,17\n wait 0"));
    EXPECT_EQ(guest.gpr(10), 0u);
}

// ---- Time base transitions (7.2.1) ----

TEST_F(PmRule, TbselChoosesTheTimeBaseBitOfTheTransition) {
    constexpr unsigned kBits[4] = {0, 8, 12, 16};
    for (uint32_t select = 0; select < 4; ++select) {
        guest.reset();
        guest.handler(Interrupt::PerformanceMonitor, "mfspr r20,268\n wait 0");
        ASSERT_TRUE(guest.runs(set_pmr(kPmgc0, kPMIE | kTBEE | select << 11) +
                               "mfspr r19,268\n wrteei 1\n loop: nop\n b loop"));
        // One tick an instruction: the interrupt is taken at the transition's very tick.
        const uint64_t half = 1u << kBits[select];
        EXPECT_EQ(guest.gpr(20) & (2 * half - 1), half) << select;
        EXPECT_LT(guest.gpr(20) - guest.gpr(19), 2 * half + 4) << select;
    }
}

TEST_F(PmRule, EachTransitionInterruptsOnce) {
    guest.log_interrupts(Interrupt::PerformanceMonitor, " mfspr r30,268\n", "");
    ASSERT_TRUE(guest.runs("li r28,0\n" + set_pmr(kPmgc0, kPMIE | kTBEE | 1 << 11) + "wrteei 1\n" +
                           kSpinTo2000 + "wait 0"));
    EXPECT_EQ(guest.logged(), (std::vector<uint32_t>{256, 256 + 512, 256 + 1024, 256 + 1536}));
}

TEST_F(PmRule, ATransitionFreezesUnderFcece) {
    guest.set(kPmlca0, selects(kInstructions));
    ASSERT_TRUE(guest.runs(set_pmr(kPmgc0, kFCECE | kTBEE | 1 << 11) +
                           "mfspr r19,268\n mfpmr r18,16\n" + kSpinTo2000 +
                           "mfpmr r20,400\n wait 0"));
    EXPECT_EQ(guest.gpr(20), kFAC | kFCECE | kTBEE | 1 << 11);
    EXPECT_EQ(guest.pmc(0), guest.gpr(18) + (256 - guest.gpr(19)) - 1);
}

TEST_F(PmRule, WithMsrEeOffATransitionStaysPending) {
    guest.handler(Interrupt::PerformanceMonitor, "li r20,1\n wait 0");
    ASSERT_TRUE(guest.runs(set_pmr(kPmgc0, kPMIE | kTBEE | 1 << 11) + kSpinTo2000 +
                           "li r20,0\n wrteei 1\n nop\n wait 0"));
    EXPECT_EQ(guest.gpr(20), 1u);
}

TEST_F(PmRule, ClearingTbeeOrPmieTakesAPendingTransitionAway) {
    for (const uint32_t left : {kPMIE, kTBEE}) {
        guest.reset();
        guest.handler(Interrupt::PerformanceMonitor, "li r20,1\n wait 0");
        ASSERT_TRUE(guest.runs(
            set_pmr(kPmgc0, kPMIE | kTBEE | kTBSEL) +
            " li32 r5,70000\n mtctr r5\n spin: bdnz spin\n" + set_pmr(kPmgc0, left | kTBSEL) +
            set_pmr(kPmgc0, kPMIE | kTBEE | kTBSEL) + "wrteei 1\n nop\n wait 0"));
        EXPECT_EQ(guest.gpr(20), 0u) << left;
    }
}

TEST_F(PmRule, ChangingTbselIsNoTransition) {
    guest.handler(Interrupt::PerformanceMonitor, "li r20,1\n wait 0");
    // From bit 47 to bit 55 while bit 55 is 1.
    ASSERT_TRUE(guest.runs(set_pmr(kPmgc0, kPMIE | kTBEE | 3 << 11) + repeat(290, "nop") +
                           set_pmr(kPmgc0, kPMIE | kTBEE | 1 << 11) + "wrteei 1\n nop\n wait 0"));
    EXPECT_EQ(guest.gpr(20), 0u);
}

// ---- Thresholds (7.2.5, 7.6.2) ----

namespace {

// A store to a device stands for a data line fill miss of so many cycles as it stores.
std::string misses(std::initializer_list<unsigned> cycles) {
    std::string text = " lis r5,0x0800\n";
    for (const unsigned n : cycles)
        text += " li r6," + number(n) + "\n stw r6,0(r5)\n";
    return text;
}

void let_stores_miss(PmGuest& guest) {
    guest.on_mmio = [&guest](core::MmioAccess& access) {
        uint32_t cycles;
        std::memcpy(&cycles, access.data, sizeof cycles);
        guest.core().perfmon().occurred(76, core::from_big_endian(cycles));
    };
}

}  // namespace

TEST_F(PmRule, AThresholdEventCountsWhatLastedLongerThanTheThreshold) {
    let_stores_miss(guest);
    guest.set(kPmlca0, selects(76));
    guest.set(kPmlcb0, 10);
    guest.set(kPmlca0 + 1, selects(76));
    ASSERT_TRUE(guest.runs(misses({1, 9, 10, 11, 300}) + "mfpmr r10,16\n mfpmr r11,17\n wait 0"));
    EXPECT_EQ(guest.gpr(10), 2u);
    EXPECT_EQ(guest.gpr(11), 5u);
}

TEST_F(PmRule, ThreshmulMultipliesTheThreshold) {
    let_stores_miss(guest);
    for (uint32_t multiple = 0; multiple < 8; ++multiple) {
        guest.reset();
        guest.set(kPmlca0 + 1, selects(76));
        guest.set(kPmlcb0 + 1, multiple << 8 | 3);
        const unsigned threshold = 3u << multiple;
        ASSERT_TRUE(guest.runs(misses({threshold - 1, threshold, threshold + 1}) +
                               "mfpmr r10,17\n wait 0"));
        EXPECT_EQ(guest.gpr(10), 1u) << multiple;
    }
}

TEST_F(PmRule, OnlyPmc0AndPmc1CountThresholdEvents) {
    let_stores_miss(guest);
    for (unsigned n = 0; n < 4; ++n)
        guest.set(kPmlca0 + n, selects(76));
    ASSERT_TRUE(guest.runs(misses({5, 5}) + "wait 0"));
    for (unsigned n = 0; n < 4; ++n)
        EXPECT_EQ(guest.pmc(n), n < 2 ? 2u : 0u);
}

TEST_F(PmRule, AThresholdEventInterruptsBehindTheInstructionItHappenedIn) {
    let_stores_miss(guest);
    guest.set(kPmlca0, selects(76) | kCE);
    guest.set(kPmlcb0, 4);
    guest.set(kPmc0, 0x7ffffffe);
    guest.set(kPmgc0, kPMIE);
    guest.handler(Interrupt::PerformanceMonitor, "mfspr r20,26\n wait 0");
    const std::string until = "wrteei 1\n" + misses({5, 1, 5});
    ASSERT_TRUE(guest.runs(until + "nop\n nop\n wait 0"));
    EXPECT_EQ(guest.gpr(20), Guest::kCode + 4 * length(until));
}

// ---- Triggers ----

TEST_F(PmRule, ACounterWaitsForItsTriggerOn) {
    guest.set(kPmlca0, selects(kInstructions));
    guest.set(kPmlcb0, on(trigger::kDvt0 + 5));
    ASSERT_TRUE(guest.runs(repeat(40, "nop") + notify(4) + repeat(40, "nop") + notify(5) +
                           repeat(12, "nop") + "wait 0"));
    EXPECT_EQ(guest.pmc(0), 12u + 1);
}

TEST_F(PmRule, ATriggerOffStopsTheCounter) {
    guest.set(kPmlca0, selects(kInstructions));
    guest.set(kPmlcb0, off(trigger::kDvt0));
    ASSERT_TRUE(guest.runs(repeat(40, "nop") + notify(0) + repeat(12, "nop") + "wait 0"));
    EXPECT_EQ(guest.pmc(0), 40u + 2);
}

TEST_F(PmRule, TriggersMarkAStretchOfCodeInUserMode) {
    guest.set(kPmlca0, selects(kInstructions));
    guest.set(kPmlcb0, on(trigger::kDvt0) | off(trigger::kDvt0 + 1));
    guest.handler(Interrupt::SystemCall, "wait 0");
    std::string text = kToUser;
    for (const unsigned n : {3u, 4u, 5u})
        text += notify(0) + repeat(n, "nop") + notify(1) + repeat(10, "nop");
    ASSERT_TRUE(guest.runs(text + "sc 0"));
    EXPECT_EQ(guest.pmc(0), 3u + 4 + 5 + 3 * 2);
}

TEST_F(PmRule, AWatchpointStartsOneCounterAndStopsAnotherAtTheVeryInstruction) {
    guest.set(kPmc0, 0x80000000 - 25);
    guest.set(kPmlcb0 + 1, on(trigger::kPmw0));
    guest.set(kPmlcb0 + 2, off(trigger::kPmw0));
    for (unsigned n = 0; n < 3; ++n)
        guest.set(kPmlca0 + n, selects(kInstructions));
    ASSERT_TRUE(guest.runs(repeat(100, "nop") + "mfpmr r10,17\n mfpmr r11,18\n wait 0"));
    EXPECT_EQ(guest.gpr(10), 75u);
    EXPECT_EQ(guest.gpr(11), 25u);
}

TEST_F(PmRule, PmpChoosesThePeriodOfTheWatchpoints) {
    // PMC0 counts loads; PMC1 counts instructions from the fourth to the sixteenth: PMP 6 is every
    // 16th count, PMP 7 each.
    guest.set(kPmlca0, selects(kLoads));
    guest.set(kPmlcb0, pmp(6));
    guest.set(kPmlca0 + 1, selects(kInstructions));
    guest.set(kPmlcb0 + 1, on(trigger::kPmw0 + 2) | off(trigger::kPmw0));
    guest.set(kPmlca0 + 2, selects(kStores));
    guest.set(kPmlcb0 + 2, pmp(7));
    guest.state().gpr[5] = Guest::kData;
    ASSERT_TRUE(guest.runs(repeat(4, "lwz r6,0(r5)") + "nop\n stw r6,0(r5)\n" +
                           repeat(20, "nop\n lwz r6,0(r5)") + "wait 0"));
    EXPECT_EQ(guest.pmc(1), 24u);
}

TEST_F(PmRule, PmccClearsTheCounterAtItsTriggerOn) {
    guest.set(kPmlca0, selects(kInstructions));
    guest.set(kPmlcb0, on(trigger::kDvt0) | off(trigger::kDvt0 + 1) | core::pmlcb::kPMCC);
    std::string text;
    for (const unsigned n : {30u, 20u, 10u})
        text += notify(0) + repeat(n, "nop") + notify(1);
    ASSERT_TRUE(guest.runs(text + "wait 0"));
    EXPECT_EQ(guest.pmc(0), 10u + 2);
}

TEST_F(PmRule, ACounterStartedByATriggerInterruptsAtTheVeryInstruction) {
    guest.set(kPmlca0, selects(kInstructions) | kCE);
    guest.set(kPmlcb0, on(trigger::kDvt0 + 7));
    guest.set(kPmc0, 0x80000000 - 17);
    guest.set(kPmgc0, kPMIE);
    guest.handler(Interrupt::PerformanceMonitor, "mfspr r20,26\n wait 0");
    const std::string before = "wrteei 1\n" + repeat(33, "nop") + notify(7);
    ASSERT_TRUE(guest.runs(before + repeat(100, "nop") + "wait 0"));
    EXPECT_EQ(guest.gpr(20), Guest::kCode + 4 * (length(before) + 17));
}

// ---- What is not there ----

TEST_F(PmRule, WithoutTheReservationDeventTriggersNothing) {
    guest.core().perfmon().set_available(false);
    ASSERT_TRUE(guest.runs(set_pmr(kPmlca0, selects(kInstructions)) +
                           set_pmr(kPmlcb0, on(trigger::kDvt0)) + notify(0) +
                           "nop\n mfpmr r10,16\n wait 0"));
    EXPECT_EQ(guest.gpr(10), 0u);
}

TEST_F(PmRule, ReservedEventsCountNothing) {
    guest.set(kPmgc0, kPMIE | kFCECE);
    for (const unsigned code : {0u, 6u, 7u, 71u, 75u, 90u, 200u, 255u}) {
        guest.set(kPmc0, 0x7fffffff);
        guest.set(kPmlca0, selects(code) | kCE);
        ASSERT_TRUE(guest.runs(repeat(20, "nop") + "wait 0"));
        EXPECT_EQ(guest.pmc(0), 0x7fffffffu) << code;
    }
}
