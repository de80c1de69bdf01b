// SPDX-License-Identifier: GPL-2.0-or-later
// The time base as a board can stop it.
#pragma once

#include <atomic>
#include <cstdint>

#include "kvm/soft/guest_time.h"

namespace perfvisor::kvm {

// What a core takes for its time: guest time without what passed while it was frozen. Freezing
// names the tick, so that time bases that are frozen and let go together stay equal to the tick,
// whenever each core looks.
class TimeBase final : public core::TimeSource {
  public:
    explicit TimeBase(const GuestTime& time) : time_(time) {}

    uint64_t ticks(uint64_t cycles) const override {
        const uint64_t frozen_at = frozen_at_.load();
        return frozen_at != kNever ? frozen_at : time_.ticks(cycles) - lost_.load();
    }
    uint64_t cycles_until(uint64_t tick, uint64_t cycles) const override {
        if (frozen() || tick > kNever - lost_.load()) return kNever;
        return time_.cycles_until(tick + lost_.load(), cycles);
    }

    bool frozen() const { return frozen_at_.load() != kNever; }
    // From one thread at a time. `tick` is one of guest time.
    void freeze(bool freeze, uint64_t tick) {
        if (freeze == frozen()) return;
        if (freeze) {
            frozen_at_ = tick - lost_.load();
        } else {
            lost_ = tick - frozen_at_.load();
            frozen_at_ = kNever;
        }
    }

  private:
    const GuestTime& time_;
    std::atomic<uint64_t> lost_{0};
    std::atomic<uint64_t> frozen_at_{kNever};
};

}  // namespace perfvisor::kvm
