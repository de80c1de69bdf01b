// SPDX-License-Identifier: GPL-2.0-or-later
// The performance monitor: register access, freezing, overflow and chaining on counters that are
// derived from running totals. Section numbers are those of the e500 core family manual, chapter 7.
#include "core/perfmon.h"

#include <algorithm>

#include "core/timing/timing.h"

namespace perfvisor::core {
namespace {

constexpr uint32_t kOverflow = 0x80000000;  // PMC[OV], 7.2.7
constexpr uint64_t kNever = UINT64_MAX;
constexpr uint64_t kWrap = uint64_t{1} << 32;
constexpr uint32_t kPmcTriggers = 4;  // PMC0-PMC3 have a watchpoint that triggers can name

// A counter's watchpoint comes when it enters overflow (PMP 0), or passes a multiple of 16^(7-PMP):
// each count (7), each 16th (6), up to each 2^24th (1). docs/perfmon.md, "Triggers".
struct Watchpoints {
    unsigned shift;  // one each 2^shift counts
    uint64_t first;  // at first + n * 2^shift

    // How many there are up to `value`, and none before it.
    uint64_t up_to(uint64_t value) const {
        return (value + (uint64_t{1} << shift) - first) >> shift;
    }
    // The next one behind `value`.
    uint64_t after(uint64_t value) const { return first + (up_to(value) << shift); }
};
Watchpoints watchpoints(uint32_t lcb) {
    const unsigned pmp = (lcb & pmlcb::kPMP) >> 13;
    if (pmp == 0) return {32, kOverflow};
    return {4 * (7 - pmp), 0};
}

// PMR numbers are these user numbers, with 0x10 added for the supervisor ones (Table 7-2).
constexpr unsigned kUserPmc = 0, kUserPmlca = 128, kUserPmlcb = 256, kUserPmgc0 = 384;
constexpr unsigned kSupervisor = 0x10;

// The position of TBSEL's time base bit, counted from the least significant (7.2.1).
unsigned time_base_bit(uint32_t pmgc0_value) {
    constexpr unsigned kBits[4] = {63 - 63, 63 - 55, 63 - 51, 63 - 47};
    return kBits[(pmgc0_value & pmgc0::kTBSEL) >> 11];
}

}  // namespace

PerfMon::PerfMon(const CoreModel& model, CpuState& state) : model_(model), state_(state) {}

// All PMRs are cleared by a hard reset (7.2.1, 7.2.3, 7.2.5, 7.2.7).
void PerfMon::reset() {
    pmgc0_ = 0;
    time_base_pending_ = false;
    counters_.fill(Counter{});
    refresh(state_.msr);
}

void PerfMon::set_available(bool available) {
    if (available == available_) return;
    available_ = available;
    reset();
}

// ---- Registers ----

std::optional<PerfMon::Pmr> PerfMon::decode(unsigned pmr) const {
    const unsigned number = pmr & ~kSupervisor;
    const unsigned pmcs = std::min(model_.pmc_count, kMaxPmcs);
    const auto in = [&](unsigned first) { return number >= first && number - first < pmcs; };
    if (in(kUserPmc)) return Pmr{Pmr::kPmc, static_cast<uint8_t>(number - kUserPmc)};
    if (in(kUserPmlca)) return Pmr{Pmr::kPmlca, static_cast<uint8_t>(number - kUserPmlca)};
    if (in(kUserPmlcb)) return Pmr{Pmr::kPmlcb, static_cast<uint8_t>(number - kUserPmlcb)};
    if (number == kUserPmgc0 && pmcs > 0) return Pmr{Pmr::kPmgc0, 0};
    return std::nullopt;
}

uint32_t& PerfMon::storage(Pmr pmr) {
    Counter& counter = counters_[pmr.index];
    switch (pmr.kind) {
        case Pmr::kPmc:
            return counter.value;
        case Pmr::kPmlca:
            return counter.lca;
        case Pmr::kPmlcb:
            return counter.lcb;
        case Pmr::kPmgc0:
            break;
    }
    return pmgc0_;
}

// Reserved bits read 0 whatever was written. Cores with 128 events (e500v1, e500v2) are those
// without the guest-state and trigger fields.
uint32_t PerfMon::writable(Pmr::Kind kind) const {
    const bool e500mc = model_.pmc_event_bits >= 8;
    switch (kind) {
        case Pmr::kPmc:
            break;
        case Pmr::kPmlca: {
            const uint32_t event = ((1u << model_.pmc_event_bits) - 1) << pmlca::kEventShift;
            return pmlca::kFC | pmlca::kFCS | pmlca::kFCU | pmlca::kFCM1 | pmlca::kFCM0 |
                   pmlca::kCE | event | (e500mc ? pmlca::kFCGS1 | pmlca::kFCGS0 : 0);
        }
        case Pmr::kPmlcb:
            return pmlcb::kTHRESHMUL | pmlcb::kTHRESHOLD |
                   (e500mc ? pmlcb::kTRIGONCTL | pmlcb::kTRIGOFFCTL | pmlcb::kPMCC | pmlcb::kPMP
                           : 0);
        case Pmr::kPmgc0:
            return pmgc0::kFAC | pmgc0::kPMIE | pmgc0::kFCECE | pmgc0::kTBSEL | pmgc0::kTBEE;
    }
    return UINT32_MAX;
}

std::optional<uint32_t> PerfMon::read(unsigned pmr) {
    const auto which = decode(pmr);
    if (!which) return std::nullopt;
    sync();
    return storage(*which);  // zero since the last reset while not available
}

bool PerfMon::can_write(unsigned pmr) const {
    return is_supervisor(pmr) && decode(pmr);
}

bool PerfMon::write(unsigned pmr, uint32_t value) {
    if (!can_write(pmr)) return false;
    if (!available_) return true;
    const auto which = decode(pmr);
    sync();
    // Before its trigger-on a counter waits, and anew whenever its triggers are written.
    if (which->kind == Pmr::kPmlcb)
        counters_[which->index].waiting = (value & writable(which->kind) & pmlcb::kTRIGONCTL) != 0;
    // A transition stays signalled only as long as what let it signal (7.2.7, of overflows).
    if (which->kind == Pmr::kPmgc0 && (~value & (pmgc0::kPMIE | pmgc0::kTBEE)))
        time_base_pending_ = false;
    store(*which, value);
    return true;
}

bool PerfMon::restore(unsigned pmr, uint32_t value) {
    if (!can_write(pmr)) return false;
    if (!available_) return true;
    sync();
    store(*decode(pmr), value);
    return true;
}

void PerfMon::store(Pmr pmr, uint32_t value) {
    storage(pmr) = value & writable(pmr.kind);
    if (pmr.kind == Pmr::kPmlca) select_event(counters_[pmr.index]);
    refresh(state_.msr);
    freeze_on_condition();
    request_check();
}

uint32_t PerfMon::hidden_state() const {
    uint32_t state = time_base_pending_ ? pm_state::kTimeBase : 0;
    for (unsigned n = 0; n < kMaxPmcs; ++n)
        if (counters_[n].waiting) state |= 1u << n;
    return state;
}

void PerfMon::restore_hidden_state(uint32_t state) {
    if (!available_) return;
    sync();
    time_base_pending_ = state & pm_state::kTimeBase;
    for (unsigned n = 0; n < kMaxPmcs; ++n)
        counters_[n].waiting = state >> n & 1;
    refresh(state_.msr);
    request_check();
}

void PerfMon::select_event(Counter& c) {
    const uint32_t codes = (1u << model_.pmc_event_bits) - 1;
    c.event = find_event(c.lca >> pmlca::kEventShift & codes);
}

uint32_t PerfMon::threshold(unsigned pmc) const {
    const uint32_t lcb = counters_[pmc % kMaxPmcs].lcb;
    return (lcb & pmlcb::kTHRESHOLD) << ((lcb & pmlcb::kTHRESHMUL) >> 8);
}

// ---- What counts, and when ----

bool PerfMon::chained(const Counter& c) const {
    return c.event && c.event->source.kind == EventSource::Kind::Wraps;
}

// The counter counts in some machine state.
bool PerfMon::live(const Counter& c) const {
    const auto n = static_cast<unsigned>(&c - counters_.data());
    if (!available_ || (pmgc0_ & pmgc0::kFAC) || (c.lca & pmlca::kFC)) return false;
    return c.event && c.event->max_per_instruction > 0 && (c.event->pmc_mask >> n & 1) &&
           !c.waiting;
}

// A part of the timing model runs as long as one of its events is selected, so that its state
// stays what the guest's course has made it while FAC or MSR stop the counter for a moment.
bool PerfMon::selected(const Counter& c) const {
    const auto n = static_cast<unsigned>(&c - counters_.data());
    return available_ && !(c.lca & pmlca::kFC) && c.event && (c.event->pmc_mask >> n & 1);
}

// The MSR bits that decide whether a live counter runs. A pair of freeze bits that are both set
// freezes in either state.
uint32_t PerfMon::watched_msr(const Counter& c) const {
    return (c.lca & (pmlca::kFCS | pmlca::kFCU) ? msr::kPR : 0) |
           (c.lca & (pmlca::kFCM1 | pmlca::kFCM0) ? msr::kPMM : 0) |
           (c.lca & (pmlca::kFCGS1 | pmlca::kFCGS0) ? msr::kGS : 0);
}

namespace {

// 7.5.1: the states in which PMLCa lets the counter count.
bool counts_in(uint32_t lca, uint32_t msr_value) {
    const uint32_t freezing = (msr_value & msr::kPR ? pmlca::kFCU : pmlca::kFCS) |
                              (msr_value & msr::kPMM ? pmlca::kFCM1 : pmlca::kFCM0) |
                              (msr_value & msr::kGS ? pmlca::kFCGS1 : pmlca::kFCGS0);
    return !(lca & freezing);
}

}  // namespace

uint64_t PerfMon::source_total(const Counter& c) const {
    switch (c.event->source.kind) {
        case EventSource::Kind::Cycles:
            return state_.totals.cycles();
        case EventSource::Kind::Modelled:
            return state_.modelled[c.event->source.modelled];
        case EventSource::Kind::Occurrences:
            return c.occurrences;
        default:
            return state_.totals[c.event->source.total];
    }
}

// Decides anew which counters run. The PMCs are up to date.
void PerfMon::refresh(uint32_t msr) {
    watched_msr_ = 0;
    state_.model.wanted = 0;
    for (Counter& c : counters_) {
        if (selected(c)) state_.model.wanted |= c.event->source.part;
        const bool is_live = live(c);
        if (is_live) watched_msr_ |= watched_msr(c);
        c.running = is_live && counts_in(c.lca, msr);
        if (c.running && !chained(c)) c.seen = source_total(c);
    }
    order_chains();
}

// Puts the running counters in an order in which a chained counter follows its source. Counters
// chained in a circle, or to one that is frozen, never count: nothing in the circle wraps first.
void PerfMon::order_chains() {
    std::array<bool, kMaxPmcs> placed{};
    order_count_ = 0;
    for (unsigned before = kMaxPmcs; before != order_count_;) {
        before = order_count_;
        for (unsigned n = 0; n < kMaxPmcs; ++n) {
            const Counter& c = counters_[n];
            if (placed[n] || !c.running) continue;
            if (chained(c) && !placed[c.event->source.pmc]) continue;
            placed[n] = true;
            order_[order_count_++] = static_cast<uint8_t>(n);
        }
    }
    for (unsigned n = 0; n < kMaxPmcs; ++n)
        counters_[n].running = placed[n];
}

// Counts, and gives the triggers that came with it, a bit for each value of namespace trigger.
uint32_t PerfMon::advance() {
    uint32_t triggers = 0;
    std::array<uint64_t, kMaxPmcs> wraps{};
    for (unsigned i = 0; i < order_count_; ++i) {
        const unsigned n = order_[i];
        Counter& c = counters_[n];
        uint64_t increments;
        if (chained(c)) {
            increments = wraps[c.event->source.pmc];
        } else {
            const uint64_t now = source_total(c);
            // An engine may have taken back an instruction that did not complete after all: what
            // was counted of it stands for the next one.
            increments = now > c.seen ? now - c.seen : 0;
            c.seen = std::max(now, c.seen);
        }
        const uint64_t sum = c.value + increments;
        if (const Watchpoints at = watchpoints(c.lcb); at.up_to(sum) != at.up_to(c.value))
            triggers |= 1u << (trigger::kPmw0 + n);
        c.value = static_cast<uint32_t>(sum);
        wraps[n] = sum >> 32;  // 7.6.1: a chained counter counts the roll-overs to zero
    }
    return triggers;
}

void PerfMon::sync() {
    if (order_count_ == 0) return;
    if (pull_triggers(advance())) refresh(state_.msr);
    freeze_on_condition();
}

// ---- Triggers ----

// The trigger that would start or stop the counter next.
uint32_t PerfMon::trigger_of(const Counter& c) const {
    return c.waiting ? (c.lcb & pmlcb::kTRIGONCTL) >> 28 : (c.lcb & pmlcb::kTRIGOFFCTL) >> 24;
}

// Starts and stops the counters that wait for one of `triggers`; whether there were any. The
// instruction of a trigger is the last that a counter it stops counts, and the last that one it
// starts does not.
bool PerfMon::pull_triggers(uint32_t triggers) {
    bool any = false;
    for (Counter& c : counters_) {
        const uint32_t by = trigger_of(c);
        if (by == trigger::kNone || !(triggers >> by & 1)) continue;
        any = true;
        c.waiting = !c.waiting;
        if (!c.waiting && (c.lcb & pmlcb::kPMCC)) c.value = 0;
    }
    return any;
}

void PerfMon::debug_notify(uint8_t events) {
    if (!available_) return;
    sync();
    if (!pull_triggers(uint32_t{events} << trigger::kDvt0)) return;
    refresh(state_.msr);
    request_check();
}

// ---- Thresholds ----

void PerfMon::occurred(unsigned event, uint64_t cycles) {
    for (unsigned n = 0; n < kMaxPmcs; ++n) {
        Counter& c = counters_[n];
        if (c.running && c.event->code == event && cycles > threshold(n)) ++c.occurrences;
    }
}

void PerfMon::msr_changed(uint32_t to) {
    sync();
    refresh(to);
    if (interrupt_pending() || instructions_to_event() != kNever) request_check();
}

// ---- Enabled conditions and events ----

// 7.4: some PMC is in overflow with its PMLCa[CE] set.
bool PerfMon::condition() const {
    return std::any_of(counters_.begin(), counters_.end(), [](const Counter& c) {
        return (c.lca & pmlca::kCE) && (c.value & kOverflow);
    });
}

// 7.2.1: with FCECE the counters count "only until" the condition, so FAC is set while it holds:
// software that clears FAC has to end the condition first.
void PerfMon::freeze_on_condition() {
    if ((pmgc0_ & pmgc0::kFCECE) && condition()) freeze_all();
}

void PerfMon::freeze_all() {
    if (pmgc0_ & pmgc0::kFAC) return;
    pmgc0_ |= pmgc0::kFAC;
    refresh(state_.msr);
}

bool PerfMon::interrupt_pending() const {
    return (pmgc0_ & pmgc0::kPMIE) && (time_base_pending_ || condition());
}

void PerfMon::request_check() {
    state_.attention.fetch_or(kInterruptCheck, std::memory_order_relaxed);
}

// ---- Deadlines ----

// An overflow of this counter would be a new enabled condition that somebody waits for.
bool PerfMon::armed(const Counter& c) const {
    return c.running && (c.lca & pmlca::kCE) && !(c.value & kOverflow) &&
           (pmgc0_ & (pmgc0::kPMIE | pmgc0::kFCECE));
}

PerfMon::Source PerfMon::source_of(const Counter& c, uint64_t count) const {
    const Counter* counter = &c;
    while (chained(*counter)) {
        // `count` wraps of the source: the first from where it stands, 2^32 for each other.
        counter = &counters_[counter->event->source.pmc];
        const uint64_t first = kWrap - counter->value;
        count = count - 1 > (kNever - first) / kWrap ? kNever : (count - 1) * kWrap + first;
    }
    return {counter, count};
}

const uint64_t* PerfMon::waited_total(const Counter& c) const {
    const EventSource& source = c.event->source;
    switch (source.kind) {
        case EventSource::Kind::Modelled:
            return &state_.modelled.value[static_cast<unsigned>(source.modelled)];
        case EventSource::Kind::Occurrences:
            return source.part != 0 ? &c.occurrences : nullptr;
        default:
            return nullptr;
    }
}

// A lower bound of the instructions after which `c` can have been incremented `count` times.
uint64_t PerfMon::increments_to(const Counter& c, uint64_t count) const {
    const Source source = source_of(c, count);
    const EventSource::Kind kind = source.counter->event->source.kind;
    if (waited_total(*source.counter)) return kNever;
    if (kind == EventSource::Kind::Cycles && state_.model.always) return kNever;
    const uint64_t most = source.counter->event->max_per_instruction;
    return source.increments / most + (source.increments % most != 0);
}

// Calls `wait(counter, increments)` for each counter that must not be incremented so often without
// a look at it: overflows that somebody waits for, watchpoints that a trigger waits for.
template <typename F>
void PerfMon::each_deadline(F wait) const {
    for (const Counter& c : counters_) {
        if (armed(c)) wait(c, kOverflow - c.value);
        const uint32_t pmw = trigger_of(c) - trigger::kPmw0;
        if (pmw >= kPmcTriggers || !counters_[pmw].running) continue;
        const Counter& source = counters_[pmw];
        wait(source, watchpoints(source.lcb).after(source.value) - source.value);
    }
}

void PerfMon::wait_for_events(Timing& timing) const {
    each_deadline([&](const Counter& c, uint64_t increments) {
        const Source source = source_of(c, increments);
        if (const uint64_t* total = waited_total(*source.counter))
            timing.wait_for(total, source.increments);
        else if (source.counter->event->source.kind == EventSource::Kind::Cycles &&
                 state_.model.always)
            timing.wait_for_cycles(source.increments);
    });
}

uint64_t PerfMon::instructions_to_event() const {
    uint64_t nearest = kNever;
    each_deadline([&](const Counter& c, uint64_t increments) {
        nearest = std::min(nearest, increments_to(c, increments));
    });
    return nearest;
}

uint64_t PerfMon::next_time_base_event(uint64_t time_base) const {
    const bool freezes = (pmgc0_ & pmgc0::kFCECE) && !(pmgc0_ & pmgc0::kFAC);
    const bool signals = (pmgc0_ & pmgc0::kPMIE) && !time_base_pending_;
    if (!available_ || !(pmgc0_ & pmgc0::kTBEE) || !(freezes || signals)) return kNever;
    const uint64_t half = uint64_t{1} << time_base_bit(pmgc0_);
    const uint64_t since_last = (time_base - half) & (2 * half - 1);
    const uint64_t ahead = 2 * half - since_last;
    return ahead > kNever - time_base ? kNever : time_base + ahead;
}

void PerfMon::time_base_event() {
    if (!available_ || !(pmgc0_ & pmgc0::kTBEE)) return;
    sync();
    if (pmgc0_ & pmgc0::kPMIE) time_base_pending_ = true;
    if (pmgc0_ & pmgc0::kFCECE) freeze_all();
    request_check();
}

}  // namespace perfvisor::core
