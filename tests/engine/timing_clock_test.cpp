// SPDX-License-Identifier: GPL-2.0-or-later
// --timing=e500mc: what instructions cost, by hand from docs/timing.md, and that time is exact to
// the instruction although cycles are not instructions.
#include <fmt/format.h>

#include <array>
#include <utility>

#include "timing_guest.h"

using namespace perfvisor;
using core::Total;
using test::Guest;
using test::TimingGuest;

namespace {

constexpr unsigned kCycles = 1, kIssueStalled = 19, kMultipleStalled = 23, kLoadStoreStalled = 24,
                   kMmuMiss = 48, kMmuMissCycles = 56, kCollision = 47;

std::string repeated(const std::string& instruction, unsigned times) {
    std::string text;
    for (unsigned n = 0; n < times; ++n)
        text += instruction + "\n";
    return text;
}

std::string loop(const std::string& body, unsigned rounds) {
    return "lis r4,4\n li r3,3\n li r10,1\n li32 r6," + std::to_string(rounds) +
           "\n mtctr r6\n b next\n .long 0x60000000\n next: nop\n" + body + "bdnz next\n";
}

// Of a loop in which everything is in the caches.
uint64_t cycles_a_hundred_rounds(const std::string& body) {
    TimingGuest shorter, longer;
    return longer.cycles(loop(body, 300)) - shorter.cycles(loop(body, 200));
}
uint64_t cycles_a_round(const std::string& body) {
    const uint64_t cycles = cycles_a_hundred_rounds(body);
    EXPECT_EQ(cycles % 100, 0u);
    return cycles / 100;
}

}  // namespace

TEST(TimingClock, DependentMultipliesTakeFourCyclesEach) {
    EXPECT_EQ(cycles_a_round(repeated("mullw r3,r3,r10", 10)), 40u);
}

TEST(TimingClock, IndependentMultipliesTakeOneCycleEach) {
    std::string body;
    for (unsigned n = 0; n < 10; ++n)
        body += "mullw r" + std::to_string(12 + n) + ",r3,r10\n";
    EXPECT_EQ(cycles_a_round(body), 10u);
}

TEST(TimingClock, DividesTakeFourteenCyclesWhetherDependentOrNot) {
    EXPECT_EQ(cycles_a_round(repeated("divw r3,r3,r10", 5)), 70u);
    EXPECT_EQ(cycles_a_round("divw r12,r3,r10\n divw r13,r3,r10\n divw r14,r3,r10\n"), 42u);
}

TEST(TimingClock, DependentAdditionsTakeOneCycleAndIndependentOnesHalf) {
    EXPECT_EQ(cycles_a_round(repeated("addi r3,r3,1", 20)), 20u);
    // With the loop's nop and bdnz 22 instructions, two a cycle.
    std::string body;
    for (unsigned n = 0; n < 20; ++n)
        body += "addi r" + std::to_string(12 + n % 10) + ",r3,1\n";
    EXPECT_EQ(cycles_a_round(body), 11u);
}

TEST(TimingClock, APointerChaseInTheCacheTakesThreeCyclesALoad) {
    TimingGuest shorter, longer;
    const auto chase = [](TimingGuest& guest, unsigned rounds) {
        guest.write32(Guest::kData, Guest::kData);
        return guest.cycles(loop(repeated("lwz r4,0(r4)", 8), rounds));
    };
    EXPECT_EQ(chase(longer, 300) - chase(shorter, 200), 100u * 8 * 3);
}

TEST(TimingClock, APointerChaseThroughTheL2AndMemoryTakesTheirLatency) {
    // A ring of lines 4096 bytes apart: 16 are twice the ways of an L1 set, and in the L2 they lie
    // in four sets of four; 64 are twice the ways there too.
    for (const unsigned lines : {16u, 64u}) {
        const auto chase = [lines](unsigned rounds) {
            TimingGuest guest;
            for (unsigned n = 0; n < lines; ++n)
                guest.write32(Guest::kData + n * 4096, Guest::kData + (n + 1) % lines * 4096);
            return guest.cycles(loop(repeated("lwz r4,0(r4)", 8), rounds));
        };
        // 3 cycles of a load, and 9 to the L2 or 100 to memory.
        EXPECT_EQ(chase(264) - chase(200), 64u * 8 * (lines == 16 ? 3 + 9 : 3 + 100)) << lines;
    }
}

TEST(TimingClock, AMispredictedBranchCostsFiveCycles) {
    // Six instructions in three cycles. Alternating, the branch is wrong every other round; its two
    // ways are one. From its decoding to its execution and two cycles of fetching: five.
    const auto body = [](const char* compared) {
        return "xori r11,r11,1\n cmpwi r11," + std::string(compared) + "\n beq o\n o: nop\n";
    };
    EXPECT_EQ(cycles_a_hundred_rounds(body("9")), 300u);
    EXPECT_EQ(cycles_a_hundred_rounds(body("1")), 300u + 50 * 5);
}

TEST(TimingClock, StallsAreAttributedToTheUnitThatWaits) {
    TimingGuest guest;
    const auto counts = guest.count({kMultipleStalled, kLoadStoreStalled, kIssueStalled},
                                    loop(repeated("mullw r3,r3,r10", 10), 100));
    // Each waits three cycles more than it would for its turn alone.
    EXPECT_GE(counts[0], 100u * 10 * 2);
    EXPECT_EQ(counts[1], 0u);
    EXPECT_GT(counts[2], 0u);
}

TEST(TimingClock, AnMmuMissReplaysTheLoad) {
    TimingGuest guest;
    guest.map_small(0x20000000, Guest::kData, 8);
    const auto counts =
        guest.count({kMmuMiss, kMmuMissCycles}, test::walk(4096, 8, 2), "lis r4,0x2000\n");
    EXPECT_EQ(counts[0], 8u);
    EXPECT_EQ(counts[1], 8u * 7);
}

TEST(TimingClock, ALoadOfWhatIsBeingStoredWaits) {
    TimingGuest guest;
    const auto counts = guest.count({kCollision}, loop("stw r3,0(r4)\n lwz r3,0(r4)\n", 50));
    EXPECT_EQ(counts[0], 50u);
}

// One access each of the first so many lines, and then of the first again up to six.
std::string accesses_of_lines(const char* access, unsigned lines) {
    std::string text = loop("", 1);
    for (unsigned n = 0; n < 6; ++n)
        text += fmt::format("{} r{},{}(r4)\n", access, 12 + n, n < lines ? n * 64 : 0);
    return text;
}
uint64_t cycles_of_lines(const char* access, unsigned lines) {
    TimingGuest guest;
    return guest.cycles(accesses_of_lines(access, lines));
}

TEST(TimingClock, FiveLoadsThatMissGoOnBesideEachOther) {
    const uint64_t one = cycles_of_lines("lwz", 1);
    EXPECT_EQ(cycles_of_lines("lwz", 5), one);
    EXPECT_EQ(cycles_of_lines("lwz", 6), one + 100);
}

TEST(TimingClock, StoresThatMissFillOneLineAfterTheOther) {
    const uint64_t one = cycles_of_lines("stw", 1);
    EXPECT_EQ(cycles_of_lines("stw", 2), one + 99);
    EXPECT_EQ(cycles_of_lines("stw", 3), one + 2 * 99);
}

TEST(TimingClock, WhatIsCountedBesideDoesNotChangeTheTime) {
    constexpr unsigned kInstructions = 2;
    std::vector<uint64_t> cycles;
    for (const unsigned beside : {kInstructions, kMultipleStalled, kMmuMiss, kCollision}) {
        TimingGuest guest;
        guest.core().timing().set_drives_clock(true);
        cycles.push_back(
            guest.count({kCycles, beside}, loop("mullw r3,r3,r10\n stw r3,0(r4)\n lwz r5,0(r4)\n"
                                                "divw r6,r5,r10\n lwzu r7,68(r4)\n",
                                                100))[0]);
    }
    EXPECT_EQ(cycles, std::vector<uint64_t>(cycles.size(), cycles[0]));
}

// A store is still in its queue when the guest selects the event that a load would meet it in.
TEST(TimingClock, TheGuestsPipelineBeginsEmptyWhoeverElseHasItRun) {
    for (const uint32_t outside : {0u, core::timing_part::kAll}) {
        TimingGuest guest;
        guest.core().timing().set_drives_clock(true);
        guest.state().model.outside = outside;
        guest.program(fmt::format(R"(lis r4,4
            lis r29,0x8000
            mtpmr 400,r29
            lis r28,{}
            li r27,0
            stw r3,0(r4)
            mtpmr 144,r28
            mtpmr 16,r27
            mtpmr 400,r27
            lwz r5,0(r4)
            mtpmr 400,r29
            wait 0)",
                                  kCollision));
        ASSERT_TRUE(guest.run(1000));
        EXPECT_EQ(guest.core().perfmon().read(16), 0u) << outside;
    }
}

TEST(TimingClock, CyclesAreCountedAsTheyPass) {
    TimingGuest guest;
    guest.core().timing().set_drives_clock(true);
    const auto few = guest.count({kCycles, 2}, loop(repeated("mullw r3,r3,r10", 10), 100));
    EXPECT_GT(few[0], 4000u);
    EXPECT_LT(few[0], 4250u);
    EXPECT_LT(few[1], 1300u);
}

namespace {

// Until the guest waits, in one go, or instruction by instruction, when no deadline can be missed.
bool run(TimingGuest& guest, bool single) {
    if (!single) return guest.run();
    for (unsigned n = 0; n < 100'000 && !guest.core().halted(); ++n) {
        guest.core().deliver_pending_interrupt();
        guest.core().instructions_to_deadline(1);
        guest.engine().run(1);
    }
    return guest.core().halted();
}

// Where a decrementer of so many ticks interrupts the body, and at which cycle the guest then
// waits.
std::pair<uint32_t, uint64_t> interrupted(unsigned ticks, const std::string& body, bool single) {
    TimingGuest guest;
    guest.core().timing().set_drives_clock(true);
    guest.handler(core::Interrupt::Decrementer, "mfspr r30,26\n wait 0");
    guest.program("lis r3,0x0400\n mtspr 340,r3\n li32 r3," + std::to_string(ticks) +
                  "\n mtspr 22,r3\n wrteei 1\n" + loop(body, 1000) + "wait 0");
    EXPECT_TRUE(run(guest, single));
    EXPECT_NE(guest.state().gpr[30], 0u);
    return {static_cast<uint32_t>(guest.state().gpr[30]), guest.state().totals.cycles()};
}

}  // namespace

TEST(TimingClock, TheDecrementerInterruptsAtTheFirstInstructionBehindItsTime) {
    const std::string body = "divw r3,r3,r10\n lwz r5,0(r4)\n addi r4,r4,64\n";
    for (const unsigned ticks : {100u, 101u, 102u, 103u, 500u, 1777u})
        EXPECT_EQ(interrupted(ticks, body, false), interrupted(ticks, body, true)) << ticks;
}

// What misses in the middle of a block may bring a deadline so near that it is in the rest of it.
TEST(TimingClock, TheDecrementerInterruptsWhereAMultipleHasMissed) {
    const std::string body = "stmw r5,60(r4)\n addi r4,r4,256\n" + repeated("addi r3,r3,1", 30);
    for (unsigned ticks = 2000; ticks < 2300; ++ticks)
        EXPECT_EQ(interrupted(ticks, body, false), interrupted(ticks, body, true)) << ticks;
}

TEST(TimingClock, TheCycleCountersInterruptComesBehindTheInstructionThatOverflows) {
    for (const unsigned period : {50u, 51u, 52u, 53u, 1001u}) {
        uint32_t interrupted[2];
        for (const bool single : {false, true}) {
            TimingGuest guest;
            guest.core().timing().set_drives_clock(true);
            guest.handler(core::Interrupt::PerformanceMonitor,
                          "mfspr r30,26\n mfpmr r31,16\n wait 0");
            guest.program(
                "li32 r3,0x04010000\n mtpmr 144,r3\n lis r3,0x6000\n mtpmr 400,r3\n"
                "wrteei 1\n li32 r3," +
                std::to_string(0x80000000u - period) + "\n mtpmr 16,r3\n" +
                loop("divw r3,r3,r10\n lwz r5,0(r4)\n addi r4,r4,64\n", 1000) + "wait 0");
            ASSERT_TRUE(run(guest, single));
            interrupted[single] = static_cast<uint32_t>(guest.state().gpr[30]);
            EXPECT_GE(guest.state().gpr[31], 0x80000000u);
        }
        EXPECT_NE(interrupted[0], 0u);
        EXPECT_EQ(interrupted[0], interrupted[1]) << period;
    }
}

TEST(TimingClock, CyclesDoNotDependOnHowTheRunIsCut) {
    uint64_t cycles[3];
    const uint64_t pieces[3] = {1'000'000, 7, 1};
    for (unsigned n = 0; n < 3; ++n) {
        TimingGuest guest;
        guest.core().timing().set_drives_clock(true);
        guest.program(loop("divw r3,r3,r10\n lwz r5,0(r4)\n addi r4,r4,64\n stw r3,0(r4)\n", 500) +
                      "wait 0");
        while (!guest.core().halted()) {
            guest.core().deliver_pending_interrupt();
            guest.engine().run(pieces[n]);
        }
        cycles[n] = guest.state().totals.cycles();
    }
    EXPECT_EQ(cycles[0], cycles[1]);
    EXPECT_EQ(cycles[0], cycles[2]);
}

// In one go translated code goes along with the model by itself; in pieces of seven most of it is
// interpreted, which asks about everything.
TEST(TimingClock, CodeThatKnowsWhatTheModelDoesTakesTheSameTime) {
    std::string branches;  // 512 bytes apart: five in a set of the predictor, which has four ways
    for (unsigned n = 0; n < 5; ++n)
        branches +=
            fmt::format("andi. r11,r3,{}\n beq o{}\n addi r12,r12,1\n o{}: nop\n", 1 + n, n, n) +
            repeated("nop", 124);
    // Nine lines in a set of the L1 that has eight ways, and five pages in a set of its MMU that
    // has four; the first of them again and again.
    constexpr std::array kPages = {0x2000u, 0x2001u, 0x2002u, 0x2003u, 0x2006u};
    std::string lines, pages = "lis r13,0x2000\n";
    for (unsigned n = 1; n < 9; ++n)
        lines += fmt::format("lwz r5,{}(r4)\n lwz r5,0(r4)\n stw r5,{}(r4)\n", n % 7 * 4096,
                             n * 4096 % (9 * 4096));
    for (unsigned n = 1; n < 5; ++n)
        pages += fmt::format("lis r14,{}\n lwz r5,0(r14)\n lwz r5,0(r13)\n stb r3,{}(r14)\n",
                             kPages[n], n * 64);
    const std::string bodies[] = {
        branches + "addi r3,r3,1\n",
        lines,
        pages,
        "lwz r5,2(r4)\n lwz r5,6(r4)\n lhz r5,61(r4)\n lwz r5,62(r4)\n sth r5,127(r4)\n",
        "dcbz 0,r4\n addi r4,r4,64\n lwz r5,-64(r4)\n rlwinm r4,r4,0,16,13\n",
        "b s\n f: addi r3,r3,1\n blr\n s: mfctr r20\n bl f\n bl f\n andi. r11,r3,4\n beq t\n"
        " bl f\n t: mtctr r20\n"};
    for (const std::string& body : bodies) {
        uint64_t cycles[2];
        for (const uint64_t piece : {uint64_t{1'000'000}, uint64_t{7}}) {
            TimingGuest guest;
            for (unsigned n = 0; n < 5; ++n)
                guest.map_small(kPages[n] << 16, Guest::kData + n * 4096, 1);
            guest.core().timing().set_drives_clock(true);
            guest.program(loop(body, 300) + "wait 0");
            while (!guest.core().halted()) {
                guest.core().deliver_pending_interrupt();
                guest.engine().run(piece);
            }
            cycles[piece == 7] = guest.state().totals.cycles();
        }
        EXPECT_EQ(cycles[0], cycles[1]) << body;
    }
}
