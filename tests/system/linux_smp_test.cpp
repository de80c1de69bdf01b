// SPDX-License-Identifier: GPL-2.0-or-later
// Linux on several CPUs: they come up, go and come back, perf counts on each, and under the virtual
// clock every run is the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "subprocess.h"

namespace perfvisor::test {
namespace {

#if defined(__x86_64__)
constexpr const char* kFastest = "translator";
#else
constexpr const char* kFastest = "interpreter";
#endif

Finished smp_guest(unsigned cpus, const std::string& command,
                   std::vector<std::string> options = {}) {
    options.insert(options.end(), {"-smp", std::to_string(cpus), "--console-log", "/dev/null"});
    return linux_guest(command, std::move(options));
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);)
        lines.push_back(line);
    return lines;
}

// The numbers in the first field of `perf stat -x,`'s lines for `event`, in their order.
std::vector<uint64_t> counts_of(const std::string& text, const std::string& event, unsigned field) {
    std::vector<uint64_t> counts;
    for (const std::string& line : lines_of(text)) {
        std::vector<std::string> fields;
        std::istringstream stream(line);
        for (std::string part; std::getline(stream, part, ',');)
            fields.push_back(part);
        if (fields.size() <= field + 2 || fields[field + 2] != event) continue;
        if (!fields[field].empty() && isdigit(fields[field][0]))
            counts.push_back(std::stoull(fields[field]));
    }
    return counts;
}

class OnBothEngines : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(LinuxSmp, OnBothEngines, testing::Values("interpreter", kFastest));

// Console, output and counts of two runs, to the byte.
TEST_P(OnBothEngines, TheSameRunIsTheSameOnFourCpus) {
    const auto once = [] {
        return linux_guest(
            "for cpu in 0 1 2 3; do perf stat -C $cpu -x, -e cycles,instructions,branches,r56 "
            "ls /bin 2>&1; done; cat /proc/interrupts",
            {"-smp", "4", "--reserve-perfmon=required", "--engine", GetParam()});
    };
    const Finished first = once();
    ASSERT_EQ(first.status, 0) << first.err;
    EXPECT_NE(first.err.find("Brought up 1 node, 4 CPUs"), std::string::npos) << first.err;
    const Finished second = once();
    EXPECT_EQ(first.out, second.out);
    EXPECT_EQ(first.err, second.err);
}

class AsManyCpus : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(LinuxSmp, AsManyCpus, testing::Values(2, 8, 32));

TEST_P(AsManyCpus, ComeUpWithAPerformanceMonitorEach) {
    const std::string cpus = std::to_string(GetParam()), last = std::to_string(GetParam() - 1);
    const std::string spin = " taskset -c " + last + " spin 100000 2>&1;";
    const Finished result = smp_guest(
        GetParam(),
        "grep -c ^processor /proc/cpuinfo; ls -d /proc/device-tree/cpus/*/power-isa-e.pm | wc -l;"
        "perf stat -a --per-core -x, -e instructions" +
            spin + "perf stat -C " + last + " -x, -e instructions" + spin +
            "perf stat -C 0 -x, -e instructions" + spin,
        {"--reserve-perfmon=required"});
    ASSERT_EQ(result.status, 0) << result.out << result.err;
    const auto lines = lines_of(result.out);
    ASSERT_EQ(lines.size(), 5u) << result.out;
    EXPECT_EQ(lines[0], cpus);
    EXPECT_EQ(lines[1], cpus);
    // Linux 6.1 tells no topology of 32-bit CPUs, so to perf they are one core: its name, how many
    // CPUs it has, the count.
    EXPECT_NE(lines[2].find("," + cpus + ","), std::string::npos) << lines[2];
    EXPECT_GT(counts_of(lines[2], "instructions", 2).at(0), 1'000'000u);
    EXPECT_GT(counts_of(lines[3], "instructions", 0).at(0), 1'000'000u);
    EXPECT_LT(counts_of(lines[4], "instructions", 0).at(0), 1'000'000u) << "CPU 0 did it";
}

TEST(LinuxSmp, FourCpusComeUpWithTheHostsClock) {
    const Finished result = smp_guest(
        4, "grep -c ^processor /proc/cpuinfo; perf bench futex wake -t 4 2>&1 | tail -n 1",
        {"--clock=host", "--reserve-perfmon=required"});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(lines_of(result.out).at(0), "4") << result.out;
    EXPECT_NE(result.out.find("Wokeup"), std::string::npos) << result.out;
}

TEST(LinuxSmp, CountsFollowATaskFromCpuToCpu) {
    // guest/programs/spin.S: instructions, branches, loads and stores of user mode.
    constexpr uint64_t kRounds = 3'000'000, kDigits = 7;
    const std::string stat =
        "perf stat -x, -e instructions:u,branches:u,r9:u,ra:u spin " + std::to_string(kRounds);
    // The migrating one is sent from CPU to CPU all the while.
    const Finished result =
        smp_guest(4,
                  "taskset -c 2 " + stat +
                      " 2>&1; "
                      "(while :; do for cpu in 0 1 2 3; do taskset -p -c $cpu $(pidof spin) "
                      "&& echo moved >>/tmp/moves; done; done >/dev/null 2>&1) & mover=$!; " +
                      stat + " 2>&1; kill $mover; echo moves $(wc -l </tmp/moves)",
                  {"--reserve-perfmon=required"});
    ASSERT_EQ(result.status, 0) << result.out << result.err;
    const auto both = [&](const char* event) { return counts_of(result.out, event, 0); };
    using Counts = std::vector<uint64_t>;
    EXPECT_EQ(both("instructions:u"), Counts(2, 10 * kRounds + 8 * kDigits + 18)) << result.out;
    EXPECT_EQ(both("branches:u"), Counts(2, 2 * kRounds + 2 * kDigits + 4)) << result.out;
    EXPECT_EQ(both("r9:u"), Counts(2, kRounds + kDigits + 2)) << result.out;
    EXPECT_EQ(both("ra:u"), Counts(2, kRounds + 1)) << result.out;
    const size_t at = result.out.find("moves ");
    ASSERT_NE(at, std::string::npos) << result.out;
    EXPECT_GT(std::stoul(result.out.substr(at + 6)), 3u) << result.out;
}

TEST(LinuxSmp, RecordOnAllCpusFindsWhatEachOfThemDoes) {
    const Finished result =
        smp_guest(4,
                  "cd /tmp; perf record -q -a -e instructions:u -c 50000 -- sh -c "
                  "'for cpu in 0 1 2 3; do taskset -c $cpu hot 800 & done; wait' >/dev/null 2>&1; "
                  "perf report --stdio --sort cpu,symbol 2>/dev/null | grep hot_function",
                  {"--reserve-perfmon=required"});
    ASSERT_EQ(result.status, 0) << result.out << result.err;
    for (const char* cpu : {"000", "001", "002", "003"})
        EXPECT_NE(result.out.find(cpu), std::string::npos) << cpu << '\n' << result.out;
}

class WithEitherClock : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(LinuxSmp, WithEitherClock, testing::Values("virtual", "host"));

// Through the MPIC's reset of a core and the spin table; with the virtual clock in every run alike.
TEST_P(WithEitherClock, CpusGoAndComeBack) {
    const auto once = [] {
        return smp_guest(
            4,
            "cd /sys/devices/system/cpu; for n in 1 2; do for cpu in 1 2 3; do echo 0 "
            ">cpu$cpu/online || echo refused; done; cat online; for cpu in 3 1 2; do echo 1 "
            ">cpu$cpu/online || echo refused; done; cat online; done; "
            "perf stat -x, -C 2 -e instructions taskset -c 2 spin 100000 2>&1; "
            "dmesg | grep -c 'BUG\\|stall\\|Call Trace'",
            {"--reserve-perfmon=required", "--clock", GetParam()});
    };
    const Finished result = once();
    const auto lines = lines_of(result.out);
    ASSERT_GE(lines.size(), 6u) << result.out << result.err;
    EXPECT_EQ(lines[0], "0");
    EXPECT_EQ(lines[1], "0-3");
    EXPECT_EQ(lines[2], "0");
    EXPECT_EQ(lines[3], "0-3");
    const auto counts = counts_of(result.out, "instructions", 0);
    ASSERT_EQ(counts.size(), 1u) << result.out;
    EXPECT_GT(counts[0], 1'000'000u);
    EXPECT_EQ(lines.back(), "0") << result.out;
    if (GetParam() == std::string("virtual")) {
        EXPECT_EQ(once().out, result.out);
    }
}

// With tasks on each CPU that are moved away and come back, again and again.
TEST_P(WithEitherClock, CpusGoAndComeBackUnderLoad) {
    const Finished result = smp_guest(
        4,
        "(while [ ! -e /tmp/enough ]; do perf bench sched messaging -g 1 -l 20 >/dev/null 2>&1 || "
        "echo failed; done) & "
        "(while [ ! -e /tmp/enough ]; do perf stat -x, -e instructions:u spin 100000 2>&1; done) & "
        "cd /sys/devices/system/cpu; for n in 1 2 3 4 5; do for cpu in 1 2 3; do "
        "echo 0 >cpu$cpu/online || echo refused; done; for cpu in 3 1 2; do "
        "echo 1 >cpu$cpu/online || echo refused; done; done; "
        "touch /tmp/enough; wait; cat online; dmesg | grep -c 'BUG\\|stall\\|Call Trace'",
        {"--reserve-perfmon=required", "--clock", GetParam()});
    const auto lines = lines_of(result.out);
    ASSERT_GE(lines.size(), 3u) << result.out << result.err;
    EXPECT_EQ(lines[lines.size() - 2], "0-3") << result.out;
    EXPECT_EQ(lines.back(), "0") << result.out;
    EXPECT_EQ(result.out.find("failed"), std::string::npos) << result.out;
    EXPECT_EQ(result.out.find("refused"), std::string::npos) << result.out;
    // perf may call some "<not counted>": docs/kvm-soft.md, KVM_SOFT_FREEZE_TIMEBASES.
    const auto counts = counts_of(result.out, "instructions:u", 0);
    ASSERT_FALSE(counts.empty()) << result.out;
    for (const uint64_t count : counts)
        EXPECT_EQ(count, 10u * 100000 + 8 * 6 + 18) << result.out;
}

TEST(LinuxSmp, MessagesAndFutexesOnFourCpus) {
    const Finished result =
        smp_guest(4,
                  "perf bench sched messaging -g 2 -l 50 2>&1 | grep 'Total time' && "
                  "perf bench futex hash -r 1 -t 2 2>&1 | grep Averaged && "
                  "perf bench futex wake -t 8 2>&1 | tail -n 1",
                  {"--engine", kFastest});
    EXPECT_EQ(result.status, 0) << result.out << result.err;
    EXPECT_NE(result.out.find("Total time"), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("Averaged"), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("Wokeup 8 of 8 threads"), std::string::npos) << result.out;
}

}  // namespace
}  // namespace perfvisor::test
