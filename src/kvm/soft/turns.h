// SPDX-License-Identifier: GPL-2.0-or-later
// The virtual clock's vCPUs take turns, in an order that only the guest decides.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "kvm/soft/guest_time.h"

namespace perfvisor::kvm {

class SoftVcpu;

// How a turn, or a part of one, ended.
struct Turn {
    enum class End : uint8_t {
        Over,   // the cycles are used up
        Idle,   // the CPU waits
        Stuck,  // nothing of its own can change its course
        Exit,   // KVM_RUN returns
    };
    End end = End::Over;
    uint64_t wake_at = kNever;  // Idle: the clock's cycle at which it goes on by itself
    bool for_ever = false;      // Idle, and the VMM wants to hear when all CPUs are (KVM_EXIT_HLT)
    int result = 0;             // Exit: what KVM_RUN gives
    bool kicked = false;        // Exit, but for no reason that the guest gave
    uint64_t executed = 0;      // cycles
};

// One vCPU executes at a time, for up to kTurn cycles, then the next one that has something to do,
// in the order of their ids. The order depends on nothing but what the guest did: what one CPU does
// to another happens while it has the turn, and an exit to the VMM keeps the turn until KVM_RUN is
// entered again. Where all wait, the clock jumps to what comes first.
//
// The threads are in KVM_RUN as with any KVM. One of them executes whichever core has the turn; it
// hands over to another thread only where that one's vCPU exits.
class Turns {
  public:
    // Long enough that changing cores is cheap, short enough for what one CPU waits for another.
    static constexpr uint64_t kTurn = 10'000;
    // With one CPU: how long until a request is seen.
    static constexpr uint64_t kTurnAlone = 100'000;

    explicit Turns(VirtualClock& clock) : clock_(clock) {}

    void join(SoftVcpu& vcpu);
    void leave(SoftVcpu& vcpu);
    // The vCPU, which is not in KVM_RUN, was reset: what its turns came to before is no more, and a
    // turn that it left with is over.
    void reset(SoftVcpu& vcpu);
    // KVM_RUN on the vCPU's own thread.
    int run(SoftVcpu& vcpu);
    // True while a thread executes, and looks at every CPU's turn after: then there is no need to
    // wake up the one that was asked something.
    bool attended() const { return conducting_.load(); }
    // Nothing goes on but by what comes from outside.
    bool idle() const { return idle_.load(); }

  private:
    struct Seat {
        SoftVcpu* vcpu;
        bool inside = false;    // its thread is in KVM_RUN
        bool away = false;      // it left with the turn, and nothing executes until it is back
        bool hopeless = false;  // it left with KVM_EXIT_HLT
        Turn last{};
        std::optional<int> exit{};  // KVM_RUN is to return this
        std::atomic<bool> called{false};
    };

    Seat& seat_of(SoftVcpu& vcpu);
    void conduct(std::unique_lock<std::mutex>& lock, Seat& own);
    bool execute_next(std::unique_lock<std::mutex>& lock, Seat& own);
    void settle(Seat& seat, const Turn& turn, Seat& own);
    Seat* choose();
    bool wants_turn(const Seat& seat) const;
    bool is_active(const Seat& seat) const;
    uint64_t due(const Seat& seat) const;
    uint64_t earliest_due() const;
    unsigned sharers(const Seat& executing) const;
    Seat* last_of_the_stuck();
    static void call(Seat& seat);
    void call_all();

    VirtualClock& clock_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Seat>> seats_;  // by id
    Seat* holder_ = nullptr;                    // whose turn it is or was
    size_t next_ = 0;                           // where to look when the turn is over
    uint64_t left_ = 0;                         // cycles of the turn
    const SoftVcpu* executed_last_ = nullptr;
    std::atomic<bool> conducting_{false};  // changed under mutex_, as is the next
    std::atomic<bool> idle_{false};
};

}  // namespace perfvisor::kvm
