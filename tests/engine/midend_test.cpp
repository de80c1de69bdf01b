// SPDX-License-Identifier: GPL-2.0-or-later
// What the passes find out about a block: effects of instructions, what of CR and CA is looked at.
#include <gtest/gtest.h>

#include <cstring>

#include "assembler.h"
#include "engine/translator/midend/access_runs.h"
#include "engine/translator/midend/liveness.h"
#include "engine/translator/midend/register_choice.h"

using namespace perfvisor;
using namespace perfvisor::engine::translator;

namespace {

constexpr Mode kMode{.user = false, .floating_point = true};

class Page {
  public:
    explicit Page(const std::string& program) {
        const auto words = test::assemble(program, 0);
        for (size_t n = 0; n < words.size(); ++n) {
            const uint32_t stored = core::from_big_endian(words[n]);
            std::memcpy(bytes_.data() + 4 * n, &stored, sizeof stored);
        }
    }
    GuestBlock block() {
        GuestBlock block;
        decode_block(*core::find_core_model("e500mc"), {}, 0, bytes_.data(), kMode, block);
        return block;
    }
    GuestBlock trace(const std::vector<uint32_t>& path) {
        GuestBlock block;
        decode_trace(*core::find_core_model("e500mc"), path, bytes_.data(), kMode, block);
        return block;
    }

  private:
    std::vector<uint8_t> bytes_ = std::vector<uint8_t>(core::kPageSize);
};

Effects effects_of(const std::string& text) {
    return engine::translator::effects_of(Page(text).block().instructions.front());
}

constexpr uint32_t r(unsigned n) {
    return 1u << n;
}

}  // namespace

TEST(Effects, ArithmeticReadsItsOperandsAndWritesItsResult) {
    const Effects add = effects_of("add r3,r4,r5");
    EXPECT_EQ(add.reads, r(4) | r(5));
    EXPECT_EQ(add.writes, r(3));
    EXPECT_EQ(add.fields_written, 0);
    EXPECT_FALSE(add.may_leave);
    EXPECT_EQ(effects_of("add. r3,r4,r5").fields_written, 1);
    EXPECT_EQ(effects_of("li r3,4").reads, 0u);
    EXPECT_EQ(effects_of("rlwimi r3,r4,1,2,3").reads, r(3) | r(4));
}

TEST(Effects, ImmediatesThatEndInAOneRecordNothing) {
    EXPECT_EQ(effects_of("ori r3,r4,1").fields_written, 0);
    EXPECT_EQ(effects_of("addi r3,r4,1").fields_written, 0);
    EXPECT_EQ(effects_of("mulli r3,r4,1").fields_written, 0);
    EXPECT_EQ(effects_of("andi. r3,r4,2").fields_written, 1);
}

TEST(Effects, AccessesMayFault) {
    const Effects load = effects_of("lwzu r3,4(r4)");
    EXPECT_EQ(load.reads, r(4));
    EXPECT_EQ(load.writes, r(3) | r(4));
    EXPECT_TRUE(load.may_leave);
    EXPECT_EQ(effects_of("stw r3,0(r4)").reads, r(3) | r(4));
    EXPECT_EQ(effects_of("lmw r29,0(r4)").writes, r(29) | r(30) | r(31));
}

TEST(Effects, WhatIsNotKnownDoesEverything) {
    const Effects trap = effects_of("twi 4,r3,0");
    EXPECT_EQ(trap.reads, ~0u);
    EXPECT_EQ(trap.fields_read, 0xff);
    EXPECT_TRUE(trap.may_leave);
}

TEST(Liveness, AFieldSetAnewBeforeAnybodyLooksIsDead) {
    Page page("cmpwi r3,1\n addi r3,r3,1\n cmpwi r3,2\n b 0");
    const GuestBlock block = page.block();
    Liveness liveness;
    liveness.analyse(block);
    EXPECT_FALSE(liveness.field_lives_behind(0, 0));
    EXPECT_FALSE(liveness.field_lives_behind(1, 0));
    EXPECT_TRUE(liveness.field_lives_behind(1, 1));
    EXPECT_TRUE(liveness.field_lives_behind(2, 0));
}

TEST(Liveness, AnAccessBetweenKeepsAFieldAlive) {
    Page page("cmpwi r3,1\n lwz r4,0(r5)\n cmpwi r3,2\n b 0");
    const GuestBlock block = page.block();
    Liveness liveness;
    liveness.analyse(block);
    EXPECT_TRUE(liveness.field_lives_behind(0, 0));
    EXPECT_FALSE(liveness.field_lives_behind(1, 0));
}

TEST(Liveness, CarryLivesUntilItIsSetAgain) {
    Page page("addic r3,r3,1\n addic r4,r4,1\n adde r5,r5,r6\n b 0");
    const GuestBlock block = page.block();
    Liveness liveness;
    liveness.analyse(block);
    EXPECT_FALSE(liveness.carry_lives_behind(0));
    EXPECT_TRUE(liveness.carry_lives_behind(1));
    EXPECT_TRUE(liveness.carry_lives_behind(2));
}

TEST(Trace, FollowsTheWayThatWasTakenAndCountsIt) {
    Page page("start: addi r3,r3,1\n b next\n nop\n next: lwz r4,0(r5)\n bdnz start");
    const GuestBlock trace = page.trace({0, 4, 12, 16, 0, 4, 12, 16});
    ASSERT_EQ(trace.instructions.size(), 8u);
    EXPECT_TRUE(trace.instructions[1].follows_taken);
    EXPECT_EQ(trace.instructions[1].next_pc, 12u);
    EXPECT_TRUE(trace.instructions[3].follows_taken);
    EXPECT_FALSE(trace.instructions[7].follows_taken);
    EXPECT_EQ(trace.total, (Counts{.loads = 2, .stores = 0, .branches = 4, .taken = 3}));
    EXPECT_EQ(trace.lowest_pc(), 0u);
    EXPECT_EQ(trace.highest_pc(), 16u);
}

TEST(AccessRuns, NeighboursFromOneBaseAreOne) {
    Page page("stw r3,16(r1)\n stw r4,8(r1)\n stw r5,20(r1)\n stw r6,0(r2)\n b 0");
    const AccessRun run = access_run_at(page.block(), 0);
    EXPECT_EQ(run.count, 3u);
    EXPECT_EQ(run.lowest, 8);
    EXPECT_EQ(run.span, 16u);
    EXPECT_EQ(access_run_at(page.block(), 1).count, 0u);  // two are not worth it
}

TEST(AccessRuns, EndWhereTheBaseChanges) {
    Page page("lwz r3,0(r1)\n lwz r4,4(r1)\n lwz r1,8(r1)\n lwz r5,12(r1)\n lwz r5,16(r1)\n b 0");
    EXPECT_EQ(access_run_at(page.block(), 0).count, 3u);
    Page early("lwz r3,0(r1)\n lwz r1,4(r1)\n lwz r4,8(r1)\n lwz r5,12(r1)\n b 0");
    EXPECT_EQ(access_run_at(early.block(), 0).count, 0u);
}

TEST(AccessRuns, KeepToOneAlignmentAndASmallPiece) {
    Page page("lwz r3,0(r1)\n lwz r4,4(r1)\n lwz r5,6(r1)\n lwz r6,8(r1)\n b 0");
    EXPECT_EQ(access_run_at(page.block(), 0).count, 0u);
    Page wide("lwz r3,0(r1)\n lwz r4,4(r1)\n lwz r5,8(r1)\n lwz r6,400(r1)\n b 0");
    EXPECT_EQ(access_run_at(wide.block(), 0).count, 3u);
}

TEST(RegisterChoice, ALoopGetsTheRegistersItUsesMost) {
    Page page("start: add r20,r20,r21\n add r20,r20,r21\n add r5,r5,r20\n bdnz start");
    const GuestBlock loop = page.trace({0, 4, 8, 12});
    Liveness liveness;
    liveness.analyse(loop);
    const auto exchanges = choose_exchanges(loop, liveness, r(5) | r(6) | r(7));
    ASSERT_EQ(exchanges.size(), 2u);
    EXPECT_EQ(exchanges[0].in, 20u);
    EXPECT_EQ(exchanges[0].out, 6u);
    EXPECT_EQ(exchanges[1].in, 21u);
    EXPECT_EQ(exchanges[1].out, 7u);
}

TEST(RegisterChoice, NothingElseIsWorthTheWayInAndOut) {
    Page page("start: add r20,r20,r21\n add r20,r20,r21\n twi 0,r3,0\n bdnz start");
    Liveness liveness;
    const GuestBlock straight = page.trace({0, 4});
    liveness.analyse(straight);
    EXPECT_TRUE(choose_exchanges(straight, liveness, r(5)).empty());
    const GuestBlock unknown = page.trace({0, 4, 8, 12});
    liveness.analyse(unknown);
    EXPECT_TRUE(choose_exchanges(unknown, liveness, r(5)).empty());
}

TEST(Trace, WhatChangesTheContextIsNotInside) {
    const core::CoreModel& model = *core::find_core_model("e500mc");
    const auto inside = [&](const std::string& text) {
        return may_be_inside_trace(model, test::assemble(text, 0).front(), kMode);
    };
    EXPECT_TRUE(inside("add r3,r4,r5"));
    EXPECT_TRUE(inside("blr"));
    EXPECT_TRUE(inside("bdnz 64"));
    EXPECT_FALSE(inside("rfi"));
    EXPECT_FALSE(inside("mtmsr r3"));
    EXPECT_FALSE(inside("bctr"));
    EXPECT_FALSE(inside("addo r3,r4,r5"));
}
