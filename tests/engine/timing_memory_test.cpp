// SPDX-License-Identifier: GPL-2.0-or-later
// Caches and TLBs of the timing model: guests whose misses can be counted by hand from the geometry
// in docs/timing.md.
#include "timing_guest.h"

using namespace perfvisor;
using test::Guest;
using test::TimingGuest;
using test::walk;

namespace {

constexpr unsigned kDataReloads = 41, kDataCastouts = 42, kInstructionReloads = 60, kDataSmall = 64,
                   kDataVariable = 65, kL2Fills = 91, kL2DataHits = 113, kL2Update = 120,
                   kLoadsTranslated = 27, kMisaligned = 34, kTotalTranslated = 26, kInhibited = 31,
                   kDataLocks = 40;

const std::string kAtData = "lis r4,4\n";  // 0x40000

}  // namespace

TEST(TimingMemory, AWalkMissesOnceALineAndNotAtAllWithinOne) {
    TimingGuest guest;
    // 64 words in 4 lines.
    EXPECT_EQ(guest.count_one(kDataReloads, walk(4, 64, 1), kAtData), 4u);
}

TEST(TimingMemory, TheDataCacheHolds32KiB) {
    TimingGuest guest;
    EXPECT_EQ(guest.count_one(kDataReloads, walk(64, 512, 3), kAtData), 512u);
}

TEST(TimingMemory, TwiceTheDataCacheMissesEveryTime) {
    // With misses only, pseudo-LRU takes the ways in turn: a line is gone after eight more in its
    // set, and here 15 others come before it comes again.
    TimingGuest guest;
    EXPECT_EQ(guest.count_one(kDataReloads, walk(64, 1024, 2), kAtData), 2048u);
}

TEST(TimingMemory, ASetOfTheDataCacheHasEightWays) {
    for (const unsigned lines : {8u, 9u}) {
        TimingGuest guest;
        // 4096 bytes apart: all in one set. Then the first once more.
        EXPECT_EQ(guest.count_one(kDataReloads, walk(4096, lines, 1) + "\n lwz r6,0(r4)", kAtData),
                  lines == 8 ? 8u : 10u);
    }
}

TEST(TimingMemory, TheL2HoldsWhatTheL1DoesNot) {
    // 112 KiB: seven of eight ways of every set, which leaves one for the code.
    TimingGuest guest;
    const auto counts =
        guest.count({kDataReloads, kL2DataHits, kL2Fills}, walk(64, 1792, 2), kAtData);
    EXPECT_EQ(counts[0], 2u * 1792);
    EXPECT_EQ(counts[1], 1792u);
    EXPECT_GE(counts[2], 1792u);  // and a line or two of code
    EXPECT_LE(counts[2], 1792u + 4);
}

TEST(TimingMemory, ModifiedLinesAreCastOutAndCleanOnesAreNot) {
    const std::string stores = R"(
        mr r5,r4
        li r6,16
        mtctr r6
    next: stw r6,0(r5)
        addi r5,r5,4096
        bdnz next
    )";
    TimingGuest guest;
    // Sixteen lines through the eight ways of a set: the first eight are cast out into the L2.
    const auto counts = guest.count({kDataReloads, kDataCastouts, kL2Update}, stores, kAtData);
    EXPECT_EQ(counts[0], 16u);
    EXPECT_EQ(counts[1], 8u);
    EXPECT_EQ(counts[2], 8u);
    TimingGuest reader;
    EXPECT_EQ(reader.count_one(kDataCastouts, walk(4096, 16, 1), kAtData), 0u);
}

TEST(TimingMemory, AFlushedLineIsFetchedAnew) {
    TimingGuest guest;
    EXPECT_EQ(guest.count_one(kDataReloads, "stw r4,0(r4)\n dcbf r0,r4\n lwz r6,0(r4)", kAtData),
              2u);
}

TEST(TimingMemory, ZeroingALineDoesNotLoadIt) {
    TimingGuest guest;
    const auto counts =
        guest.count({kDataReloads, kDataCastouts}, "dcbz r0,r4\n lwz r6,0(r4)", kAtData);
    EXPECT_EQ(counts[0], 0u);
    EXPECT_EQ(counts[1], 0u);
}

TEST(TimingMemory, LockedLinesStay) {
    TimingGuest guest;
    // The locked line survives sixteen others in its set.
    const auto counts =
        guest.count({kDataReloads, kDataLocks},
                    "dcbtls 0,r0,r4\n addi r8,r4,4096\n mr r9,r4\n" + std::string("mr r4,r8\n") +
                        walk(4096, 16, 1) + "\n lwz r6,0(r9)",
                    kAtData);
    EXPECT_EQ(counts[0], 1u + 16);
    EXPECT_EQ(counts[1], 1u);
}

TEST(TimingMemory, AMisalignedAccessAcrossADoublewordIsTwoInTheCache) {
    TimingGuest guest;
    // The first within one doubleword, the second across a line.
    const auto counts = guest.count({kDataReloads, kMisaligned, kTotalTranslated, kLoadsTranslated},
                                    "lwz r6,2(r4)\n lwz r6,62(r4)", kAtData);
    EXPECT_EQ(counts[0], 2u);
    EXPECT_EQ(counts[1], 2u);
    EXPECT_EQ(counts[2], 2u);
    EXPECT_EQ(counts[3], 2u);
}

TEST(TimingMemory, TheInstructionCacheHolds32KiB) {
    // 7680 instructions in 480 lines, twice: the second round finds them all. Three lines are the
    // program's around them.
    std::string text = "li r7,2\n round: nop\n";
    for (unsigned n = 0; n < 7680; ++n)
        text += "nop\n";
    text += "addi r7,r7,-1\n cmpwi r7,0\n beq done\n b round\n done: nop";
    TimingGuest guest;
    const uint64_t reloads = guest.count_one(kInstructionReloads, text);
    EXPECT_GE(reloads, 480u);
    EXPECT_LE(reloads, 483u);
}

TEST(TimingMemory, TheDataMmuHolds64SmallPages) {
    TimingGuest guest;
    guest.map_small(0x20000000, Guest::kData, 64);
    EXPECT_EQ(guest.count_one(kDataSmall, walk(4096, 64, 3), "lis r4,0x2000\n"), 64u);
}

TEST(TimingMemory, ASetOfTheDataMmuHasFourWays) {
    // Sixteen pages apart: one set. True LRU: in a circle of five each is gone when it comes again.
    for (const unsigned pages : {4u, 5u}) {
        TimingGuest guest;
        for (unsigned n = 0; n < pages; ++n)
            guest.map_small(0x20000000 + n * 0x10000, Guest::kData + n * 4096, 1);
        std::string text = "li r7,3\n pass: nop\n";
        for (unsigned n = 0; n < pages; ++n)
            text += "lis r5," + std::to_string(0x2000 + n) + "\n lwz r6,0(r5)\n";
        text += "addi r7,r7,-1\n cmpwi r7,0\n bne pass";
        EXPECT_EQ(guest.count_one(kDataSmall, text), pages == 4 ? 4u : 15u);
    }
}

TEST(TimingMemory, TheDataMmuHoldsFourLargePages) {
    for (const unsigned pages : {4u, 5u}) {
        TimingGuest guest;
        std::string text = "li r7,3\n pass: nop\n";
        for (unsigned n = 0; n < pages; ++n) {
            guest.map(1 + n, 0x20000000 + n * 0x10000, Guest::kData, 0x10000,
                      Guest::kAllPermissions);
            text += "lis r5," + std::to_string(0x2000 + n) + "\n lwz r6,0(r5)\n";
        }
        text += "addi r7,r7,-1\n cmpwi r7,0\n bne pass";
        EXPECT_EQ(guest.count_one(kDataVariable, text), pages == 4 ? 4u : 15u);
    }
}

TEST(TimingMemory, AWrittenTlbEntryIsReloaded) {
    TimingGuest guest;
    guest.map_small(0x20000000, Guest::kData, 1);
    // tlbivax of the page, after which software would map it again: here the large page under it
    // is what is left to find.
    guest.map(1, 0x20000000, Guest::kData, 0x10000, Guest::kAllPermissions);
    const auto counts = guest.count({kDataSmall, kDataVariable},
                                    "lwz r6,0(r4)\n lwz r6,0(r4)\n tlbivax r0,r4\n lwz r6,0(r4)",
                                    "lis r4,0x2000\n");
    EXPECT_EQ(counts[0], 1u);
    EXPECT_EQ(counts[1], 1u);
}

TEST(TimingMemory, InhibitedAccessesPassTheCaches) {
    TimingGuest guest;
    guest.map(1, 0x20000000, Guest::kData, 0x10000, Guest::kAllPermissions, 0x08 | 0x02);
    const auto counts = guest.count({kDataReloads, kInhibited}, walk(64, 10, 1), "lis r4,0x2000\n");
    EXPECT_EQ(counts[0], 0u);
    EXPECT_EQ(counts[1], 10u);
}

TEST(TimingMemory, TheOverflowInterruptComesBehindTheLoadThatMissed) {
    for (const unsigned misses : {1u, 5u, 20u}) {
        TimingGuest guest;
        guest.handler(core::Interrupt::PerformanceMonitor, "mfspr r30,26\n wait 0");
        std::string text = R"(
            li32 r3,0x04290000       # event 41, CE
            mtpmr 144,r3
            lis r3,0x6000            # PMIE, FCECE
            mtpmr 400,r3
            wrteei 1
            lis r4,4
            li32 r3,)" + std::to_string(0x80000000u - misses) +
                           "\n mtpmr 16,r3\n";
        const uint32_t first =
            Guest::kCode + 4 * static_cast<uint32_t>(test::assemble(text, 0).size());
        for (int i = 0; i < 30; ++i)
            text += "lwz r6," + std::to_string(64 * i) + "(r4)\n lwz r7," +
                    std::to_string(64 * i + 4) + "(r4)\n";
        guest.program(text + "wait 0");
        ASSERT_TRUE(guest.run());
        // Every other load misses.
        EXPECT_EQ(guest.state().gpr[30], first + 8 * (misses - 1) + 4) << misses;
    }
}

TEST(TimingMemory, CountingChangesNeitherTimeNorCourse) {
    TimingGuest counted, plain;
    counted.count({kDataReloads, 19, 15, 64}, walk(64, 1024, 2), kAtData);
    plain.count({2, 8, 9, 10}, walk(64, 1024, 2), kAtData);
    EXPECT_EQ(counted.total(core::Total::Instructions), plain.total(core::Total::Instructions));
    EXPECT_EQ(counted.state().totals.cycles(), plain.state().totals.cycles());
    EXPECT_EQ(counted.total(core::Total::StallCycles), 0u);
}

TEST(TimingMemory, NothingIsModelledWhereNoCounterAsks) {
    TimingGuest guest;
    guest.count({2, 8, 9, 10}, walk(64, 1024, 2), kAtData);
    for (const uint64_t count : guest.state().modelled.value)
        EXPECT_EQ(count, 0u);
}
