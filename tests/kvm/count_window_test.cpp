// SPDX-License-Identifier: GPL-2.0-or-later
// Counting between the guest's own marks (KVM_SOFT_SET_WINDOW).
#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;

constexpr uint32_t kOpen = 0x11112222, kClose = 0x33334444;
constexpr unsigned kDdam = 576;
constexpr unsigned kInstructions = 2, kLoads = 9, kSystemCalls = 89;

Code mark(uint32_t value) {
    return load(30, value) + Code{mtspr(kDdam, 30)};
}

const WindowCount& count(const WindowTotals& totals, unsigned event) {
    for (const WindowCount& one : totals.counts)
        if (one.event == event) return one;
    static const WindowCount none{};
    ADD_FAILURE() << "event " << event << " is not counted";
    return none;
}

class Window : public testing::TestWithParam<SoftEngine> {
  protected:
    void SetUp() override {
        SoftOptions options = SoftGuest::virtual_clock();
        options.engine = GetParam();
        guest_ = std::make_unique<SoftGuest>(options);
        ASSERT_TRUE(set_window(guest_->vm(), kOpen, kClose));
        // A system call executes three instructions in the kernel; r3 = 0 ends the guest.
        guest_->write(vector(8), {cmpwi(3, 0), beq(8), kRfi, kSelf});
    }
    WindowTotals run(const Code& user) {
        guest_->start(user + Code{li(3, 0), kSc}, kMsrPR);
        EXPECT_EQ(guest_->run(), KVM_EXIT_HLT);
        auto totals = window_totals(guest_->vcpu());
        EXPECT_TRUE(totals);
        return *totals;
    }
    std::unique_ptr<SoftGuest> guest_;
};

TEST_P(Window, CountsFromTheSystemCallBehindTheFirstMarkToTheSecond) {
    const auto totals = run(Code{li(3, 1), kNop} + mark(kOpen) + Code{kNop, kSc} + load(5, 0x8000) +
                            Code{lwz(6, 0, 5), kSc, lwz(6, 0, 5)} + mark(kClose) + Code(10, kNop));
    EXPECT_TRUE(totals.opened && totals.closed);
    // load 2, lwz, sc, lwz, load of the mark 2; the kernel's three of each call.
    EXPECT_EQ(count(totals, kInstructions).user, 7u);
    EXPECT_EQ(count(totals, kInstructions).supervisor, 6u);
    EXPECT_EQ(count(totals, kLoads).user, 2u);
    EXPECT_EQ(count(totals, kLoads).supervisor, 0u);
    EXPECT_EQ(count(totals, kSystemCalls).user, 1u);
    // At 400 MHz, an instruction a cycle.
    EXPECT_NEAR(static_cast<double>(totals.nanoseconds), 13 * 2.5, 2.5);
}

TEST_P(Window, ClosesRightBehindASystemCallWithNothingOfTheMarkingCode) {
    const auto totals = run(load(30, kClose) + load(29, kOpen) +
                            Code{li(3, 1), mtspr(kDdam, 29), kSc, mtspr(kDdam, 30)});
    EXPECT_EQ(count(totals, kInstructions).user, 0u);
    EXPECT_EQ(count(totals, kInstructions).supervisor, 3u);
}

TEST_P(Window, OpensOnceAndOtherMessagesMeanNothing) {
    const auto totals =
        run(Code{li(3, 1)} + mark(5) + Code{kSc} + mark(kClose) + mark(kOpen) + Code{kSc} +
            mark(kOpen) + Code{kNop} + mark(6) + mark(kClose) + mark(kOpen) + Code{kSc, kNop});
    EXPECT_EQ(count(totals, kInstructions).user, 3u + 1 + 3 + 2);
    EXPECT_EQ(count(totals, kInstructions).supervisor, 3u);
}

TEST_P(Window, NotMarkedIsNotOpened) {
    const auto totals = run({li(3, 1), kSc});
    EXPECT_FALSE(totals.opened);
    EXPECT_EQ(count(totals, kInstructions).user, 0u);
}

TEST_P(Window, NotMarkedAgainIsNotClosed) {
    const auto totals = run(Code{li(3, 1)} + mark(kOpen) + Code{kSc});
    EXPECT_TRUE(totals.opened);
    EXPECT_FALSE(totals.closed);
    EXPECT_EQ(totals.nanoseconds, 0u);
}

TEST_P(Window, ItsMarksDiffer) {
    EXPECT_FALSE(set_window(guest_->vm(), 7, 7));
}

// 15: branches mispredicted. The model runs in the window alone.
TEST_P(Window, CountsEventsOfTheTimingModelThatAreAskedFor) {
    ASSERT_TRUE(set_window(guest_->vm(), kOpen, kClose, {15}));
    const Code loop = Code{li(5, 100), mtspr(9, 5), bdnz(0)};
    const auto totals =
        run(Code{li(3, 1)} + loop + mark(kOpen) + Code{kSc} + loop + mark(kClose) + loop);
    EXPECT_EQ(count(totals, kInstructions).user, 2u + 100 + 2);
    EXPECT_GE(count(totals, 15).user, 1u);
    EXPECT_LT(count(totals, 15).user, 10u);
    // Not asked for, so not given.
    for (const WindowCount& one : totals.counts)
        EXPECT_NE(one.event, 41u);
}

TEST_P(Window, EventsThatCannotBeCountedAreRefused) {
    for (const uint32_t event : {0u, 82u, 76u, 72u, 1000u})
        EXPECT_FALSE(set_window(guest_->vm(), kOpen, kClose, {event})) << event;
}

INSTANTIATE_TEST_SUITE_P(Counting, Window, testing::ValuesIn(soft_engines()), [](const auto& test) {
    return test.param == SoftEngine::Interpreter ? "Interpreter" : "Translator";
});

}  // namespace
}  // namespace perfvisor::kvm
