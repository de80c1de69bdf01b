// SPDX-License-Identifier: GPL-2.0-or-later
// QMP as a client sees it: QEMU's words, every error with its sentence, nothing that breaks it.
#include "vmm/monitor_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/pm_events.h"
#include "fake_monitor_target.h"
#include "vmm/event_names.h"

namespace perfvisor::vmm {
namespace {

using testing::HasSubstr;

class MonitorProtocolTest : public testing::Test {
  protected:
    // The one answer to a line.
    Json ask(const std::string& line) {
        const MonitorClient::Answer answer = client.receive(line + "\n");
        EXPECT_EQ(std::count(answer.text.begin(), answer.text.end(), '\n'), 1) << answer.text;
        for (const Json& event : answer.events)
            events.push_back(event);
        return Json::parse(answer.text, nullptr, false);
    }
    Json execute(const std::string& command, const Json& arguments = Json()) {
        Json request = {{"execute", command}};
        if (!arguments.is_null()) request["arguments"] = arguments;
        return ask(request.dump());
    }
    void negotiate() { EXPECT_EQ(execute("qmp_capabilities"), empty_return); }
    static std::string sentence(const Json& answer) {
        return answer.contains("error") ? answer["error"]["desc"].get<std::string>()
                                        : "no error: " + answer.dump();
    }
    static Json kvm_names(std::vector<std::string> names) {
        return {{"target", "vcpu"},
                {"providers", Json::array({{{"provider", "kvm"}, {"names", names}}})}};
    }

    const Json empty_return = {{"return", Json::object()}};
    FakeMonitorTarget target;
    MonitorClient client{target};
    std::vector<Json> events;
};

TEST_F(MonitorProtocolTest, GreetsAsQemuDoes) {
    const Json greeting = Json::parse(MonitorClient::greeting());
    EXPECT_TRUE(greeting["QMP"]["version"]["qemu"]["major"].is_number());
    EXPECT_TRUE(greeting["QMP"]["version"]["package"].is_string());
    EXPECT_EQ(greeting["QMP"]["capabilities"], Json::array());
}

TEST_F(MonitorProtocolTest, NothingBeforeTheNegotiationAndItOnlyOnce) {
    EXPECT_FALSE(client.listens());
    const Json early = execute("quit");
    EXPECT_EQ(early["error"]["class"], "CommandNotFound");
    EXPECT_EQ(target.quits, 0);
    negotiate();
    EXPECT_TRUE(client.listens());
    EXPECT_EQ(execute("qmp_capabilities")["error"]["class"], "CommandNotFound");
}

TEST_F(MonitorProtocolTest, CapabilitiesThatAreNotThereAreRefused) {
    EXPECT_THAT(sentence(execute("qmp_capabilities", {{"enable", Json::array({"oob"})}})),
                HasSubstr("oob"));
    EXPECT_FALSE(client.listens());
    EXPECT_EQ(execute("qmp_capabilities", {{"enable", Json::array()}}), empty_return);
}

TEST_F(MonitorProtocolTest, AnswersTheQuestions) {
    negotiate();
    EXPECT_EQ(execute("query-name")["return"], Json({{"name", "demo"}}));
    EXPECT_EQ(execute("query-status")["return"]["status"], "running");
    EXPECT_TRUE(execute("query-version")["return"]["qemu"].is_object());
    const Json cpus = execute("query-cpus-fast")["return"];
    ASSERT_EQ(cpus.size(), 2u);
    EXPECT_EQ(cpus[1]["cpu-index"], 1);
    EXPECT_EQ(cpus[1]["thread-id"], 101);
    EXPECT_EQ(cpus[1]["target"], "ppc");
}

TEST_F(MonitorProtocolTest, EveryCommandListedExists) {
    negotiate();
    const Json listed = execute("query-commands")["return"];
    for (const Json& command : listed) {
        const Json answer = execute(command["name"].get<std::string>());
        if (command["name"] == "qmp_capabilities") continue;
        EXPECT_NE(answer.value("error", Json::object()).value("class", ""), "CommandNotFound")
            << command;
    }
}

TEST_F(MonitorProtocolTest, StopAndContTellAllAndOnlyOnce) {
    negotiate();
    EXPECT_EQ(execute("stop"), empty_return);
    EXPECT_TRUE(target.is_paused);
    EXPECT_EQ(execute("query-status")["return"]["status"], "paused");
    EXPECT_EQ(execute("stop"), empty_return);
    EXPECT_EQ(execute("cont"), empty_return);
    EXPECT_FALSE(target.is_paused);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0]["event"], "STOP");
    EXPECT_EQ(events[1]["event"], "RESUME");
    EXPECT_TRUE(events[0]["timestamp"]["seconds"].is_number());
}

TEST_F(MonitorProtocolTest, ResetAndQuitReachTheGuestAndPowerDownSaysThatThereIsNoButton) {
    negotiate();
    EXPECT_EQ(execute("system_reset"), empty_return);
    EXPECT_EQ(target.resets, 1);
    EXPECT_EQ(execute("quit"), empty_return);
    EXPECT_EQ(target.quits, 1);
    EXPECT_THAT(sentence(execute("system_powerdown")), HasSubstr("no power button"));
}

TEST_F(MonitorProtocolTest, StatsOfAllVcpusAndEvents) {
    negotiate();
    const Json stats = execute("query-stats", {{"target", "vcpu"}})["return"];
    ASSERT_EQ(stats.size(), 2u);
    EXPECT_EQ(stats[1]["provider"], "kvm");
    EXPECT_EQ(stats[1]["qom-path"], "/machine/unattached/device[1]");
    EXPECT_EQ(stats[1]["stats"][0], Json({{"name", "CPU_CLK"}, {"value", 1001}}));
    EXPECT_EQ(execute("query-stats", {{"target", "vm"}})["return"], Json::array());
}

TEST_F(MonitorProtocolTest, StatsOfTheVcpusAndEventsAskedForInAnySpelling) {
    negotiate();
    Json wish = kvm_names({"instructions", "r1", "completed_branches"});
    wish["vcpus"] = Json::array({"/machine/unattached/device[1]"});
    const Json stats = execute("query-stats", wish)["return"];
    ASSERT_EQ(stats.size(), 1u);
    EXPECT_EQ(stats[0]["stats"][0], Json({{"name", "instructions"}, {"value", 501}}));
    EXPECT_EQ(stats[0]["stats"][1], Json({{"name", "r1"}, {"value", 1001}}));
}

TEST_F(MonitorProtocolTest, SchemasListWhatStatsCanGive) {
    negotiate();
    const Json schemas = execute("query-stats-schemas", {{"provider", "kvm"}})["return"];
    ASSERT_EQ(schemas.size(), 1u);
    EXPECT_EQ(schemas[0]["target"], "vcpu");
    EXPECT_EQ(schemas[0]["stats"].size(), always_counted_events().size());
    EXPECT_EQ(schemas[0]["stats"][0]["type"], "cumulative");
}

TEST_F(MonitorProtocolTest, WhatCannotBeCountedIsSaid) {
    negotiate();
    EXPECT_THAT(sentence(execute("query-stats", kvm_names({"nonsense"}))), HasSubstr("nonsense"));
    EXPECT_THAT(sentence(execute("query-stats", kvm_names({"PMC0_OVERFLOW"}))),
                HasSubstr("guest's own counters"));
    target.uncounted = "this KVM does not count";
    EXPECT_EQ(sentence(execute("query-stats", {{"target", "vcpu"}})), target.uncounted);
}

// ---- counting what is not counted in any case ----

class MonitorCountingTest : public MonitorProtocolTest {
  protected:
    void SetUp() override { negotiate(); }
    Json count(const std::vector<std::string>& names) {
        return execute(kCountEventsCommand, {{"names", names}});
    }
    // vCPU 1's.
    Json values(const std::vector<std::string>& names) {
        const Json answer = execute("query-stats", kvm_names(names));
        return answer.contains("return") ? answer["return"][1]["stats"] : answer;
    }
};

TEST_F(MonitorCountingTest, EventsOfTheModelAndOfOneModeAreThereOnceTheyAreAskedFor) {
    for (const char* name : {"instructions:u", "branch-misses", "r2:k"})
        EXPECT_THAT(sentence(execute("query-stats", kvm_names({name}))),
                    HasSubstr(kCountEventsCommand));
    EXPECT_EQ(count({"instructions:u", "branch-misses", "r2:k", "cycles"}), empty_return);
    EXPECT_EQ(target.counted.front(), (std::vector<uint32_t>{2, 15, 2})) << "cycles always are";
    EXPECT_EQ(values({"instructions:u", "r2:k", "branch-misses", "instructions:uk", "cycles"}),
              Json::array({{{"name", "instructions:u"}, {"value", 494}},
                           {{"name", "r2:k"}, {"value", 7}},
                           {{"name", "branch-misses"}, {"value", 21}},
                           {{"name", "instructions:uk"}, {"value", 501}},
                           {{"name", "cycles"}, {"value", 1001}}}));
    // What one names for a mode is there for both.
    EXPECT_EQ(values({"branch-misses:u"})[0]["value"], 14);
    EXPECT_THAT(sentence(execute("query-stats", kvm_names({"branches:u"}))),
                HasSubstr("branches:u"));
    // Without names: all that is counted.
    const Json all = execute("query-stats", {{"target", "vcpu"}})["return"][1]["stats"];
    EXPECT_EQ(all.size(), 3u + 3u);
}

TEST_F(MonitorCountingTest, ANewListTakesThePlaceOfTheOldWithoutAGap) {
    EXPECT_EQ(count({"branch-misses"}), empty_return);
    EXPECT_EQ(count({"branch-misses:u"}), empty_return);
    EXPECT_EQ(target.most_counted, 2u) << "the new one begins before the old one ends";
    EXPECT_EQ(target.counted.size(), 1u);
    EXPECT_EQ(count({}), empty_return);
    EXPECT_TRUE(target.counted.empty());
    EXPECT_THAT(sentence(execute("query-stats", kvm_names({"branch-misses"}))),
                HasSubstr("branch-misses"));
}

TEST_F(MonitorCountingTest, EveryConnectionHasItsOwnAndItsEndEndsIt) {
    EXPECT_EQ(count({"branch-misses"}), empty_return);
    {
        MonitorClient other(target);
        other.receive("{\"execute\":\"qmp_capabilities\"}\n");
        const auto asked = other.receive(
            "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vcpu\",\"providers\":"
            "[{\"provider\":\"kvm\",\"names\":[\"branch-misses\"]}]}}\n");
        EXPECT_THAT(asked.text, HasSubstr("\"error\""));
        other.receive(
            "{\"execute\":\"__org.perfvisor_count-events\",\"arguments\":{\"names\":"
            "[\"cache-misses\"]}}\n");
        EXPECT_EQ(target.counted.size(), 2u);
    }
    ASSERT_EQ(target.counted.size(), 1u);
    EXPECT_EQ(target.counted.front(), std::vector<uint32_t>{15});
}

TEST_F(MonitorCountingTest, WhatIsWrongIsSaidAndChangesNothing) {
    EXPECT_EQ(count({"branch-misses"}), empty_return);
    EXPECT_THAT(sentence(count({"instructions:h"})), HasSubstr("no modifier"));
    EXPECT_THAT(sentence(count({"nonsense"})), HasSubstr("nonsense"));
    EXPECT_THAT(sentence(count({"PMC0_OVERFLOW"})), HasSubstr("guest's own counters"));
    EXPECT_THAT(sentence(execute(kCountEventsCommand)), HasSubstr("names"));
    EXPECT_THAT(sentence(execute(kCountEventsCommand, {{"names", "cycles"}})), HasSubstr("names"));
    EXPECT_THAT(sentence(execute(kCountEventsCommand, {{"name", Json::array()}})),
                HasSubstr("name"));
    target.uncounted = "this KVM does not count";
    EXPECT_EQ(sentence(count({"cache-misses"})), target.uncounted);
    target.uncounted.clear();
    EXPECT_EQ(values({"branch-misses"})[0]["value"], 21);
}

TEST_F(MonitorCountingTest, TheLastWordHasAllThatIsCountedByTheCataloguesNames) {
    const auto last = [&] {
        std::vector<std::string> names;
        const auto stats = monitor_stats(target);
        EXPECT_TRUE(stats);
        for (const Json& value : (*stats)[1]["stats"])
            names.push_back(value["name"].get<std::string>());
        return names;
    };
    EXPECT_EQ(last().size(), 3u);
    EXPECT_EQ(count({"branch-misses"}), empty_return);
    EXPECT_EQ(last().size(), 12u);
    EXPECT_THAT(last(), testing::IsSupersetOf(std::vector<std::string>{
                            "COMPLETED_INSNS", "COMPLETED_INSNS:u",
                            core::find_event(15)->name + std::string(":k")}));
}

TEST_F(MonitorProtocolTest, WrongRequestsHaveTheirSentence) {
    negotiate();
    const std::pair<const char*, const char*> requests[] = {
        {"[]", "object"},
        {"\"quit\"", "object"},
        {"{}", "execute"},
        {"{\"execute\":1}", "string"},
        {"{\"execute\":\"quit\",\"arguments\":[]}", "object"},
        {"{\"execute\":\"quit\",\"arguments\":{\"now\":true}}", "now"},
        {"{\"execute\":\"quit\",\"control\":1}", "control"},
        {"{\"execute\":\"query-stats\"}", "target"},
        {"{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vcpu\",\"vcpus\":[1]}}",
         "strings"},
        {"{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vcpu\",\"providers\":[1]}}",
         "provider"},
        {"{\"execute\":", "JSON"},
        {"\xff\xfe", "JSON"},
        {"{\"execute\":\"quit\"}}", "JSON"},
    };
    for (const auto& [request, word] : requests)
        EXPECT_THAT(sentence(ask(request)), HasSubstr(word)) << request;
    EXPECT_EQ(execute("launch-missiles")["error"]["class"], "CommandNotFound");
    EXPECT_EQ(target.quits, 0);
}

TEST_F(MonitorProtocolTest, TheIdComesBackWithAnswerAndError) {
    negotiate();
    EXPECT_EQ(ask("{\"execute\":\"query-name\",\"id\":[1,{\"a\":null}]}")["id"],
              Json::parse("[1,{\"a\":null}]"));
    EXPECT_EQ(ask("{\"execute\":\"no\",\"id\":7}")["id"], 7);
}

TEST_F(MonitorProtocolTest, LinesMayComeInPiecesAndManyAtOnce) {
    EXPECT_EQ(client.receive("{\"execute\":\"qmp_cap").text, "");
    EXPECT_EQ(client.receive("abilities\"}").text, "");
    const MonitorClient::Answer answer =
        client.receive("\r\n\n  \n{\"execute\":\"query-name\"}\n{\"execute\":\"query-name\"}\n{");
    EXPECT_EQ(std::count(answer.text.begin(), answer.text.end(), '\n'), 3);
    EXPECT_FALSE(answer.close);
}

TEST_F(MonitorProtocolTest, ALineTooLongEndsTheConnection) {
    const MonitorClient::Answer first =
        client.receive(std::string(MonitorClient::kLongestLine, 'x'));
    EXPECT_FALSE(first.close);
    const MonitorClient::Answer second = client.receive("x");
    EXPECT_TRUE(second.close);
    EXPECT_THAT(second.text, HasSubstr("65536"));
}

TEST_F(MonitorProtocolTest, DeepNestingIsRefused) {
    EXPECT_THAT(sentence(ask("{\"execute\":\"query-name\",\"id\":" + std::string(30'000, '[') +
                             std::string(30'000, ']') + "}")),
                HasSubstr("deep"));
    const std::string deepest(MonitorClient::kDeepest - 1, '[');
    negotiate();
    EXPECT_TRUE(ask("{\"execute\":\"query-name\",\"id\":" + deepest +
                    std::string(deepest.size(), ']') + "}")
                    .contains("return"));
    EXPECT_TRUE(ask("{\"execute\":\"query-name\",\"id\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}")
                    .contains("return"))
        << "brackets in strings do not count";
}

TEST_F(MonitorProtocolTest, ANameThatIsNoUtf8StillGivesJson) {
    target.guest_name = "a\xff\xc3";
    negotiate();
    EXPECT_TRUE(execute("query-name")["return"]["name"].is_string());
}

// Whatever comes, each line has one answer, and the monitor still works.
TEST_F(MonitorProtocolTest, GarbageHasAnErrorForEachLine) {
    std::mt19937 random(1);
    const std::string alphabet = "{}[]\",:\\ntrue0123456789eE+-.\x01\xff execute";
    for (int round = 0; round < 3000; ++round) {
        std::string line(1 + random() % 60, '.');
        for (char& c : line)
            c = alphabet[random() % alphabet.size()];
        const Json answer = ask("." + line);
        ASSERT_TRUE(answer.contains("error")) << line;
    }
    negotiate();
    EXPECT_TRUE(execute("query-status").contains("return"));
}

// ---- event names ----

TEST(EventNames, GenericNamesAreThoseOfLinuxsE500Driver) {
    const std::pair<const char*, unsigned> names[] = {{"cycles", 1},
                                                      {"cpu-cycles", 1},
                                                      {"instructions", 2},
                                                      {"branches", 12},
                                                      {"branch-instructions", 12},
                                                      {"r2", 2},
                                                      {"rd", 13},
                                                      {"r0d", 13},
                                                      {"r00b4", 180},
                                                      {"COMPLETED_LOAD_OPS", 9},
                                                      {"completed_load_ops", 9}};
    for (const auto& [name, code] : names) {
        const auto event = find_countable_event(name);
        ASSERT_TRUE(event) << event.error().message;
        EXPECT_EQ((*event)->code, code) << name;
    }
}

TEST(EventNames, WhatIsNoEventIsNotFound) {
    for (const char* name : {"", "r", "rg", "r2x", "r-2", "rfff", "r10000000000000002", "cycle"})
        EXPECT_FALSE(find_countable_event(name)) << name;
}

TEST(EventNames, EveryEventIsCountableOrSaysWhyNot) {
    for (const core::Event& event : core::e500mc_events()) {
        const auto found = find_countable_event(event.name);
        if (found) {
            EXPECT_EQ(*found, &event);
        } else {
            EXPECT_THAT(found.error().message, HasSubstr(event.name));
        }
        using Kind = core::EventSource::Kind;
        const Kind kind = event.source.kind;
        EXPECT_EQ(always_counted(event), kind == Kind::Total || kind == Kind::Cycles) << event.name;
        EXPECT_EQ(found.has_value(), always_counted(event) || kind == Kind::Modelled) << event.name;
    }
}

}  // namespace
}  // namespace perfvisor::vmm
