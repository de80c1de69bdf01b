// SPDX-License-Identifier: GPL-2.0-or-later
// Code that changes: by its own stores, by others' stores, by new mappings.
#include "guest_harness.h"

using namespace perfvisor;
using core::Interrupt;
using core::Total;
using engine::Stop;
using test::Guest;

namespace {

uint32_t word_of(const std::string& text) {
    return test::assemble(text, 0).at(0);
}

}  // namespace

TEST(CodeChange, AStoreIntoItsOwnBlockTakesEffectAtTheNextInstruction) {
    Guest guest;
    guest.program(R"(
        bl here
    here: mflr r3
        stw r4,12(r3)    # the li r5,1 below becomes li r5,2
        nop
        li r5,1
        li r6,3
        wait 0
    )");
    // mflr is at here+0, so here+12 is the li.
    guest.state().gpr[4] = word_of("li r5,2");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[5], 2u);
    EXPECT_EQ(guest.state().gpr[6], 3u);
    EXPECT_EQ(guest.total(Total::Instructions), 7u);
    EXPECT_EQ(guest.total(Total::Stores), 1u);
}

TEST(CodeChange, AStoreOfEverySizeIsSeen) {
    for (const char* store : {"stw r4,0(r3)", "stb r5,3(r3)", "sth r6,2(r3)", "stwu r4,0(r3)",
                              "stwx r4,r3,r0", "stfs f1,0(r3)", "stmw r31,0(r3)"}) {
        Guest guest;
        guest.program(std::string(R"(
            li r0,0
            b over
        target: li r7,1
            blr
        over: bl target
            bl target
            bl get
        get: mflr r3
            addi r3,r3,-20
        )") + store + "\n isync\n bl target\n wait 0");
        guest.state().gpr[4] = guest.state().gpr[31] = word_of("li r7,2");
        guest.state().gpr[5] = guest.state().gpr[6] = 2;
        guest.state().fpr[1] = 0;
        if (std::string(store).find("stfs") == 0) {  // the single with the instruction's bits
            Guest helper;
            helper.write32(Guest::kData, word_of("li r7,2"));
            helper.program("li32 r3,0x40000\n lfs f1,0(r3)\n wait 0");
            ASSERT_TRUE(helper.run());
            guest.state().fpr[1] = helper.state().fpr[1];
        }
        ASSERT_TRUE(guest.run()) << store;
        EXPECT_EQ(guest.state().gpr[7], 2u) << store;
    }
}

TEST(CodeChange, DataBesideCodeInAPageDoesNotDisturb) {
    Guest guest;
    guest.program(R"(
        li32 r3,0x1000
        li r4,1000
        mtctr r4
    loop: lwz r5,0x100(r3)
        addi r5,r5,1
        stw r5,0x100(r3)
        bdnz loop
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.read32(0x1100), 1000u);
    EXPECT_EQ(guest.total(Total::Instructions), 4u + 4 * 1000 + 1);
}

TEST(CodeChange, CodeThatRewritesItselfInEveryRoundIsAlwaysCurrent) {
    Guest guest;
    // The immediate of the addi is incremented each round: 1 + 2 + ... + 200.
    guest.program(R"(
        li32 r3,0x1000
        li r4,200
        mtctr r4
        li r6,0
    loop: addi r6,r6,1
        lwz r5,0x14(r3)
        addi r5,r5,1
        stw r5,0x14(r3)
        bdnz loop
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[6], 200u * 201 / 2);
}

TEST(CodeChange, ANewMappingOfThePageIsFollowedAtOnce) {
    Guest guest;
    guest.map(1, 0x10000000, 0x50000, 0x1000, Guest::kAllPermissions);
    guest.program("li r3,1\n blr", 0x50000);
    guest.program("li r3,2\n blr", 0x51000);
    guest.program(R"(
        lis r8,0x1000
        mtctr r8
        bctrl
        mr r10,r3
        li32 r4,0x10010000   # MAS0: TLB1, entry 1
        mtspr 624,r4
        li32 r4,0xc0000100
        mtspr 625,r4
        lis r4,0x1000
        mtspr 626,r4
        li32 r4,0x0005103f
        mtspr 627,r4
        li r4,0
        mtspr 944,r4
        tlbwe
        isync
        bctrl
        mr r11,r3
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[10], 1u);
    EXPECT_EQ(guest.state().gpr[11], 2u);
}

TEST(CodeChange, TwoMappingsOfOnePageShareCodeAndItsChanges) {
    Guest guest;
    guest.map(1, 0x10000000, 0x50000, 0x1000, Guest::kAllPermissions);
    guest.map(2, 0x20000000, 0x50000, 0x1000, Guest::kAllPermissions);
    guest.program("li r3,1\n bl next\n next: mflr r9\n mtlr r10\n blr", 0x50000);
    guest.program(R"(
        lis r8,0x1000
        mtctr r8
        bl call
        mr r11,r9
        lis r8,0x2000
        mtctr r8
        bl call
        mr r12,r9
        stw r7,0(r8)
        bl call
        wait 0
    call: mflr r10
        bctr
    )");
    guest.state().gpr[7] = word_of("li r3,5");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[11], 0x10000008u);
    EXPECT_EQ(guest.state().gpr[12], 0x20000008u);
    EXPECT_EQ(guest.state().gpr[3], 5u);
}

TEST(CodeChange, EachProcessRunsItsOwnCodeAndAllShareTheGlobalOne) {
    Guest guest;
    for (uint32_t pid : {1, 2}) {
        core::TlbEntry entry;
        entry.valid = true;
        entry.tid = pid;
        entry.ea = 0x10000000;
        entry.ra = 0x50000 + 0x1000 * pid;
        entry.size = 0x1000;
        entry.permissions = Guest::kAllPermissions;
        guest.core().mmu().set_entry(1, pid, entry);
        guest.program(
            "addi r" + std::to_string(10 + pid) + ",r" + std::to_string(10 + pid) + ",1\n blr",
            0x50000 + 0x1000 * pid);
    }
    guest.program(R"(
        li r9,50
        lis r8,0x1000
        mtctr r8
    loop: li r3,1
        mtspr 48,r3
        isync
        bctrl
        bctrl
        li r3,2
        mtspr 48,r3
        isync
        bctrl
        addi r9,r9,-1
        cmpwi r9,0
        bne loop
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[11], 100u);
    EXPECT_EQ(guest.state().gpr[12], 50u);
}

// TLB0 is looked at first: what the others have of everybody's page is not the one process's.
TEST(CodeChange, AProcessWithAPageOfItsOwnBeforeTheGlobalOneRunsThat) {
    constexpr uint32_t kPage = 0x60000, kOwn = 0x61000, kWays = 4;
    Guest guest;
    core::TlbEntry entry;
    entry.valid = true;
    entry.tid = 1;
    entry.ea = kPage;
    entry.ra = kOwn;
    entry.size = 0x1000;
    entry.permissions = Guest::kAllPermissions;
    guest.core().mmu().set_entry(0, kPage / 0x1000 * kWays, entry);
    guest.program("addi r12,r12,1\n blr", kPage);
    guest.program("addi r11,r11,1\n blr", kOwn);
    guest.program(R"(
        li r9,50
        lis r8,6
        mtctr r8
    loop: li r3,2
        mtspr 48,r3
        isync
        bctrl
        li r3,1
        mtspr 48,r3
        isync
        bctrl
        addi r9,r9,-1
        cmpwi r9,0
        bne loop
        wait 0
    )");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[11], 50u);
    EXPECT_EQ(guest.state().gpr[12], 50u);
}

TEST(CodeChange, IcbiInItsOwnBlockIsHarmless) {
    Guest guest;
    guest.program("li32 r3,0x1000\n icbi 0,r3\n li r4,4\n icbi 0,r3\n isync\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[4], 4u);
    EXPECT_EQ(guest.total(Total::Instructions), 7u);
}

TEST(CodeChange, MoreCodeThanTheCacheHoldsStillRuns) {
    Guest guest(engine::EngineKind::Interpreter, core::find_core_model("e500mc"), 4u << 20);
    // A branch in each word is a block in each word: 32 times their size when decoded.
    constexpr uint32_t kFirst = 1u << 20, kLast = 3u << 20;
    std::vector<uint32_t> words((kLast - kFirst) / 4, word_of("b 4"));
    words.back() = Guest::kWait;
    guest.load(kFirst, words);
    for (int round = 0; round < 2; ++round) {
        guest.state().pc = kFirst;
        ASSERT_TRUE(guest.run(10'000'000));
        EXPECT_EQ(guest.state().pc, kLast);
    }
    EXPECT_EQ(guest.total(Total::Instructions), 2 * words.size());
}
