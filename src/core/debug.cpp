// SPDX-License-Identifier: GPL-2.0-or-later
// Debug events: single step, taken branches, address compares (EREF, debug facilities). Events
// are recognized while DBCR0[IDM] and MSR[DE] are both 1; what software waits for with MSR[DE] 0
// (imprecise events of address compares) is not recorded. And breakpoints from outside the guest.
#include <algorithm>
#include <iterator>
#include <utility>

#include "core/core.h"
#include "core/spr.h"

namespace perfvisor::core {
namespace {

constexpr uint32_t kStepEvents = dbcr0::kICMP | dbcr0::kBRT | dbcr0::kIAC1 | dbcr0::kIAC2;
constexpr uint32_t kDataEvents = dbcr0::kDAC1R | dbcr0::kDAC1W | dbcr0::kDAC2R | dbcr0::kDAC2W;

// The fields of DBCR1 and DBCR2 for compare 0 or 1: user/supervisor, effective address and space.
struct CompareRules {
    uint32_t privilege;  // 0, 1: both, 2: supervisor, 3: user
    uint32_t space;      // 0, 1: any, 2: space 0, 3: space 1
};
CompareRules rules_of(uint64_t dbcr, unsigned which) {
    const unsigned shift = which == 0 ? 28 : 24;
    return {static_cast<uint32_t>(dbcr >> (shift + 2) & 3),
            static_cast<uint32_t>(dbcr >> shift & 3)};
}

bool rules_allow(CompareRules rules, bool user, bool space) {
    if (rules.privilege >= 2 && (rules.privilege == 3) != user) return false;
    return rules.space < 2 || (rules.space == 3) == space;
}

// The compare mode of a pair, bits 8 and 9 of DBCR1 and DBCR2.
enum PairMode : uint32_t { kExact = 0, kMask = 1, kInside = 2, kOutside = 3 };
PairMode mode_of(uint64_t dbcr) {
    return static_cast<PairMode>(dbcr >> 22 & 3);
}

}  // namespace

void Core::update_debug() {
    const uint32_t control = static_cast<uint32_t>(sprs_[spr::kDBCR0]);
    const bool active = (control & dbcr0::kIDM) && (state.msr & msr::kDE);
    debug_armed_ = active && (control & kStepEvents);
    const bool data = active && (control & kDataEvents);
    if (data != data_breakpoints_) {
        data_breakpoints_ = data;
        mmu_.set_fast_disabled(data);
    }
}

void Core::debug_event(uint32_t dbsr_bits) {
    if (dbsr_bits == 0 || !(sprs_[spr::kDBCR0] & dbcr0::kIDM) || !(state.msr & msr::kDE)) return;
    sprs_[spr::kDBSR] |= dbsr_bits;
}

bool Core::debug_pending() const {
    return (sprs_[spr::kDBCR0] & dbcr0::kIDM) && (sprs_[spr::kDBSR] & ~uint64_t{dbsr::kMRR});
}

bool Core::instruction_address_matches(uint64_t pc, unsigned which) const {
    const uint64_t control = sprs_[spr::kDBCR1];
    if (!rules_allow(rules_of(control, which), state.msr & msr::kPR, state.msr & msr::kIS))
        return false;
    const uint64_t first = sprs_[spr::kIAC1], second = sprs_[spr::kIAC2];
    switch (mode_of(control)) {
        case kMask:
            return which == 0 && (pc & second) == (first & second);
        case kInside:
            return pc >= first && pc < second;
        case kOutside:
            return pc < first || pc >= second;
        default:
            return pc == (which == 0 ? first : second);
    }
}

// The DBSR bits of the data address compares that an access meets: any of its bytes matches.
uint32_t Core::data_address_events(uint64_t ea, unsigned size, Access access) const {
    if (!data_breakpoints_) return 0;
    const uint64_t control = sprs_[spr::kDBCR2];
    const uint64_t first = sprs_[spr::kDAC1], second = sprs_[spr::kDAC2];
    const uint64_t last = ea + size - 1;
    const bool write = access == Access::Store;
    const uint32_t enabled[2] = {write ? dbcr0::kDAC1W : dbcr0::kDAC1R,
                                 write ? dbcr0::kDAC2W : dbcr0::kDAC2R};
    uint32_t events = 0;
    for (unsigned which = 0; which < 2; ++which) {
        if (!(sprs_[spr::kDBCR0] & enabled[which])) continue;
        if (!rules_allow(rules_of(control, which), state.msr & msr::kPR, state.msr & msr::kDS))
            continue;
        bool matches = false;
        switch (mode_of(control)) {
            case kMask:
                matches = which == 0 && ((ea & second) == (first & second) ||
                                         (last & second) == (first & second));
                break;
            case kInside:
                matches = last >= first && ea < second;
                break;
            case kOutside:
                matches = ea < first || last >= second;
                break;
            default: {
                const uint64_t address = which == 0 ? first : second;
                matches = address >= ea && address <= last;
            }
        }
        if (matches) events |= enabled[which];
    }
    return events;
}

bool Core::debug_before() {
    before_pc_ = state.pc;
    before_lr_ = state.lr;
    before_ctr_ = state.ctr;
    before_totals_ = state.totals;
    const uint64_t control = sprs_[spr::kDBCR0];
    uint32_t events = 0;
    if ((control & dbcr0::kIAC1) && instruction_address_matches(state.pc, 0))
        events |= dbcr0::kIAC1;
    if ((control & dbcr0::kIAC2) && instruction_address_matches(state.pc, 1))
        events |= dbcr0::kIAC2;
    if (events == 0) return false;
    debug_event(events);
    take_interrupt(Interrupt::Debug, state.pc);
    return true;
}

// The branch taken event is recognized before the branch (EREF, debug
// events): what it did is taken back.
void Core::debug_after(bool taken_branch) {
    if (!debug_armed_) return;  // the instruction itself disarmed it: no event
    const uint64_t control = sprs_[spr::kDBCR0];
    if (taken_branch && (control & dbcr0::kBRT)) {
        state.pc = before_pc_;
        state.lr = before_lr_;
        state.ctr = before_ctr_;
        state.totals = before_totals_;
        debug_event(dbcr0::kBRT);
    } else if (control & dbcr0::kICMP) {
        debug_event(dbcr0::kICMP);
    } else {
        return;
    }
    take_interrupt(Interrupt::Debug, state.pc);
}

bool Core::stops_at_word(uint64_t physical) const {
    if (!breakpoints_.word()) return false;
    const auto word = read_guest<uint32_t>(config_.memory->host(physical));
    return breakpoints_.is_word(from_big_endian(word));
}

void Core::set_breakpoints(Breakpoints breakpoints) {
    const Breakpoints before = std::exchange(breakpoints_, std::move(breakpoints));
    if (!code_listener_) return;
    if (before.word() != breakpoints_.word()) {
        code_listener_->all_breakpoints_changed();
        return;
    }
    std::vector<uint64_t> changed;
    std::set_symmetric_difference(before.addresses().begin(), before.addresses().end(),
                                  breakpoints_.addresses().begin(), breakpoints_.addresses().end(),
                                  std::back_inserter(changed));
    if (!changed.empty()) code_listener_->breakpoints_changed(changed);
}

}  // namespace perfvisor::core
