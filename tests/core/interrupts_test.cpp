// SPDX-License-Identifier: GPL-2.0-or-later
// Interrupt classes, syndrome registers, priorities, masks, doorbells, waiting and the checkstop.
#include "core_fixture.h"

namespace perfvisor::core {
namespace {

constexpr uint32_t kEverything = msr::kUCLE | msr::kCE | msr::kEE | msr::kPR | msr::kFP | msr::kME |
                                 msr::kFE0 | msr::kDE | msr::kFE1 | msr::kIS | msr::kDS |
                                 msr::kPMM | msr::kRI;

struct InterruptsTest : CoreTest {
    InterruptsTest() {
        set_vectors();
        core.perfmon().set_available(true);
        state.attention = 0;
    }

    bool check_wanted() { return state.attention.load() & kInterruptCheck; }

    // Makes the sources pending that the priorities' test goes through.
    void fire_decrementer() {
        set_spr(spr::kTCR, spr(spr::kTCR) | 0x04000000);
        core.timers().set_tsr(0x08000000);
    }
    void fire_fixed_interval() {
        set_spr(spr::kTCR, spr(spr::kTCR) | 0x00800000);
        core.timers().set_tsr(0x04000000);
    }
    void fire_watchdog() {
        set_spr(spr::kTCR, spr(spr::kTCR) | 0x08000000);
        core.timers().set_tsr(0x40000000);
    }
    void fire_performance_monitor() {
        core.write_pmr(400, 0x40000000);  // PMIE
        core.write_pmr(144, 0x04000000);  // CE
        core.write_pmr(16, 0x80000000);
    }
    void fire_debug() {
        set_spr(spr::kDBCR0, dbcr0::kIDM);
        core.set_spr(spr::kDBSR, 0x40000000);
    }
};

struct ClassRule {
    Interrupt kind;
    unsigned save;
    uint32_t kept;
};

TEST_F(InterruptsTest, EachClassSavesInItsRegistersAndKeepsItsMsrBits) {
    constexpr uint32_t kBase = msr::kCE | msr::kME | msr::kDE | msr::kRI;
    constexpr uint32_t kCritical = msr::kME | msr::kDE | msr::kRI;
    constexpr uint32_t kDebug = msr::kCE | msr::kME | msr::kRI;
    const ClassRule rules[] = {
        {Interrupt::CriticalInput, spr::kCSRR0, kCritical},
        {Interrupt::MachineCheck, spr::kMCSRR0, 0},
        {Interrupt::DataStorage, spr::kSRR0, kBase},
        {Interrupt::InstructionStorage, spr::kSRR0, kBase},
        {Interrupt::ExternalInput, spr::kSRR0, kBase},
        {Interrupt::Alignment, spr::kSRR0, kBase},
        {Interrupt::Program, spr::kSRR0, kBase},
        {Interrupt::FpUnavailable, spr::kSRR0, kBase},
        {Interrupt::SystemCall, spr::kSRR0, kBase},
        {Interrupt::ApUnavailable, spr::kSRR0, kBase},
        {Interrupt::Decrementer, spr::kSRR0, kBase},
        {Interrupt::FixedIntervalTimer, spr::kSRR0, kBase},
        {Interrupt::Watchdog, spr::kCSRR0, kCritical},
        {Interrupt::DataTlbError, spr::kSRR0, kBase},
        {Interrupt::InstructionTlbError, spr::kSRR0, kBase},
        {Interrupt::Debug, spr::kDSRR0, kDebug},
        {Interrupt::PerformanceMonitor, spr::kSRR0, kBase},
        {Interrupt::Doorbell, spr::kSRR0, kBase},
        {Interrupt::CriticalDoorbell, spr::kCSRR0, kCritical},
    };
    for (const ClassRule& rule : rules) {
        const unsigned ivor = static_cast<unsigned>(rule.kind);
        core.set_msr(kEverything);
        core.take_interrupt(rule.kind, 0x1234);
        EXPECT_EQ(spr(rule.save), 0x1234u) << ivor;
        EXPECT_EQ(spr(rule.save + 1), kEverything) << ivor;
        EXPECT_EQ(state.msr, rule.kept) << ivor;
        EXPECT_EQ(state.pc, vector(rule.kind)) << ivor;
    }
}

TEST_F(InterruptsTest, ReturnsRestoreFromTheirClass) {
    const struct {
        InterruptClass from;
        unsigned save;
    } rules[] = {{InterruptClass::Base, spr::kSRR0},
                 {InterruptClass::Critical, spr::kCSRR0},
                 {InterruptClass::Debug, spr::kDSRR0},
                 {InterruptClass::MachineCheck, spr::kMCSRR0}};
    for (const auto& rule : rules) {
        core.set_msr(0);
        set_spr(rule.save, 0x5003);
        set_spr(rule.save + 1, ~0u);
        core.return_from_interrupt(rule.from);
        EXPECT_EQ(state.pc, 0x5000u);
        EXPECT_EQ(state.msr, kEverything | msr::kWE) << "bits that are not there stay 0";
    }
}

TEST_F(InterruptsTest, VectorsAreIvprAndIvorJoined) {
    set_spr(spr::kIVPR, 0xdeadbeef);
    set_spr(spr::kIVOR0 + 6, 0xffffffff);
    core.raise_program(esr::kPIL);
    core.deliver_fault(0x100);
    EXPECT_EQ(state.pc, 0xdeadfff0u);
}

TEST_F(InterruptsTest, FaultsSetEsrDearAndMas) {
    mmu.registers().mas4 = 0;
    mmu.write_pid(0x42);
    core.set_msr(msr::kDS);
    store_fault<uint32_t>(0x7654);
    core.deliver_fault(0x100);
    EXPECT_EQ(state.pc, vector(Interrupt::DataTlbError));
    EXPECT_EQ(spr(spr::kESR), esr::kST);
    EXPECT_EQ(spr(spr::kDEAR), 0x7654u);
    EXPECT_EQ(spr(spr::kMAS1), 0x80421000u);
    EXPECT_EQ(spr(spr::kMAS2), 0x7000u);
    EXPECT_EQ(spr(spr::kMAS6), 0x00420001u);
    EXPECT_EQ(spr(spr::kSRR0), 0x100u);
    EXPECT_FALSE(core.fault_pending());
}

TEST_F(InterruptsTest, InstructionTlbErrorsLeaveEsrAndDear) {
    set_spr(spr::kESR, 0x1234);
    set_spr(spr::kDEAR, 0x5678);
    core.set_msr(msr::kIS);
    uint64_t physical;
    EXPECT_FALSE(core.translate_fetch(0x9998, physical));
    core.deliver_fault(0x9998);
    EXPECT_EQ(state.pc, vector(Interrupt::InstructionTlbError));
    EXPECT_EQ(spr(spr::kESR), 0x1234u);
    EXPECT_EQ(spr(spr::kDEAR), 0x5678u);
    EXPECT_EQ(spr(spr::kMAS2), 0x9000u);
    EXPECT_EQ(spr(spr::kMAS1), 0x80001000u);
}

TEST_F(InterruptsTest, DenialsLeaveTheMasRegisters) {
    map(0, 0, 0, kMiB, kSR);
    set_spr(spr::kMAS2, 0xabc000);
    store_fault<uint8_t>(0x10);
    core.deliver_fault(0x100);
    EXPECT_EQ(state.pc, vector(Interrupt::DataStorage));
    EXPECT_EQ(spr(spr::kMAS2), 0xabc000u);
}

TEST_F(InterruptsTest, ExternalPidMissesSearchInTheirContext) {
    set_spr(spr::kEPSC, 0x40000033);
    const uint32_t word = 0;
    EXPECT_FALSE(core.store_bytes_external(0x5000, &word, 4));
    core.deliver_fault(0x100);
    EXPECT_EQ(spr(spr::kESR), esr::kST | esr::kEPID);
    EXPECT_EQ(spr(spr::kMAS1), 0x80331000u);
    EXPECT_EQ(spr(spr::kMAS6), 0x00330001u);
}

TEST_F(InterruptsTest, SystemCallsLeaveEsr) {
    set_spr(spr::kESR, 0x1234);
    core.raise({Interrupt::SystemCall});
    core.deliver_fault(0x104);
    EXPECT_EQ(state.pc, vector(Interrupt::SystemCall));
    EXPECT_EQ(spr(spr::kESR), 0x1234u);
    EXPECT_EQ(state.totals[Total::SystemCallsAndTraps], 1u);
}

TEST_F(InterruptsTest, TotalsCountByClass) {
    core.set_msr(msr::kME);
    core.take_interrupt(Interrupt::ExternalInput, 0);
    core.take_interrupt(Interrupt::CriticalInput, 0);
    core.raise_program(esr::kPTR);
    core.deliver_fault(0);
    EXPECT_EQ(state.totals[Total::Interrupts], 3u);
    EXPECT_EQ(state.totals[Total::ExternalInterrupts], 1u);
    EXPECT_EQ(state.totals[Total::CriticalInterrupts], 1u);
    EXPECT_EQ(state.totals[Total::SystemCallsAndTraps], 1u);
}

// ---- asynchronous ----

TEST_F(InterruptsTest, TheMostUrgentComesFirst) {
    core.set_line(Line::MachineCheck, true);
    core.set_line(Line::Critical, true);
    core.set_line(Line::External, true);
    core.post_doorbell(true);
    core.post_doorbell(false);
    fire_debug();
    fire_watchdog();
    fire_fixed_interval();
    fire_performance_monitor();
    fire_decrementer();
    const Interrupt order[] = {Interrupt::MachineCheck,       Interrupt::Debug,
                               Interrupt::CriticalInput,      Interrupt::Watchdog,
                               Interrupt::CriticalDoorbell,   Interrupt::ExternalInput,
                               Interrupt::FixedIntervalTimer, Interrupt::PerformanceMonitor,
                               Interrupt::Decrementer,        Interrupt::Doorbell};
    for (const Interrupt kind : order) {
        core.set_msr(msr::kME | msr::kDE | msr::kCE | msr::kEE);
        ASSERT_TRUE(core.deliver_pending_interrupt()) << static_cast<unsigned>(kind);
        EXPECT_EQ(state.pc, vector(kind));
        switch (kind) {  // what the handler would do
            case Interrupt::MachineCheck:
                core.set_line(Line::MachineCheck, false);
                break;
            case Interrupt::Debug:
                set_spr(spr::kDBSR, ~0u);
                break;
            case Interrupt::CriticalInput:
                core.set_line(Line::Critical, false);
                break;
            case Interrupt::Watchdog:
                set_spr(spr::kTSR, 0x40000000);
                break;
            case Interrupt::ExternalInput:
                core.set_line(Line::External, false);
                break;
            case Interrupt::FixedIntervalTimer:
                set_spr(spr::kTSR, 0x04000000);
                break;
            case Interrupt::PerformanceMonitor:
                core.write_pmr(16, 0);
                break;
            case Interrupt::Decrementer:
                set_spr(spr::kTSR, 0x08000000);
                break;
            default:
                break;  // doorbells are used up
        }
    }
    core.set_msr(msr::kME | msr::kDE | msr::kCE | msr::kEE);
    EXPECT_FALSE(core.deliver_pending_interrupt());
}

TEST_F(InterruptsTest, EachMaskHoldsItsOwnBack) {
    const struct {
        uint32_t bit;
        Interrupt kind;
    } rules[] = {{msr::kME, Interrupt::MachineCheck},
                 {msr::kDE, Interrupt::Debug},
                 {msr::kCE, Interrupt::CriticalInput},
                 {msr::kEE, Interrupt::ExternalInput}};
    core.set_line(Line::MachineCheck, true);
    core.set_line(Line::Critical, true);
    core.set_line(Line::External, true);
    fire_debug();
    core.set_msr(0);
    EXPECT_FALSE(core.deliver_pending_interrupt());
    EXPECT_TRUE(core.interrupt_pending_unmasked());
    for (const auto& rule : rules) {
        core.set_msr(rule.bit);
        ASSERT_TRUE(core.deliver_pending_interrupt());
        EXPECT_EQ(state.pc, vector(rule.kind));
        core.set_msr(0);
    }
}

TEST_F(InterruptsTest, EnablingWhatIsPendingAsksForACheck) {
    core.set_line(Line::External, true);
    core.deliver_pending_interrupt();
    state.attention = 0;
    core.set_msr(msr::kCE);
    EXPECT_FALSE(check_wanted());
    core.set_msr(msr::kCE | msr::kEE);
    EXPECT_TRUE(check_wanted());
}

TEST_F(InterruptsTest, NestedClassesRemainPending) {
    core.set_msr(msr::kEE | msr::kCE);
    core.set_line(Line::External, true);
    core.set_line(Line::Critical, true);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_EQ(state.pc, vector(Interrupt::CriticalInput));
    core.set_line(Line::Critical, false);
    EXPECT_FALSE(core.deliver_pending_interrupt()) << "EE was cleared";
    core.return_from_interrupt(InterruptClass::Critical);
    EXPECT_TRUE(check_wanted());
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_EQ(state.pc, vector(Interrupt::ExternalInput));
}

TEST_F(InterruptsTest, ALineIsALevelAndKicks) {
    core.set_line(Line::External, true);
    EXPECT_EQ(state.attention.load() & (kKick | kInterruptCheck), kKick | kInterruptCheck);
    core.set_line(Line::External, false);
    core.set_msr(msr::kEE);
    EXPECT_FALSE(core.deliver_pending_interrupt());
}

TEST_F(InterruptsTest, TheExternalProxyHandsTheVectorOver) {
    core.set_external_proxy(true);
    core.set_msr(msr::kEE);
    core.set_line(Line::External, true);
    EXPECT_FALSE(core.deliver_pending_interrupt());
    ASSERT_TRUE(core.external_wanted());
    state.pc = 0x800;
    core.deliver_external(0x77);
    EXPECT_FALSE(core.external_wanted());
    EXPECT_EQ(spr(spr::kEPR), 0x77u);
    EXPECT_EQ(spr(spr::kSRR0), 0x800u);
    EXPECT_EQ(state.pc, vector(Interrupt::ExternalInput));
}

TEST_F(InterruptsTest, DoorbellsReachWhomTheyName) {
    core.set_msr(msr::kEE | msr::kCE);
    core.receive_doorbell(4);  // for PIR 4; this is 3
    EXPECT_FALSE(core.deliver_pending_interrupt());
    core.receive_doorbell(3);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_EQ(state.pc, vector(Interrupt::Doorbell));
    core.receive_doorbell(0x04000000 | 9);  // broadcast
    core.set_msr(msr::kEE);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    core.receive_doorbell(0x08000000 | 3);  // critical
    core.set_msr(msr::kCE);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_EQ(state.pc, vector(Interrupt::CriticalDoorbell));
    core.receive_doorbell(0x18000000 | 3);  // a type of category E.HV
    core.set_msr(msr::kEE | msr::kCE);
    EXPECT_FALSE(core.deliver_pending_interrupt());
}

TEST_F(InterruptsTest, MsgclrForgetsADoorbellOfItsType) {
    core.send_doorbell(3);
    core.send_doorbell(0x08000000 | 3);
    core.clear_doorbell(0);
    core.set_msr(msr::kEE);
    EXPECT_FALSE(core.deliver_pending_interrupt());
    core.set_msr(msr::kCE);
    EXPECT_TRUE(core.deliver_pending_interrupt());
}

TEST_F(InterruptsTest, DecrementerInterruptsAtItsDeadlineExactly) {
    core.set_msr(msr::kEE);
    set_spr(spr::kTCR, 0x04000000);
    set_spr(spr::kDEC, 1000);
    EXPECT_EQ(core.instructions_to_deadline(1'000'000), 1000u);
    execute(999);
    EXPECT_FALSE(core.deliver_pending_interrupt());
    EXPECT_EQ(core.instructions_to_deadline(1'000'000), 1u);
    execute(1);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_EQ(state.pc, vector(Interrupt::Decrementer));
}

TEST_F(InterruptsTest, ACounterOverflowInterruptsAtItsDeadlineExactly) {
    core.set_msr(msr::kEE);
    core.write_pmr(400, 0x60000000);             // PMIE, FCECE
    core.write_pmr(144, 0x04000000 | 2u << 16);  // CE, instructions
    core.write_pmr(16, 0x80000000 - 500);
    core.deliver_pending_interrupt();
    ASSERT_EQ(core.instructions_to_deadline(1'000'000), 500u);
    execute(499);
    EXPECT_FALSE(core.deliver_pending_interrupt());
    execute(1);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_EQ(state.pc, vector(Interrupt::PerformanceMonitor));
}

TEST_F(InterruptsTest, ATimeBaseTransitionInterruptsThroughThePm) {
    core.set_msr(msr::kEE);
    core.write_pmr(400, 0x40000000 | 0x100 | 0x800);  // PMIE, TBEE, TBSEL: TB[55]
    core.deliver_pending_interrupt();
    EXPECT_EQ(core.instructions_to_deadline(1'000'000), 256u);
    execute(255);
    EXPECT_FALSE(core.deliver_pending_interrupt());
    execute(1);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_EQ(state.pc, vector(Interrupt::PerformanceMonitor));
}

TEST_F(InterruptsTest, DeadlinesRespectTheLimit) {
    EXPECT_EQ(core.instructions_to_deadline(123), 123u);
    EXPECT_EQ(core.instructions_to_deadline(1), 1u);
    EXPECT_EQ(core.instructions_to_deadline(0), 0u);
}

// ---- machine check and checkstop ----

TEST_F(InterruptsTest, FetchingFromNowhereIsAMachineCheck) {
    map_device();
    core.set_msr(msr::kME);
    uint64_t physical;
    ASSERT_FALSE(core.translate_fetch(0xe0000010, physical));
    core.deliver_fault(0xe0000010);
    EXPECT_EQ(state.pc, vector(Interrupt::MachineCheck));
    EXPECT_EQ(spr(spr::kMCSR), mcsr::kIF | mcsr::kMAV);
    EXPECT_EQ(spr(spr::kMCAR), 0xe0000010u);
    EXPECT_EQ(spr(spr::kMCARU), 0xfu);
    set_spr(spr::kMCSR, mcsr::kIF);
    EXPECT_EQ(spr(spr::kMCSR), mcsr::kMAV);
}

TEST_F(InterruptsTest, AMachineCheckWhileMaskedIsTheCheckstop) {
    map_device();
    uint64_t physical;
    ASSERT_FALSE(core.translate_fetch(0xe0000000, physical));
    core.deliver_fault(0xe0000000);
    EXPECT_TRUE(core.checkstop());
    EXPECT_TRUE(core.halted());
    core.set_line(Line::External, true);
    core.set_msr(msr::kEE);
    EXPECT_FALSE(core.deliver_pending_interrupt());
    EXPECT_FALSE(core.interrupt_pending_unmasked());
    core.set_halted(false);
    EXPECT_TRUE(core.halted());
    core.reset();
    EXPECT_FALSE(core.checkstop());
    EXPECT_FALSE(core.halted());
}

TEST_F(InterruptsTest, TheMachineCheckInputSetsMcp) {
    core.set_msr(msr::kME);
    core.set_line(Line::MachineCheck, true);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_EQ(spr(spr::kMCSR), mcsr::kMCP);
}

// ---- waiting ----

TEST_F(InterruptsTest, WaitingEndsWithAnInterrupt) {
    core.set_msr(msr::kEE);
    core.set_halted(true);
    EXPECT_TRUE(state.attention.load() & kHalted);
    EXPECT_FALSE(core.deliver_pending_interrupt());
    EXPECT_TRUE(core.halted());
    core.set_line(Line::External, true);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_FALSE(core.halted());
    EXPECT_FALSE(state.attention.load() & kHalted);
}

TEST_F(InterruptsTest, WaitStateNeedsAPowerModeInHid0) {
    core.set_msr(msr::kWE);
    EXPECT_FALSE(core.halted());
    core.set_msr(0);
    set_spr(spr::kHID0, 0x00800000);
    core.set_msr(msr::kWE | msr::kEE);
    EXPECT_TRUE(core.halted());
    core.set_line(Line::External, true);
    EXPECT_TRUE(core.deliver_pending_interrupt());
    EXPECT_FALSE(core.halted());
    EXPECT_EQ(state.msr & msr::kWE, 0u);
}

TEST_F(InterruptsTest, TheWatchdogsLastTimeOutAsksForAReset) {
    set_spr(spr::kTCR, 0x30000000 | 0xc0000000 | 0x001e0000);  // WRC 3, fastest
    time.extra += 100;
    core.deliver_pending_interrupt();
    EXPECT_EQ(core.reset_request(), 3u);
    core.reset();
    EXPECT_EQ(core.reset_request(), 0u);
}

TEST_F(InterruptsTest, DebugControlCanAskForAReset) {
    set_spr(spr::kDBCR0, 0x20000000);
    EXPECT_EQ(core.reset_request(), 2u);
    EXPECT_TRUE(state.attention.load() & kKick);
    EXPECT_EQ(spr(spr::kDBCR0), 0u);
}

}  // namespace
}  // namespace perfvisor::core
