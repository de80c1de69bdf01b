// SPDX-License-Identifier: GPL-2.0-or-later
// The performance monitor, category E.PM (e500mc core manual chapter 9): PMGC0, PMLCa, PMLCb and
// the PMCs. Counters are derived from CpuState::totals and cost nothing while nobody looks
// (docs/architecture.md, "Counting").
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "core/model.h"
#include "core/state.h"

namespace perfvisor::core {

constexpr unsigned kMaxPmcs = 6;

class PerfMon {
  public:
    PerfMon(const CoreModel& model, CpuState& state);

    void reset();

    // Whether the machine's performance monitor is this guest's (KVM_RESERVE_PERFMON). While not,
    // writes are ignored, reads give 0, and no interrupt is ever pending. Changing it resets.
    void set_available(bool available);
    bool available() const;

    // Register access by PMR number (supervisor and user numbers, perfmon.md). `read` gives
    // nothing and `write` false for a number this core does not have, or a write to a user number:
    // the caller raises the program interrupt. Totals must be exact when called. Privilege is the
    // caller's: supervisor numbers are those with bit 4 set (pmr & 0x10 clear = user).
    std::optional<uint32_t> read(unsigned pmr);
    bool write(unsigned pmr, uint32_t value);
    static bool is_supervisor(unsigned pmr);

    // MSR[PR], [PMM] (or [GS]) is about to change from `from` to `to`; totals are exact.
    void msr_changes(uint32_t from, uint32_t to);

    // Brings the PMCs up to date; sets FAC under FCECE when an enabled condition has come true.
    void sync();

    // The PM exception: an enabled condition holds and PMGC0[PMIE] is set. Up to date after sync.
    bool interrupt_pending() const;

    // A lower bound, in completed instructions from now, of the next moment at which sync() would
    // find a new overflow; exact when 1. UINT64_MAX when no counter can overflow. Never 0.
    uint64_t instructions_to_event() const;

    // Time-base transitions (TBSEL, TBEE): the tick at which the selected bit next goes 0 to 1,
    // and the report that it did. UINT64_MAX when not enabled.
    uint64_t next_time_base_event(uint64_t time_base) const;
    void time_base_event();

  private:
    const CoreModel& model_;
    CpuState& state_;
    // implementation's own members follow
};

}  // namespace perfvisor::core
