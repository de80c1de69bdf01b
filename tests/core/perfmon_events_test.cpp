// SPDX-License-Identifier: GPL-2.0-or-later
// The event catalogue: complete, ordered, truthful about what counts, and each event counted from
// the total it names.
#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>

#include "perfmon_fixture.h"

namespace perfvisor::core {
namespace {

TEST(PerfMonEvents, EveryCodeOfTheE500mcIsInTheCatalogueOnce) {
    // The ranges of codes that the e500mc defines.
    constexpr struct {
        unsigned first, last;
    } kRanges[] = {{1, 5},     {8, 70},    {72, 74},   {76, 89},  {91, 92},
                   {110, 127}, {130, 132}, {148, 156}, {176, 180}};
    std::set<unsigned> codes;
    for (const Event& e : e500mc_events())
        EXPECT_TRUE(codes.insert(e.code).second) << e.code;
    size_t expected = 0;
    for (const auto& range : kRanges)
        for (unsigned code = range.first; code <= range.last; ++code, ++expected)
            EXPECT_EQ(codes.count(code), 1u) << code;
    EXPECT_EQ(codes.size(), expected);
}

TEST(PerfMonEvents, AnEventIsFoundByItsCodeOnly) {
    for (const Event& e : e500mc_events())
        EXPECT_EQ(find_event(e.code), &e);
    for (const unsigned code : {0u, 6u, 71u, 90u, 133u, 181u, 255u, 256u, 511u})
        EXPECT_EQ(find_event(code), nullptr) << code;
}

TEST(PerfMonEvents, NamesAreUniqueAndDescriptionsAreSentences) {
    std::set<std::string> names;
    for (const Event& e : e500mc_events()) {
        EXPECT_TRUE(names.insert(e.name).second) << e.name;
        EXPECT_EQ(e.description[std::strlen(e.description) - 1], '.') << e.name;
    }
}

TEST(PerfMonEvents, ExactlyTheEventsWithASourceCount) {
    for (const Event& e : e500mc_events()) {
        // Who tells PerfMon of the occurrences decides whether those are modelled.
        const bool modelled = e.event_class != EventClass::NotModelled ||
                              e.source.kind == EventSource::Kind::Occurrences;
        EXPECT_EQ(e.source.kind != EventSource::Kind::None, modelled) << e.name;
        EXPECT_EQ(e.max_per_instruction != 0, modelled) << e.name;
    }
}

TEST(PerfMonEvents, OnlyThresholdEventsAreRestrictedToPmc0AndPmc1) {
    for (const Event& e : e500mc_events())
        EXPECT_EQ(e.pmc_mask & 0xf, e.code >= 76 && e.code <= 81 ? 0x3 : 0xf) << e.name;
}

TEST(PerfMonEvents, ClassesHaveNames) {
    EXPECT_STREQ(to_string(EventClass::Exact), "exact");
    EXPECT_STREQ(to_string(EventClass::Modelled), "modelled");
    EXPECT_STREQ(to_string(EventClass::NotModelled), "not modelled");
}

struct Count {
    unsigned code;
    uint64_t expected;

    friend void PrintTo(const Count& c, std::ostream* out) { *out << "event " << c.code; }
};

class EventCount : public testing::TestWithParam<Count> {};

TEST_P(EventCount, ComesFromItsTotal) {
    Machine m;
    m.set(kPmlca0 + 2, selects(GetParam().code));
    // A different number in each total tells which one was counted.
    for (unsigned t = 0; t < kTotalCount; ++t)
        m.state.totals.value[t] += 1000 + t;
    EXPECT_EQ(m.get(kPmc0 + 2), GetParam().expected);
}

constexpr uint64_t of(Total t) {
    return 1000 + static_cast<unsigned>(t);
}

INSTANTIATE_TEST_SUITE_P(
    PerfMonEvents, EventCount,
    testing::Values(Count{1, of(Total::Instructions) + of(Total::StallCycles)},
                    Count{2, of(Total::Instructions)}, Count{8, of(Total::Branches)},
                    Count{9, of(Total::Loads)}, Count{10, of(Total::Stores)},
                    Count{12, of(Total::Branches)}, Count{13, of(Total::TakenBranches)},
                    Count{86, of(Total::Interrupts)}, Count{87, of(Total::ExternalInterrupts)},
                    Count{88, of(Total::CriticalInterrupts)},
                    Count{89, of(Total::SystemCallsAndTraps)},
                    Count{176, of(Total::DecoratedLoads)}, Count{177, of(Total::DecoratedStores)},
                    Count{179, of(Total::StwcxSuccess)}, Count{180, of(Total::StwcxFailure)}),
    [](const auto& test) { return find_event(test.param.code)->name; });

}  // namespace
}  // namespace perfvisor::core
