// SPDX-License-Identifier: GPL-2.0-or-later
// Branch prediction of the timing model: patterns whose mispredictions can be counted by hand from
// the rules in docs/timing.md.
#include "timing_guest.h"

using namespace perfvisor;
using test::Guest;
using test::TimingGuest;

namespace {

constexpr unsigned kBiffed = 14, kMispredicted = 15, kDirection = 16, kBtbHits = 17;

// Executes the conditional branch at `here` by the bits of `pattern`, the first the leftmost of
// `length`: 1 is taken. The loop's own branch is told apart by the counts of an empty one.
std::string pattern_loop(uint32_t pattern, unsigned length, unsigned rounds) {
    return "li32 r4," + std::to_string(pattern << (32 - length)) + "\n li r7," +
           std::to_string(rounds) + R"(
    round: mr r5,r4
        li r6,)" +
           std::to_string(length) + R"(
        mtctr r6
    next: cmpwi r5,0
        blt over
        nop
    over: slwi r5,r5,1
        bdnz next
        addi r7,r7,-1
        cmpwi r7,0
        bne round
    )";
}

// Mispredictions of the two loop branches of pattern_loop.
unsigned loops_alone(unsigned rounds) {
    // bdnz: not found the first time; wrong at the end of each round. bne: as it is taken once or
    // more, not found the first time, wrong the last.
    return 1 + rounds + (rounds > 1 ? 2 : 0);
}

}  // namespace

TEST(TimingBranch, ALoopIsMispredictedAtItsBeginningAndItsEnd) {
    TimingGuest guest;
    const auto counts = guest.count({kMispredicted, kDirection, kBtbHits},
                                    "li r6,100\n mtctr r6\n next: nop\n bdnz next");
    EXPECT_EQ(counts[0], 2u);
    EXPECT_EQ(counts[1], 2u);
    EXPECT_EQ(counts[2], 99u);
}

TEST(TimingBranch, ABranchThatIsNeverTakenIsAlwaysRight) {
    TimingGuest guest;
    EXPECT_EQ(guest.count_one(kMispredicted, pattern_loop(0, 32, 2)), loops_alone(2));
}

TEST(TimingBranch, ABranchThatIsAlwaysTakenIsWrongOnce) {
    TimingGuest guest;
    EXPECT_EQ(guest.count_one(kMispredicted, pattern_loop(0xffffffff, 32, 2)), loops_alone(2) + 1);
}

TEST(TimingBranch, AlternatingDirectionsAreWrongWheneverNotTaken) {
    // Taken, entered as strongly taken: each "not" is wrong and only weakens it, each "taken"
    // right.
    TimingGuest guest;
    EXPECT_EQ(guest.count_one(kMispredicted, pattern_loop(0xaaaaaaaa, 32, 1)),
              loops_alone(1) + 1 + 16);
}

TEST(TimingBranch, TwoInARowTurnThePrediction) {
    // TTNN: the first T is wrong once (not found) and enters 3. Then T right (3), N wrong (2),
    // N wrong (1); T wrong (2), T right (3), N wrong (2), N wrong (1) ...: three wrong in each
    // four.
    TimingGuest guest;
    EXPECT_EQ(guest.count_one(kMispredicted, pattern_loop(0xcccccccc, 32, 1)),
              loops_alone(1) + 8 * 3);
}

TEST(TimingBranch, UnconditionalBranchesAreFoundByTheDecoderTheFirstTime) {
    TimingGuest guest;
    const auto counts = guest.count({kBiffed, kMispredicted}, R"(
        li r6,10
        mtctr r6
    next: b over
        nop
    over: bdnz next
    )");
    EXPECT_EQ(counts[0], 1u);
    EXPECT_EQ(counts[1], 2u);
}

TEST(TimingBranch, AReturnToAnotherCallerIsMispredicted) {
    // There is no stack of return addresses: the target is that of the last time.
    TimingGuest guest;
    const auto counts = guest.count({kMispredicted, kDirection, kBiffed}, R"(
        li r6,10
        mtctr r6
    next: bl function
        bl function
        bdnz next
        b end
    function: blr
    end: nop
    )");
    // blr: all 20. bdnz: two, of the direction. bl, bl, b and blr are not found the first time.
    EXPECT_EQ(counts[0], 20u + 2);
    EXPECT_EQ(counts[1], 2u);
    EXPECT_EQ(counts[2], 4u);
}

TEST(TimingBranch, ASetOfTheTargetBufferHasFourWays) {
    // Branches 512 bytes apart share a set. Five in a circle: LRU has always just thrown it out.
    for (const unsigned branches : {4u, 5u}) {
        const uint32_t base = 0x8000;
        TimingGuest guest;
        for (unsigned n = 0; n < branches; ++n)
            guest.program(n + 1 < branches ? "b " + std::to_string(base + (n + 1) * 512) : "blr",
                          base + n * 512);
        const std::string call = "li32 r8," + std::to_string(base) + R"(
            mtctr r8
            li r7,3
        next: bctrl
            addi r7,r7,-1
            cmpwi r7,0
            bne next
        )";
        // And bctrl, which is not found the first time either.
        EXPECT_EQ(guest.count_one(kBiffed, call), branches == 4 ? 4u + 1 : 3u * 5 + 1);
    }
}

TEST(TimingBranch, FlashInvalidationEmptiesTheTargetBuffer) {
    TimingGuest guest;
    const std::string rounds = R"(
        li r8,3
    again: li r6,10
        mtctr r6
    next: nop
        bdnz next
        li r9,0x201
        mtspr 1013,r9        # BUCSR[BBFI], [BPEN]
        addi r8,r8,-1
        cmpwi r8,0
        bne again
    )";
    // Each round is like the first: bdnz wrong twice, bne never found and taken twice of three
    // times.
    EXPECT_EQ(guest.count_one(kMispredicted, rounds), 3u * 2 + 2);
}
