// SPDX-License-Identifier: GPL-2.0-or-later
// One VM of the KVM in user space: memory slots, time, the vCPUs and what they tell each other.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/core.h"
#include "core/interconnect.h"
#include "core/physical_memory.h"
#include "kvm/handles.h"
#include "kvm/soft/count_window.h"
#include "kvm/soft/execution_gate.h"
#include "kvm/soft/guest_time.h"
#include "kvm/soft/mailbox.h"
#include "kvm/soft/perfmon_guests.h"
#include "kvm/soft/soft.h"
#include "kvm/soft/turns.h"

namespace perfvisor::kvm {

class SoftVcpu;

constexpr uint32_t kMaxMemorySlots = 32;
constexpr unsigned kMaxVcpus = 32;

// What KVM_CHECK_EXTENSION says for a system and its VMs.
int soft_extension(uint64_t capability, bool has_perfmon);

class SoftVm final : public Vm, public core::Interconnect {
  public:
    SoftVm(const SoftOptions& options, const core::CoreModel& model,
           std::shared_ptr<PerfmonGuests> perfmon);
    ~SoftVm() override;
    SoftVm(const SoftVm&) = delete;
    SoftVm& operator=(const SoftVm&) = delete;

    int ioctl(uint32_t request, void* argument) override;
    std::string perfmon_failure() const override;
    Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned id) override;

    // ---- for its vCPUs ----
    const SoftOptions& options() const { return options_; }
    const core::CoreModel& model() const { return model_; }
    core::PhysicalMemory& memory() { return memory_; }
    GuestTime* host_time() { return host_time_.get(); }  // null under the virtual clock
    VirtualClock& clock() { return clock_; }
    Turns& turns() { return turns_; }
    bool has_others() const { return has_others_.load(std::memory_order_relaxed); }
    ExecutionGate& gate() { return gate_; }
    CountWindow& window() { return window_; }
    const CountRequests& count_requests() const { return count_requests_; }
    // The other vCPUs look at the window soon.
    void window_changed();
    void remove_vcpu(SoftVcpu& vcpu);
    // Whether the timing model drives the clock of its vCPUs.
    bool modelled_timing() const {
        const std::lock_guard lock(vcpus_mutex_);
        return modelled_timing_;
    }
    // A started CPU is active, rests because it can go no further, or is gone. Resting is refused
    // (false) to the last active one.
    void cpu_active();
    bool cpu_rests();
    void cpu_gone();

    // ---- what cores tell each other; called on the sender's vCPU thread ----
    void broadcast_tlbivax(core::Core& from, uint64_t ea) override;
    void send_doorbell(core::Core& from, uint64_t message) override;
    void invalidate_code(core::Core& from, uint64_t physical, uint64_t length) override;
    void protect_code_page(core::Core& from, uint64_t physical) override;

  private:
    int set_memory_region(const kvm_userspace_memory_region& region);
    bool overlaps_other_slot(const kvm_userspace_memory_region& region) const;
    int set_window(const kvm_soft_window& window);
    int count_events(const kvm_soft_count& request);
    bool guest_would_see_model() const;
    bool model_runs_for_outside() const;
    int set_timing(uint32_t timing);
    int reserve_perfmon();
    int release_perfmon();
    int own_perfmon();
    int freeze_time_bases(const kvm_soft_freeze& freeze);
    bool add_vcpu(SoftVcpu& vcpu);  // false if its id is taken
    uint64_t nanoseconds();

    template <typename Function>
    void for_each_vcpu(Function function) {
        const std::lock_guard lock(vcpus_mutex_);
        for (SoftVcpu* vcpu : vcpus_)
            function(*vcpu);
    }

    // The mailboxes: of the core itself, and of all others.
    struct Post {
        std::shared_ptr<Mailbox> own;
        std::vector<std::shared_ptr<Mailbox>> others;
    };
    Post post_of(const core::Core& core) const;

    const SoftOptions options_;
    const core::CoreModel& model_;
    const std::shared_ptr<PerfmonGuests> perfmon_;
    const std::unique_ptr<GuestTime> host_time_;
    VirtualClock clock_;
    Turns turns_{clock_};
    core::PhysicalMemory memory_;  // changed under a pause of gate_
    ExecutionGate gate_;
    CountWindow window_;
    CountRequests count_requests_;

    // Taken in this order. The second is never held while waiting for a vCPU.
    mutable std::mutex configuration_mutex_;  // memory_'s changes, perfmon_*, what is counted
    bool perfmon_reserved_ = false;
    bool perfmon_owned_ = false;  // never both
    std::string perfmon_failure_;
    mutable std::mutex vcpus_mutex_;
    std::vector<SoftVcpu*> vcpus_;
    bool modelled_timing_ = false;  // changed while there are none
    unsigned active_cpus_ = 0;
    std::atomic<bool> has_others_{false};  // more than one vCPU
};

}  // namespace perfvisor::kvm
