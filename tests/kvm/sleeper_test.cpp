// SPDX-License-Identifier: GPL-2.0-or-later
// Where a vCPU waits.
#include "kvm/soft/sleeper.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <thread>

using perfvisor::kvm::HaltPoll;
using perfvisor::kvm::Sleeper;

namespace {

constexpr uint64_t kShort = 1000;

// By default a host's timers may be 50 us late, which all of a guest's would be then.
TEST(Sleeper, AsksTheHostToWakeItUpInTime) {
    std::thread([] {
        Sleeper sleeper;
        ASSERT_TRUE(sleeper.valid());
        ASSERT_EQ(prctl(PR_SET_TIMERSLACK, 50000UL), 0);
        EXPECT_TRUE(sleeper.sleep(kShort, [] { return true; }));
        EXPECT_EQ(prctl(PR_GET_TIMERSLACK), 1);
    }).join();
}

TEST(Sleeper, DoesNotSleepWhereItIsNotToStay) {
    Sleeper sleeper;
    EXPECT_TRUE(sleeper.sleep(~uint64_t{0}, [] { return false; }));
}

// The first look is a wait's own; more of them only where waits have ended soon lately.
TEST(Sleeper, LooksForAWakeUpBeforeItSleepsWhereTheLastWaitWasShort) {
    Sleeper sleeper;
    HaltPoll poll;
    unsigned looks = 0;
    const auto stay = [&] { return ++looks < 3; };
    EXPECT_TRUE(sleeper.sleep(kShort, stay, &poll));
    EXPECT_EQ(looks, 1u);
    // On a busy host another thread may come in between, and then it sleeps: sooner or later none.
    for (unsigned tries = 0; tries < 1000 && looks <= 1; ++tries) {
        poll.waited(kShort);
        looks = 0;
        EXPECT_TRUE(sleeper.sleep(10 * HaltPoll::kMostNanoseconds, stay, &poll));
    }
    EXPECT_GT(looks, 1u);
}

TEST(HaltPoll, WindowGrowsWithShortWaitsAndClosesAfterALongOne) {
    HaltPoll poll;
    EXPECT_EQ(poll.window(), 0u);
    poll.waited(HaltPoll::kMostNanoseconds);
    EXPECT_EQ(poll.window(), HaltPoll::kFirstNanoseconds);
    poll.waited(HaltPoll::kFirstNanoseconds / 2);
    EXPECT_EQ(poll.window(), HaltPoll::kFirstNanoseconds) << "long enough";
    for (int n = 0; n < 10; ++n)
        poll.waited(HaltPoll::kMostNanoseconds);
    EXPECT_EQ(poll.window(), HaltPoll::kMostNanoseconds);
    poll.waited(HaltPoll::kMostNanoseconds + 1);
    EXPECT_EQ(poll.window(), 0u);
    poll.waited(1);
    poll.crowded();
    EXPECT_EQ(poll.window(), 0u) << "others need the host's CPU";
}

}  // namespace
