// SPDX-License-Identifier: GPL-2.0-or-later
// What Linux and its perf make of the reservation's outcomes, and of being counted from outside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "conversation.h"
#include "subprocess.h"
#include "with_directory.h"

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kLook =
    "ls /proc/device-tree/cpus/*/power-isa-e.pm 2>/dev/null; perf stat -e instructions true 2>&1; "
    "echo end";

class LinuxReservationTest : public WithDirectory<> {
  protected:
    Finished boot(const std::string& script, std::vector<std::string> options) const {
        options.insert(options.end(), {"--runtime-dir", directory.string()});
        return linux_guest(script, options);
    }
};

TEST_F(LinuxReservationTest, WithTheReservationPerfCounts) {
    const Finished finished = boot(kLook, {"--reserve-perfmon=required"});
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_THAT(finished.out, HasSubstr("/power-isa-e.pm"));
    EXPECT_THAT(finished.out, ContainsRegex(" [1-9][0-9]{4,} +instructions"));
    EXPECT_THAT(finished.out, HasSubstr("end"));
}

TEST_F(LinuxReservationTest, WhileTheHostHoldsLinuxStartsWithoutAndPerfDoesNotCount) {
    Conversation host({PERFVISOR_BINARY, "perfmon", "hold", "--runtime-dir", directory.string(),
                       "--name", "the-host", "--", "/bin/sh", "-c", "echo held; exec cat"});
    ASSERT_EQ(host.line("held"), "held");
    const Finished finished = boot(kLook, {"--reserve-perfmon"});
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_THAT(finished.err, HasSubstr("host user 'the-host'"));
    EXPECT_THAT(finished.out, Not(HasSubstr("/power-isa-e.pm")));
    EXPECT_THAT(finished.out, ContainsRegex("\n +<not supported> +instructions"));
    EXPECT_THAT(finished.out, HasSubstr("end"));
}

// The device tree of each boot tells the truth of that boot, and Linux believes it.
TEST_F(LinuxReservationTest, LinuxHasItAfterTheResetThatFollowsTheHostsEnd) {
    Conversation host({PERFVISOR_BINARY, "perfmon", "hold", "--runtime-dir", directory.string(),
                       "--", "/bin/sh", "-c", "echo held; exec cat"});
    ASSERT_EQ(host.line("held"), "held");
    Conversation linux_console({PERFVISOR_BINARY, "run", "-m", "256M", "-kernel",
                                guest_file("vmlinux"), "-initrd", guest_file("rootfs.cpio.gz"),
                                "--reserve-perfmon", "--runtime-dir", directory.string()});
    // What is typed comes back as an echo: the answer's words are put together by the shell.
    const std::string look =
        "echo tree $(ls -d /proc/device-tree/cpus/*/power-isa-e.pm 2>/dev/null | wc -l) here; "
        "perf stat -x, -e instructions:u spin 1000 2>&1; echo e''nd\n";

    ASSERT_TRUE(linux_console.text("# ")) << linux_console.err();
    linux_console.say(look);
    ASSERT_TRUE(linux_console.text("tree 0 here")) << linux_console.out();
    EXPECT_THAT(linux_console.line("<not supported>,"), HasSubstr(",instructions:u"));
    ASSERT_TRUE(linux_console.text("end"));
    host.signal(SIGTERM);
    EXPECT_EQ(host.wait(), 128 + SIGTERM);
    linux_console.say(look);
    ASSERT_TRUE(linux_console.text("tree 0 here")) << "a guest reserves at its start only";
    EXPECT_THAT(linux_console.line("<not supported>,"), HasSubstr(",instructions:u"));

    linux_console.say("reboot -f\n");
    ASSERT_TRUE(linux_console.text("Linux version ")) << linux_console.out();
    ASSERT_TRUE(linux_console.text("# "));
    linux_console.say(look);
    ASSERT_TRUE(linux_console.text("tree 1 here")) << linux_console.out();
    // 10 N + 8 digits + 18 (guest/programs/spin.S).
    EXPECT_THAT(linux_console.line("10050,"), HasSubstr(",instructions:u"));
    ASSERT_TRUE(linux_console.text("end"));
    linux_console.say("poweroff -f\n");
    EXPECT_EQ(linux_console.wait(), 0);
    EXPECT_THAT(linux_console.err(), HasSubstr("without a performance monitor"));
}

// The virtual clock makes a boot of Linux repeatable; a host that looks at the vCPU every
// millisecond leaves it so.
TEST_F(LinuxReservationTest, CountingFromOutsideLeavesTheRunAsItIs) {
    const std::string script = "cat /proc/uptime /proc/interrupts; ls -lR /bin | head -100";
    const Finished alone = boot(script, {"--clock=virtual"});
    ASSERT_EQ(alone.status, 0) << alone.err;
    ASSERT_NE(alone.out, "");

    Conversation watched({PERFVISOR_BINARY, "run", "-m", "256M", "-kernel", guest_file("vmlinux"),
                          "-initrd", guest_file("rootfs.cpio.gz"), "--clock=virtual",
                          "--runtime-dir", directory.string(), "--exec", script});
    Finished counted;
    do {
        counted = run({PERFVISOR_BINARY, "stat", "--runtime-dir", directory.string(), "-I", "1",
                       "-x", ",", "-e", "instructions,instructions:k,branch-misses"});
    } while (counted.err.find("no guest is running") != std::string::npos);
    EXPECT_EQ(counted.status, 0) << counted.err;
    EXPECT_GT(std::count(counted.err.begin(), counted.err.end(), '\n'), 10);
    EXPECT_EQ(watched.wait(), 0);
    EXPECT_EQ(watched.out(), alone.out);
}

}  // namespace
}  // namespace perfvisor::test
