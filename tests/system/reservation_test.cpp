// SPDX-License-Identifier: GPL-2.0-or-later
// Who gets the performance monitor, between real processes: guests, host users and what kills
// them. The guest is guests/probe.S, which says what it finds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "conversation.h"
#include "qmp.h"
#include "subprocess.h"
#include "with_directory.h"

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kWithPm = "boot pm=1 pmlca0=00020000";
constexpr const char* kWithoutPm = "boot pm=0 pmlca0=00000000";
constexpr const char* kCounted = "000186a0";  // the 100000 instructions of the guest's 'c'
constexpr const char* kCountedNothing = "00000000";

class ReservationTest : public WithDirectory<> {
  protected:
    std::vector<std::string> command(std::vector<std::string> words,
                                     std::vector<std::string> more = {}) const {
        words.insert(words.begin(), PERFVISOR_BINARY);
        words.insert(words.end(), {"--runtime-dir", directory.string()});
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }
    std::vector<std::string> guest(const std::string& name,
                                   const std::string& option = "--reserve-perfmon") const {
        std::vector<std::string> words = {"run", "-kernel", PROBE_GUEST, "--name", name};
        if (!option.empty()) words.push_back(option);
        return command(words);
    }
    std::vector<std::string> hold(const std::string& name) const {
        // Says that it holds, then waits for its input's end.
        return command({"perfmon", "hold", "--name", name},
                       {"--", "/bin/sh", "-c", "echo held; exec cat"});
    }
    json status() const {
        const Finished finished = run(command({"perfmon", "status", "--json"}));
        EXPECT_EQ(finished.status, 0) << finished.err;
        return json::parse(finished.out, nullptr, false);
    }
    std::string state() const { return status().value("state", "?"); }
};

TEST_F(ReservationTest, StatusNamesWhoHolds) {
    EXPECT_EQ(status(), json({{"state", "free"}, {"holders", json::array()}}));
    Conversation one(guest("alpha"));
    Conversation two(guest("beta"));
    ASSERT_EQ(one.line("boot"), kWithPm);
    ASSERT_EQ(two.line("boot"), kWithPm);
    const json shown = status();
    EXPECT_EQ(shown["state"], "guest");
    ASSERT_EQ(shown["holders"].size(), 2u);
    for (const json& holder : shown["holders"]) {
        const bool first = holder["name"] == "alpha";
        EXPECT_EQ(holder["class"], "guest");
        EXPECT_EQ(holder["pid"], first ? one.pid() : two.pid());
        EXPECT_EQ(holder["since"].get<std::string>().size(), 20u) << "2026-01-31T10:20:30Z";
        EXPECT_EQ(holder["name"], first ? "alpha" : "beta");
    }
    EXPECT_THAT(run(command({"perfmon", "status"})).out, HasSubstr("guest 'alpha' (PID"));
}

TEST_F(ReservationTest, AHostUserIsRefusedWhileAGuestHolds) {
    Conversation holder(guest("the-holder"));
    ASSERT_EQ(holder.line("boot"), kWithPm);
    for (const std::vector<std::string>& user :
         {command({"stat"}), command({"perfmon", "hold"}, {"--", "/bin/true"})}) {
        const Finished refused = run(user);
        EXPECT_EQ(refused.status, 1);
        EXPECT_THAT(refused.err, HasSubstr("guest 'the-holder' (PID"));
    }
    holder.say("c");
    EXPECT_EQ(holder.line("0"), kCounted) << "the holder must not be disturbed";
}

TEST_F(ReservationTest, AGuestStartsWithoutWhileTheHostHoldsAndHasItAfterAReset) {
    Conversation host(hold("the-host"));
    ASSERT_EQ(host.line("held"), "held");
    EXPECT_EQ(state(), "host");
    Conversation patient(guest("patient"));
    ASSERT_EQ(patient.line("boot"), kWithoutPm);
    patient.say("c");
    EXPECT_EQ(patient.line("0"), kCountedNothing);
    host.signal(SIGTERM);
    EXPECT_EQ(host.wait(), 128 + SIGTERM);
    EXPECT_EQ(state(), "free") << "a guest reserves at its start only";
    patient.say("c");
    EXPECT_EQ(patient.line("0"), kCountedNothing);
    patient.say("r");
    ASSERT_EQ(patient.line("boot"), kWithPm);
    EXPECT_EQ(state(), "guest");
    patient.say("c");
    EXPECT_EQ(patient.line("0"), kCounted);
    patient.say("p");
    EXPECT_EQ(patient.wait(), 0);
    EXPECT_THAT(patient.err(), HasSubstr("without a performance monitor"));
    EXPECT_THAT(patient.err(), HasSubstr("host user 'the-host' (PID"));
    EXPECT_EQ(state(), "free");
}

TEST_F(ReservationTest, RequiredMakesTheRefusalFatal) {
    Conversation host(hold("the-host"));
    ASSERT_EQ(host.line("held"), "held");
    const Finished refused = run(guest("patient", "--reserve-perfmon=required"));
    EXPECT_EQ(refused.status, 1);
    EXPECT_EQ(refused.out, "");
    EXPECT_THAT(refused.err, HasSubstr("--reserve-perfmon=required"));
    EXPECT_THAT(refused.err, HasSubstr("host user 'the-host' (PID"));
}

TEST_F(ReservationTest, AGuestThatDoesNotAskHasNoneAndHoldsNone) {
    Conversation plain(guest("plain", ""));
    ASSERT_EQ(plain.line("boot"), kWithoutPm);
    EXPECT_EQ(state(), "free");
    plain.say("cp");
    EXPECT_EQ(plain.line("0"), kCountedNothing);
    EXPECT_EQ(plain.wait(), 0);
    EXPECT_EQ(plain.err(), "") << "no warning where nothing was asked for";
}

// Its tree has no property, which is for its firmware to add; its registers count all the same.
TEST_F(ReservationTest, BoardsHaveTheirOwnWhoeverHoldsThisMachines) {
    constexpr const char* kBoard = "boot pm=0 pmlca0=00020000";
    Conversation host(hold("the-host"));
    ASSERT_EQ(host.line("held"), "held");
    Conversation one(guest("one", "--board"));
    Conversation two(guest("two", "--board"));
    ASSERT_EQ(one.line("boot"), kBoard) << one.err();
    ASSERT_EQ(two.line("boot"), kBoard) << two.err();
    EXPECT_EQ(status()["holders"].size(), 1u) << "the host user alone";
    one.say("c");
    two.say("c");
    EXPECT_EQ(one.line("0"), kCounted);
    EXPECT_EQ(two.line("0"), kCounted);
    one.say("r");
    ASSERT_EQ(one.line("boot"), kBoard) << "as after power-on";
    one.say("c");
    EXPECT_EQ(one.line("0"), kCounted);

    host.signal(SIGTERM);
    host.wait();
    Conversation beside(guest("beside"));
    ASSERT_EQ(beside.line("boot"), kWithPm);
    beside.say("c");
    two.say("c");
    EXPECT_EQ(beside.line("0"), kCounted);
    EXPECT_EQ(two.line("0"), kCounted);
}

TEST_F(ReservationTest, HostUsersShare) {
    Conversation one(hold("one"));
    Conversation two(hold("two"));
    ASSERT_EQ(one.line("held"), "held");
    ASSERT_EQ(two.line("held"), "held");
    EXPECT_EQ(status()["holders"].size(), 2u);
    one.signal(SIGKILL);
    EXPECT_EQ(one.wait(), 128 + SIGKILL);
    EXPECT_EQ(state(), "host");
}

TEST_F(ReservationTest, HoldExitsAsItsCommandDoes) {
    EXPECT_EQ(run(command({"perfmon", "hold"}, {"--", "/bin/sh", "-c", "exit 7"})).status, 7);
    EXPECT_EQ(run(command({"perfmon", "hold"}, {"--", "/bin/sh", "-c", "kill -9 $$"})).status,
              128 + SIGKILL);
    const Finished missing = run(command({"perfmon", "hold"}, {"--", "/no/such/command"}));
    EXPECT_EQ(missing.status, 127);
    EXPECT_THAT(missing.err, HasSubstr("/no/such/command"));
    EXPECT_EQ(state(), "free");
}

TEST_F(ReservationTest, SigkillOfAGuestFrees) {
    Conversation one(guest("one"));
    Conversation two(guest("two"));
    ASSERT_EQ(one.line("boot"), kWithPm);
    ASSERT_EQ(two.line("boot"), kWithPm);
    one.signal(SIGKILL);
    EXPECT_EQ(one.wait(), 128 + SIGKILL);
    EXPECT_EQ(state(), "guest");
    two.signal(SIGKILL);
    EXPECT_EQ(two.wait(), 128 + SIGKILL);
    EXPECT_EQ(state(), "free");
    Conversation host(hold("host"));
    EXPECT_EQ(host.line("held"), "held");
}

TEST_F(ReservationTest, TwoGuestsEachCountTheirOwnInstructionsOnly) {
    Conversation one(guest("one"));
    Conversation two(guest("two"));
    ASSERT_EQ(one.line("boot"), kWithPm);
    ASSERT_EQ(two.line("boot"), kWithPm);
    for (int round = 0; round < 20; ++round) {
        one.say("c");
        two.say("c");
        ASSERT_EQ(one.line("0"), kCounted);
        ASSERT_EQ(two.line("0"), kCounted);
    }
}

// ---- perfvisor stat ----

std::vector<json> objects(const std::string& lines) {
    std::vector<json> list;
    for (size_t start = 0; start < lines.size();) {
        const size_t end = lines.find('\n', start);
        json one = json::parse(lines.substr(start, end - start), nullptr, false);
        if (!one.is_discarded()) list.push_back(std::move(one));
        start = end == std::string::npos ? lines.size() : end + 1;
    }
    return list;
}

TEST_F(ReservationTest, StatCountsARunningGuestFromOutside) {
    Conversation watched(guest("watched", ""));
    ASSERT_EQ(watched.line("boot"), kWithoutPm);
    const Finished counted =
        run(command({"stat", "--json", "-e", "instructions,branches,COMPLETED_LOAD_OPS,r56"},
                    {"--", "/bin/sleep", "0.2"}));
    EXPECT_EQ(counted.status, 0) << counted.err;
    const std::vector<json> events = objects(counted.err);
    ASSERT_EQ(events.size(), 4u) << counted.err;
    std::vector<double> counts;
    for (const json& event : events)
        counts.push_back(std::stod(event["counter-value"].get<std::string>()));
    // The guest waits for a command: three instructions, one load and one branch a round.
    EXPECT_EQ(events[0]["event"], "instructions");
    EXPECT_GT(counts[0], 1000);
    EXPECT_NEAR(counts[1], counts[0] / 3, 4);
    EXPECT_NEAR(counts[2], counts[0] / 3, 4);
    EXPECT_EQ(counts[3], 0) << "interrupts";
}

TEST_F(ReservationTest, StatKeepsGuestsFromReservingWhileItCounts) {
    Conversation watched(guest("watched", ""));
    ASSERT_EQ(watched.line("boot"), kWithoutPm);
    Conversation counting(command({"stat", "--guest", "watched"},
                                  {"--", "/bin/sh", "-c", "echo counting; exec cat"}));
    ASSERT_EQ(counting.line("counting"), "counting");
    Conversation late(guest("late"));
    ASSERT_EQ(late.line("boot"), kWithoutPm);
    const Finished refused = run(guest("latest", "--reserve-perfmon=required"));
    EXPECT_EQ(refused.status, 1);
    EXPECT_THAT(refused.err, HasSubstr("host user 'perfvisor stat' (PID"));
    counting.signal(SIGTERM);
    EXPECT_EQ(counting.wait(), 128 + SIGTERM);
    EXPECT_THAT(counting.err(), HasSubstr("Performance counter stats for guest 'watched' (PID"));
    late.say("r");
    EXPECT_EQ(late.line("boot"), kWithPm);
}

// The intervals add up to all that the guest did, its last instructions included.
TEST_F(ReservationTest, StatCountsToTheGuestsEndAndOverResets) {
    Conversation watched(guest("watched", ""));
    ASSERT_EQ(watched.line("boot"), kWithoutPm);
    Conversation counting(command({"stat", "-x", ";", "-e", "instructions", "-I", "50"},
                                  {"--", "/bin/sh", "-c", "echo counting; exec cat"}));
    ASSERT_EQ(counting.line("counting"), "counting") << counting.err();
    watched.say("ccc");
    for (int n = 0; n < 3; ++n)
        ASSERT_EQ(watched.line("0"), kCountedNothing);
    watched.say("r");
    ASSERT_EQ(watched.line("boot"), kWithoutPm);
    watched.say("p");
    EXPECT_EQ(watched.wait(), 0);
    counting.signal(SIGTERM);
    EXPECT_EQ(counting.wait(), 128 + SIGTERM);
    double total = 0;
    std::string lines = counting.err();
    while (!lines.empty()) {
        const size_t field = lines.find(';'), end = lines.find('\n');
        ASSERT_NE(field, std::string::npos) << lines;
        const double count = std::atof(lines.c_str() + field + 1);
        EXPECT_GE(count, 0) << "totals must not fall at a reset";
        total += count;
        lines.erase(0, end == std::string::npos ? lines.size() : end + 1);
    }
    EXPECT_EQ(counting.err().find("not counted"), std::string::npos) << counting.err();
    EXPECT_GT(total, 3 * 100'000);
}

// What a client asked for ends with its connection, however that ends.
TEST_F(ReservationTest, WhatAKilledClientCountedIsReleased) {
    for (const bool killed : {false, true}) {
        Conversation watched(guest("watched", ""));
        ASSERT_EQ(watched.line("boot"), kWithoutPm);
        Conversation counting(command({"stat", "-e", "r2:k,branch-misses"},
                                      {"--", "/bin/sh", "-c", "echo counting; exec cat"}));
        ASSERT_EQ(counting.line("counting"), "counting") << counting.err();
        Qmp monitor(directory);
        if (killed) {
            counting.signal(SIGKILL);
            EXPECT_EQ(counting.wait(), 128 + SIGKILL);
            EXPECT_EQ(state(), "free");
        }
        // Behind the second answer the monitor has seen the end of the other connection.
        for (int n = 0; n < 2; ++n)
            EXPECT_TRUE(monitor.execute("query-status").contains("return"));
        watched.say("p");
        const std::string last = monitor.event("__org.perfvisor_FINAL_STATS").dump();
        EXPECT_EQ(watched.wait(), 0);
        EXPECT_THAT(last, HasSubstr("COMPLETED_INSNS"));
        for (const char* name : {"COMPLETED_INSNS:k", "BRANCHES_MISPREDICTED"})
            EXPECT_EQ(last.find(name) == std::string::npos, killed) << name << last;
    }
}

// Its own counts of the timing model's events would depend on who looks on.
TEST_F(ReservationTest, TheTimingModelIsTheGuestsThatHasThePerformanceMonitor) {
    Conversation watched(guest("watched"));
    ASSERT_EQ(watched.line("boot"), kWithPm);
    Qmp monitor(directory);
    const char* const count = "__org.perfvisor_count-events";
    const json refused = monitor.execute(count, {{"names", {"branch-misses"}}});
    EXPECT_THAT(refused["error"].value("desc", ""), HasSubstr("has a performance monitor"));
    EXPECT_TRUE(monitor.execute(count, {{"names", {"r2:u"}}}).contains("return"));
    Conversation board(guest("board", "--board"));
    ASSERT_TRUE(board.text("boot"));
    watched.say("p");
    EXPECT_EQ(watched.wait(), 0);
    const Finished counted = run(command({"stat", "-e", "branch-misses"}));
    EXPECT_EQ(counted.status, 1);
    EXPECT_THAT(counted.err, HasSubstr("has a performance monitor"));
}

// A guest that resets goes on being counted, and so do the boots behind it.
TEST_F(ReservationTest, StatCountsModesAndTheModelOverResets) {
    Conversation watched(guest("watched", ""));
    ASSERT_EQ(watched.line("boot"), kWithoutPm);
    Conversation counting(command({"stat", "--json", "-e", "instructions,r2:u,r2:k,r3,r4"},
                                  {"--", "/bin/sh", "-c", "echo counting; exec cat"}));
    ASSERT_EQ(counting.line("counting"), "counting");
    for (int boot = 0; boot < 2; ++boot) {
        watched.say("c");
        ASSERT_EQ(watched.line("0"), kCountedNothing);
        watched.say("r");
        ASSERT_EQ(watched.line("boot"), kWithoutPm);
    }
    counting.signal(SIGTERM);
    counting.wait();
    const std::vector<json> events = objects(counting.err());
    ASSERT_EQ(events.size(), 5u) << counting.err();
    const auto count = [&](size_t n) { return std::stod(events[n].value("counter-value", "nan")); };
    EXPECT_EQ(count(1), 0) << "the probe is a supervisor's";
    EXPECT_GT(count(2), 2 * 100'000);
    EXPECT_EQ(count(2), count(0));
    EXPECT_GE(count(3), count(2)) << "an instruction is a micro-op at least";
    EXPECT_GE(count(4), count(2));
}

TEST_F(ReservationTest, StatSaysWhatIsWrong) {
    const Finished none = run(command({"stat"}));
    EXPECT_EQ(none.status, 1);
    EXPECT_THAT(none.err, HasSubstr("no guest is running"));
    Conversation watched(guest("watched", ""));
    ASSERT_EQ(watched.line("boot"), kWithoutPm);
    const Finished other = run(command({"stat", "--guest", "nobody"}));
    EXPECT_EQ(other.status, 1);
    EXPECT_THAT(other.err, HasSubstr("'watched' (PID"));
    const Finished unknown = run(command({"stat", "-e", "flux-capacitance"}));
    EXPECT_EQ(unknown.status, 1);
    EXPECT_THAT(unknown.err, HasSubstr("flux-capacitance"));
    EXPECT_EQ(state(), "free");
}

TEST_F(ReservationTest, StatsOutputMayGoToAFile) {
    Conversation watched(guest("watched", ""));
    ASSERT_EQ(watched.line("boot"), kWithoutPm);
    const fs::path file = directory / "counts";
    const Finished counted = run(command({"stat", "-o", file.string(), "-x", "\\t", "-e", "r2,r2"},
                                         {"--", "/bin/sh", "-c", "exit 9"}));
    EXPECT_EQ(counted.status, 9);
    EXPECT_EQ(counted.err, "");
    std::stringstream content;
    content << std::ifstream(file).rdbuf();
    const std::string text = content.str();
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
    EXPECT_THAT(text, HasSubstr("\t\tr2\t"));

    const Finished full =
        run(command({"stat", "-o", "/dev/full", "-e", "r2"}, {"--", "/bin/echo", "ran"}));
    EXPECT_EQ(full.status, 1);
    EXPECT_EQ(full.out, "ran\n");
    EXPECT_EQ(full.err,
              "perfvisor: -o: \"/dev/full\" cannot be written: No space left on device\n");
    // Without a command it has nothing to wait for.
    EXPECT_EQ(run(command({"stat", "-o", "/dev/full", "-e", "r2", "-I", "1"})).status, 1);
    // A file that is there is emptied only when there is something to count.
    EXPECT_EQ(run(command({"stat", "-o", file.string(), "--guest", "nobody"})).status, 1);
    EXPECT_GT(fs::file_size(file), 0u);
    EXPECT_EQ(run(command({"stat", "-o", directory.string()})).status, 1);
}

TEST_F(ReservationTest, StatGoesOnWhenTheMonitorsNameIsRemoved) {
    Conversation watched(guest("watched", ""));
    ASSERT_EQ(watched.line("boot"), kWithoutPm);
    Conversation counting(command({"stat", "-x", ",", "-e", "r2,r2:k,r3"},
                                  {"--", "/bin/sh", "-c", "echo counting; exec cat"}));
    ASSERT_EQ(counting.line("counting"), "counting");
    for (const auto& entry : fs::directory_iterator(directory))
        if (entry.is_socket()) fs::remove(entry.path());
    watched.say("c");
    ASSERT_EQ(watched.line("0"), kCountedNothing);
    counting.signal(SIGINT);
    EXPECT_EQ(counting.wait(), 128 + SIGINT);
    EXPECT_GT(std::atof(counting.err().c_str()), 100'000);
    watched.say("p");
    EXPECT_EQ(watched.wait(), 0);
}

// A process that is stopped says nothing; the others are counted all the same.
TEST_F(ReservationTest, AGuestThatDoesNotAnswerIsNamed) {
    Conversation stopped(guest("stopped", ""));
    ASSERT_EQ(stopped.line("boot"), kWithoutPm);
    Conversation watched(guest("watched", ""));
    ASSERT_EQ(watched.line("boot"), kWithoutPm);
    stopped.signal(SIGSTOP);
    const std::string pid = std::to_string(stopped.pid());
    // At once, as each waits for its answer.
    Conversation counted(command({"stat", "-e", "r2"}, {"--", "/bin/true"}));
    Conversation named(command({"stat", "--guest", pid}, {"--", "/bin/true"}));
    EXPECT_EQ(counted.wait(), 0);
    EXPECT_THAT(counted.err(), HasSubstr("warning: guest-" + pid + ".qmp does not answer"));
    EXPECT_THAT(counted.err(), HasSubstr("guest 'watched'"));
    EXPECT_EQ(named.wait(), 1);
    EXPECT_THAT(named.err(), HasSubstr("--guest: the guest of PID " + pid + " does not answer"));
    stopped.signal(SIGCONT);
}

TEST_F(ReservationTest, OfAGuestThatIsKilledMeanwhileTheRestIsLostWithAWarning) {
    Conversation killed(guest("killed", ""));
    ASSERT_EQ(killed.line("boot"), kWithoutPm);
    Conversation watched(guest("watched", ""));
    ASSERT_EQ(watched.line("boot"), kWithoutPm);
    Conversation counting(command({"stat", "-A", "-x", ",", "-e", "r2:k"},
                                  {"--", "/bin/sh", "-c", "echo counting; exec cat"}));
    ASSERT_EQ(counting.line("counting"), "counting");
    killed.signal(SIGKILL);
    killed.wait();
    counting.signal(SIGTERM);
    EXPECT_EQ(counting.wait(), 128 + SIGTERM);
    EXPECT_THAT(counting.err(), HasSubstr("guest 'killed' has ended"));
    EXPECT_THAT(counting.err(), HasSubstr("watched/0,"));
    EXPECT_EQ(counting.err().find("killed/0,"), std::string::npos);
}

TEST_F(ReservationTest, AKilledGuestsMonitorIsNoGuest) {
    {
        Conversation killed(guest("killed", ""));
        ASSERT_EQ(killed.line("boot"), kWithoutPm);
        killed.signal(SIGKILL);
        EXPECT_EQ(killed.wait(), 128 + SIGKILL);
    }
    EXPECT_THAT(run(command({"stat"})).err, HasSubstr("no guest is running"));
    Conversation next(guest("next", ""));
    ASSERT_EQ(next.line("boot"), kWithoutPm);
    size_t sockets = 0;
    for (const auto& entry : fs::directory_iterator(directory))
        if (entry.is_socket()) ++sockets;
    EXPECT_EQ(sockets, 1u) << "the leftover must have been removed";
    next.say("p");
    EXPECT_EQ(next.wait(), 0);
    for (const auto& entry : fs::directory_iterator(directory))
        EXPECT_FALSE(entry.is_socket()) << entry.path();
}

}  // namespace
}  // namespace perfvisor::test
