// SPDX-License-Identifier: GPL-2.0-or-later
// Linux with both engines, every block compared: the kernel's start, processes, signals, floating
// point, and the performance monitor in use.
#include <gtest/gtest.h>

#include "subprocess.h"

namespace perfvisor::test {
namespace {

TEST(LinuxLockstep, BootsToAShellAndRunsCommands) {
    const Finished result = linux_guest(
        "echo one; ls / | sort | head -3 | tr '\\n' ' '; awk 'BEGIN { print 2^0.5, 1/3 }'",
        {"--engine=lockstep", "--console-log", "/dev/null"});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
    EXPECT_NE(result.out.find("one\n"), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("1.41421 0.333333"), std::string::npos) << result.out;
}

TEST(LinuxLockstep, CountsAndSamplesInTheGuest) {
    const Finished result =
        linux_guest("perf stat -x, -e instructions:u,branches:u spin 20000 2>&1",
                    {"--engine=lockstep", "--reserve-perfmon", "--console-log", "/dev/null"});
    EXPECT_EQ(result.status, 0) << result.err;
    // 10 N + 8 d + 18 for an N of d digits (guest/programs/spin.S).
    EXPECT_NE(result.out.find("200058,,instructions:u"), std::string::npos) << result.out;
}

// The model's counts and cycles are compared with all else: what the translator tells it later, a
// segment at a time, with what the interpreter tells it at once.
TEST(LinuxLockstep, RunsUnderTheTimingModel) {
    const Finished result =
        linux_guest("perf stat -x, -e branch-misses,cache-misses,stalled-cycles-backend ls / 2>&1",
                    {"--engine=lockstep", "--timing=e500mc", "--clock=virtual", "--reserve-perfmon",
                     "--console-log", "/dev/null"});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
    EXPECT_NE(result.out.find(",,branch-misses"), std::string::npos) << result.out;
}

}  // namespace
}  // namespace perfvisor::test
