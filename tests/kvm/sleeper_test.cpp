// SPDX-License-Identifier: GPL-2.0-or-later
// Where a vCPU waits.
#include "kvm/soft/sleeper.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <thread>

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

}  // namespace
