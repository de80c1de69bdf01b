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

}  // namespace

bool always_counted(const core::Event& event) {
    return event.source.kind == core::EventSource::Kind::Total ||
           event.source.kind == core::EventSource::Kind::Cycles;
}

Result<const core::Event*> find_countable_event(std::string_view spelling) {
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
    if (event->source.kind == core::EventSource::Kind::None)
        return fail("event \"{}\" ({}) is not modelled, so there is nothing to count", spelling,
                    event->name);
    return event;
}

std::string ModalEvent::name() const {
    return std::string(event->name) + (user && kernel ? "" : user ? ":u" : ":k");
}

Result<ModalEvent> find_modal_event(std::string_view spelling) {
    const size_t colon = spelling.find(':');
    const auto event = find_countable_event(spelling.substr(0, colon));
    if (!event) return tl::unexpected(event.error());
    if (colon == std::string_view::npos) return ModalEvent{*event};
    const std::string_view modifier = spelling.substr(colon + 1);
    if (modifier != "u" && modifier != "k" && modifier != "uk" && modifier != "ku")
        return fail("event \"{}\": \"{}\" is no modifier; there are u, k and uk", spelling,
                    modifier);
    return ModalEvent{*event, modifier.find('u') != std::string_view::npos,
                      modifier.find('k') != std::string_view::npos};
}

std::vector<const core::Event*> always_counted_events() {
    std::vector<const core::Event*> events;
    for (const core::Event& event : core::e500mc_events())
        if (always_counted(event)) events.push_back(&event);
    return events;
}

}  // namespace perfvisor::vmm
