// SPDX-License-Identifier: GPL-2.0-or-later
// Debug events as a debugger under Linux uses them.
#include "core_fixture.h"

namespace perfvisor::core {
namespace {

struct DebugTest : CoreTest {
    DebugTest() {
        set_vectors();
        map_ram();
    }
    void arm(uint32_t events, uint32_t msr_bits = 0) {
        set_spr(spr::kDBCR0, dbcr0::kIDM | events);
        core.set_msr(msr::kDE | msr_bits);
    }
    // One instruction at 0x1000 as an engine executes it while events are armed.
    bool step(uint64_t next_pc, bool taken = false) {
        state.pc = 0x1000;
        if (core.debug_before()) return false;
        execute(1);
        if (taken) {
            ++state.totals[Total::Branches];
            state.lr = 0x1004;
        }
        state.pc = next_pc;
        core.debug_after(taken);
        return true;
    }
    bool in_handler() const { return state.pc == vector(Interrupt::Debug); }
};

TEST_F(DebugTest, NothingIsArmedWithoutBothIdmAndDe) {
    set_spr(spr::kDBCR0, dbcr0::kICMP);
    core.set_msr(msr::kDE);
    EXPECT_FALSE(core.debug_armed());
    set_spr(spr::kDBCR0, dbcr0::kIDM | dbcr0::kICMP);
    EXPECT_TRUE(core.debug_armed());
    EXPECT_EQ(core.instructions_to_deadline(1000), 1u);
    core.set_msr(0);
    EXPECT_FALSE(core.debug_armed());
}

TEST_F(DebugTest, SingleStepInterruptsAfterEachInstruction) {
    arm(dbcr0::kICMP, msr::kPR);
    EXPECT_TRUE(step(0x1004));
    EXPECT_TRUE(in_handler());
    EXPECT_EQ(spr(spr::kDSRR0), 0x1004u);
    EXPECT_EQ(spr(spr::kDSRR1), msr::kDE | msr::kPR);
    EXPECT_EQ(spr(spr::kDBSR), dbcr0::kICMP);
    EXPECT_FALSE(core.debug_armed());
}

TEST_F(DebugTest, ASystemCallIsAStepThatEndsAtItsHandler) {
    arm(dbcr0::kICMP, msr::kPR);
    EXPECT_FALSE(core.debug_before());
    core.raise({Interrupt::SystemCall});
    core.deliver_fault(0x1004);
    EXPECT_EQ(state.pc, vector(Interrupt::SystemCall));
    EXPECT_TRUE(state.attention.load() & kInterruptCheck);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_TRUE(in_handler());
    EXPECT_EQ(spr(spr::kDSRR0), vector(Interrupt::SystemCall));
    EXPECT_EQ(spr(spr::kSRR0), 0x1004u);
}

TEST_F(DebugTest, ATakenBranchIsUndoneBeforeItsEvent) {
    arm(dbcr0::kBRT);
    EXPECT_TRUE(step(0x1004, false));
    EXPECT_EQ(state.pc, 0x1004u);
    const Totals before = state.totals;
    state.lr = 0x77;
    EXPECT_TRUE(step(0x2000, true));
    EXPECT_TRUE(in_handler());
    EXPECT_EQ(spr(spr::kDSRR0), 0x1000u);
    EXPECT_EQ(state.lr, 0x77u);
    EXPECT_EQ(spr(spr::kDBSR), dbcr0::kBRT);
    EXPECT_EQ(state.totals[Total::Instructions], before[Total::Instructions]);
    EXPECT_EQ(state.totals[Total::Branches], before[Total::Branches]);
}

TEST_F(DebugTest, InstructionAddressComparesStopBeforeTheInstruction) {
    set_spr(spr::kIAC1, 0x1000);
    set_spr(spr::kIAC2, 0x2000);
    arm(dbcr0::kIAC1 | dbcr0::kIAC2);
    EXPECT_FALSE(step(0x1004));
    EXPECT_TRUE(in_handler());
    EXPECT_EQ(spr(spr::kDSRR0), 0x1000u);
    EXPECT_EQ(spr(spr::kDBSR), dbcr0::kIAC1);
}

TEST_F(DebugTest, InstructionAddressRangesAndPrivilege) {
    set_spr(spr::kIAC1, 0x0f00);
    set_spr(spr::kIAC2, 0x1004);
    set_spr(spr::kDBCR1, 0x00800000);  // inside the range
    arm(dbcr0::kIAC1);
    EXPECT_FALSE(step(0x1004));
    set_spr(spr::kDBSR, ~0u);
    set_spr(spr::kDBCR1, 0x00c00000);  // outside
    core.set_msr(msr::kDE);
    EXPECT_TRUE(step(0x1004));
    set_spr(spr::kDBCR1, 0xc0800000);  // inside, user only
    EXPECT_TRUE(step(0x1004));
    core.set_msr(msr::kDE | msr::kPR);
    EXPECT_FALSE(step(0x1004));
}

TEST_F(DebugTest, DataAddressComparesStopTheAccess) {
    set_spr(spr::kDAC1, 0x2002);
    EXPECT_TRUE(core.store<uint32_t>(0x2000, 1));  // the page is in the inline cache now
    arm(dbcr0::kDAC1W);
    EXPECT_EQ(load32(0x2000), 1u) << "reads are not watched";
    EXPECT_TRUE(core.store<uint16_t>(0x2000, 0));
    EXPECT_EQ(store_fault<uint32_t>(0x2000).kind, Interrupt::Debug);
    core.deliver_fault(0x1000);
    EXPECT_TRUE(in_handler());
    EXPECT_EQ(spr(spr::kDSRR0), 0x1000u);
    EXPECT_EQ(spr(spr::kDBSR), dbcr0::kDAC1W);
    EXPECT_EQ(word_at(0x2000), 1u) << "the store did not happen";
    EXPECT_TRUE(core.store<uint32_t>(0x2000, 5)) << "MSR[DE] is 0 in the handler";
}

TEST_F(DebugTest, DataAddressRangesCatchReadsAndReservations) {
    set_spr(spr::kDAC1, 0x2000);
    set_spr(spr::kDAC2, 0x2010);
    set_spr(spr::kDBCR2, 0x00800000);
    arm(dbcr0::kDAC1R);
    EXPECT_EQ(load_fault<uint32_t>(0x200c).kind, Interrupt::Debug);
    load32(0x2010);
    EXPECT_EQ(load_fault<uint64_t>(0x1ffc).kind, Interrupt::Debug);
    uint64_t value = 0;
    EXPECT_FALSE(core.load_reserve(0x2008, 4, value));
    EXPECT_EQ(core.fault().kind, Interrupt::Debug);
    EXPECT_FALSE(core.translate_data(0x2001, Access::Load, value));
}

TEST_F(DebugTest, InlineTranslationsComeBackWhenTheWatchEnds) {
    arm(dbcr0::kDAC1W);
    core.store<uint32_t>(0x3000, 1);
    EXPECT_NE(state.fast_tlb[fast_tlb_index(0x3000)].write_tag & ~uint64_t{0xfff}, 0x3000u);
    core.set_msr(0);
    core.store<uint32_t>(0x3000, 1);
    EXPECT_EQ(state.fast_tlb[fast_tlb_index(0x3000)].write_tag, 0x3000 | state.data_context);
}

TEST_F(DebugTest, ATrapEventReplacesTheProgramInterrupt) {
    arm(dbcr0::kTRAP);
    core.raise_program(esr::kPTR);
    core.deliver_fault(0x1000);
    EXPECT_TRUE(in_handler());
    EXPECT_EQ(spr(spr::kDBSR), dbcr0::kTRAP);
    core.set_msr(0);
    core.raise_program(esr::kPTR);
    core.deliver_fault(0x1000);
    EXPECT_EQ(state.pc, vector(Interrupt::Program));
}

TEST_F(DebugTest, InterruptTakenEventsComeBeforeTheHandler) {
    arm(dbcr0::kIRPT);
    core.raise_program(esr::kPIL);
    core.deliver_fault(0x1000);
    EXPECT_EQ(state.pc, vector(Interrupt::Program));
    EXPECT_TRUE(state.attention.load() & kInterruptCheck);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_TRUE(in_handler());
    EXPECT_EQ(spr(spr::kDSRR0), vector(Interrupt::Program));
}

TEST_F(DebugTest, ReturnEventsComeAfterTheReturn) {
    arm(dbcr0::kRET);
    set_spr(spr::kSRR0, 0x5000);
    set_spr(spr::kSRR1, msr::kDE);
    core.return_from_interrupt(InterruptClass::Base);
    EXPECT_EQ(state.pc, 0x5000u);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_EQ(spr(spr::kDSRR0), 0x5000u);
}

TEST_F(DebugTest, AStatusBitNotClearedInterruptsAgain) {
    arm(dbcr0::kICMP);
    EXPECT_TRUE(step(0x1004));
    core.return_from_interrupt(InterruptClass::Debug);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    set_spr(spr::kDBSR, ~0u);
    core.return_from_interrupt(InterruptClass::Debug);
    EXPECT_FALSE(core.deliver_pending_interrupt());
}

}  // namespace
}  // namespace perfvisor::core
