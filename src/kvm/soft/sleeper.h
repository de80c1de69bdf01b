// SPDX-License-Identifier: GPL-2.0-or-later
// Where a vCPU with nothing to do waits: for a wake-up, a signal or a time.
#pragma once

#include <signal.h>

#include <atomic>
#include <cstdint>
#include <functional>

#include "base/unique_fd.h"
#include "kvm/soft/guest_time.h"
#include "kvm/soft/halt_poll.h"

namespace perfvisor::kvm {

class Sleeper {
  public:
    Sleeper();

    // False if the kernel gave no descriptor: then sleep() returns at once.
    bool valid() const { return static_cast<bool>(event_); }

    // From any thread or signal handler, after changing what the sleeper looks at. That is
    // changed and looked at with sequentially consistent operations.
    void wake();

    // Sleeps for at most `nanoseconds` (kNever: without end) unless `stay` is or becomes false;
    // it is looked at with every signal blocked, so a signal that comes after it ends the sleep.
    // False if a signal ended it. With `poll` it looks for as long as that says before it sleeps.
    bool sleep(uint64_t nanoseconds, const std::function<bool()>& stay, HaltPoll* poll = nullptr);

  private:
    // True if the wait is over; if not, `nanoseconds` is what is left of it.
    static bool look(uint64_t& nanoseconds, const std::function<bool()>& stay, HaltPoll& poll);
    // The thread sleeps, with these signals blocked only.
    bool block(uint64_t nanoseconds, const std::function<bool()>& stay, const sigset_t& signals);

    UniqueFd event_;
    std::atomic<bool> sleeping_{false};
};

}  // namespace perfvisor::kvm
