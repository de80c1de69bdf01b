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

uint64_t VirtualTime::ticks(uint64_t cycles) const {
    return scale_down(cycles + skipped_.load(std::memory_order_relaxed), timebase_hz_, cpu_hz_);
}

uint64_t VirtualTime::cycles_until(uint64_t tick, uint64_t cycles) const {
    const uint64_t target = scale_up(tick, cpu_hz_, timebase_hz_);
    if (target == kNever) return kNever;
    const uint64_t now = cycles + skipped_.load(std::memory_order_relaxed);
    return target <= now ? 0 : target - now;
}

void VirtualTime::skip_to(uint64_t tick, uint64_t cycles) {
    const uint64_t idle = cycles_until(tick, cycles);
    if (idle != kNever) skip_cycles(idle);
}

void VirtualTime::skip_cycles(uint64_t cycles) {
    skipped_.fetch_add(cycles, std::memory_order_relaxed);
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
