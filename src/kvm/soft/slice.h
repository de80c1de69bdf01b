// SPDX-License-Identifier: GPL-2.0-or-later
// How many instructions an engine gets before the run loop looks at clocks and requests again.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kvm/soft/guest_time.h"

namespace perfvisor::kvm {

// With the host's clock, timers are seen when a slice ends, so slices last about 100 us of host
// time at the speed measured so far, and less where a timer is due sooner.
class SlicePacer {
  public:
    static constexpr uint64_t kSliceNanoseconds = 100'000;
    static constexpr uint64_t kShortest = 200;  // instructions; below, the loop itself dominates
    static constexpr uint64_t kLongest = 1'000'000;

    // Instructions for a slice that should end within `nanoseconds` (kNever: whenever).
    uint64_t instructions(uint64_t nanoseconds) const {
        const uint64_t time = std::min(nanoseconds, kSliceNanoseconds);
        return std::clamp(time * per_microsecond_ / 1000, kShortest, kLongest);
    }

    // A slice of `instructions` took `nanoseconds`. Very short ones say more about the loop.
    void measured(uint64_t instructions, uint64_t nanoseconds) {
        if (instructions < kShortest || nanoseconds == 0) return;
        const uint64_t speed =
            std::clamp<uint64_t>(instructions * 1000 / nanoseconds, 1, 1'000'000);
        // Slower is believed at once, faster little by little: late timers are what hurts.
        per_microsecond_ = speed < per_microsecond_ ? speed : (3 * per_microsecond_ + speed) / 4;
    }

  private:
    uint64_t per_microsecond_ = 10;  // instructions; a slow start
};

}  // namespace perfvisor::kvm
