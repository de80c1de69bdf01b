// SPDX-License-Identifier: GPL-2.0-or-later
// What a vCPU does, apart for user and supervisor mode, for those outside the guest who want it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "core/core.h"

namespace perfvisor::kvm {

struct Counts {
    core::Totals totals;
    core::ModelledTotals modelled;

    Counts since(const Counts& earlier) const;
};

// One vCPU's counts by mode. All calls come on the thread that has the core, with exact totals.
class ModeCounts {
  public:
    explicit ModeCounts(const core::Core& core) : core_(core) {}

    bool on() const { return on_; }
    void start();
    void stop();
    // What has been counted up to now goes to the mode that MSR is in: before that changes, and
    // before anybody looks. Nothing while it is off.
    void settle() { settle(core_.state.totals); }
    // The same where the last instruction is not to be counted yet.
    void settle(const core::Totals& now);

    // Since the vCPU was made, while it was on.
    const Counts& user() const { return user_; }
    const Counts& supervisor() const { return supervisor_; }

  private:
    const core::Core& core_;
    bool on_ = false;
    Counts settled_, user_, supervisor_;
};

// What is asked of all vCPUs of a VM (KVM_SOFT_COUNT_EVENTS). Any thread.
class CountRequests {
  public:
    // Parts of the timing model (namespace timing_part) that are wanted beside the modes.
    void add(uint32_t model_parts);
    // False if it was not added.
    bool remove(uint32_t model_parts);

    bool by_mode() const { return (wanted_.load(std::memory_order_acquire) & kByMode) != 0; }
    uint32_t model_parts() const {
        return wanted_.load(std::memory_order_acquire) & core::timing_part::kAll;
    }

  private:
    static constexpr uint32_t kByMode = 0x80000000;
    void publish();

    std::mutex mutex_;
    unsigned users_ = 0;
    std::array<unsigned, 4> part_users_{};  // by bit of timing_part
    std::atomic<uint32_t> wanted_{0};
};

}  // namespace perfvisor::kvm
