// SPDX-License-Identifier: GPL-2.0-or-later
// How long a vCPU with nothing to do looks for a wake-up itself before its thread sleeps.
#pragma once

#include <algorithm>
#include <cstdint>

namespace perfvisor::kvm {

// Putting a thread to sleep and waking it up takes the host some ten microseconds at either end,
// which is more than most interprocessor interrupts and their answers take. As Linux's KVM does it:
// waits that end soon make the window longer, one that is long closes it. So an idle CPU does not
// look at all, and costs nothing.
class HaltPoll {
  public:
    static constexpr uint64_t kFirstNanoseconds = 10'000;
    static constexpr uint64_t kMostNanoseconds = 100'000;
    // Between two looks: then another thread had the host's CPU, and needs it more.
    static constexpr uint64_t kCrowdedNanoseconds = 20'000;

    // To look for, from the beginning of a wait.
    uint64_t window() const { return window_; }

    // A wait has ended that lasted so long, with the host's waking up.
    void waited(uint64_t nanoseconds) {
        if (nanoseconds > kMostNanoseconds)
            window_ = 0;
        else if (nanoseconds > window_)
            window_ = std::clamp(2 * window_, kFirstNanoseconds, kMostNanoseconds);
    }

    void crowded() { window_ = 0; }

  private:
    uint64_t window_ = 0;
};

}  // namespace perfvisor::kvm
