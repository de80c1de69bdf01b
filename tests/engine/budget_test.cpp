// SPDX-License-Identifier: GPL-2.0-or-later
// Engine::run's budget: exactly the instructions asked for, whatever they are.
#include <random>

#include "guest_harness.h"

using namespace perfvisor;
using core::Interrupt;
using core::Total;
using engine::Stop;
using test::Guest;

namespace {

constexpr const char* kMixedLoop = R"(
    start: li32 r3,0x40000
        li r4,9
        mtctr r4
    loop: lwz r5,0(r3)
        addi r5,r5,1
        stw r5,0(r3)
        cmpwi r5,3
        blt skip
        addi r6,r6,1
        mfspr r7,268
    skip: bdnz loop
        bl function
        b start
    function: stmw r25,16(r3)
        lmw r25,16(r3)
        blr
)";

}  // namespace

TEST(Budget, RunCompletesExactlyTheInstructionsAskedFor) {
    Guest guest;
    guest.program(kMixedLoop);
    std::mt19937 random(4);
    for (int i = 0; i < 2000; ++i) {
        const uint64_t want = 1 + random() % 200;
        const uint64_t before = guest.total(Total::Instructions);
        ASSERT_EQ(guest.engine().run(want), Stop::Budget);
        ASSERT_EQ(guest.total(Total::Instructions) - before, want);
    }
}

TEST(Budget, SlicesOfAnySizeLeadToTheSameState) {
    Guest whole;
    whole.program(kMixedLoop);
    ASSERT_EQ(whole.engine().run(10000), Stop::Budget);
    for (uint64_t slice : {1, 2, 3, 7, 50, 9999}) {
        Guest parts;
        parts.program(kMixedLoop);
        for (uint64_t left = 10000; left > 0;) {
            const uint64_t now = std::min(slice, left);
            ASSERT_EQ(parts.engine().run(now), Stop::Budget);
            left -= now;
        }
        EXPECT_EQ(parts.state().gpr, whole.state().gpr) << slice;
        EXPECT_EQ(parts.state().pc, whole.state().pc) << slice;
        EXPECT_EQ(parts.state().totals.value, whole.state().totals.value) << slice;
    }
}

TEST(Budget, AttentionStopsBeforeTheNextBlock) {
    Guest guest;
    guest.program("loop: addi r3,r3,1\n b loop");
    guest.state().attention = core::kKick;
    EXPECT_EQ(guest.engine().run(100), Stop::Attention);
    EXPECT_EQ(guest.total(Total::Instructions), 0u);
}

TEST(Budget, AnEndlessStormOfFetchFaultsComesBack) {
    Guest guest;
    guest.core().set_spr(core::spr::kIVPR, 0x90000000);  // not mapped: the handler faults too
    guest.program("sc 0");
    EXPECT_EQ(guest.engine().run(5000), Stop::Budget);
    EXPECT_EQ(guest.total(Total::Instructions), 1u);
    EXPECT_GE(guest.total(Total::Interrupts), 4999u);
}

TEST(Budget, AnEndlessStormOfDataFaultsComesBack) {
    Guest guest;
    guest.handler(Interrupt::DataTlbError, "li32 r3,0x90000000\n lwz r4,0(r3)");
    guest.program("li32 r3,0x90000000\n lwz r4,0(r3)");
    EXPECT_EQ(guest.engine().run(3000), Stop::Budget);
    // Each round completes two instructions and uses up three units.
    EXPECT_EQ(guest.total(Total::Instructions), 2000u);
    EXPECT_EQ(guest.total(Total::Interrupts), 1000u);
}

TEST(Budget, BranchingToWhereNothingIsMappedTakesAnInstructionTlbError) {
    Guest guest;
    guest.handler(Interrupt::InstructionTlbError, "mfspr r30,26\n wait 0");
    guest.program("li32 r3,0xa0001234\n mtctr r3\n bctr");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[30], 0xa0001234u);
}

TEST(Budget, BranchingToWhereNoMemoryIsTakesAMachineCheck) {
    Guest guest;
    guest.handler(Interrupt::MachineCheck, "mfspr r30,570\n wait 0");
    guest.program("li32 r3,0x8000000\n mtctr r3\n bctr");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[30], 0x8000000u);
}

TEST(Budget, ABlockDoesNotRunPastThePagesEnd) {
    Guest guest;
    guest.map(0, 0, 0, 0x1000 * 64, Guest::kAllPermissions);
    // 0x3f ff8: the last words of the mapping; what follows is not mapped.
    guest.handler(Interrupt::InstructionTlbError, "mfspr r30,26\n wait 0");
    guest.program("li r3,1\n li r4,2", 0x3fff8);
    guest.state().pc = 0x3fff8;
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[4], 2u);
    EXPECT_EQ(guest.state().gpr[30], 0x40000u);
}
