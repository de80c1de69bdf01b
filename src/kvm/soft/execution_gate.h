// SPDX-License-Identifier: GPL-2.0-or-later
// Lets a VM change what its running vCPUs look at (memory slots) while none of them looks.
#pragma once

#include <condition_variable>
#include <mutex>

namespace perfvisor::kvm {

class ExecutionGate {
  public:
    // A vCPU between enter() and leave() may use what is only changed under a Pause. enter() waits
    // for the end of one.
    void enter() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !paused_; });
        ++inside_;
    }
    void leave() {
        const std::lock_guard lock(mutex_);
        --inside_;
        if (paused_ && inside_ == 0) changed_.notify_all();
    }

    class Inside {
      public:
        explicit Inside(ExecutionGate& gate) : gate_(gate) { gate_.enter(); }
        ~Inside() { gate_.leave(); }
        Inside(const Inside&) = delete;
        Inside& operator=(const Inside&) = delete;

      private:
        ExecutionGate& gate_;
    };

    // While it lives no vCPU is inside. `hurry` makes those that are come out soon. Never made by
    // a thread that is inside.
    class Pause {
      public:
        template <typename Hurry>
        Pause(ExecutionGate& gate, Hurry hurry) : gate_(gate) {
            std::unique_lock lock(gate_.mutex_);
            gate_.changed_.wait(lock, [&] { return !gate_.paused_; });
            gate_.paused_ = true;
            hurry();
            gate_.changed_.wait(lock, [&] { return gate_.inside_ == 0; });
        }
        ~Pause() {
            const std::lock_guard lock(gate_.mutex_);
            gate_.paused_ = false;
            gate_.changed_.notify_all();
        }
        Pause(const Pause&) = delete;
        Pause& operator=(const Pause&) = delete;

      private:
        ExecutionGate& gate_;
    };

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    unsigned inside_ = 0;
    bool paused_ = false;
};

}  // namespace perfvisor::kvm
