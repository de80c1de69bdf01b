// SPDX-License-Identifier: GPL-2.0-or-later
// Performance monitor events as people spell them.
#include "vmm/event_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace perfvisor::vmm {
namespace {

struct GenericName {
    std::string_view name;
    unsigned code;
};
// arch/powerpc/perf/e500-pmu.c, e500_generic_events, under perf's names and their aliases.
constexpr auto kGenericNames = std::to_array<GenericName>({
    {"cycles", 1},
    {"cpu-cycles", 1},
    {"instructions", 2},
    {"branches", 12},
    {"branch-instructions", 12},
    {"branch-misses", 15},
    {"stalled-cycles-frontend", 18},
    {"idle-cycles-frontend", 18},
    {"stalled-cycles-backend", 19},
    {"idle-cycles-backend", 19},
    {"cache-misses", 41},
});

bool same_word(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
        return std::tolower(static_cast<unsigned char>(x)) ==
               std::tolower(static_cast<unsigned char>(y));
    });
}

// "r1f": hexadecimal, as perf has it. Codes beyond the catalogue are found not to be in it.
const core::Event* find_raw(std::string_view spelling) {
    if (spelling.size() < 2 || spelling[0] != 'r') return nullptr;
    unsigned code = 0;
    const char* const end = spelling.data() + spelling.size();
    const auto [stopped, error] = std::from_chars(spelling.data() + 1, end, code, 16);
    return error == std::errc() && stopped == end ? core::find_event(code) : nullptr;
}

const core::Event* find_any(std::string_view spelling) {
    for (const GenericName& generic : kGenericNames)
        if (spelling == generic.name) return core::find_event(generic.code);
    for (const core::Event& event : core::e500mc_events())
        if (same_word(spelling, event.name)) return &event;
    return find_raw(spelling);
}

bool countable(const core::Event& event, bool with_model) {
    return event.source.kind == core::EventSource::Kind::Total ||
           event.source.kind == core::EventSource::Kind::Cycles ||
           (with_model && event.source.kind == core::EventSource::Kind::Modelled);
}

}  // namespace

Result<const core::Event*> find_countable_event(std::string_view spelling, bool with_model) {
    const core::Event* const event = find_any(spelling);
    if (event == nullptr)
        return fail("event \"{}\" is not known; \"perfvisor list\" shows those that are", spelling);
    if (event->source.kind == core::EventSource::Kind::Wraps)
        return fail(
            "event \"{}\" ({}) counts wraps of the guest's own counters; it cannot be "
            "counted from outside",
            spelling, event->name);
    if (event->source.kind == core::EventSource::Kind::Occurrences)
        return fail(
            "event \"{}\" ({}) counts what lasts longer than the threshold of the guest's own "
            "counter; it cannot be counted from outside",
            spelling, event->name);
    if (event->source.kind == core::EventSource::Kind::Modelled && !with_model)
        return fail(
            "event \"{}\" ({}) is counted by the timing model, which runs for the guest's own "
            "counters and for \"perfvisor run --stat\"",
            spelling, event->name);
    if (!countable(*event, with_model))
        return fail("event \"{}\" ({}) is not modelled, so there is nothing to count", spelling,
                    event->name);
    return event;
}

std::vector<const core::Event*> countable_events() {
    std::vector<const core::Event*> events;
    for (const core::Event& event : core::e500mc_events())
        if (countable(event, false)) events.push_back(&event);
    return events;
}

}  // namespace perfvisor::vmm
