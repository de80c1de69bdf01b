// SPDX-License-Identifier: GPL-2.0-or-later
// Time base, decrementer, fixed-interval timer and watchdog (EREF chapter 8; e500mc manual 2.7).
#pragma once

#include <cstdint>
#include <tuple>

#include "core/state.h"

namespace perfvisor::core {

// Where time comes from. Ticks are those of the time base.
class TimeSource {
  public:
    virtual ~TimeSource() = default;
    // Ticks since the source began, given the core's cycle total. Never decreases for one core.
    virtual uint64_t ticks(uint64_t cycles) const = 0;
    // Cycles from `cycles` until ticks() first reaches `tick`; UINT64_MAX where cycles do not tell
    // (wall clock): then the caller polls.
    virtual uint64_t cycles_until(uint64_t tick, uint64_t cycles) const = 0;
};

class Timers {
  public:
    Timers(CpuState& state, const TimeSource& source);
    void reset();

    uint64_t time_base() const;
    void write_tbl(uint32_t value);
    void write_tbu(uint32_t value);
    uint32_t decrementer() const;
    void write_decrementer(uint32_t value);
    void write_decar(uint32_t value);
    uint32_t decar() const;
    uint32_t tcr() const;
    void write_tcr(uint32_t value);
    uint32_t tsr() const;
    void clear_tsr(uint32_t mask);  // mtspr TSR: write one to clear
    void set_tsr(uint32_t mask);    // KVM_REG_PPC_OR_TSR

    // Brings TSR up to date with the time: sets DIS, FIS, ENW and WIS as transitions pass.
    // Returns the watchdog's reset request (TCR[WRC]) when its second time-out has passed, else 0.
    unsigned update();

    // Interrupt conditions, to be anded with MSR[EE] or [CE]: TSR bit and TCR enable bit both 1.
    bool decrementer_pending() const;
    bool fixed_interval_pending() const;
    bool watchdog_pending() const;

    // Ticks from now until update() will next change something, UINT64_MAX if it never will.
    uint64_t ticks_to_next_event() const;
    // The time base tick at which update() will next change something, UINT64_MAX if none.
    uint64_t next_event_tick() const;
    // The same as cycles from now by the source; UINT64_MAX if never or unknown.
    uint64_t cycles_to_next_event() const;

    // For save and restore: sets TBL and TBU at once.
    void write_time_base(uint64_t value);

    // Core::mirror and Core::differences.
    void mirror(const Timers& from);
    bool operator==(const Timers& other) const;

  private:
    static constexpr uint64_t kNever = ~uint64_t{0};

    template <typename T>
    static auto fields(T& of) {
        return std::tie(of.offset_, of.last_time_base_, of.dec_zero_, of.decar_, of.tcr_, of.tsr_,
                        of.reset_request_);
    }

    // Ticks the time base has run for.
    uint64_t running() const;
    void update_decrementer(uint64_t now);
    void watchdog_time_outs(uint64_t count);

    CpuState& state_;
    const TimeSource& source_;
    uint64_t offset_ = 0;          // time base = running() + offset_
    uint64_t last_time_base_ = 0;  // at the last update()
    uint64_t dec_zero_ = kNever;   // running() at which the decrementer reaches 0
    uint32_t decar_ = 0, tcr_ = 0, tsr_ = 0;
    unsigned reset_request_ = 0;
};

}  // namespace perfvisor::core
