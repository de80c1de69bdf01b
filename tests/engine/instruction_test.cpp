// SPDX-License-Identifier: GPL-2.0-or-later
// Instructions that no user-mode reference can show: privileged ones, caches, external PID,
// decorated storage, waiting.
#include "guest_harness.h"

using namespace perfvisor;
using core::Interrupt;
using test::Guest;

TEST(Instruction, ALoopComputesAndStores) {
    Guest guest;
    guest.program(R"(
        li r3,0
        li r4,100
        mtctr r4
    loop: add r3,r3,r4
        addi r4,r4,-1
        bdnz loop
        li32 r5,0x40000
        stw r3,8(r5)
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.read32(Guest::kData + 8), 5050u);
    EXPECT_EQ(guest.state().pc, Guest::kCode + 4 * 10);
}

TEST(Instruction, WaitCompletesAndHaltsUntilAnInterrupt) {
    Guest guest;
    guest.program("wait 0\n li r3,7\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().pc, Guest::kCode + 4);
    EXPECT_TRUE(guest.core().halted());
    EXPECT_EQ(guest.total(core::Total::Instructions), 1u);
}

TEST(Instruction, WaitForReservationPassesWithoutOne) {
    Guest guest;
    guest.program("wait 1\n li r3,7\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[3], 7u);
}

TEST(Instruction, DcbzClearsTheWholeLineAndNothingElse) {
    Guest guest;
    for (uint32_t a = Guest::kData; a < Guest::kData + 192; a += 4)
        guest.write32(a, 0x11111111);
    guest.program("li32 r3,0x40047\n dcbz 0,r3\n wait 0");
    ASSERT_TRUE(guest.run());
    for (uint32_t a = Guest::kData; a < Guest::kData + 192; a += 4)
        EXPECT_EQ(guest.read32(a), a >= 0x40040 && a < 0x40080 ? 0 : 0x11111111u) << a;
}

TEST(Instruction, DcbzWhereNoMemoryIsTakesAnAlignmentInterrupt) {
    Guest guest;
    guest.program("li32 r3,0x8000000\n dcbz 0,r3\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().pc, Guest::vector(Interrupt::Alignment) + 4);
}

TEST(Instruction, CacheLockingFromUserModeNeedsUcle) {
    Guest guest;
    guest.handler(Interrupt::DataStorage, "mfspr r30,62\n mfspr r31,61\n wait 0");
    guest.program("li32 r3,0x40000\n dcbtls 0,0,r3\n wait 0");
    guest.core().set_msr(guest.state().msr | core::msr::kPR);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[30], core::esr::kDLK);
    EXPECT_EQ(guest.state().gpr[31], Guest::kData);

    guest.reset();
    guest.core().set_msr(guest.state().msr | core::msr::kPR | core::msr::kUCLE);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().pc, Guest::kCode + 16);
}

TEST(Instruction, ExternalPidLoadsAndStoresUseEplcAndEpsc) {
    Guest guest;
    core::TlbEntry entry;  // EA 0x7000 of PID 5, address space 1, is physical 0x41000
    entry.valid = true;
    entry.ts = 1;
    entry.tid = 5;
    entry.ea = 0x7000;
    entry.ra = 0x41000;
    entry.size = 0x1000;
    entry.permissions = Guest::kUR | Guest::kUW;
    guest.core().mmu().set_entry(1, 3, entry);
    guest.write32(0x41010, 0xcafe1234);
    guest.program(R"(
        li32 r3,0xc0000005   # EPR, EAS, EPID=5
        mtspr 947,r3
        mtspr 948,r3
        li r4,0x7010
        lwepx r5,0,r4
        lbepx r6,0,r4
        lhepx r7,0,r4
        li r8,0x7020
        stwepx r5,0,r8
        dcbzep 0,r4
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[5], 0xcafe1234u);
    EXPECT_EQ(guest.state().gpr[6], 0xcau);
    EXPECT_EQ(guest.state().gpr[7], 0xcafeu);
    EXPECT_EQ(guest.read32(0x41020), 0u);  // stored, then zeroed with its line
    EXPECT_EQ(guest.read32(0x41010), 0u);
}

TEST(Instruction, DecoratedAccessesUseTheAddressInRb) {
    Guest guest;
    guest.write32(Guest::kData, 0x01020304);
    guest.program(R"(
        li32 r4,0x40000
        li r3,0x55          # the decoration
        lwdx r5,r3,r4
        lbdx r6,r3,r4
        li32 r7,0x40010
        stwdx r5,r3,r7
        dsn r3,r4
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[5], 0x01020304u);
    EXPECT_EQ(guest.state().gpr[6], 1u);
    EXPECT_EQ(guest.read32(Guest::kData + 16), 0x01020304u);
    EXPECT_EQ(guest.total(core::Total::DecoratedLoads), 2u);
    EXPECT_EQ(guest.total(core::Total::DecoratedStores), 2u);
}

TEST(Instruction, StwcxSucceedsOnceAfterLwarx) {
    Guest guest;
    guest.program(R"(
        li32 r3,0x40000
        li r4,9
        lwarx r5,0,r3
        stwcx. r4,0,r3
        mfcr r6
        stwcx. r4,0,r3
        mfcr r7
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.read32(Guest::kData), 9u);
    EXPECT_EQ(guest.state().gpr[6] >> 28, 2u);
    EXPECT_EQ(guest.state().gpr[7] >> 28, 0u);
    EXPECT_EQ(guest.total(core::Total::StwcxSuccess), 1u);
    EXPECT_EQ(guest.total(core::Total::StwcxFailure), 1u);
}

// A store between lwarx and stwcx. stands for another core's.
TEST(Instruction, StwcxThatLosesAgainAndAgainLetsTheOthersGoOnForLonger) {
    using Table = core::ReservationTable;
    const std::string lose = R"(: lwarx r5,0,r3
        addi r6,r5,1
        stw r6,0(r3)
        stwcx. r5,0,r3
        bdnz )";
    Guest guest;
    guest.program("li32 r3,0x40000\n li r7,2\n mtctr r7\n a" + lose +
                  "a\n wait 0\n"
                  "li r7,20\n mtctr r7\n b" +
                  lose +
                  "b\n wait 0\n"
                  "lwarx r5,0,r3\n stwcx. r5,0,r3\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.total(core::Total::StwcxFailure), 2u);
    EXPECT_EQ(guest.state().reserve_pauses, 4 * Table::kFewestPauses);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.total(core::Total::StwcxFailure), 22u);
    EXPECT_EQ(guest.state().reserve_pauses, Table::kMostPauses);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.total(core::Total::StwcxSuccess), 1u);
    EXPECT_EQ(guest.state().reserve_pauses, Table::kFewestPauses);
}

TEST(Instruction, ADoorbellToItselfIsTakenWhenEnabled) {
    Guest guest;
    guest.handler(Interrupt::Doorbell, "li r30,1\n wait 0");
    guest.program(R"(
        li r3,0
        msgsnd r3
        li r4,4
        wrteei 1
        li r5,5
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[30], 1u);
    EXPECT_EQ(guest.state().gpr[4], 4u);
    EXPECT_EQ(guest.state().gpr[5], 0u);
}

TEST(Instruction, MsgclrForgetsADoorbell) {
    Guest guest;
    guest.program("li r3,0\n msgsnd r3\n msgclr r3\n wrteei 1\n li r5,5\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[5], 5u);
}

TEST(Instruction, StringInstructionsAreLeftToSoftwareOnTheE500mc) {
    Guest guest;
    guest.handler(Interrupt::Program, "mfspr r30,62\n wait 0");
    guest.program("lswi r3,r4,8\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[30], core::esr::kPIL);
}

TEST(Instruction, TimeReadsExcludeTheReadingInstruction) {
    Guest guest;
    guest.program("nop\n mfspr r3,268\n mfspr r4,268\n mftb r5,268\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[3], 1u);
    EXPECT_EQ(guest.state().gpr[4], 2u);
    EXPECT_EQ(guest.state().gpr[5], 3u);
}

TEST(Instruction, TlbInstructionsMapAPageThatIsThenUsed) {
    Guest guest;
    guest.write32(0x42000, 0x600dcafe);
    guest.program(R"(
        li32 r3,0x10020000   # MAS0: TLB1, entry 2
        mtspr 624,r3
        li32 r3,0x80000100   # MAS1: valid, 4 KiB
        mtspr 625,r3
        li32 r3,0x50000000   # MAS2
        mtspr 626,r3
        li32 r3,0x00042015   # MAS3: SX SW SR
        mtspr 627,r3
        li r3,0
        mtspr 944,r3
        tlbwe
        isync
        li32 r4,0x50000000
        lwz r5,0(r4)
        tlbsx 0,r4
        mfspr r6,625
        tlbivax 0,r4
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[5], 0x600dcafeu);
    EXPECT_EQ(guest.state().gpr[6] & 0x80000f80u, 0x80000100u);
}
