// SPDX-License-Identifier: GPL-2.0-or-later
// Synchronous exceptions are precise: the right address, registers as before the instruction, and
// totals of exactly what completed.
#include "guest_harness.h"

using namespace perfvisor;
using core::Interrupt;
using core::Total;
using engine::Stop;
using test::Guest;

namespace {
// Saves SRR0, SRR1, ESR and DEAR in r26-r29.
constexpr const char* kRecorder =
    "mfspr r26,26\n mfspr r27,27\n mfspr r28,62\n mfspr r29,61\n wait 0";
}  // namespace

TEST(Exception, ALoadThatFaultsInTheMiddleOfABlockCompletesNothingBehindIt) {
    Guest guest;
    guest.handler(Interrupt::DataTlbError, kRecorder);
    guest.program(R"(
        li32 r3,0x90000000
        li r4,4
        stw r4,0x200(r4)
        lwz r5,8(r3)
        li r6,6
        stw r4,0x204(r4)
        lwz r7,0x200(r4)
        b next
    next: wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[26], Guest::kCode + 4 * 4);
    EXPECT_EQ(guest.state().gpr[29], 0x90000008u);
    EXPECT_EQ(guest.state().gpr[28], 0u);
    EXPECT_EQ(guest.state().gpr[6], 0u);
    EXPECT_EQ(guest.read32(0x208), 0u);
    EXPECT_EQ(guest.total(Total::Instructions), 4u + 5u);
    EXPECT_EQ(guest.total(Total::Stores), 1u);
    EXPECT_EQ(guest.total(Total::Loads), 0u);
    EXPECT_EQ(guest.total(Total::Branches), 0u);
}

TEST(Exception, AStoreFaultSetsEsrStAndUpdatesNothing) {
    Guest guest;
    guest.handler(Interrupt::DataTlbError, kRecorder);
    guest.program("li32 r3,0x90000000\n stwu r3,16(r3)\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[28], core::esr::kST);
    EXPECT_EQ(guest.state().gpr[29], 0x90000010u);
    EXPECT_EQ(guest.state().gpr[3], 0x90000000u);
}

TEST(Exception, ScReturnsBehindItselfAndIsCounted) {
    Guest guest;
    guest.handler(Interrupt::SystemCall, kRecorder);
    guest.program("li r3,1\n sc 0\n li r3,2\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[26], Guest::kCode + 8);
    EXPECT_EQ(guest.state().gpr[3], 1u);
    EXPECT_EQ(guest.total(Total::Instructions), 2u + 5u);
    EXPECT_EQ(guest.total(Total::SystemCallsAndTraps), 1u);
}

TEST(Exception, ATrapReportsItsOwnAddressAndIsCounted) {
    Guest guest;
    guest.handler(Interrupt::Program, kRecorder);
    guest.program("li r3,5\n twi 4,r3,6\n twi 4,r3,5\n li r4,1\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[26], Guest::kCode + 8);
    EXPECT_EQ(guest.state().gpr[28], core::esr::kPTR);
    EXPECT_EQ(guest.total(Total::Instructions), 3u + 5u);
    EXPECT_EQ(guest.total(Total::SystemCallsAndTraps), 1u);
}

TEST(Exception, TrapsCompareSignedAndUnsigned) {
    struct Case {
        unsigned to;
        uint32_t a, b;
        bool traps;
    };
    const Case cases[] = {
        {16, 0xffffffff, 1, true}, {16, 1, 1, false},         {8, 1, 0xffffffff, true},
        {8, 0xffffffff, 1, false}, {4, 7, 7, true},           {4, 7, 8, false},
        {2, 1, 0xffffffff, true},  {2, 0xffffffff, 1, false}, {1, 0xffffffff, 1, true},
        {1, 1, 0xffffffff, false}, {0, 1, 1, false},          {31, 1, 2, true}};
    for (const Case& c : cases) {
        Guest guest;
        guest.program("tw " + std::to_string(c.to) + ",r3,r4\n wait 0");
        guest.state().gpr[3] = c.a;
        guest.state().gpr[4] = c.b;
        ASSERT_TRUE(guest.run());
        EXPECT_EQ(guest.total(Total::SystemCallsAndTraps), c.traps) << c.to << " " << c.a;
    }
}

TEST(Exception, PrivilegedInstructionsInUserModeRaisePpr) {
    for (const char* text : {"mfmsr r3", "rfi", "tlbwe", "wrteei 0", "mtspr 26,r3", "mfspr r3,62",
                             "mtpmr 16,r3", "mfpmr r3,400", "msgsnd r3", "dcbi 0,r3"}) {
        Guest guest;
        guest.handler(Interrupt::Program, kRecorder);
        guest.program(text);
        guest.core().set_msr(guest.state().msr | core::msr::kPR);
        ASSERT_TRUE(guest.run()) << text;
        EXPECT_EQ(guest.state().gpr[28], core::esr::kPPR) << text;
        EXPECT_EQ(guest.state().gpr[26], Guest::kCode) << text;
    }
}

TEST(Exception, WhatTheCoreDoesNotHaveIsIllegal) {
    for (const char* text : {".long 0", ".long 0x7c0003e4",    // nothing
                             "ld r3,0(r4)", "mulld r3,r4,r5",  // 64-bit
                             ".long 0x7c00021c",               // ehpriv: category E.HV
                             "mfspr r3,900", "mftb r3,270", "dnh 0,0", "mtpmr 0,r3"}) {
        Guest guest;
        guest.handler(Interrupt::Program, kRecorder);
        guest.core().perfmon().set_available(true);
        guest.load(Guest::kCode,
                   text == std::string("ld r3,0(r4)") ? std::vector<uint32_t>{0xe8640000}
                   : text == std::string("dnh 0,0")   ? std::vector<uint32_t>{0x4c00018c}
                                                      : test::assemble(text, Guest::kCode));
        ASSERT_TRUE(guest.run()) << text;
        EXPECT_EQ(guest.state().gpr[28], core::esr::kPIL) << text;
    }
}

TEST(Exception, FloatingPointIsUnavailableWithoutMsrFp) {
    Guest guest;
    guest.handler(Interrupt::FpUnavailable, R"(
        mfspr r3,27
        ori r3,r3,0x2000
        mtspr 27,r3
        addi r20,r20,1
        rfi
    )");
    guest.program("fadd f1,f2,f3\n lfd f1,0(r4)\n wait 0");
    guest.core().set_msr(guest.state().msr & ~core::msr::kFP);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[20], 1u);  // the handler enables it, then both execute
    EXPECT_EQ(guest.state().pc, Guest::kCode + 12);
}

TEST(Exception, AnEnabledFloatingPointExceptionIsPrecise) {
    Guest guest;
    guest.handler(Interrupt::Program, kRecorder);
    guest.program("mtfsb1 27\n fdiv f3,f1,f2\n li r5,5\n wait 0");  // ZE
    guest.state().fpr[1] = 0x3ff0000000000000;
    guest.state().fpr[3] = 0x1234;
    guest.core().set_msr(guest.state().msr | core::msr::kFE0 | core::msr::kFE1);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[26], Guest::kCode + 4);
    EXPECT_EQ(guest.state().gpr[28], core::esr::kFP);
    EXPECT_EQ(guest.state().fpr[3], 0x1234u);
    EXPECT_EQ(guest.state().gpr[5], 0u);
}

TEST(Exception, EnablingAFloatingPointExceptionThatStandsRaisesItBeforeTheNextInstruction) {
    Guest guest;
    guest.handler(Interrupt::Program, kRecorder);
    guest.program("mtfsb1 27\n fdiv f3,f1,f2\n li r5,5\n ori r4,r4,0x3900\n mtmsr r4\n li r6,6");
    guest.state().fpr[1] = 0x3ff0000000000000;
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[26], Guest::kCode + 20);
    EXPECT_EQ(guest.state().gpr[28], core::esr::kFP | core::esr::kPIE);
    EXPECT_EQ(guest.state().gpr[5], 5u);
    EXPECT_EQ(guest.state().gpr[6], 0u);
}

TEST(Exception, LmwIntoAFaultingPageIsExecutedAgainFromItsStart) {
    Guest guest;
    guest.map(0, 0, 0, 0x40000, Guest::kAllPermissions);
    guest.map(1, 0x40000, 0x40000, 0x1000, Guest::kAllPermissions);
    for (uint32_t i = 0; i < 16; ++i)
        guest.write32(0x40fe0 + 4 * i, 0x100 + i);
    // The handler maps the second page and returns.
    guest.handler(Interrupt::DataTlbError, R"(
        mfspr r1,61
        li32 r2,0x10020000
        mtspr 624,r2
        li32 r2,0x80000100
        mtspr 625,r2
        rlwinm r2,r1,0,0,19
        mtspr 626,r2
        ori r2,r2,0x3f
        mtspr 627,r2
        li r2,0
        mtspr 944,r2
        tlbwe
        rfi
    )");
    guest.program("li32 r3,0x40fe0\n lmw r16,0(r3)\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[1], 0x41000u);
    for (uint32_t i = 0; i < 16; ++i)
        EXPECT_EQ(guest.state().gpr[16 + i], 0x100 + i);
    EXPECT_EQ(guest.total(Total::Loads), 16u);
}

TEST(Exception, AMisalignedLmwTakesAnAlignmentInterrupt) {
    Guest guest;
    guest.handler(Interrupt::Alignment, kRecorder);
    guest.program("li32 r3,0x40002\n stmw r30,0(r3)\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[26], Guest::kCode + 8);
    EXPECT_EQ(guest.state().gpr[28], core::esr::kST);
    EXPECT_EQ(guest.state().gpr[29], 0x40002u);
}

TEST(Exception, MmioStopsAtTheInstructionAndItsAnswerCompletesIt) {
    Guest guest;
    guest.program(
        "li32 r3,0x8000000\n li r4,0x55\n stw r4,4(r3)\n lhz r5,2(r3)\n li r6,6\n wait 0");
    EXPECT_EQ(guest.engine().run(100), Stop::Mmio);
    EXPECT_EQ(guest.state().pc, Guest::kCode + 12);
    EXPECT_EQ(guest.total(Total::Instructions), 3u);
    EXPECT_EQ(guest.total(Total::Stores), 0u);
    const core::MmioAccess* request = guest.core().mmio_request();
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->write);
    EXPECT_EQ(request->physical, 0x8000004u);
    EXPECT_EQ(request->size, 4);
    EXPECT_EQ(request->data[3], 0x55);
    const uint8_t answer[8] = {0xab, 0xcd};
    guest.core().complete_mmio(answer);
    // Interrupts were held back until the instruction was complete: now is the time to look.
    EXPECT_EQ(guest.engine().run(100), Stop::Attention);
    EXPECT_EQ(guest.state().pc, Guest::kCode + 16);
    guest.core().deliver_pending_interrupt();
    EXPECT_EQ(guest.engine().run(100), Stop::Mmio);
    guest.core().complete_mmio(answer);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[5], 0xabcdu);
    EXPECT_EQ(guest.state().gpr[6], 6u);
    EXPECT_EQ(guest.total(Total::Loads), 1u);
    EXPECT_EQ(guest.total(Total::Stores), 1u);
}

TEST(Exception, LmwFromADeviceAsksForEachWordOnce) {
    Guest guest;
    unsigned asked = 0;
    guest.on_mmio = [&](core::MmioAccess& access) {
        EXPECT_EQ(access.physical, 0x8000000u + 4 * asked);
        access.data[3] = static_cast<uint8_t>(++asked);
    };
    guest.program("li32 r3,0x8000000\n lmw r28,0(r3)\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(asked, 4u);
    EXPECT_EQ(guest.state().gpr[28], 1u);
    EXPECT_EQ(guest.state().gpr[31], 4u);
    EXPECT_EQ(guest.total(Total::Instructions), 4u);
}

TEST(Exception, SingleStepInterruptsBehindEachInstruction) {
    Guest guest;
    guest.handler(Interrupt::Debug, R"(
        mfspr r25,574       # DSRR0
        addi r24,r24,1
        lis r23,0x0800
        mtspr 304,r23       # DBSR: clear ICMP
        rfdi
    )");
    guest.program(R"(
        lis r3,0x4800       # DBCR0: IDM, ICMP
        mtspr 308,r3
        mfmsr r4
        ori r4,r4,0x200
        mtmsr r4            # MSR[DE]
        li r5,1
        li r6,2
        b over
        nop
    over: li r7,3
        li r3,0
        mtspr 308,r3
        wait 0
    )");
    ASSERT_TRUE(guest.run(200));
    EXPECT_EQ(guest.state().gpr[7], 3u);
    EXPECT_EQ(guest.state().gpr[24], 5u);  // li li b li li; the mtspr disarms
    EXPECT_EQ(guest.state().gpr[25], Guest::kCode + 4 * 11);
}
