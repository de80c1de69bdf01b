// SPDX-License-Identifier: GPL-2.0-or-later
// Typed wrappers of the KVM requests: structures instead of pointers, one sentence instead of
// -errno. They work on both KVMs and hold no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "kvm/handles.h"

namespace perfvisor::kvm {

// ---- system and VM ----

// What KVM_CHECK_EXTENSION says of a KVM_CAP_ number: 0 for no (and for any error).
int check_extension(System& system, unsigned capability);
int check_extension(Vm& vm, unsigned capability);

// Fails unless the KVM speaks API version 12 and has what the VMM cannot do without: one-reg,
// Book E sregs, the software TLB, level interrupts, immediate exit.
Result<void> check_required_extensions(System& system);

// Guest RAM: `size` bytes of the process at `host` appear at guest physical `guest_physical`, both
// multiples of 4096. Size 0 removes the slot. The memory must outlive the slot.
Result<void> set_user_memory_region(Vm& vm, uint32_t slot, uint64_t guest_physical, void* host,
                                    uint64_t size, bool readonly = false);

// The outcome of asking for the machine's performance monitor (docs/kvm-perfmon-api.rst).
enum class PerfmonReservation : uint8_t {
    Reserved,     // it is this guest's until released or the VM is destroyed
    Busy,         // -EBUSY: a host user has it; vm.perfmon_failure() names the holder, if known
    NoDevice,     // -ENXIO: this CPU model has no performance monitor
    Unsupported,  // -ENOTTY: this KVM has no perfmon reservation
};
// Fails for any other errno, with vm.perfmon_failure() where that says more.
Result<PerfmonReservation> reserve_perfmon(Vm& vm);
// Releasing what was not reserved is no error.
Result<void> release_perfmon(Vm& vm);

// The VM is a board with a performance monitor of its own; KVM_CAP_SOFT only.
Result<void> own_perfmon(Vm& vm);

// ---- vCPU ----

Result<kvm_regs> get_regs(Vcpu& vcpu);
Result<void> set_regs(Vcpu& vcpu, const kvm_regs& regs);
Result<kvm_sregs> get_sregs(Vcpu& vcpu);
Result<void> set_sregs(Vcpu& vcpu, const kvm_sregs& sregs);

// A register by its KVM_REG_PPC_ id; T must have the id's size (uint32_t, uint64_t).
Result<void> get_one_reg(Vcpu& vcpu, uint64_t id, void* value, size_t size);
Result<void> set_one_reg(Vcpu& vcpu, uint64_t id, const void* value, size_t size);
template <typename T>
Result<T> get_one_reg(Vcpu& vcpu, uint64_t id) {
    T value{};
    if (auto result = get_one_reg(vcpu, id, &value, sizeof value); !result)
        return tl::unexpected(result.error());
    return value;
}
template <typename T>
Result<void> set_one_reg(Vcpu& vcpu, uint64_t id, T value) {
    return set_one_reg(vcpu, id, &value, sizeof value);
}

// The level of the vCPU's external input, from any thread.
Result<void> set_external_interrupt(Vcpu& vcpu, bool level);
// The same for the critical and the machine check input; KVM_CAP_SOFT only.
Result<void> set_critical_interrupt(Vcpu& vcpu, bool level);
Result<void> set_machine_check(Vcpu& vcpu, bool level);

// KVM_ENABLE_CAP with up to four arguments.
Result<void> enable_capability(Vcpu& vcpu, unsigned capability,
                               std::span<const uint64_t> args = {});
// External proxy on or off: an external input that is about to be taken ends KVM_RUN with
// KVM_EXIT_EPR; the VMM puts the vector (MPIC IACK) in run()->epr.epr and runs again.
Result<void> set_external_proxy(Vcpu& vcpu, bool on);
inline Result<void> enable_external_proxy(Vcpu& vcpu) {
    return set_external_proxy(vcpu, true);
}
// The watchdog's last time-out ends KVM_RUN with KVM_EXIT_WATCHDOG.
Result<void> enable_watchdog(Vcpu& vcpu);

// The software TLB: from now on the vCPU's TLB is in `entries`, TLB0's `tlb0_entries` first, then
// TLB1's 64 at most, and may be read while the vCPU does not run. Changes made from outside are
// told with dirty_tlb. The array must outlive the vCPU.
Result<void> config_tlb(Vcpu& vcpu, std::span<kvm_book3e_206_tlb_entry> entries,
                        uint32_t tlb0_entries, uint32_t tlb0_ways, uint32_t tlb1_entries);
// Any of the array's `entries` entries may have been changed from outside.
Result<void> dirty_tlb(Vcpu& vcpu, size_t entries);

// Where an effective address leads in address space `as` with `pid`, or nothing.
struct TranslatedAddress {
    bool valid = false;
    uint64_t physical = 0;
    bool writeable = false;
    bool user = false;
};
Result<TranslatedAddress> translate(Vcpu& vcpu, uint32_t ea, unsigned pid, unsigned as);

Result<void> set_guest_debug(Vcpu& vcpu, const kvm_guest_debug& debug);

// `bytes`, guest RAM at `guest_physical`, were written by the VMM and may be instructions: they are
// what is executed from now on. On any KVM.
Result<void> code_changed(Vm& vm, uint64_t guest_physical, std::span<const uint8_t> bytes);

// ---- guest time and idleness (uapi/kvm_soft.h; KVM_CAP_SOFT only) ----

// Nanoseconds of guest time since the VM was made.
Result<uint64_t> guest_time(Vm& vm);
// How long instructions take: KVM_SOFT_TIMING_*; before the VM has vCPUs.
Result<void> set_timing(Vm& vm, uint32_t timing);
// KVM_RUN comes back interrupted, once, when guest time reaches `nanoseconds`; UINT64_MAX: never.
Result<void> set_deadline(Vcpu& vcpu, uint64_t nanoseconds);
// The time bases of the vCPUs in `vcpus` (bit n: id n) stop or go on as one.
Result<void> freeze_time_bases(Vm& vm, uint32_t vcpus, bool frozen);
// A stopped vCPU executes nothing; from any thread.
Result<void> set_stopped(Vcpu& vcpu, bool stopped);
// As after a hard reset.
Result<void> reset_core(Vcpu& vcpu);
// Whether a vCPU that waits with no timer set ends KVM_RUN with KVM_EXIT_HLT instead of blocking.
Result<void> set_halt_exit(Vcpu& vcpu, bool on);

// What a KVM that gives no access to its counts fails with below.
inline constexpr const char* kNoCountingFromOutside =
    "this KVM does not count events from outside the guest (--accel=soft does)";

// How often an event of the performance monitor's catalogue has happened on the vCPU.
struct EventTotal {
    struct Modes {
        uint64_t user = 0, supervisor = 0;
    };
    uint32_t event = 0;  // as PMLCa[EVENT] selects it
    uint64_t total = 0;
    std::optional<Modes> modes;  // while count_events() is on
};
// From any thread: all events that this vCPU counts, by ascending code, as of one instruction
// boundary. Fails on a KVM that gives no access to its counts.
Result<std::vector<EventTotal>> event_totals(Vcpu& vcpu);
// KVM_SOFT_COUNT_EVENTS: while it is on, totals have both modes apart, and these events where they
// are the timing model's. From any thread; what was switched on is switched off with the same
// events. Fails as event_totals() does, and where the guest's own counts would change.
Result<void> count_events(Vm& vm, const std::vector<uint32_t>& events, bool on);

// KVM_SOFT_SET_WINDOW and KVM_SOFT_GET_WINDOW.
Result<void> set_window(Vm& vm, uint32_t open, uint32_t close,
                        const std::vector<uint32_t>& events = {});
struct WindowCount {
    unsigned event = 0;  // its code
    uint64_t user = 0, supervisor = 0;
};
struct WindowTotals {
    bool opened = false, closed = false;
    uint64_t nanoseconds = 0;  // of guest time
    std::vector<WindowCount> counts;
};
Result<WindowTotals> window_totals(Vcpu& vcpu);

// Why KVM_RUN came back. `interrupted`: -EINTR, run()->exit_reason is KVM_EXIT_INTR.
struct RunResult {
    bool interrupted = false;
    uint32_t exit_reason = 0;
};
Result<RunResult> run(Vcpu& vcpu);
// After KVM_RUN was interrupted: the next one runs unless there has been another kick() since.
void forget_kick(Vcpu& vcpu);

}  // namespace perfvisor::kvm
