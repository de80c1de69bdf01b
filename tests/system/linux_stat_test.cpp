// SPDX-License-Identifier: GPL-2.0-or-later
// perfvisor run --stat: the counts of the command alone, read from outside, for a CI gate.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "conversation.h"
#include "qmp.h"
#include "subprocess.h"
#include "with_directory.h"

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using Counts = std::map<std::string, uint64_t>;

std::string content(const fs::path& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

class LinuxStat : public WithDirectory<> {
  protected:
    // The guest with a command counted; options come before --exec.
    Finished counted(const std::string& command, const std::string& events,
                     std::vector<std::string> options = {}) const {
        options.insert(options.end(), {"--stat", events, "--console-log", "/dev/null",
                                       "--runtime-dir", (directory / "run").string()});
        return linux_guest(command, options);
    }
    // Its counts, from -x.
    Counts counts(const std::string& command, const std::string& events,
                  std::vector<std::string> options = {}) const {
        options.insert(options.end(), {"-x", ","});
        const Finished result = counted(command, events, options);
        EXPECT_EQ(result.status, 0) << result.err;
        return parsed(result.err);
    }
    static Counts parsed(const std::string& csv) {
        Counts counts;
        std::istringstream lines(csv);
        for (std::string line; std::getline(lines, line);) {
            std::istringstream fields(line);
            std::string value, unit, event;
            std::getline(fields, value, ',');
            std::getline(fields, unit, ',');
            std::getline(fields, event, ',');
            counts[event] += std::stoull(value);
        }
        return counts;
    }
};

// guest/programs/spin.S says what it executes: the counts are the command's to the instruction.
TEST_F(LinuxStat, AProgramOfKnownInstructionsCountsExactly) {
    constexpr uint64_t kRounds = 12'345, kDigits = 5;
    for (const char* engine : {"--engine=translator", "--engine=interpreter"}) {
        auto of = counts("spin 12345", "instructions:u,branches:u,r0d:u,r9:u,ra:u", {engine});
        EXPECT_EQ(of["instructions:u"], 10 * kRounds + 8 * kDigits + 18) << engine;
        EXPECT_EQ(of["branches:u"], 2 * kRounds + 2 * kDigits + 4);
        EXPECT_EQ(of["r0d:u"], kRounds + kDigits);
        EXPECT_EQ(of["r9:u"], kRounds + kDigits + 2);
        EXPECT_EQ(of["ra:u"], kRounds + 1);
    }
}

TEST_F(LinuxStat, UserAndKernelAddUpAndEveryRunIsTheSame) {
    const char* const events = "instructions,instructions:u,instructions:k,cycles,r9:uk,r56";
    const auto first = counts("ls -l /bin", events);
    EXPECT_EQ(first.at("instructions:u") + first.at("instructions:k"), first.at("instructions"));
    EXPECT_GT(first.at("instructions:u"), 100'000u);
    EXPECT_GT(first.at("instructions:k"), 100'000u);
    EXPECT_GT(first.at("r56"), 10u);
    EXPECT_EQ(counts("ls -l /bin", events, {"--engine=translator"}), first);
    EXPECT_EQ(counts("ls -l /bin", events, {"--engine=interpreter"}), first);
}

// The timing model runs for the command alone, and alike under both engines.
TEST_F(LinuxStat, EventsOfTheTimingModelAreCountedToo) {
    const char* const events = "instructions:u,branch-misses,branch-misses:u,cache-misses,r3c:k";
    const auto first = counts("spin 1000", events, {"--engine=translator"});
    EXPECT_EQ(first.at("instructions:u"), 10'000u + 8 * 4 + 18);
    EXPECT_GT(first.at("branch-misses:u"), 2u);  // the loop is predicted once it is known
    EXPECT_LT(first.at("branch-misses:u"), 100u);
    EXPECT_GT(first.at("branch-misses"), first.at("branch-misses:u"));
    EXPECT_GT(first.at("cache-misses"), 10u);
    EXPECT_GT(first.at("r3c:k"), 10u);
    EXPECT_EQ(counts("spin 1000", events, {"--engine=interpreter"}), first);
    // What is counted does not change what the guest does.
    EXPECT_EQ(counts("spin 1000", "instructions")["instructions"],
              counts("spin 1000", "instructions,branch-misses")["instructions"]);
}

// A command that needs a shell is counted with it.
TEST_F(LinuxStat, AShellIsCountedWhereTheCommandNeedsOne) {
    const uint64_t plain = counts("spin 100", "instructions:u")["instructions:u"];
    const uint64_t shell = counts("spin 100; exit 0", "instructions:u")["instructions:u"];
    EXPECT_EQ(plain, 1000u + 24 + 18);
    EXPECT_GT(shell, plain + 1000);
    // Both of a list are counted.
    EXPECT_GT(counts("spin 100; spin 5000", "instructions:u")["instructions:u"], shell + 50'000);
}

// Whichever CPU the command runs on, what user mode does is its own.
TEST_F(LinuxStat, OnSeveralCpusUserModeIsExactToo) {
    EXPECT_EQ(
        counts("spin 12345", "instructions:u", {"-smp", "2", "--clock=host"})["instructions:u"],
        123'450u + 40 + 18);
}

// CPUs that take turns open and close the window each at an instruction that only the guest
// decides.
TEST_F(LinuxStat, OnSeveralCpusThatTakeTurnsEveryRunIsTheSame) {
    const char* const events = "instructions,instructions:u,cycles,r9,branch-misses,cache-misses:u";
    const char* const command = "spin 12345 & spin 54321; wait";
    const auto first = counts(command, events, {"-smp", "2", "--engine=translator"});
    EXPECT_GT(first.at("instructions:u"), 666'660u + 80 + 36);
    EXPECT_GT(first.at("branch-misses"), 10u);
    EXPECT_EQ(counts(command, events, {"-smp", "2", "--engine=translator"}), first);
    EXPECT_EQ(counts(command, events, {"-smp", "2", "--engine=interpreter"}), first);
    EXPECT_EQ(counts("spin 12345", "instructions:u", {"-smp", "2"})["instructions:u"],
              123'450u + 40 + 18);
}

TEST_F(LinuxStat, TheTableGoesToStderrAndTheOutputAndStatusAreTheCommands) {
    const Finished result = counted("echo hello; exit 3", "instructions:u,cycles");
    EXPECT_EQ(result.status, 3);
    EXPECT_EQ(result.out, "hello\n");
    EXPECT_THAT(result.err, HasSubstr("Performance counter stats for 'echo hello; exit 3':"));
    EXPECT_THAT(result.err, HasSubstr("      instructions:u\n"));
    EXPECT_THAT(result.err, HasSubstr(" seconds time elapsed"));
}

TEST_F(LinuxStat, JsonGoesToAFile) {
    const fs::path file = directory / "counts.json";
    const Finished result =
        counted("spin 10", "instructions:u,branches:u", {"--json", "-o", file.string()});
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.err, "");
    std::istringstream lines(content(file));
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    const auto first = nlohmann::json::parse(line);
    EXPECT_EQ(first["event"], "instructions:u");
    EXPECT_EQ(first["counter-value"], "134.000000");
}

TEST_F(LinuxStat, CountsThatCannotBeWrittenAreAnError) {
    const Finished result = counted("echo ran", "instructions", {"-o", "/dev/full"});
    EXPECT_EQ(result.status, 1);
    EXPECT_EQ(result.out, "ran\n");
    EXPECT_EQ(result.err,
              "perfvisor: -o: \"/dev/full\" cannot be written: No space left on device\n");
}

TEST_F(LinuxStat, SeveralListsAndTheSameEventsTwice) {
    auto of = counts("spin 10", "instructions:u,r2:u", {"--stat", "r2:u,branches:u"});
    EXPECT_EQ(of["instructions:u"], 134u);
    EXPECT_EQ(of["r2:u"], 2 * 134u) << "both of its lines";
}

// The counts of a command that does not come to its end are not given.
TEST_F(LinuxStat, AnUnfinishedCommandIsAnError) {
    const Finished result = counted("reboot -f", "instructions");
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, HasSubstr("before the command had ended"));
}

// ---- perfvisor stat: from outside the process, from the guest's first instruction on ----

class LinuxCounted : public LinuxStat {
  protected:
    fs::path runtime() const { return directory / "run"; }
    // The guest waits until as many `perfvisor stat` count as there are lists of events.
    std::vector<Counts> watched(const std::string& command, const std::vector<std::string>& lists,
                                std::vector<std::string> options = {},
                                Finished* guests_end = nullptr) const {
        std::vector<std::string> words = {PERFVISOR_BINARY,
                                          "run",
                                          "-m",
                                          "256M",
                                          "-S",
                                          "-kernel",
                                          guest_file("vmlinux"),
                                          "-initrd",
                                          guest_file("rootfs.cpio.gz"),
                                          "--console-log",
                                          "/dev/null",
                                          "--runtime-dir",
                                          runtime().string()};
        words.insert(words.end(), options.begin(), options.end());
        words.insert(words.end(), {"--exec", command});
        Conversation guest(words);
        Qmp monitor(runtime());
        EXPECT_TRUE(monitor.connected()) << guest.err();
        std::vector<std::unique_ptr<Conversation>> clients;
        for (const std::string& list : lists) {
            clients.push_back(std::make_unique<Conversation>(std::vector<std::string>{
                PERFVISOR_BINARY, "stat", "--runtime-dir", runtime().string(), "-x", ",", "-e",
                list, "--", "/bin/sh", "-c", "echo counting; exec cat"}));
            EXPECT_EQ(clients.back()->line("counting"), "counting") << clients.back()->err();
        }
        EXPECT_TRUE(monitor.execute("cont").contains("return"));
        const int status = guest.wait();
        EXPECT_EQ(status, 0) << guest.err();
        if (guests_end) *guests_end = {status, false, guest.out(), guest.err()};
        std::vector<Counts> counts;
        for (const auto& client : clients) {
            client->signal(SIGTERM);
            client->wait();
            counts.push_back(parsed(client->err()));
        }
        return counts;
    }
};

// Two runs differ by what the command does more, and by that alone.
TEST_F(LinuxCounted, ModesAndEventsOfTheModelToTheInstruction) {
    const char* const events = "instructions,instructions:u,instructions:k,r3:u,r3";
    const Counts few = watched("spin 1000", {events}).front(),
                 more = watched("spin 3000", {events}).front();
    EXPECT_EQ(few.at("instructions:u") + few.at("instructions:k"), few.at("instructions"));
    EXPECT_EQ(more.at("instructions:u") - few.at("instructions:u"), 20'000u);
    // r3 are micro-ops, which the model counts: for the command alone it says the same.
    const uint64_t of_few = counts("spin 1000", "r3:u")["r3:u"],
                   of_more = counts("spin 3000", "r3:u")["r3:u"];
    EXPECT_GT(few.at("r3:u"), of_few);
    EXPECT_EQ(more.at("r3:u") - few.at("r3:u"), of_more - of_few);
    EXPECT_GT(few.at("r3"), few.at("r3:u"));
}

// Two clients with lists of their own, and --stat besides: none sees the others.
TEST_F(LinuxCounted, ClientsDoNotDisturbEachOtherNorTheCommandsCounts) {
    const std::vector<std::string> lists = {"instructions:u,branch-misses:u,branch-misses",
                                            "branch-misses:u,cache-misses,instructions:k"};
    Finished end;
    const Counts alone =
        watched("spin 1000", {lists[0]}, {"--stat", "instructions", "-x", ","}, &end).front();
    EXPECT_GT(alone.at("branch-misses:u"), 10u);
    const auto together =
        watched("spin 1000", lists, {"--stat", "branch-misses,cache-misses:k", "-x", ","}, &end);
    EXPECT_EQ(together[0].at("instructions:u"), alone.at("instructions:u"));
    EXPECT_GT(together[1].at("cache-misses"), 1000u);
    EXPECT_EQ(together[0].at("branch-misses:u"), together[1].at("branch-misses:u"));
    EXPECT_EQ(parsed(end.err), counts("spin 1000", "branch-misses,cache-misses:k"));
}

TEST_F(LinuxStat, AGateCatchesOneInstruction) {
    setenv("PERFVISOR", PERFVISOR_BINARY, 1);
    setenv("GUEST", PERFVISOR_GUEST, 1);
    setenv("PERFVISOR_RUNTIME_DIR", (directory / "run").c_str(), 1);
    const std::string baseline = (directory / "baseline").string();
    EXPECT_EQ(run({CI_GATE, "--update", GATED_3, baseline}).status, 0);
    EXPECT_THAT(content(baseline), HasSubstr("45 instructions:u\n"));
    EXPECT_EQ(run({CI_GATE, GATED_3, baseline}).status, 0);
    const Finished changed = run({CI_GATE, GATED_4, baseline});
    EXPECT_EQ(changed.status, 1);
    EXPECT_THAT(changed.out, HasSubstr("-45 instructions:u\n"));
    EXPECT_THAT(changed.out, HasSubstr("+46 instructions:u\n"));
}

}  // namespace
}  // namespace perfvisor::test
