// SPDX-License-Identifier: GPL-2.0-or-later
// Counting a stretch of a guest's course that the guest itself marks (KVM_SOFT_SET_WINDOW), apart
// for user and supervisor mode.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "core/core.h"
#include "kvm/soft/guest_time.h"
#include "kvm/uapi/kvm_soft.h"

namespace perfvisor::kvm {

// The VM's window: where it stands, for all vCPUs.
struct CountWindow {
    enum State : uint32_t {
        kAhead = KVM_SOFT_WINDOW_AHEAD,
        kOpen = KVM_SOFT_WINDOW_OPEN,
        kClosed = KVM_SOFT_WINDOW_CLOSED,
    };
    uint32_t open_mark = 0, close_mark = 0;  // equal: there is none
    uint32_t model_parts = 0;                // of the timing model, that run while it is open
    std::atomic<uint32_t> state{kAhead};
    std::atomic<uint64_t> opened_at{0}, closed_at{0};  // nanoseconds of guest time

    bool exists() const { return open_mark != close_mark; }
};

// What one vCPU does in it. All calls but the constructor come on the thread that has the core.
class WindowCounts final : public core::Core::CountListener {
  public:
    // `all_look` makes the other vCPUs look() soon.
    WindowCounts(core::Core& core, CountWindow& window, const GuestTime& time,
                 std::function<void()> all_look)
        : core_(core), window_(window), time_(time), all_look_(std::move(all_look)) {}

    void data_acquired(uint32_t value) override;
    void privilege_changes() override;

    // At an instruction boundary: whether another vCPU has opened or closed the window.
    void look();

    struct Counts {
        core::Totals totals;
        core::ModelledTotals modelled;
    };
    const Counts& user() const { return user_; }
    const Counts& supervisor() const { return supervisor_; }

  private:
    void begin();
    // What the totals have gained since the last call goes to the mode that MSR is in.
    void settle(const core::Totals& now);
    void end(const core::Totals& now);

    core::Core& core_;
    CountWindow& window_;
    const GuestTime& time_;
    const std::function<void()> all_look_;
    bool marked_ = false;  // `open` was written; the window opens at the next system call
    uint64_t calls_ = 0;   // system calls and traps when it was
    bool counting_ = false;
    Counts settled_, user_, supervisor_;
};

// KVM_SOFT_GET_WINDOW.
int window_counts(const WindowCounts& counts, const CountWindow& window,
                  kvm_soft_window_counts& request);

}  // namespace perfvisor::kvm
