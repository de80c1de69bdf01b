// SPDX-License-Identifier: GPL-2.0-or-later
// A guest that counts itself: its PMCs show exactly what it executed, and its overflow interrupt
// comes at exactly the instruction it should.
#include "guest_harness.h"

using namespace perfvisor;
using core::Interrupt;
using core::Total;
using test::Guest;

namespace {

// Events (e500mc manual, table 9-47).
constexpr unsigned kInstructions = 2, kBranches = 8, kLoads = 9, kStores = 10, kTaken = 13;

std::string pmlca(unsigned counter, unsigned event, bool enable) {
    return "li32 r3," + std::to_string(event << 16 | (enable ? 0x04000000u : 0)) + "\n mtpmr " +
           std::to_string(144 + counter) + ",r3\n";
}

// A guest that has reserved the performance monitor.
class CountingGuest : public Guest {
  public:
    CountingGuest() { core().perfmon().set_available(true); }
};

}  // namespace

TEST(Counting, AGuestReadsExactlyWhatItExecuted) {
    CountingGuest guest;
    // Frozen while it is set up, and again before it is read: what counts are the instructions
    // behind the mtpmr that unfreezes, up to and including the one that freezes.
    guest.program("lis r20,0x8000\n mtpmr 400,r20\n" + pmlca(0, kInstructions, false) +
                  pmlca(1, kBranches, false) + pmlca(2, kLoads, false) + pmlca(3, kStores, false) +
                  R"(
        li r4,10
        li32 r5,0x40000
        li r6,0
        mtpmr 400,r6
        mtctr r4             # 1
    loop: lwz r7,0(r5)       # 10 rounds: 2 loads, 1 store, 2 branches, 1 of them taken but once
        lbzu r8,1(r5)
        stw r7,64(r5)
        beq never
        bdnz loop
    never: lmw r28,2(r5)     # 4 loads, 8 stores
        stmw r24,2(r5)
        mtpmr 400,r20        # itself counted
        mfpmr r10,16
        mfpmr r11,17
        mfpmr r12,18
        mfpmr r13,19
        wait 0
    )");
    guest.state().cr.set_word(0);
    guest.state().cr.set(0, 4);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[10], 1u + 50 + 2 + 1);
    EXPECT_EQ(guest.state().gpr[11], 20u);
    EXPECT_EQ(guest.state().gpr[12], 20u + 4);
    EXPECT_EQ(guest.state().gpr[13], 10u + 8);
}

TEST(Counting, TakenBranchesCountOnlyWhatIsTaken) {
    CountingGuest guest;
    guest.program("lis r20,0x8000\n mtpmr 400,r20\n" + pmlca(0, kTaken, false) + R"(
        li r4,7
        mtctr r4
        li r6,0
        mtpmr 400,r6
    loop: bne skip           # taken
        nop
    skip: beq loop           # not taken
        bdnz loop            # taken six times
        bl sub               # taken
        mtpmr 400,r20
        mfpmr r10,16
        wait 0
    sub: blr                 # taken
    )");
    guest.state().cr.set(0, 4);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[10], 7u + 6 + 2);
}

TEST(Counting, AReadDoesNotCountItself) {
    CountingGuest guest;
    guest.program(pmlca(0, kInstructions, false) + R"(
        mfpmr r4,16
        mfpmr r5,16
        nop
        mfpmr r6,16
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[4], 0u);
    EXPECT_EQ(guest.state().gpr[5], 1u);
    EXPECT_EQ(guest.state().gpr[6], 3u);
}

TEST(Counting, TheOverflowInterruptComesAtExactlyTheExpectedInstruction) {
    // 100 instructions behind the mtpmr that arms the counter, in a stretch of known addresses.
    for (unsigned period : {1u, 2u, 63u, 64u, 65u, 100u, 333u}) {
        CountingGuest guest;
        guest.handler(Interrupt::PerformanceMonitor, "mfspr r30,26\n mfpmr r31,16\n wait 0");
        std::string text = pmlca(0, kInstructions, true) + R"(
            lis r3,0x6000            # PMIE, FCECE
            mtpmr 400,r3
            wrteei 1
            li32 r4,)" + std::to_string(0x80000000u - period) +
                           "\n mtpmr 16,r4\n";
        const uint32_t first =
            Guest::kCode + 4 * static_cast<uint32_t>(test::assemble(text, 0).size());
        for (int i = 0; i < 400; ++i)
            text += "nop\n";
        guest.program(text + "wait 0");
        ASSERT_TRUE(guest.run());
        EXPECT_EQ(guest.state().gpr[30], first + 4 * period) << period;
        EXPECT_EQ(guest.state().gpr[31], 0x80000000u) << period;
    }
}

TEST(Counting, TheOverflowInterruptIsExactInALoopWithBranchesAndFaults) {
    // r5 counts the rounds (4 instructions each, 2 of them branches); the interrupt must come
    // between the same two instructions every time.
    CountingGuest guest;
    guest.handler(Interrupt::PerformanceMonitor, "mfspr r30,26\n wait 0");
    guest.program(pmlca(1, kBranches, true) + R"(
        lis r3,0x6000
        mtpmr 400,r3
        wrteei 1
        li r5,0
        li32 r4,0x7fffff38       # 200 branches to go
        mtpmr 17,r4
    loop: addi r5,r5,1
        b over
    over: nop
        b loop
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[5], 100u);
    const uint32_t loop = guest.state().gpr[30];
    EXPECT_EQ(guest.read32(loop), test::assemble("addi r5,r5,1", 0)[0]);
}

TEST(Counting, UserAndSupervisorCountsAddUp) {
    CountingGuest guest;
    // PMC0 everything, PMC1 user only (FCS), PMC2 supervisor only (FCU).
    guest.handler(Interrupt::SystemCall, "nop\n nop\n rfi");
    guest.program(R"(
        li32 r3,0x00020000
        mtpmr 144,r3
        li32 r3,0x40020000
        mtpmr 145,r3
        li32 r3,0x20020000
        mtpmr 146,r3
        li r6,0
        mtpmr 16,r6
        mtpmr 17,r6
        mtpmr 18,r6
        mfmsr r4
        ori r4,r4,0x4000
        mtspr 27,r4
        bl user
    user: mflr r5
        addi r5,r5,16
        mtspr 26,r5
        rfi
        li r7,5              # user mode from here
        mtctr r7
    loop: sc 0
        bdnz loop
        mfpmr r10,0          # user copies of the counters, one instruction apart
        mfpmr r11,1
        mfpmr r12,2
        trap_here: twi 31,r0,0
    )");
    guest.handler(Interrupt::Program, "wait 0");
    ASSERT_TRUE(guest.run());
    // User: li mtctr, 5 x (sc bdnz), and what a read sees of those before it.
    EXPECT_EQ(guest.state().gpr[11], 2u + 10 + 1);
    // Supervisor: 5 handlers of 3 instructions, and those between the mtpmr 18 and rfi included.
    EXPECT_EQ(guest.state().gpr[12], 15u + 8);
    EXPECT_EQ(guest.state().gpr[10], 12u + 15 + 8 + 2);
}

TEST(Counting, WithoutTheReservationTheRegistersReadZeroAndNothingHappens) {
    Guest guest;
    guest.program(pmlca(0, kInstructions, true) + R"(
        lis r3,0x6000
        mtpmr 400,r3
        lis r4,0x8000
        mtpmr 16,r4
        wrteei 1
        nop
        mfpmr r10,16
        mfpmr r11,400
        mfpmr r12,144
        wait 0
    )");
    guest.state().gpr[10] = guest.state().gpr[11] = guest.state().gpr[12] = 99;
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.total(Total::Interrupts), 0u);
    EXPECT_EQ(guest.state().gpr[10], 0u);
    EXPECT_EQ(guest.state().gpr[11], 0u);
    EXPECT_EQ(guest.state().gpr[12], 0u);
}
