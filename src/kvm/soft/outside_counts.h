// SPDX-License-Identifier: GPL-2.0-or-later
// All that one vCPU counts for those outside the guest: its modes apart, the VM's window, and the
// timing model's run for them. Nothing of it is seen in the guest.
#pragma once

#include <functional>

#include "core/core.h"
#include "kvm/soft/count_window.h"
#include "kvm/soft/event_totals.h"
#include "kvm/soft/mode_counts.h"

namespace perfvisor::kvm {

// All calls but the constructor come on the thread that has the core.
class OutsideCounts final : public core::Core::CountListener {
  public:
    OutsideCounts(core::Core& core, const CountRequests& requests, CountWindow& window,
                  const GuestTime& time, std::function<void()> others_look);

    void data_acquired(uint32_t value) override;
    void privilege_changes() override;

    // At an instruction boundary: does what is now asked for.
    void look();
    // The core is about to be reset, or anything else that changes MSR past privilege_changes().
    void settle() { modes_.settle(); }
    CountsSnapshot snapshot();
    const WindowCounts& window() const { return window_; }

  private:
    core::Core& core_;
    const CountRequests& requests_;
    CountWindow& vm_window_;
    ModeCounts modes_;
    WindowCounts window_;
    bool window_seen_ = false;  // counting when look() last looked
};

}  // namespace perfvisor::kvm
