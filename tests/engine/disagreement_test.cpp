// SPDX-License-Identifier: GPL-2.0-or-later
// The lockstep engine notices what it is there for. The engines are made to disagree by a clock
// that gives each reader another time.
#include "engine/lockstep/page_log.h"
#include "guest_harness.h"

using namespace perfvisor;
using engine::EngineKind;
using engine::Stop;
using engine::lockstep::PageLog;
using test::Guest;

namespace {

class RestlessTime final : public core::TimeSource {
  public:
    uint64_t ticks(uint64_t cycles) const override { return cycles + reads_++; }
    uint64_t cycles_until(uint64_t tick, uint64_t cycles) const override {
        return tick > cycles ? tick - cycles : 0;
    }

  private:
    mutable uint64_t reads_ = 0;
};

}  // namespace

TEST(Disagreement, IsReportedWithThePlaceTheCodeAndBothValues) {
    const RestlessTime time;
    Guest guest(EngineKind::Lockstep, core::find_core_model("e500mc"), 0x200000, &time);
    guest.program("li r4,5\n addi r4,r4,1\n mfspr r3,268\n wait 0");
    ASSERT_EQ(guest.engine().run(100), Stop::Failed);
    const std::string report = guest.engine().failure();
    EXPECT_NE(report.find("disagree behind the instructions from 0x00001000"), std::string::npos)
        << report;
    EXPECT_NE(report.find("r3: translator 0x"), std::string::npos) << report;
    EXPECT_NE(report.find("mfspr r3,268"), std::string::npos) << report;
    EXPECT_EQ(report.find("r4: translator"), std::string::npos) << report;
}

TEST(Disagreement, IsFinal) {
    const RestlessTime time;
    Guest guest(EngineKind::Lockstep, core::find_core_model("e500mc"), 0x200000, &time);
    guest.program("loop: mfspr r3,268\n b loop");
    ASSERT_EQ(guest.engine().run(100), Stop::Failed);
    const uint64_t pc = guest.state().pc;
    EXPECT_EQ(guest.engine().run(100), Stop::Failed);
    EXPECT_EQ(guest.state().pc, pc);
}

TEST(Disagreement, IsNoneWhereTheGuestRewritesItsOwnCodeAndData) {
    Guest guest(EngineKind::Lockstep);
    // Adds 1, then 2, ... by rewriting the addi at "here".
    guest.program(R"(
        li32 r5,0x38630000
        li r6,0
        li r3,0
        li r7,100
        mtctr r7
        li32 r8,here
    loop: addi r6,r6,1
        or r9,r5,r6
        stw r9,0(r8)
        icbi r0,r8
        isync
    here: addi r3,r3,0
        bdnz loop
        wait 0)");
    ASSERT_TRUE(guest.run()) << guest.engine().failure();
    EXPECT_EQ(guest.state().gpr[3], 5050u);
}

TEST(PageLog, TakesTheFirstExecutionBackAndComparesTheSecond) {
    alignas(4096) static std::array<uint8_t, 2 * core::kPageSize> memory{};
    PageLog log;
    log.storing(0x5010, &memory[0x10]);
    memory[0x10] = 1;
    memory[0x20] = 2;
    log.rewind();
    EXPECT_EQ(memory[0x10], 0);
    EXPECT_EQ(memory[0x20], 0);
    memory[0x10] = 1;
    ASSERT_TRUE(log.difference());
    EXPECT_EQ(log.difference()->physical, 0x5020u);
    EXPECT_EQ(log.difference()->first, 2);
    EXPECT_EQ(log.difference()->second, 0);
    memory[0x20] = 2;
    EXPECT_FALSE(log.difference());
    // A page that only the second writes.
    log.storing(0x6008, &memory[core::kPageSize + 8]);
    memory[core::kPageSize + 8] = 9;
    ASSERT_TRUE(log.difference());
    EXPECT_EQ(log.difference()->physical, 0x6008u);
    log.clear();
    EXPECT_FALSE(log.difference());
}
