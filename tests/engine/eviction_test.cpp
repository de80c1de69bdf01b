// SPDX-License-Identifier: GPL-2.0-or-later
// A translation cache smaller than the guest's code: what is evicted comes back when it is needed,
// and nothing leads to where it was.
#include "engine/translator/translator.h"
#include "guest_harness.h"

using namespace perfvisor;
using core::Total;
using engine::EngineKind;
using test::Guest;

namespace {

constexpr engine::Tuning kTiny = {.code_bytes = 1, .patience = 0};
constexpr uint32_t kFunctions = 0x100000, kFunctionBytes = 64, kCount = 6000;

// Calls each of the functions in turn, three times; each is a loop of two rounds that adds to r3.
void prepare(Guest& guest) {
    const auto function = test::assemble(R"(
            li r7,2
        again: addi r3,r3,1
            addi r7,r7,-1
            cmpwi r7,0
            bne again
            blr)",
                                         kFunctions);
    for (uint32_t n = 0; n < kCount; ++n)
        for (uint32_t i = 0; i < function.size(); ++i)
            guest.write32(kFunctions + n * kFunctionBytes + 4 * i, function[i]);
    guest.program(fmt::format(R"(
            li r3,0
            li r10,3
        round: li32 r5,{}
            li32 r6,{}
        next: mtctr r5
            bctrl
            addi r5,r5,{}
            addi r6,r6,-1
            cmpwi r6,0
            bne next
            addi r10,r10,-1
            cmpwi r10,0
            bne round
            wait 0)",
                              kFunctions, kCount, kFunctionBytes));
}

}  // namespace

TEST(Eviction, CodeGoesARegionAtATimeAndComesBack) {
    Guest guest(EngineKind::Translator, core::find_core_model("e500mc"), 0x200000, nullptr, kTiny);
    prepare(guest);
    ASSERT_TRUE(guest.run(10'000'000));
    EXPECT_EQ(guest.state().gpr[3], 3 * 2 * kCount);
    const auto& translator = dynamic_cast<engine::translator::Translator&>(guest.engine());
    EXPECT_GE(translator.evictions(), 6u);
}

TEST(Eviction, GivesWhatTheInterpreterGives) {
    Guest guest(EngineKind::Lockstep, core::find_core_model("e500mc"), 0x200000, nullptr, kTiny);
    prepare(guest);
    ASSERT_TRUE(guest.run(10'000'000)) << guest.engine().failure();
    EXPECT_EQ(guest.state().gpr[3], 3 * 2 * kCount);
}

TEST(Eviction, IsNoneWhereTheCodeFits) {
    Guest guest(EngineKind::Translator, core::find_core_model("e500mc"), 0x200000, nullptr,
                {.patience = 0});
    prepare(guest);
    ASSERT_TRUE(guest.run(10'000'000));
    const auto& translator = dynamic_cast<engine::translator::Translator&>(guest.engine());
    EXPECT_EQ(translator.evictions(), 0u);
}

// Code that is run once is interpreted; what is run more often is translated and counts the same.
TEST(Patience, ChangesNothingTheGuestSees) {
    for (const unsigned patience : {0u, 1u, 2u, 100u}) {
        Guest guest(EngineKind::Translator, core::find_core_model("e500mc"), 0x200000, nullptr,
                    {.patience = patience});
        prepare(guest);
        ASSERT_TRUE(guest.run(10'000'000));
        EXPECT_EQ(guest.state().gpr[3], 3 * 2 * kCount) << patience;
        // Before "next", a round's calls, the end of each round, wait
        EXPECT_EQ(guest.total(Total::Instructions), 2 + 3 * (4 + kCount * (10 + 6) + 3) + 1)
            << patience;
        EXPECT_EQ(guest.total(Total::Branches), 3 * (kCount * (3 + 2) + 1)) << patience;
    }
}
