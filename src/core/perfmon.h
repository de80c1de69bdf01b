// SPDX-License-Identifier: GPL-2.0-or-later
// The performance monitor, category E.PM (e500mc core manual chapter 9): PMGC0, PMLCa, PMLCb and
// the PMCs. Counters are derived from CpuState::totals and cost nothing while nobody looks
// (docs/architecture.md, "Counting"; docs/perfmon.md says what a guest sees).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>

#include "core/model.h"
#include "core/pm_events.h"
#include "core/state.h"

namespace perfvisor::core {

class Timing;

constexpr unsigned kMaxPmcs = 6;

// Register bits (the 32-bit register's masks). Section numbers are those of the e500 core family
// manual, chapter 7, whose registers the e500mc keeps and extends.
namespace pmgc0 {                        // 7.2.1
constexpr uint32_t kFAC = 0x80000000;    // freeze all counters
constexpr uint32_t kPMIE = 0x40000000;   // interrupt enable
constexpr uint32_t kFCECE = 0x20000000;  // freeze all on an enabled condition or event
constexpr uint32_t kTBSEL = 0x00001800;  // time base bit: 63, 55, 51, 47
constexpr uint32_t kTBEE = 0x00000100;   // its 0 to 1 transition is an enabled event
}  // namespace pmgc0

namespace pmlca {                       // 7.2.3
constexpr uint32_t kFC = 0x80000000;    // freeze
constexpr uint32_t kFCS = 0x40000000;   // freeze while MSR[PR]=0
constexpr uint32_t kFCU = 0x20000000;   // freeze while MSR[PR]=1
constexpr uint32_t kFCM1 = 0x10000000;  // freeze while MSR[PMM]=1
constexpr uint32_t kFCM0 = 0x08000000;  // freeze while MSR[PMM]=0
constexpr uint32_t kCE = 0x04000000;    // overflow is an enabled condition
constexpr unsigned kEventShift = 16;
constexpr uint32_t kFCGS1 = 0x00000002;  // freeze while MSR[GS]=1
constexpr uint32_t kFCGS0 = 0x00000001;  // freeze while MSR[GS]=0
}  // namespace pmlca

namespace pmlcb {                             // 7.2.5; triggers: docs/perfmon.md
constexpr uint32_t kTRIGONCTL = 0xf0000000;   // e500mc: what starts the counter, 0: it runs
constexpr uint32_t kTRIGOFFCTL = 0x0f000000;  // e500mc: what stops it, 0: nothing
constexpr uint32_t kPMCC = 0x00800000;        // e500mc: a trigger-on clears the counter
constexpr uint32_t kPMP = 0x0000e000;         // e500mc: watchpoint periodicity
constexpr uint32_t kTHRESHMUL = 0x00000700;   // the threshold is multiplied by 2^THRESHMUL
constexpr uint32_t kTHRESHOLD = 0x0000003f;
}  // namespace pmlcb

// Values of TRIGONCTL and TRIGOFFCTL; the others stand for triggers that never come.
namespace trigger {
constexpr uint32_t kNone = 0;
constexpr uint32_t kPmw0 = 1;  // to 4: the watchpoint of PMC0-PMC3, at the period of its PMP
constexpr uint32_t kDvt0 = 8;  // to 15: DEVENT written with DVT0-DVT7 set
}  // namespace trigger

// What no PMR shows of the performance monitor, for save and restore (PerfMon::hidden_state).
namespace pm_state {
constexpr uint32_t kTimeBase = 0x80000000;  // a transition was signalled, its interrupt not taken
// Bit n, from the least significant: PMCn waits for its trigger-on, or was stopped by a trigger.
constexpr uint32_t kWaiting = 0x0000003f;
}  // namespace pm_state

class PerfMon {
  public:
    PerfMon(const CoreModel& model, CpuState& state);

    void reset();

    // Whether the machine's performance monitor is this guest's (KVM_RESERVE_PERFMON). While not,
    // writes are ignored, reads give 0, and no interrupt is ever pending. Changing it resets.
    void set_available(bool available);
    bool available() const { return available_; }

    // Register access by PMR number (supervisor and user numbers, perfmon.md). `read` gives
    // nothing and `write` false for a number this core does not have, or a write to a user number:
    // the caller raises the program interrupt. Privilege is the caller's: supervisor numbers are
    // those with bit 4 set (pmr & 0x10 clear = user).
    //
    // Which instructions the totals include decides what the guest sees, so:
    //  - read() is called with totals exact for the instructions BEFORE the mfpmr: it reads the
    //    count of the instructions completed before it.
    //  - write() is called with totals that already include the mtpmr ITSELF: an mtpmr takes
    //    effect when it completes. The mtpmr that freezes is counted, the one that unfreezes is
    //    not, and counting from a written value begins with the next instruction.
    // An effective write sets kInterruptCheck in CpuState::attention: an interrupt may have become
    // pending, and instructions_to_event() may have become smaller than the engine's budget.
    std::optional<uint32_t> read(unsigned pmr);
    // A write() that returns false has not looked at the totals; can_write() tells beforehand.
    bool write(unsigned pmr, uint32_t value);
    bool can_write(unsigned pmr) const;
    // The same from outside, for save and restore: registers may come in any order, and nothing
    // but the register changes. Writing a PMLCb does not set its triggers back.
    bool restore(unsigned pmr, uint32_t value);
    uint32_t hidden_state() const;
    void restore_hidden_state(uint32_t state);
    static bool is_supervisor(unsigned pmr) { return (pmr & 0x10) != 0; }

    // MSR[PR], [PMM] (or [GS]) is about to change from `from` to `to`; totals are exact and include
    // the instruction (mtmsr, rfi, sc) or the interrupt that changes it: it counts under the MSR
    // it was executed, or taken, with. Free while no live counter's freeze bits look at what
    // changes; else as write() it may set kInterruptCheck.
    void msr_changes(uint32_t from, uint32_t to) {
        if ((from ^ to) & watched_msr_) msr_changed(to);
    }

    // Brings the PMCs up to date; starts and stops counters whose trigger has come, and sets FAC
    // under FCECE when an enabled condition has come true.
    void sync();

    // DEVENT was written with DVTn set for each bit n (from the least significant) of `events`;
    // totals are exact and include the mtspr. As write() it may set kInterruptCheck.
    void debug_notify(uint8_t events);

    // An occurrence of one of the threshold events 76-81 has ended that lasted so many cycles.
    // PMC0 and PMC1 count it where they select that event and it lasted longer than their
    // threshold; called before the totals include the next instruction.
    void occurred(unsigned event, uint64_t cycles);

    // The PM exception: an enabled condition holds and PMGC0[PMIE] is set. Up to date after sync.
    bool interrupt_pending() const;
    // The PM interrupt was taken. An overflow stays pending until its cause goes (7.4); a time
    // base transition, which has no level, is used up by it.
    void interrupt_taken() { time_base_pending_ = false; }

    // A lower bound, in completed instructions from now, of the next moment at which sync() would
    // find a new overflow or a trigger; exact when 1. UINT64_MAX when there can be none. Never 0.
    // Up to date after sync. An overflow that neither interrupts nor freezes is no event, nor is a
    // watchpoint that no counter waits for.
    uint64_t instructions_to_event() const;
    // The same for events whose coming only the timing model can tell: it is asked to look out for
    // them. They bound instructions_to_event() not.
    void wait_for_events(Timing& timing) const;

    // Time-base transitions (TBSEL, TBEE): the tick at which the selected bit next goes 0 to 1,
    // and the report that it did (totals exact). UINT64_MAX when not enabled, or without effect.
    uint64_t next_time_base_event(uint64_t time_base) const;
    void time_base_event();

    // The threshold of PMCn in its event's units (cycles): THRESHOLD x 2^THRESHMUL (7.2.5). A
    // threshold event is counted when it lasts longer.
    uint32_t threshold(unsigned pmc) const;

    // Core::mirror and Core::differences.
    void mirror(const PerfMon& from);
    bool operator==(const PerfMon& other) const;

  private:
    struct Counter {
        uint32_t value = 0;  // as of the last sync
        uint32_t lca = 0, lcb = 0;
        const Event* event = nullptr;  // null: selects nothing that is counted
        bool running = false;          // counts now; what freezes it is looked at in refresh()
        bool waiting = false;          // for a trigger-on
        uint64_t seen = 0;             // the source's total as of the last sync, while running
        uint64_t occurrences = 0;      // of a threshold event, longer than the threshold

        bool operator==(const Counter&) const = default;
    };
    struct Pmr {
        enum Kind : uint8_t { kPmc, kPmlca, kPmlcb, kPmgc0 } kind;
        uint8_t index;
    };

    template <typename T>
    static auto fields(T& of) {
        return std::tie(of.available_, of.time_base_pending_, of.pmgc0_, of.watched_msr_,
                        of.counters_, of.order_, of.order_count_);
    }
    std::optional<Pmr> decode(unsigned pmr) const;
    uint32_t& storage(Pmr pmr);
    uint32_t writable(Pmr::Kind kind) const;
    uint64_t source_total(const Counter& c) const;
    void store(Pmr pmr, uint32_t value);
    void select_event(Counter& c);
    bool chained(const Counter& c) const;
    bool live(const Counter& c) const;
    bool selected(const Counter& c) const;
    uint32_t watched_msr(const Counter& c) const;
    bool condition() const;
    bool armed(const Counter& c) const;
    // The counter that `c` counts the wraps of, through any chain, and by how much it has to grow
    // for `count` increments of `c`.
    struct Source {
        const Counter* counter;
        uint64_t increments;
    };
    Source source_of(const Counter& c, uint64_t count) const;
    // The total to wait for, where only the timing model can tell; null where it can be bounded.
    const uint64_t* waited_total(const Counter& c) const;
    uint64_t increments_to(const Counter& c, uint64_t count) const;
    uint32_t trigger_of(const Counter& c) const;
    template <typename F>
    void each_deadline(F wait) const;
    uint32_t advance();
    bool pull_triggers(uint32_t triggers);
    void refresh(uint32_t msr);
    void order_chains();
    void freeze_on_condition();
    void freeze_all();
    void msr_changed(uint32_t to);
    void request_check();

    const CoreModel& model_;
    CpuState& state_;
    bool available_ = false;
    bool time_base_pending_ = false;  // a transition was signalled and its interrupt not yet taken
    uint32_t pmgc0_ = 0;
    uint32_t watched_msr_ = 0;  // MSR bits that some live counter's freeze bits look at
    std::array<Counter, kMaxPmcs> counters_{};
    // The running counters, each chained one after the counter whose wraps it counts.
    std::array<uint8_t, kMaxPmcs> order_{};
    unsigned order_count_ = 0;
};

}  // namespace perfvisor::core
