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

    // True where time passes only as cycles are executed: a waiting CPU's time is then moved on
    // with skip_to.
    virtual bool skips_idle_time() const = 0;
    virtual void skip_to(uint64_t tick, uint64_t cycles) = 0;
    // The same for a number of cycles in which nothing was completed.
    virtual void skip_cycles(uint64_t cycles) = 0;

  protected:
    const uint64_t timebase_hz_;
};

// Ticks are (cycles executed + cycles skipped while idle) * timebase_hz / cpu_hz. For one vCPU.
class VirtualTime final : public GuestTime {
  public:
    VirtualTime(uint64_t timebase_hz, uint64_t cpu_hz) : GuestTime(timebase_hz), cpu_hz_(cpu_hz) {}

    uint64_t ticks(uint64_t cycles) const override;
    uint64_t cycles_until(uint64_t tick, uint64_t cycles) const override;
    bool skips_idle_time() const override { return true; }
    void skip_to(uint64_t tick, uint64_t cycles) override;
    void skip_cycles(uint64_t cycles) override;

  private:
    const uint64_t cpu_hz_;
    std::atomic<uint64_t> skipped_{0};  // cycles; read by other threads for KVM_SOFT_GET_TIME
};

// Ticks of the host's monotonic clock since the VM was made.
class HostTime final : public GuestTime {
  public:
    explicit HostTime(uint64_t timebase_hz);

    uint64_t ticks(uint64_t cycles) const override;
    uint64_t cycles_until(uint64_t /*tick*/, uint64_t /*cycles*/) const override { return kNever; }
    bool skips_idle_time() const override { return false; }
    void skip_to(uint64_t /*tick*/, uint64_t /*cycles*/) override {}
    void skip_cycles(uint64_t /*cycles*/) override {}

  private:
    const uint64_t start_;  // nanoseconds of CLOCK_MONOTONIC
};

// CLOCK_MONOTONIC in nanoseconds.
uint64_t host_nanoseconds();

}  // namespace perfvisor::kvm
