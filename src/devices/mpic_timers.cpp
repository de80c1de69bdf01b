// SPDX-License-Identifier: GPL-2.0-or-later
// The MPIC's two groups of four global timers. They are not counted down: what a counter holds is
// worked out from the clock when somebody looks, and at the deadline of the next interrupt.
#include <algorithm>

#include "devices/mpic.h"

namespace perfvisor::devices {

namespace {

constexpr uint32_t kCountInhibit = 0x80000000;  // GTBCR[CI]
constexpr uint32_t kToggle = 0x80000000;        // GTCCR[TOG]
constexpr uint32_t kCount = 0x7fffffff;
constexpr uint32_t kClockRatio = 0x00000300;  // TCR[CLKR]: 8, 16, 32 or 64 platform clocks a tick.
constexpr uint32_t kMaskBit = 0x80000000;     // GTVPR[MSK]

constexpr uint64_t kNanosecondsPerSecond = 1000000000;

}  // namespace

uint64_t Mpic::tick_nanoseconds(const TimerGroup& group) const {
    return kNanosecondsPerSecond / kTimerHz << ((group.control & kClockRatio) >> 8);
}

// Lets one timer (0–7, both groups) reach the present: reloads it as often as it ran out, and
// raises its interrupt once.
void Mpic::expire(unsigned index) {
    TimerGroup& group = state_.groups[index / kTimersPerGroup];
    Timer& timer = group.timers[index % kTimersPerGroup];
    if (!timer.running) return;
    const uint64_t tick = tick_nanoseconds(group);
    const uint64_t present = now();
    const uint64_t elapsed = present > timer.origin ? (present - timer.origin) / tick : 0;
    if (elapsed < timer.count) return;
    const uint64_t period = timer.base & kCount;
    const uint64_t reloads = period != 0 ? (elapsed - timer.count) / period : 0;
    timer.toggle ^= ((reloads + 1) & 1) != 0;
    timer.origin += (timer.count + reloads * period) * tick;
    timer.count = static_cast<uint32_t>(period);
    // A base count of 0 would expire at every tick for ever; it stops the timer instead.
    timer.running = period != 0;
    const unsigned source = kFirstTimer + index;
    state_.sources[source].multicast |= targets(source);
    refresh(source);
}

void Mpic::expire_all() {
    for (unsigned index = 0; index < 2 * kTimersPerGroup; ++index)
        expire(index);
}

// When the first timer expires whose interrupt can be taken and is not pending yet; only for those
// does anybody need to wake up.
std::optional<uint64_t> Mpic::next_deadline() const {
    std::optional<uint64_t> next;
    for (unsigned index = 0; index < 2 * kTimersPerGroup && clock_; ++index) {
        const TimerGroup& group = state_.groups[index / kTimersPerGroup];
        const Timer& timer = group.timers[index % kTimersPerGroup];
        const Source& source = state_.sources[kFirstTimer + index];
        const bool has_effect = (source.ivpr & kMaskBit) == 0 &&
                                (targets(kFirstTimer + index) & ~source.multicast) != 0;
        if (!timer.running || !has_effect) continue;
        const uint64_t at = timer.origin + timer.count * tick_nanoseconds(group);
        next = std::min(next.value_or(at), at);
    }
    return next;
}

void Mpic::update_deadline() {
    const auto next = next_deadline();
    if (next == deadline_) return;
    deadline_ = next;
    if (outputs_.deadline) outputs_.deadline(next);
}

// Always says when to come next, since the caller has just used up the deadline it had.
void Mpic::run_timers() {
    const std::lock_guard lock(mutex_);
    expire_all();
    deadline_ = next_deadline();
    if (outputs_.deadline) outputs_.deadline(deadline_);
}

uint32_t Mpic::read_timer(unsigned group_index, uint32_t offset) {
    TimerGroup& group = state_.groups[group_index];
    if (offset == 0) return group.frequency;
    if (offset == 0x210) return group.control;
    const uint32_t reg = offset - 0x10;
    if (reg >= 0x100 || reg % 0x10 != 0) return 0;
    const unsigned index = group_index * kTimersPerGroup + reg / 0x40;
    const unsigned source = kFirstTimer + index;
    expire(index);
    update_deadline();
    const Timer& timer = group.timers[reg / 0x40];
    switch (reg % 0x40) {
        case 0x00: {  // GTCCR: current count.
            uint64_t count = timer.count;
            if (timer.running) {
                const uint64_t present = now();
                const uint64_t passed = present > timer.origin ? present - timer.origin : 0;
                count -= std::min(count, passed / tick_nanoseconds(group));
            }
            return static_cast<uint32_t>(count) | (timer.toggle ? kToggle : 0);
        }
        case 0x10:
            return timer.base;
        case 0x20:
            return read_ivpr(source);
        default:
            return state_.sources[source].idr;
    }
}

void Mpic::write_timer(unsigned group_index, uint32_t offset, uint32_t value) {
    TimerGroup& group = state_.groups[group_index];
    if (offset == 0) {
        group.frequency = value;
        return;
    }
    if (offset == 0x210) {
        write_timer_control(group, value);
        return;
    }
    const uint32_t reg = offset - 0x10;
    if (reg >= 0x100 || reg % 0x10 != 0) return;
    const unsigned index = group_index * kTimersPerGroup + reg / 0x40;
    switch (reg % 0x40) {
        case 0x10:
            write_base_count(index, value);
            break;
        case 0x20:
            write_ivpr(kFirstTimer + index, value);
            break;
        case 0x30:
            expire(index);
            write_idr(kFirstTimer + index, value);
            break;
        default:  // GTCCR is read-only.
            break;
    }
}

// Clearing CI starts the timer from the new base count; while it runs, a new base count waits for
// the next reload.
void Mpic::write_base_count(unsigned index, uint32_t value) {
    expire(index);
    TimerGroup& group = state_.groups[index / kTimersPerGroup];
    Timer& timer = group.timers[index % kTimersPerGroup];
    const bool was_inhibited = (timer.base & kCountInhibit) != 0;
    const bool inhibit = (value & kCountInhibit) != 0;
    if (inhibit && timer.running) {
        const uint64_t present = now();
        const uint64_t passed = present > timer.origin ? present - timer.origin : 0;
        timer.count -= static_cast<uint32_t>(
            std::min<uint64_t>(timer.count, passed / tick_nanoseconds(group)));
        timer.running = false;
    } else if (!inhibit && was_inhibited) {
        timer.count = value & kCount;
        timer.toggle = false;
        timer.origin = now();
        timer.running = timer.count != 0;
    }
    timer.base = value;
    update_deadline();
}

// Cascading and roll-over control (TCR[CASC, ROVR, RTM]) read back as 0: they are not there.
void Mpic::write_timer_control(TimerGroup& group, uint32_t value) {
    expire_all();
    const uint64_t present = now();
    const uint64_t tick = tick_nanoseconds(group);
    for (Timer& timer : group.timers) {
        if (!timer.running) continue;
        const uint64_t passed = present > timer.origin ? (present - timer.origin) / tick : 0;
        timer.count -= static_cast<uint32_t>(std::min<uint64_t>(timer.count, passed));
        timer.origin = present;
    }
    group.control = value & kClockRatio;
    update_deadline();
}

}  // namespace perfvisor::devices
