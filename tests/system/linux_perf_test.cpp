// SPDX-License-Identifier: GPL-2.0-or-later
// perf inside the Linux guest: what it counts, samples and says without a performance monitor.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <sstream>

#include "subprocess.h"

namespace perfvisor::test {
namespace {

// One line of `perf stat -x,`.
struct Count {
    std::string value;     // a number, or "<not counted>", "<not supported>"
    double running = 0.0;  // percent of the time the event was on a counter
    uint64_t number() const { return std::stoull(value); }
};

std::map<std::string, Count> parse_stat(const std::string& text) {
    std::map<std::string, Count> counts;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream fields(line);
        std::string value, unit, event, time, percent;
        std::getline(fields, value, ',');
        std::getline(fields, unit, ',');
        std::getline(fields, event, ',');
        std::getline(fields, time, ',');
        std::getline(fields, percent, ',');
        if (!percent.empty()) counts[event] = {value, std::stod(percent)};
    }
    return counts;
}

// perf's counts of `command` in the guest; its own output is dropped.
std::map<std::string, Count> perf_stat(const std::string& events, const std::string& command) {
    const Finished result =
        linux_guest("perf stat -x, -e " + events + " " + command + " 2>&1 >/dev/null",
                    {"--reserve-perfmon=required", "--console-log", "/dev/null"});
    EXPECT_EQ(result.status, 0) << result.err;
    return parse_stat(result.out);
}

class CountsOf : public testing::TestWithParam<const char*> {};

TEST_P(CountsOf, AreConsistentWithEachOther) {
    auto counts = perf_stat("cycles,instructions,branches,r0d", GetParam());
    ASSERT_EQ(counts.size(), 4u);
    const uint64_t instructions = counts["instructions"].number();
    const uint64_t branches = counts["branches"].number();
    const uint64_t taken = counts["r0d"].number();
    EXPECT_GT(instructions, 50'000u);  // fork, exec and exit of a process alone
    // The simple model: one cycle an instruction.
    EXPECT_EQ(counts["cycles"].number(), instructions);
    EXPECT_LT(taken, branches);
    EXPECT_GT(taken, branches / 5);
    EXPECT_LT(branches, instructions / 2);
    EXPECT_GT(branches, instructions / 50);
}

INSTANTIATE_TEST_SUITE_P(LinuxPerf, CountsOf,
                         testing::Values("ls -l /bin", "cat /proc/interrupts",
                                         "sha256sum /bin/busybox", "true"));

TEST(LinuxPerf, UserAndKernelCountsAddUpToTheTotal) {
    auto counts = perf_stat("instructions,instructions:u,instructions:k", "ls -l /bin");
    const uint64_t user = counts["instructions:u"].number();
    const uint64_t kernel = counts["instructions:k"].number();
    EXPECT_GT(user, 1000u);
    EXPECT_GT(kernel, 1000u);
    EXPECT_EQ(user + kernel, counts["instructions"].number());
}

// guest/programs/spin.S says what it executes, from its first instruction to the sc of its exit.
TEST(LinuxPerf, AProgramOfKnownInstructionsCountsExactly) {
    constexpr uint64_t kRounds = 123'456, kDigits = 6;
    const std::string spin = "spin " + std::to_string(kRounds);
    auto counts = perf_stat("instructions:u,branches:u,r0d:u,r9:u", spin);
    EXPECT_EQ(counts["instructions:u"].number(), 10 * kRounds + 8 * kDigits + 18);
    EXPECT_EQ(counts["branches:u"].number(), 2 * kRounds + 2 * kDigits + 4);
    EXPECT_EQ(counts["r0d:u"].number(), kRounds + kDigits);
    EXPECT_EQ(counts["r9:u"].number(), kRounds + kDigits + 2);
    EXPECT_EQ(perf_stat("ra:u", spin)["ra:u"].number(), kRounds + 1);
}

TEST(LinuxPerf, MoreEventsThanCountersShareThem) {
    // Eight events on four counters; long enough for several turns of 4 ms.
    const std::string events = "cycles,instructions,branches,r0d,r9,ra,r56,r59";
    auto counts = perf_stat(events, "spin 10000000");
    ASSERT_EQ(counts.size(), 8u);
    for (const auto& [event, count] : counts) {
        ASSERT_NE(count.value[0], '<') << event << ' ' << count.value;
        EXPECT_LT(count.running, 100.0) << event;
        EXPECT_GT(count.running, 10.0) << event;
    }
    // perf scales what it saw to the whole time.
    EXPECT_NEAR(static_cast<double>(counts["instructions"].number()), 1e8, 2e7);
}

TEST(LinuxPerf, TheSameRunCountsTheSame) {
    const auto once = [] {
        return linux_guest("perf stat -x, -e cycles,instructions,branches,r56 ls -l /bin 2>&1",
                           {"--reserve-perfmon", "--console-log", "/dev/null"})
            .out;
    };
    const std::string first = once();
    EXPECT_NE(first.find("instructions"), std::string::npos);
    EXPECT_EQ(first, once());
}

// Counts of a model are judged by their order.
TEST(LinuxPerf, TheModelsEventsArePlausible) {
    const Finished result = linux_guest(
        "for events in branches,branch-misses,cache-misses,stalled-cycles-frontend "
        "instructions,stalled-cycles-backend,L1-icache-load-misses,r40; do "
        "perf stat -x, -e $events ls -l /bin 2>&1 >/dev/null; done",
        {"--reserve-perfmon=required", "--console-log", "/dev/null"});
    ASSERT_EQ(result.status, 0) << result.err;
    auto counts = parse_stat(result.out);
    counts.erase("");  // a line with a ratio alone
    ASSERT_EQ(counts.size(), 8u) << result.out;
    const uint64_t branches = counts["branches"].number();
    EXPECT_GT(counts["branch-misses"].number(), branches / 1000);
    EXPECT_LT(counts["branch-misses"].number(), branches / 2);
    EXPECT_GT(counts["cache-misses"].number(), 500u);
    EXPECT_GT(counts["stalled-cycles-frontend"].number(), 10'000u);
    EXPECT_GT(counts["stalled-cycles-backend"].number(), 10'000u);
    EXPECT_GT(counts["L1-icache-load-misses"].number(), 500u);
    EXPECT_GT(counts["r40"].number(), 10u);  // DMMU_TLB4K_RELOADS
}

TEST(LinuxPerf, UnderTheE500mcsTimingCyclesFollowTheModel) {
    const auto once = [] {
        return linux_guest(
                   "perf stat -x, -e cycles,instructions ls -l /bin 2>&1 >/dev/null",
                   {"--reserve-perfmon=required", "--timing=e500mc", "--console-log", "/dev/null"})
            .out;
    };
    const std::string first = once();
    auto counts = parse_stat(first);
    ASSERT_EQ(counts.size(), 2u) << first;
    EXPECT_GT(counts["cycles"].number(), counts["instructions"].number());
    EXPECT_LT(counts["cycles"].number(), 20 * counts["instructions"].number());
    EXPECT_EQ(first, once());
}

TEST(LinuxPerf, RecordFindsTheHotFunctionAndTakesOneSampleAPeriod) {
    constexpr uint64_t kPeriod = 100'000;
    const Finished result = linux_guest(
        "cd /tmp; perf record -q -e instructions:u -c 100000 hot 5000 >/dev/null 2>&1 && "
        "perf report --stdio 2>/dev/null | grep -v '^#' | grep '%' | head -n 1 && "
        "echo samples $(perf report -D 2>/dev/null | grep -c PERF_RECORD_SAMPLE) && "
        "perf stat -x, -e instructions:u hot 5000 2>&1 >/dev/null",
        {"--reserve-perfmon=required", "--console-log", "/dev/null"});
    ASSERT_EQ(result.status, 0) << result.out << result.err;
    const std::string hottest = result.out.substr(0, result.out.find('\n'));
    EXPECT_NE(hottest.find("hot_function"), std::string::npos) << result.out;
    const size_t at = result.out.find("samples ");
    ASSERT_NE(at, std::string::npos);
    const uint64_t samples = std::stoull(result.out.substr(at + 8));
    const uint64_t instructions = parse_stat(result.out)["instructions:u"].number();
    EXPECT_GT(samples, 100u);
    // perf record's own exec is sampled too, which makes a few more.
    EXPECT_NEAR(static_cast<double>(samples), static_cast<double>(instructions) / kPeriod, 3.0);
}

// The program's instructions are known one by one: the k-th sample of a period P is behind its k
// P-th instruction, in perf's own eyes.
TEST(LinuxPerf, EverySampleIsBehindTheInstructionThatOverflowed) {
    constexpr unsigned kRounds = 100'000, kDigits = 6, kPeriod = 9973;
    constexpr unsigned kBeforeLoop = 8 * kDigits + 15, kAll = 10 * kRounds + 8 * kDigits + 18;
    for (const char* engine : {"--engine=interpreter", "--engine=translator"}) {
        const Finished result = linux_guest(
            "cd /tmp; perf record -q -e instructions:u -c 9973 spin 100000 >/dev/null 2>&1; "
            "perf script -F ip,sym,symoff",
            {engine, "--reserve-perfmon=required", "--console-log", "/dev/null"});
        ASSERT_EQ(result.status, 0) << result.out << result.err;
        std::istringstream lines(result.out);
        unsigned sample = 0;
        for (std::string line; std::getline(lines, line);) {
            const unsigned done = ++sample * kPeriod;
            std::ostringstream expected;
            expected << " spin_loop+0x" << std::hex << (done - kBeforeLoop) % 10 * 4;
            EXPECT_TRUE(line.ends_with(expected.str())) << line << ", not" << expected.str();
        }
        EXPECT_EQ(sample, kAll / kPeriod) << engine;
    }
}

TEST(LinuxPerf, TheReservationPutsThePropertyIntoEveryCpuNode) {
    const std::string look = "ls -d /proc/device-tree/cpus/*/power-isa-e.pm";
    const Finished with = linux_guest(look, {"--reserve-perfmon", "--console-log", "/dev/null"});
    EXPECT_EQ(with.status, 0);
    EXPECT_NE(with.out.find("power-isa-e.pm"), std::string::npos);
    const Finished without = linux_guest(look, {"--console-log", "/dev/null"});
    EXPECT_NE(without.status, 0);
}

}  // namespace
}  // namespace perfvisor::test
