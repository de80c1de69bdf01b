// SPDX-License-Identifier: GPL-2.0-or-later
// --clock=virtual makes a whole run the same, bit for bit: boot, console, counts, samples.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "qmp.h"
#include "subprocess.h"
#include "with_directory.h"

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;

// Counting, sampling by count and by frequency with call chains, and all that Linux has to tell of
// time, interrupts and chance. perf.data goes out as it is.
const std::string kCommand = R"(
cd /tmp
perf stat -e cycles,instructions,branches,r9,ra,r56,r59 hot 20 2>&1
perf record -q -e instructions:u -c 9973 -o count.data hot 60 2>&1
perf script -i count.data 2>&1
perf record -q -g -e cycles -F 2000 -o often.data syscalls 300 2>&1
perf report -i often.data --stdio 2>&1
perf record -q -e cpu-clock -F 500 -o clock.data hot 60 2>&1
cat count.data often.data clock.data
cat /proc/interrupts /proc/stat /proc/uptime /proc/timer_list
cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid
date; hwclock; sleep 0.3; head -c 64 /dev/urandom; ls -lR --full-time /tmp /dev
dmesg
)";

// Less of it, for guests that are slower.
const std::string kShortCommand = R"(
cd /tmp
perf stat -e cycles,instructions,branch-misses,stalled-cycles-backend hot 1 2>&1
perf record -q -e cycles -c 99991 -o count.data hot 1 2>&1
cat count.data /proc/interrupts /proc/stat /proc/uptime /proc/timer_list
date; sleep 0.1; head -c 64 /dev/urandom
dmesg
)";

struct Course {
    std::string out, console;
};

class Repeated : public WithDirectory<> {
  protected:
    Course once(const std::string& engine, const std::vector<std::string>& more = {},
                const std::string& command = kCommand) const {
        const std::string log = (directory / "console").string();
        std::vector<std::string> options = {"--reserve-perfmon=required",
                                            "--clock=virtual",
                                            "--engine=" + engine,
                                            "--console-log",
                                            log,
                                            "--runtime-dir",
                                            (directory / "run").string()};
        options.insert(options.end(), more.begin(), more.end());
        const Finished result = linux_guest(command, options);
        EXPECT_EQ(result.status, 0) << result.err;
        EXPECT_GT(result.out.size(), command == kCommand ? 20'000u : 8'000u);
        std::stringstream console;
        console << std::ifstream(log).rdbuf();
        EXPECT_NE(console.str().find("Linux version"), std::string::npos);
        return {result.out, console.str()};
    }
};

// Where two texts begin to differ, for the failure's sake.
std::string difference(const std::string& a, const std::string& b) {
    const auto [at, other] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    if (at == a.end() && other == b.end()) return "";
    const auto offset = static_cast<size_t>(at - a.begin());
    const size_t from = offset < 200 ? 0 : offset - 200;
    return "at byte " + std::to_string(offset) + ":\n" + a.substr(from, 400) + "\n---- or ----\n" +
           b.substr(from, 400);
}

// Stops the guest, looks at its counts, by mode, and lets it go on. True if it was there to answer.
bool look_at_guest(const fs::path& runtime_directory) {
    Qmp monitor(runtime_directory);
    if (!monitor.connected()) return false;
    monitor.execute("__org.perfvisor_count-events", {{"names", {"instructions:u"}}});
    monitor.execute("stop");
    const bool answered = monitor.execute("query-stats", {{"target", "vcpu"}}).contains("return");
    monitor.execute("cont");
    return answered;
}

TEST_F(Repeated, TwoRunsAreTheSameToTheByte) {
    const Course first = once("translator"), second = once("translator");
    EXPECT_EQ(difference(first.out, second.out), "");
    EXPECT_EQ(difference(first.console, second.console), "");
}

TEST_F(Repeated, UnderTheE500mcsTimingToo) {
    const Course first = once("translator", {"--timing=e500mc"}, kShortCommand),
                 second = once("translator", {"--timing=e500mc"}, kShortCommand);
    EXPECT_EQ(difference(first.out, second.out), "");
    EXPECT_EQ(difference(first.console, second.console), "");
}

TEST_F(Repeated, OnTwoCpusToo) {
    const Course first = once("translator", {"-smp", "2"}),
                 second = once("translator", {"-smp", "2"});
    EXPECT_EQ(difference(first.out, second.out), "");
    EXPECT_EQ(difference(first.console, second.console), "");
}

TEST_F(Repeated, BothEnginesGiveTheSameRun) {
    const Course translated = once("translator"), interpreted = once("interpreter");
    EXPECT_EQ(difference(translated.out, interpreted.out), "");
    EXPECT_EQ(difference(translated.console, interpreted.console), "");
}

// What a monitor's clients look at and stop is no input.
TEST_F(Repeated, ARunThatIsLookedAtIsTheSame) {
    const Course alone = once("translator");
    std::atomic<bool> done{false};
    int looks = 0;
    std::thread looker([&] {
        while (!done) {
            looks += look_at_guest(directory / "run");
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    });
    const Course watched = once("translator");
    done = true;
    looker.join();
    EXPECT_GT(looks, 0);
    EXPECT_EQ(difference(alone.out, watched.out), "");
    EXPECT_EQ(difference(alone.console, watched.console), "");
}

}  // namespace
}  // namespace perfvisor::test
