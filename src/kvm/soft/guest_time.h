// SPDX-License-Identifier: GPL-2.0-or-later
// Where the guest's time comes from: executed cycles or the host's clock, with exact integer
// arithmetic, so that equal cycles give equal ticks on every host.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/timers.h"

namespace perfvisor::kvm {

constexpr uint64_t kNever = UINT64_MAX;
constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;

// floor(value * to / from) and its counterpart rounded up; saturates at UINT64_MAX. Both rates are
// 1 to 2^32 - 1, so that no intermediate value needs more than 64 bits.
uint64_t scale_down(uint64_t value, uint64_t to, uint64_t from);
uint64_t scale_up(uint64_t value, uint64_t to, uint64_t from);

// Guest time of one VM. Time bases count in ticks of `timebase_hz`.
class GuestTime : public core::TimeSource {
  public:
    explicit GuestTime(uint64_t timebase_hz) : timebase_hz_(timebase_hz) {}

    uint64_t nanoseconds(uint64_t cycles) const {
        return scale_down(ticks(cycles), kNanosecondsPerSecond, timebase_hz_);
    }
    // The first tick that is not before `nanoseconds`.
    uint64_t tick_of(uint64_t nanoseconds) const {
        return nanoseconds == kNever ? kNever
                                     : scale_up(nanoseconds, timebase_hz_, kNanosecondsPerSecond);
    }
    // How long so many ticks last, rounded up; kNever stays never.
    uint64_t nanoseconds_of(uint64_t ticks) const {
        return scale_up(ticks, kNanosecondsPerSecond, timebase_hz_);
    }
    // Nanoseconds of host time to sleep from now until `tick`.
    uint64_t nanoseconds_until(uint64_t tick, uint64_t cycles) const;

    // True where time passes only as cycles are executed.
    virtual bool skips_idle_time() const = 0;
    // Moves such a time on by cycles in which nothing was completed.
    virtual void skip_cycles(uint64_t cycles) = 0;

  protected:
    const uint64_t timebase_hz_;
};

// The clock of a VM whose CPUs take turns, in cycles: what one CPU executes, `sharers` CPUs would
// have executed in the same time, so it moves on by 1 / sharers a cycle. Moved by whoever has the
// turn; read by any thread.
class VirtualClock {
  public:
    uint64_t cycles() const { return cycles_.load(std::memory_order_relaxed); }
    // What cycles() will be when so many cycles were executed.
    uint64_t after(uint64_t executed, unsigned sharers) const {
        return sharers == 1 ? cycles() + executed : cycles() + (executed + rest(sharers)) / sharers;
    }
    // Cycles to execute until cycles() is `cycle`; 0 if it has been.
    uint64_t executed_until(uint64_t cycle, unsigned sharers) const;
    void advance(uint64_t executed, unsigned sharers);
    void skip_to(uint64_t cycle);

  private:
    uint64_t rest(unsigned sharers) const { return sharers == sharers_ ? rest_ : 0; }

    std::atomic<uint64_t> cycles_{0};
    uint64_t rest_ = 0;  // executed, but less than a cycle of the clock: in units of 1 / sharers_
    unsigned sharers_ = 1;
};

// A CPU's view of the virtual clock: ticks are its cycles * timebase_hz / cpu_hz. While the CPU has
// its turn the clock follows the cycles that its core counts.
class VirtualTime final : public GuestTime {
  public:
    VirtualTime(VirtualClock& clock, uint64_t timebase_hz, uint64_t cpu_hz)
        : GuestTime(timebase_hz), clock_(clock), cpu_hz_(cpu_hz) {}

    // A turn of a core whose cycle total is `cycles`; move_on() tells the clock where it is.
    void begin_turn(uint64_t cycles, unsigned sharers);
    void move_on(uint64_t cycles);
    void end_turn(uint64_t cycles);
    // The first cycle of the clock that shows the tick.
    uint64_t cycle_of(uint64_t tick) const { return scale_up(tick, cpu_hz_, timebase_hz_); }

    uint64_t ticks(uint64_t cycles) const override;
    uint64_t cycles_until(uint64_t tick, uint64_t cycles) const override;
    bool skips_idle_time() const override { return true; }
    void skip_cycles(uint64_t cycles) override;

  private:
    uint64_t now(uint64_t cycles) const {
        return on_turn_ ? clock_.after(cycles - told_, sharers_) : clock_.cycles();
    }

    VirtualClock& clock_;
    const uint64_t cpu_hz_;
    bool on_turn_ = false;
    uint64_t told_ = 0;  // cycles of the core that the clock knows of
    unsigned sharers_ = 1;
};

// Ticks of the host's monotonic clock since the VM was made.
class HostTime final : public GuestTime {
  public:
    explicit HostTime(uint64_t timebase_hz);

    uint64_t ticks(uint64_t cycles) const override;
    uint64_t cycles_until(uint64_t /*tick*/, uint64_t /*cycles*/) const override { return kNever; }
    bool skips_idle_time() const override { return false; }
    void skip_cycles(uint64_t /*cycles*/) override {}

  private:
    const uint64_t start_;  // nanoseconds of CLOCK_MONOTONIC
};

// CLOCK_MONOTONIC in nanoseconds.
uint64_t host_nanoseconds();

}  // namespace perfvisor::kvm
