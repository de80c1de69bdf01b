// SPDX-License-Identifier: GPL-2.0-or-later
// Where the guest's time comes from.
#include "kvm/soft/guest_time.h"

#include <time.h>

namespace perfvisor::kvm {

namespace {

// value * to / from in its whole and its fractional part, where both fit.
uint64_t scale(uint64_t value, uint64_t to, uint64_t from, uint64_t round) {
    const uint64_t whole = value / from;
    const uint64_t rest = value % from;
    if (to != 0 && whole > kNever / to) return kNever;
    const uint64_t part = (rest * to + round) / from;
    return part > kNever - whole * to ? kNever : whole * to + part;
}

}  // namespace

uint64_t scale_down(uint64_t value, uint64_t to, uint64_t from) {
    return scale(value, to, from, 0);
}

uint64_t scale_up(uint64_t value, uint64_t to, uint64_t from) {
    return scale(value, to, from, from - 1);
}

uint64_t GuestTime::nanoseconds_until(uint64_t tick, uint64_t cycles) const {
    const uint64_t now = ticks(cycles);
    return tick <= now ? 0 : nanoseconds_of(tick - now);
}

uint64_t VirtualClock::executed_until(uint64_t cycle, unsigned sharers) const {
    const uint64_t now = cycles();
    if (cycle <= now) return 0;
    const uint64_t ahead = cycle - now;
    return ahead > kNever / sharers ? kNever : ahead * sharers - rest(sharers);
}

void VirtualClock::advance(uint64_t executed, unsigned sharers) {
    if (executed == 0) return;
    const uint64_t parts = executed + rest(sharers);
    cycles_.store(cycles() + parts / sharers, std::memory_order_relaxed);
    rest_ = parts % sharers;
    sharers_ = sharers;
}

void VirtualClock::skip_to(uint64_t cycle) {
    if (cycle > cycles()) cycles_.store(cycle, std::memory_order_relaxed);
}

void VirtualTime::begin_turn(uint64_t cycles, unsigned sharers) {
    on_turn_ = true;
    told_ = cycles;
    sharers_ = sharers;
}

void VirtualTime::move_on(uint64_t cycles) {
    if (!on_turn_) return;
    clock_.advance(cycles - told_, sharers_);
    told_ = cycles;
}

void VirtualTime::end_turn(uint64_t cycles) {
    move_on(cycles);
    on_turn_ = false;
}

uint64_t VirtualTime::ticks(uint64_t cycles) const {
    return scale_down(now(cycles), timebase_hz_, cpu_hz_);
}

uint64_t VirtualTime::cycles_until(uint64_t tick, uint64_t cycles) const {
    const uint64_t target = cycle_of(tick);
    if (target == kNever) return kNever;
    if (!on_turn_) return clock_.executed_until(target, 1);
    const uint64_t from_told = clock_.executed_until(target, sharers_);
    const uint64_t executed = cycles - told_;
    return from_told <= executed ? 0 : from_told - executed;
}

void VirtualTime::skip_cycles(uint64_t cycles) {
    clock_.skip_to(clock_.cycles() + cycles);
}

HostTime::HostTime(uint64_t timebase_hz) : GuestTime(timebase_hz), start_(host_nanoseconds()) {}

uint64_t HostTime::ticks(uint64_t /*cycles*/) const {
    return scale_down(host_nanoseconds() - start_, timebase_hz_, kNanosecondsPerSecond);
}

uint64_t host_nanoseconds() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * kNanosecondsPerSecond +
           static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace perfvisor::kvm
