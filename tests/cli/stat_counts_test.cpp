// SPDX-License-Identifier: GPL-2.0-or-later
// What -e takes and what perfvisor stat prints.
#include "cli/stat_counts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace perfvisor::cli {
namespace {

using testing::HasSubstr;

StatReport report() {
    StatReport result;
    result.events = {{"cycles", 1}, {"instructions", 2}, {"branches", 12}, {"r0d", 13}};
    result.rows = {{"", {2'000'000, 1'234'567, 200, 50}}};
    result.seconds = 1.5;
    return result;
}

TEST(StatEvents, ListsAreSplitAtCommasAndKeepTheirSpelling) {
    const auto events = parse_stat_events({"cycles,r2", "COMPLETED_LOAD_OPS"}, "-e");
    ASSERT_TRUE(events) << events.error().message;
    ASSERT_EQ(events->size(), 3u);
    EXPECT_EQ((*events)[0].code, 1u);
    EXPECT_EQ((*events)[1].spelling, "r2");
    EXPECT_EQ((*events)[1].code, 2u);
    EXPECT_EQ((*events)[2].code, 9u);
}

TEST(StatEvents, WhatCannotBeCountedIsNamed) {
    for (const char* list : {"", "cycles,", "nonsense", "cycles,nonsense", "PMC0_OVERFLOW"})
        EXPECT_FALSE(parse_stat_events({list}, "-e")) << list;
    const auto unknown = parse_stat_events({"cycles,nonsense"}, "--some-option");
    EXPECT_THAT(unknown.error().message, HasSubstr("--some-option"));
    EXPECT_THAT(unknown.error().message, HasSubstr("nonsense"));
}

TEST(StatEvents, ModifiersChooseTheModes) {
    const auto events =
        parse_stat_events({"cycles,instructions:u,r9:k,r9:uk,branch-misses:u"}, "-e");
    ASSERT_TRUE(events) << events.error().message;
    const auto modes = [&](size_t n) { return std::pair((*events)[n].user, (*events)[n].kernel); };
    EXPECT_EQ(modes(0), std::pair(true, true));
    EXPECT_EQ(modes(1), std::pair(true, false));
    EXPECT_EQ(modes(2), std::pair(false, true));
    EXPECT_EQ(modes(3), std::pair(true, true));
    EXPECT_EQ((*events)[1].spelling, "instructions:u");
    EXPECT_EQ((*events)[1].code, 2u);
    for (const char* list : {"cycles:", "cycles:h", "cycles:uu", "cycles:u:k", ":u"})
        EXPECT_FALSE(parse_stat_events({list}, "-e")) << list;
}

TEST(StatEvents, AnEventThatIsMissingIsNotAnUnknownOne) {
    for (const char* list : {"", ",", "cycles,", "cycles,,r2"})
        EXPECT_THAT(parse_stat_events({list}, "-e").error().message, HasSubstr("missing"));
}

TEST(StatEvents, OneMayBeThereSeveralTimesAndThereMayBeMany) {
    std::string list = "cycles";
    for (int n = 0; n < 200; ++n)
        list += ",cycles:u";
    const auto events = parse_stat_events({list}, "-e");
    ASSERT_TRUE(events);
    EXPECT_EQ(events->size(), 201u);
}

TEST(StatSeparator, IsNotEmptyAndMayBeATab) {
    EXPECT_FALSE(parse_separator(""));
    EXPECT_EQ(parse_separator("\\t"), "\t");
    EXPECT_EQ(parse_separator("{}%"), "{}%");
}

TEST(StatFormat, AMetricRelatesCountsOfTheSameModes) {
    StatReport both;
    both.events = {{"cycles", 1, true, true},
                   {"cycles:u", 1, true, false},
                   {"instructions:u", 2, true, false}};
    both.rows = {{"", {1000, 100, 50}}};
    EXPECT_THAT(format_counts(both, StatStyle::Text, ""), HasSubstr("0.50  insn per cycle"));
}

TEST(StatFormat, TextIsGroupedAndHasMetrics) {
    const std::string text = format_counts(report(), StatStyle::Text, "");
    EXPECT_THAT(text, HasSubstr("         2,000,000      cycles\n"));
    EXPECT_THAT(text, HasSubstr("         1,234,567      instructions"));
    EXPECT_THAT(text, HasSubstr("#     0.62  insn per cycle\n"));
    EXPECT_THAT(text, HasSubstr("               200      branches\n"));
    EXPECT_THAT(text, HasSubstr("#    25.00% of all branches\n"));
}

TEST(StatFormat, NumbersOfEverySizeAreGroupedRight) {
    StatReport one;
    one.events = {{"cycles", 1}};
    const std::pair<uint64_t, const char*> numbers[] = {
        {0, " 0 "},
        {999, " 999 "},
        {1000, " 1,000 "},
        {123'456, " 123,456 "},
        {UINT64_MAX, "18,446,744,073,709,551,615 "}};
    for (const auto& [number, text] : numbers) {
        one.rows = {{"", {number}}};
        EXPECT_THAT(format_counts(one, StatStyle::Text, ""), HasSubstr(text));
    }
}

TEST(StatFormat, WhatWasNotCountedSaysSo) {
    StatReport lost = report();
    lost.rows[0].counts.assign(4, std::nullopt);
    EXPECT_THAT(format_counts(lost, StatStyle::Text, ""), HasSubstr("<not counted>      cycles\n"));
    EXPECT_THAT(format_counts(lost, StatStyle::Csv, ","),
                HasSubstr("<not counted>,,cycles,0,0.00,,\n"));
}

TEST(StatFormat, CsvHasPerfsFields) {
    EXPECT_EQ(format_counts(report(), StatStyle::Csv, ";"),
              "2000000;;cycles;1500000000;100.00;;\n"
              "1234567;;instructions;1500000000;100.00;0.62;insn per cycle\n"
              "200;;branches;1500000000;100.00;;\n"
              "50;;r0d;1500000000;100.00;25.00;of all branches\n");
}

TEST(StatFormat, IntervalsAndVcpusComeFirst) {
    StatReport part = report();
    part.interval_end = 2.25;
    part.rows = {{"demo/0", {1, 1, 1, 1}}, {"demo/1", {2, 2, 2, 2}}};
    const std::string csv = format_counts(part, StatStyle::Csv, ",");
    EXPECT_THAT(csv, HasSubstr("2.250000000,demo/0,1,,cycles,"));
    EXPECT_THAT(csv, HasSubstr("2.250000000,demo/1,2,,r0d,"));
    const std::string text = format_counts(part, StatStyle::Text, "");
    EXPECT_THAT(text, HasSubstr("     2.250000000 demo/0 "));
}

TEST(StatFormat, JsonHasPerfsKeysOneObjectALine) {
    StatReport part = report();
    part.interval_end = 2.25;
    const std::string text = format_counts(part, StatStyle::Json, "");
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
    const auto first = nlohmann::json::parse(text.substr(0, text.find('\n')));
    EXPECT_EQ(first["interval"], 2.25);
    EXPECT_EQ(first["counter-value"], "2000000.000000");
    EXPECT_EQ(first["event"], "cycles");
    EXPECT_EQ(first["event-runtime"], 1'500'000'000);
    EXPECT_EQ(first["pcnt-running"], 100.0);
}

TEST(StatFormat, AMetricWithoutItsBaseIsLeftOut) {
    StatReport still = report();
    still.rows[0].counts[0] = 0;
    still.rows[0].counts[2] = 0;
    EXPECT_EQ(format_counts(still, StatStyle::Text, "").find('#'), std::string::npos);
}

}  // namespace
}  // namespace perfvisor::cli
