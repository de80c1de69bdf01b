// SPDX-License-Identifier: GPL-2.0-or-later
// One vCPU of the KVM in user space: a core, its engine and the loop that runs it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "core/core.h"
#include "engine/engine.h"
#include "kvm/handles.h"
#include "kvm/soft/event_totals.h"
#include "kvm/soft/guest_debugger.h"
#include "kvm/soft/mailbox.h"
#include "kvm/soft/outside_counts.h"
#include "kvm/soft/sleeper.h"
#include "kvm/soft/slice.h"
#include "kvm/soft/software_tlb.h"
#include "kvm/soft/spin.h"
#include "kvm/soft/time_base.h"
#include "kvm/soft/turns.h"

namespace perfvisor::kvm {

class SoftVm;

class SoftVcpu final : public Vcpu {
  public:
    // Fails where the host has no such engine or no descriptor to wait on.
    static Result<std::unique_ptr<SoftVcpu>> create(SoftVm& vm, unsigned id);
    ~SoftVcpu() override;
    SoftVcpu(const SoftVcpu&) = delete;
    SoftVcpu& operator=(const SoftVcpu&) = delete;

    int ioctl(uint32_t request, void* argument) override;
    kvm_run* run() override { return &run_; }
    void kick() override;
    std::string failure() const override { return engine_->failure(); }

    // ---- for its VM, from any thread ----
    unsigned id() const { return core_.id(); }
    // The performance monitor has become this guest's, or has ceased to be: all its registers are
    // 0 from then on.
    void set_perfmon(bool available);
    // The time base stops, or goes on, at a tick of the guest's time.
    void freeze_time_base(bool frozen, uint64_t tick);
    // Come out of the engine soon.
    void hurry();
    const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }
    // KVM_MP_STATE_STOPPED: it executes nothing.
    bool stopped() const { return stopped_.load(); }

    // ---- for Turns ----
    // Executes as the CPU would in so many cycles, while the clock moves on by a `sharers`th of
    // them. Whether others did in between decides what is left of a reservation.
    Turn take_turn(uint64_t cycles, unsigned sharers, bool others_executed);
    // Something came from outside since it last looked: an interrupt, a doorbell, a request.
    bool has_news() const { return core_.state.attention.load() != 0; }
    // The clock's cycle of the VMM's deadline.
    uint64_t deadline_cycle() const { return virtual_time_.cycle_of(deadline_.load()); }
    bool leave_requested();
    // KVM_RUN is to return as if kicked.
    void leave_soon();
    int interrupted() { return exit_interrupted().result; }
    int hopeless(bool stuck);  // KVM_EXIT_HLT
    // While it does not execute.
    void answer_counts() {
        counts_exchange_.answer([this] { return take_counts(); });
    }
    // The thread in KVM_RUN waits for `called` or for something to do; false: a signal came.
    bool wait_for_call(const std::atomic<bool>& called);
    void wake_thread() { sleeper_.wake(); }

  private:
    SoftVcpu(SoftVm& vm, unsigned id);

    // ---- requests (vcpu.cpp) ----
    bool any_thread_ioctl(uint32_t request, void* argument, int& result);
    int vcpu_thread_ioctl(uint32_t request, void* argument);
    int enable_cap(const kvm_enable_cap& cap);
    int interrupt(uint32_t irq);
    int set_line(const kvm_soft_line& line);
    int set_mp_state(uint32_t state);
    void wake();
    void take_requests();
    CountsSnapshot take_counts();
    void forget_unfinished();
    void reset();

    // ---- KVM_RUN (vcpu_run.cpp) ----
    // What a step of the loop found: go on, or return this from KVM_RUN.
    struct Step {
        bool leave;
        int result;
    };
    static constexpr Step kGoOn{false, 0};

    // What is next for the CPU.
    enum class Course : uint8_t {
        Execute,
        Wait,
        Stuck,  // nothing of its own can change its course
    };

    int run_guest();
    int run_by_the_clock();
    Step finish_last_exit();
    Step finish_mmio_instruction();
    Step look_at_events();
    void deliver_interrupts();
    void external_taken();
    Course course() const;
    bool deadline_reached();
    Step execute(uint64_t cycles);
    void skip_spinning(const core::Totals& before, uint64_t cycles);
    Step execute_debugged(uint64_t budget);
    uint64_t instructions_to_deadline(uint64_t cycles);
    void publish_cycles();
    uint64_t source_tick(uint64_t time_base);
    uint64_t next_event();
    uint64_t next_wake_up();
    Step wait_for_event();
    bool sleep(uint64_t nanoseconds);
    Step stop_or_rest(uint32_t could_wake);
    bool at_branch_to_self();
    bool timers_could_interrupt();
    uint32_t inputs_enabled();
    Step exit_for(uint32_t reason, int result = 0);
    Step exit_interrupted(uint32_t why = 0);
    Step exit_mmio();
    Step exit_failed();
    Step exit_breakpoint();
    Step exit_debug(const GuestDebugger::Event& event);
    Step exit_reset();

    SoftVm& vm_;
    VirtualTime virtual_time_;
    GuestTime& time_;  // virtual_time_ or the VM's
    TimeBase time_base_;
    Sleeper sleeper_;
    HaltPoll halt_poll_;
    core::Core core_;
    std::unique_ptr<engine::Engine> engine_;
    std::shared_ptr<Mailbox> mailbox_;
    kvm_run run_{};

    // Held by whoever uses the core from outside KVM_RUN, and by KVM_RUN.
    std::mutex mutex_;
    SoftwareTlb tlb_;
    GuestDebugger debugger_;
    SlicePacer pacer_;
    SpinSkipper spin_;
    bool looked_for_spinning_ = false;  // in this turn
    bool mmio_unfinished_ = false;
    bool epr_unfinished_ = false;
    bool watchdog_enabled_ = false;
    unsigned reset_reported_ = 0;
    bool started_ = false;              // KVM_RUN has been called
    std::optional<uint64_t> stuck_at_;  // pc at which nothing of its own can change its course
    uint64_t fruitless_ = 0;            // budget used since an instruction was last completed

    // What other threads ask for; `requests_` says that there is something new.
    std::atomic<bool> requests_{false};
    std::atomic<uint32_t> perfmon_epoch_{0};  // odd: available; each change is one more
    std::atomic<bool> external_proxy_{false};
    std::atomic<bool> external_edge_{false};  // the line falls when the interrupt is taken
    std::atomic<bool> halt_exit_{false};
    std::atomic<uint64_t> deadline_{kNever};  // ticks of guest time
    std::atomic<bool> stopped_{false};
    std::atomic<bool> leave_soon_{false};
    uint32_t perfmon_epoch_seen_ = 0;
    OutsideCounts counts_;
    CountsExchange counts_exchange_;
};

}  // namespace perfvisor::kvm
