// SPDX-License-Identifier: GPL-2.0-or-later
// Every cell of the reservation's table across processes, and that a holder's death, in whatever
// way, ends its reservation.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/pmc_hardware.h"
#include "host/temporary_runtime.h"

namespace perfvisor::host {
namespace {

using testing::HasSubstr;

constexpr HolderClass kGuest = HolderClass::kGuest;
constexpr HolderClass kHost = HolderClass::kHost;

class AcrossProcesses : public testing::Test {
  protected:
    std::string state() { return brief_status(registry_); }

    // Worker a holds for `first`, then worker b tries for `second`.
    Outcome then(HolderClass first, HolderClass second) {
        EXPECT_EQ(a_.reserve(first, 0, "a").outcome, Outcome::kOk);
        reply_ = b_.reserve(second, 0, "b");
        return reply_.outcome;
    }

    TemporaryDirectory directory_;
    PerfmonRegistry registry_ = open_registry(directory_.path());
    Worker a_{directory_.path()};
    Worker b_{directory_.path()};
    Reply reply_;
};

TEST_F(AcrossProcesses, FreeGuestReserves) {
    EXPECT_EQ(a_.reserve(kGuest, 0, "a").outcome, Outcome::kOk);
    EXPECT_EQ(state(), "guest a");
}

TEST_F(AcrossProcesses, FreeHostUserReserves) {
    EXPECT_EQ(a_.reserve(kHost, 0, "a").outcome, Outcome::kOk);
    EXPECT_EQ(state(), "host a");
}

TEST_F(AcrossProcesses, GuestsShare) {
    EXPECT_EQ(then(kGuest, kGuest), Outcome::kOk);
    EXPECT_EQ(state(), "guest a b");
    a_.release(0);
    EXPECT_EQ(state(), "guest b");
    b_.release(0);
    EXPECT_EQ(state(), "free");
}

TEST_F(AcrossProcesses, HostUsersShare) {
    EXPECT_EQ(then(kHost, kHost), Outcome::kOk);
    EXPECT_EQ(state(), "host a b");
    b_.release(0);
    EXPECT_EQ(state(), "host a");
    a_.release(0);
    EXPECT_EQ(state(), "free");
}

TEST_F(AcrossProcesses, GuestRefusesHostUserAndIsNamed) {
    EXPECT_EQ(then(kGuest, kHost), Outcome::kBusy);
    EXPECT_EQ(state(), "guest a");
    EXPECT_EQ(reply_.holders, 1);
    EXPECT_EQ(reply_.first_pid, a_.pid());
    EXPECT_EQ(reply_.first_class, kGuest);
    EXPECT_THAT(reply_.message, HasSubstr("held by guest 'a' (PID " + std::to_string(a_.pid())));
}

TEST_F(AcrossProcesses, HostUserRefusesGuestAndIsNamed) {
    EXPECT_EQ(then(kHost, kGuest), Outcome::kBusy);
    EXPECT_EQ(state(), "host a");
    EXPECT_EQ(reply_.first_pid, a_.pid());
    EXPECT_THAT(reply_.message, HasSubstr("held by host user 'a'"));
}

TEST_F(AcrossProcesses, ExitReleasesAllThatTheProcessHeld) {
    EXPECT_EQ(then(kGuest, kGuest), Outcome::kOk);
    EXPECT_EQ(a_.reserve(kGuest, 1, "a2").outcome, Outcome::kOk);
    a_.exit_now();
    EXPECT_EQ(state(), "guest b");
    b_.exit_now();
    EXPECT_EQ(state(), "free");
}

TEST_F(AcrossProcesses, SigkillReleasesAllThatTheProcessHeld) {
    EXPECT_EQ(then(kHost, kHost), Outcome::kOk);
    EXPECT_EQ(a_.reserve(kHost, 1, "a2").outcome, Outcome::kOk);
    a_.kill_now();
    EXPECT_EQ(state(), "host b");
    b_.kill_now();
    EXPECT_EQ(state(), "free");
    Worker c(directory_.path());
    EXPECT_EQ(c.reserve(kGuest, 0, "c").outcome, Outcome::kOk);
}

TEST_F(AcrossProcesses, StoppedProcessKeepsItsReservationAndBlocksNobody) {
    EXPECT_EQ(a_.reserve(kGuest, 0, "a").outcome, Outcome::kOk);
    ASSERT_EQ(::kill(a_.pid(), SIGSTOP), 0);
    EXPECT_EQ(b_.reserve(kHost, 0, "b").outcome, Outcome::kBusy);
    EXPECT_EQ(b_.reserve(kGuest, 0, "b").outcome, Outcome::kOk);
    EXPECT_EQ(state(), "guest a b");
}

TEST_F(AcrossProcesses, ResetGuestFindsAHostUserThatGotInBetween) {
    EXPECT_EQ(then(kHost, kGuest), Outcome::kBusy);
    EXPECT_EQ(b_.reset(kGuest, 0, "b").outcome, Outcome::kBusy);
    a_.release(0);
    EXPECT_EQ(b_.reset(kGuest, 0, "b").outcome, Outcome::kOk);
    EXPECT_EQ(b_.reset(kGuest, 0, "b again").outcome, Outcome::kOk);
    EXPECT_EQ(state(), "guest b again");
}

// Starts a program that runs for a minute, and returns when it does run.
pid_t start_program() {
    int executed[2];  // Its end of file tells that exec() has closed the descriptors.
    if (::pipe2(executed, O_CLOEXEC) != 0) return -1;
    const pid_t program = ::fork();
    if (program == 0) {
        ::execlp("sleep", "sleep", "60", nullptr);
        ::_exit(127);
    }
    ::close(executed[1]);
    char nothing = 0;
    const bool at_end = ::read(executed[0], &nothing, 1) == 0;
    ::close(executed[0]);
    return at_end ? program : -1;
}

TEST_F(AcrossProcesses, ExecutedProgramDoesNotInheritTheReservation) {
    int ready[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    const pid_t holder = ::fork();
    if (holder == 0) {
        const auto guest = reserve(registry_, kGuest, "parent");
        const pid_t program = guest ? start_program() : -1;
        if (::write(ready[1], &program, sizeof program) != sizeof program) ::_exit(1);
        ::pause();
    }
    pid_t program = -1;
    ASSERT_EQ(::read(ready[0], &program, sizeof program), static_cast<ssize_t>(sizeof program));
    ASSERT_GT(program, 0);
    EXPECT_EQ(state(), "guest parent");
    ::kill(holder, SIGKILL);
    ::waitpid(holder, nullptr, 0);
    EXPECT_EQ(::kill(program, 0), 0) << "the program must still run for this to mean anything";
    EXPECT_EQ(state(), "free");
    ::kill(program, SIGKILL);
    ::close(ready[0]);
    ::close(ready[1]);
}

TEST_F(AcrossProcesses, ForkedChildCannotEndTheReservationOfItsParent) {
    auto guest = reserve(registry_, kGuest, "parent");
    ASSERT_TRUE(guest);
    run_in_child([&] { const Reservation destroyed_here = std::move(*guest); });
    EXPECT_EQ(state(), "guest parent");
}

TEST_F(AcrossProcesses, ReleaseCountsThoughAForkedChildHasTheDescriptors) {
    std::optional<Reservation> guest;
    {
        auto result = reserve(registry_, kGuest, "parent");
        ASSERT_TRUE(result);
        guest.emplace(std::move(*result));
    }
    const Worker child(directory_.path());  // Forked with them.
    guest.reset();
    EXPECT_EQ(state(), "free");
}

HolderInfo owner(HolderClass holder_class, const std::string& name) {
    HolderInfo info = named(name);
    info.holder_class = holder_class;
    return info;
}

TEST_F(AcrossProcesses, PmcHardwareOfAGuestExcludesHostUsers) {
    RegistryPmcHardware guest(registry_, owner(kGuest, "vm"));
    EXPECT_FALSE(guest.reserved());
    ASSERT_TRUE(guest.reserve(nullptr));
    EXPECT_TRUE(guest.reserved());
    EXPECT_EQ(state(), "guest vm");
    EXPECT_EQ(b_.reserve(kHost, 0, "b").outcome, Outcome::kBusy);
    guest.release();
    EXPECT_FALSE(guest.reserved());
    EXPECT_EQ(b_.reserve(kHost, 0, "b").outcome, Outcome::kOk);
    const auto refused = guest.reserve(nullptr);
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().busy());
    EXPECT_FALSE(guest.reserved());
}

TEST_F(AcrossProcesses, PmcHardwareReservedTwiceIsHeldOnce) {
    RegistryPmcHardware guest(registry_, owner(kGuest, "vm"));
    ASSERT_TRUE(guest.reserve(nullptr));
    ASSERT_TRUE(guest.reserve(nullptr));
    EXPECT_EQ(state(), "guest vm");
    guest.release();
    EXPECT_EQ(state(), "free");
    guest.release();
    EXPECT_EQ(state(), "free");
}

TEST_F(AcrossProcesses, PmcHardwareCallsTheHandlerOnlyWhileReserved) {
    RegistryPmcHardware host(registry_, owner(kHost, "stat"));
    int calls = 0;
    host.interrupt();
    ASSERT_TRUE(host.reserve(nullptr));
    host.interrupt();
    ASSERT_TRUE(host.reserve([&] { ++calls; }));
    host.interrupt();
    host.interrupt();
    EXPECT_EQ(calls, 2);
    host.release();
    host.interrupt();
    EXPECT_EQ(calls, 2);
}

TEST_F(AcrossProcesses, RefusedPmcHardwareDoesNotGetTheHandler) {
    ASSERT_EQ(a_.reserve(kGuest, 0, "a").outcome, Outcome::kOk);
    RegistryPmcHardware host(registry_, owner(kHost, "stat"));
    int calls = 0;
    EXPECT_FALSE(host.reserve([&] { ++calls; }));
    host.interrupt();
    EXPECT_EQ(calls, 0);
}

}  // namespace
}  // namespace perfvisor::host
