// SPDX-License-Identifier: GPL-2.0-or-later
// Counting a stretch of a guest's course that the guest itself marks (KVM_SOFT_SET_WINDOW), apart
// for user and supervisor mode.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "core/core.h"
#include "kvm/soft/guest_time.h"
#include "kvm/soft/mode_counts.h"
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
class WindowCounts {
  public:
    // `all_look` makes all vCPUs, this one too, look() soon; the own one before its next
    // instruction.
    WindowCounts(core::Core& core, CountWindow& window, ModeCounts& modes, const GuestTime& time,
                 std::function<void()> all_look)
        : core_(core),
          window_(window),
          modes_(modes),
          time_(time),
          all_look_(std::move(all_look)) {}

    // core::Core::CountListener.
    void data_acquired(uint32_t value);
    void privilege_changes();

    // At an instruction boundary: whether another vCPU has opened or closed the window.
    void look();
    bool counting() const { return counting_; }
    // At the boundary at which it has opened: the timing model's counts begin here, without those
    // of the instruction that opened it.
    void model_begins();

    Counts user() const { return counting_ ? modes_.user().since(opened_user_) : user_; }
    Counts supervisor() const {
        return counting_ ? modes_.supervisor().since(opened_supervisor_) : supervisor_;
    }

  private:
    void begin();
    void end(const core::Totals& now);

    core::Core& core_;
    CountWindow& window_;
    ModeCounts& modes_;
    const GuestTime& time_;
    const std::function<void()> all_look_;
    bool marked_ = false;  // `open` was written; the window opens at the next system call
    uint64_t calls_ = 0;   // system calls and traps when it was
    bool counting_ = false;
    Counts opened_user_, opened_supervisor_;  // modes_ when it opened
    Counts user_, supervisor_;
};

// KVM_SOFT_GET_WINDOW.
int window_counts(const WindowCounts& counts, const CountWindow& window,
                  kvm_soft_window_counts& request);

}  // namespace perfvisor::kvm
