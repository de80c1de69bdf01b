// SPDX-License-Identifier: GPL-2.0-or-later
// Time base, decrementer, fixed-interval timer and watchdog (EREF chapter 8).
#include "core/timers.h"

#include <algorithm>

namespace perfvisor::core {
namespace {

// TCR and TSR bits.
constexpr uint32_t kTcrWrc = 0x30000000, kTcrWie = 0x08000000, kTcrDie = 0x04000000,
                   kTcrFie = 0x00800000, kTcrAre = 0x00400000, kTcrBits = 0xffdfe000;
constexpr uint32_t kTsrEnw = 0x80000000, kTsrWis = 0x40000000, kTsrWrs = 0x30000000,
                   kTsrDis = 0x08000000, kTsrFis = 0x04000000,
                   kTsrBits = kTsrEnw | kTsrWis | kTsrWrs | kTsrDis | kTsrFis;

// The time base bit (0 the least significant) that the fixed-interval timer or the watchdog looks
// at: WPEXT || WP and FPEXT || FP count from the most significant one.
unsigned watchdog_bit(uint32_t tcr) {
    return 63 - ((tcr >> 30 & 3) | (tcr >> 17 & 15) << 2);
}
unsigned fixed_interval_bit(uint32_t tcr) {
    return 63 - ((tcr >> 24 & 3) | (tcr >> 13 & 15) << 2);
}

// How often the bit has gone from 0 to 1 as a counter went from 0 to `time`.
uint64_t rises_since_zero(uint64_t time, unsigned bit) {
    return (bit == 63 ? 0 : time >> (bit + 1)) + (time >> bit & 1);
}

// How often it does as the counter goes from `from` to `to`, at most once around.
uint64_t rises(uint64_t from, uint64_t to, unsigned bit) {
    const uint64_t count = rises_since_zero(to, bit) - rises_since_zero(from, bit);
    return to >= from ? count : count + (uint64_t{1} << (63 - bit));
}

// Ticks until the bit next goes from 0 to 1, 1 or more; modulo 2^64 this is right for bit 63 too,
// where a whole turn is as good as never.
uint64_t ticks_to_rise(uint64_t time, unsigned bit) {
    const uint64_t half = uint64_t{1} << bit;
    const uint64_t phase = time & (half * 2 - 1);
    const uint64_t ticks = phase < half ? half - phase : half * 3 - phase;
    return ticks == 0 ? ~uint64_t{0} : ticks;
}

uint64_t saturating_add(uint64_t a, uint64_t b) {
    return b > ~uint64_t{0} - a ? ~uint64_t{0} : a + b;
}

}  // namespace

Timers::Timers(CpuState& state, const TimeSource& source) : state_(state), source_(source) {
    reset();
}

void Timers::reset() {
    offset_ = 0;  // the source's own count, so that all cores of a VM agree
    last_time_base_ = 0;
    dec_zero_ = kNever;
    decar_ = tcr_ = tsr_ = 0;
    reset_request_ = 0;
}

uint64_t Timers::running() const {
    return source_.ticks(state_.totals.cycles());
}

uint64_t Timers::time_base() const {
    return running() + offset_;
}

void Timers::write_tbl(uint32_t value) {
    write_time_base((time_base() & ~uint64_t{0xffffffff}) | value);
}

void Timers::write_tbu(uint32_t value) {
    write_time_base((time_base() & 0xffffffff) | uint64_t{value} << 32);
}

// A bit that the write takes from 0 to 1 counts as a transition (EREF chapter 8).
void Timers::write_time_base(uint64_t value) {
    update();
    const uint64_t old = time_base();
    const uint64_t risen = ~old & value;
    if (risen >> fixed_interval_bit(tcr_) & 1) tsr_ |= kTsrFis;
    if (risen >> watchdog_bit(tcr_) & 1) watchdog_time_outs(1);
    offset_ += value - old;
    last_time_base_ = value;
}

uint32_t Timers::decrementer() const {
    if (dec_zero_ == kNever) return 0;
    const uint64_t now = running();
    if (now < dec_zero_) return static_cast<uint32_t>(dec_zero_ - now);
    if (!(tcr_ & kTcrAre) || decar_ == 0) return 0;
    return static_cast<uint32_t>(decar_ - (now - dec_zero_) % decar_);
}

// Writing 0 stops the decrementer and is no event (EREF chapter 8).
void Timers::write_decrementer(uint32_t value) {
    update();
    dec_zero_ = value == 0 ? kNever : running() + value;
}

void Timers::write_decar(uint32_t value) {
    update();
    decar_ = value;
}

uint32_t Timers::decar() const {
    return decar_;
}

uint32_t Timers::tcr() const {
    return tcr_;
}

// Once software has set TCR[WRC], only a reset clears it (EREF, TCR).
void Timers::write_tcr(uint32_t value) {
    update();
    const uint32_t sticky = tcr_ & kTcrWrc;
    tcr_ = value & kTcrBits;
    if (sticky) tcr_ = (tcr_ & ~kTcrWrc) | sticky;
}

uint32_t Timers::tsr() const {
    return tsr_;
}

void Timers::clear_tsr(uint32_t mask) {
    update();
    tsr_ &= ~mask;
}

void Timers::set_tsr(uint32_t mask) {
    update();
    tsr_ |= mask & kTsrBits;
}

unsigned Timers::update() {
    const uint64_t now = running();
    update_decrementer(now);
    const uint64_t time = now + offset_;
    if (time != last_time_base_) {
        if (rises(last_time_base_, time, fixed_interval_bit(tcr_)) > 0) tsr_ |= kTsrFis;
        watchdog_time_outs(rises(last_time_base_, time, watchdog_bit(tcr_)));
        last_time_base_ = time;
    }
    return reset_request_;
}

// With auto-reload the value after 1 is DECAR, so the period is DECAR ticks (EREF, DECAR).
void Timers::update_decrementer(uint64_t now) {
    if (dec_zero_ > now || dec_zero_ == kNever) return;
    tsr_ |= kTsrDis;
    if ((tcr_ & kTcrAre) && decar_ != 0)
        dec_zero_ += ((now - dec_zero_) / decar_ + 1) * decar_;
    else
        dec_zero_ = kNever;
}

// The watchdog's states: ENW, then WIS, then the reset that TCR[WRC] asks for (EREF, watchdog).
void Timers::watchdog_time_outs(uint64_t count) {
    for (uint64_t n = std::min<uint64_t>(count, 3); n > 0; --n) {
        if (!(tsr_ & kTsrEnw)) {
            tsr_ |= kTsrEnw;
        } else if (!(tsr_ & kTsrWis)) {
            tsr_ |= kTsrWis;
        } else if (tcr_ & kTcrWrc) {
            tsr_ = (tsr_ & ~kTsrWrs) | (tcr_ & kTcrWrc);
            reset_request_ = (tcr_ & kTcrWrc) >> 28;
        }
    }
}

bool Timers::decrementer_pending() const {
    return (tsr_ & kTsrDis) && (tcr_ & kTcrDie);
}

bool Timers::fixed_interval_pending() const {
    return (tsr_ & kTsrFis) && (tcr_ & kTcrFie);
}

bool Timers::watchdog_pending() const {
    return (tsr_ & kTsrWis) && (tcr_ & kTcrWie);
}

uint64_t Timers::ticks_to_next_event() const {
    const uint64_t now = running(), time = now + offset_;
    uint64_t ticks = kNever;
    if (dec_zero_ != kNever && !(tsr_ & kTsrDis)) ticks = dec_zero_ > now ? dec_zero_ - now : 0;
    // Time that update() has not looked at yet may hold the transition.
    const uint64_t unseen = time - last_time_base_;
    const auto next_rise = [&](unsigned bit) {
        const uint64_t rise = ticks_to_rise(last_time_base_, bit);
        return rise > unseen ? rise - unseen : 0;
    };
    if (!(tsr_ & kTsrFis)) ticks = std::min(ticks, next_rise(fixed_interval_bit(tcr_)));
    const bool watchdog_rests =
        (tsr_ & kTsrEnw) && (tsr_ & kTsrWis) && ((tcr_ & kTcrWrc) == 0 || reset_request_ != 0);
    if (!watchdog_rests) ticks = std::min(ticks, next_rise(watchdog_bit(tcr_)));
    return ticks;
}

uint64_t Timers::next_event_tick() const {
    const uint64_t ticks = ticks_to_next_event();
    return ticks == kNever ? kNever : saturating_add(time_base(), ticks);
}

uint64_t Timers::cycles_to_next_event() const {
    const uint64_t ticks = ticks_to_next_event();
    if (ticks == kNever) return kNever;
    const uint64_t cycles = state_.totals.cycles();
    return source_.cycles_until(saturating_add(source_.ticks(cycles), ticks), cycles);
}

}  // namespace perfvisor::core
