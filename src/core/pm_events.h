// SPDX-License-Identifier: GPL-2.0-or-later
// The performance monitor's event catalogue (e500mc core manual chapter 9, event selection): one
// row for each event, saying what it counts and where the count comes from. What `perfvisor list`
// prints and what PerfMon counts are this one table.
#pragma once

#include <cstdint>
#include <span>

#include "core/state.h"

namespace perfvisor::core {

enum class EventClass : uint8_t {
    Exact,        // Defined by executed instructions and interrupts; the count is that definition.
    Modelled,     // Comes from a documented model of the core.
    NotModelled,  // Selecting it counts nothing.
};

// "exact", "modelled" or "not modelled".
const char* to_string(EventClass event_class);

// Where an event's count comes from.
struct EventSource {
    enum class Kind : uint8_t {
        None,      // nothing: not modelled
        Total,     // CpuState::totals[total]
        Cycles,    // CpuState::totals.cycles()
        Modelled,  // CpuState::modelled[modelled], while `part` of the timing model runs
        Wraps,     // how often PMC number `pmc` wrapped from 0xffffffff to 0 (chaining)
        // What PerfMon::occurred() was told of and lasted longer than the counter's threshold.
        Occurrences,
    };
    Kind kind = Kind::None;
    Total total = Total::Count;
    uint8_t pmc = 0;
    Modelled modelled = Modelled::Count;
    uint8_t part = 0;  // bits of namespace timing_part that selecting the event sets going
};

struct Event {
    uint16_t code;     // PMLCa[EVENT]
    const char* name;  // as OProfile and perf's e500 tables spell it
    EventClass event_class;
    EventSource source;
    // The most that one unit of an engine's budget (one instruction, completed or ended by an
    // interrupt) can add; PerfMon::instructions_to_event divides by it. 0: counts nothing.
    // Of cycles under the simple model; what the timing model says it is asked to wait for.
    uint8_t max_per_instruction;
    uint8_t pmc_mask;  // bit n: PMCn can count it
    const char* description;
};

// Every event of the e500mc, by ascending code.
std::span<const Event> e500mc_events();

// The row of a code; null where the catalogue has none (0, reserved codes).
const Event* find_event(unsigned code);

}  // namespace perfvisor::core
