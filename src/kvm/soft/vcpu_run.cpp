// SPDX-License-Identifier: GPL-2.0-or-later
// KVM_RUN of the KVM in user space: executes a vCPU until something outside it is needed.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "kvm/soft/vcpu.h"
#include "kvm/soft/vm.h"

namespace perfvisor::kvm {

namespace {

// TCR and TSR (EREF 4.7).
constexpr uint32_t kTcrWrc = 0x30000000, kTcrWie = 0x08000000, kTcrDie = 0x04000000,
                   kTcrFie = 0x00800000;
constexpr uint32_t kTsrWrs = 0x30000000, kTsrDis = 0x08000000;

constexpr uint32_t kBranchToSelf = 0x48000000;

// So many units of budget used without one completed instruction are a storm of faults.
constexpr uint64_t kStorm = 64;

// How long a CPU that can go no further rests before it looks again.
constexpr uint64_t kRestNanoseconds = 100'000'000;

constexpr uint32_t kAnyInput =
    KVM_SOFT_HLT_EXTERNAL | KVM_SOFT_HLT_CRITICAL | KVM_SOFT_HLT_MACHINE_CHECK;

}  // namespace

int SoftVcpu::run_guest() {
    if (!std::exchange(started_, true)) vm_.cpu_active();
    Step step = finish_last_exit();
    while (!step.leave) {
        step = look_at_events();
        if (step.leave) break;
        step = core_.halted() ? wait_for_event() : execute();
    }
    totals_.answer(core_.state.totals);
    tlb_.publish();
    return step.result;
}

// ---- what the VMM did since the last exit ----

SoftVcpu::Step SoftVcpu::finish_last_exit() {
    if (mmio_unfinished_) {
        mmio_unfinished_ = false;
        core_.complete_mmio(run_.mmio.data);
        return finish_mmio_instruction();
    }
    if (epr_unfinished_) {
        epr_unfinished_ = false;
        core_.deliver_external(run_.epr.epr);
    }
    return kGoOn;
}

// A device was read or written once: the instruction completes before anything else happens, be it
// an interrupt or immediate_exit, so that it is never executed from the start again.
SoftVcpu::Step SoftVcpu::finish_mmio_instruction() {
    const ExecutionGate::Inside inside(vm_.gate());
    const Mailbox::Executing executing(*mailbox_);
    engine::Stop stop;
    do {
        core_.state.attention.exchange(0);
        stop = engine_->run(1);
    } while (stop != engine::Stop::Mmio && core_.mmio_in_progress());
    publish_cycles();
    if (stop == engine::Stop::Failed) return exit_failed();
    if (stop == engine::Stop::Mmio) return exit_mmio();
    if (debugger_.single_step()) return exit_debug({core_.state.pc, KVMPPC_DEBUG_NONE});
    return kGoOn;
}

// ---- requests, interrupts, resets ----

bool SoftVcpu::leave_requested() {
    return std::atomic_ref<uint8_t>(run_.immediate_exit).load() != 0;
}

SoftVcpu::Step SoftVcpu::look_at_events() {
    core_.state.attention.exchange(0);
    take_requests();
    totals_.answer(core_.state.totals);
    if (leave_requested() || deadline_reached()) return exit_interrupted();
    deliver_interrupts();
    if (core_.checkstop()) return exit_for(KVM_EXIT_SHUTDOWN);
    if (core_.reset_request() != reset_reported_) return exit_reset();
    if (core_.external_wanted()) {
        run_.epr.epr = 0;
        epr_unfinished_ = true;
        return exit_for(KVM_EXIT_EPR);
    }
    if (core_.halted() && core_.interrupt_pending_unmasked()) core_.set_halted(false);
    const auto stuck_at = std::exchange(stuck_at_, std::nullopt);
    if (stuck_at == core_.state.pc) return stop_or_rest(inputs_enabled());
    return kGoOn;
}

// One interrupt may be followed by one of a higher class before its handler's first instruction.
void SoftVcpu::deliver_interrupts() {
    const uint64_t external = core_.state.totals[core::Total::ExternalInterrupts];
    while (core_.deliver_pending_interrupt()) {
    }
    if (core_.state.totals[core::Total::ExternalInterrupts] != external) external_taken();
}

// An edge (KVM_INTERRUPT_SET) is used up by the interrupt it caused.
void SoftVcpu::external_taken() {
    if (external_edge_.exchange(false)) core_.set_line(core::Line::External, false);
}

bool SoftVcpu::deadline_reached() {
    uint64_t deadline = deadline_.load();
    if (deadline == kNever || vm_.time().ticks(core_.state.totals.cycles()) < deadline)
        return false;
    return deadline_.compare_exchange_strong(deadline, kNever);
}

// ---- execution ----

SoftVcpu::Step SoftVcpu::execute() {
    const ExecutionGate::Inside inside(vm_.gate());
    const Mailbox::Executing executing(*mailbox_);
    const uint64_t budget = core_.instructions_to_deadline(slice_length());
    if (debugger_.enabled()) return execute_debugged(budget);

    const uint64_t completed = core_.state.totals[core::Total::Instructions];
    const uint64_t start = vm_.time().skips_idle_time() ? 0 : host_nanoseconds();
    const engine::Stop stop = engine_->run(budget);
    publish_cycles();
    if (stop == engine::Stop::Failed) return exit_failed();
    if (stop == engine::Stop::Mmio) return exit_mmio();
    if (stop == engine::Stop::Attention) return kGoOn;
    const uint64_t done = core_.state.totals[core::Total::Instructions] - completed;
    if (start != 0) pacer_.measured(done, host_nanoseconds() - start);
    fruitless_ = done == 0 ? fruitless_ + budget : 0;
    const bool storm = fruitless_ >= kStorm;
    if ((storm || at_branch_to_self()) && !timers_could_interrupt()) stuck_at_ = core_.state.pc;
    // Executed cycles alone would let the virtual clock stand still, and with it the timer that
    // will end the storm.
    if (storm) vm_.time().skip_cycles(budget);
    return kGoOn;
}

// One instruction at a time, each looked at first (guest_debugger.h).
SoftVcpu::Step SoftVcpu::execute_debugged(uint64_t budget) {
    for (; budget > 0; --budget) {
        if (const auto event = debugger_.before_instruction(core_)) return exit_debug(*event);
        const uint64_t pc = core_.state.pc;
        const uint64_t completed = core_.state.totals[core::Total::Instructions];
        const engine::Stop stop = engine_->run(1);
        publish_cycles();
        if (stop == engine::Stop::Failed) return exit_failed();
        if (stop == engine::Stop::Mmio) return exit_mmio();
        const bool executed = stop == engine::Stop::Budget || core_.state.pc != pc ||
                              core_.state.totals[core::Total::Instructions] != completed;
        if (executed && debugger_.single_step())
            return exit_debug({core_.state.pc, KVMPPC_DEBUG_NONE});
        if (stop == engine::Stop::Attention) break;
    }
    return kGoOn;
}

// With the virtual clock the VM's deadline ends the slice to the instruction, as the core's own
// deadlines do. With the host's, a slice is short enough to see them in time.
uint64_t SoftVcpu::slice_length() {
    const uint64_t cycles = core_.state.totals.cycles();
    const uint64_t deadline = deadline_.load();
    if (vm_.time().skips_idle_time()) {
        const uint64_t left =
            deadline == kNever ? kNever : vm_.time().cycles_until(deadline, cycles);
        return std::clamp<uint64_t>(left, 1, SlicePacer::kVirtualSlice);
    }
    uint64_t time = vm_.time().nanoseconds_of(core_.timers().ticks_to_next_event());
    if (deadline != kNever) time = std::min(time, vm_.time().nanoseconds_until(deadline, cycles));
    return pacer_.instructions(time);
}

void SoftVcpu::publish_cycles() {
    cycles_.store(core_.state.totals.cycles(), std::memory_order_relaxed);
}

// The guest time, in ticks, at which the core's time base reaches `time_base`.
uint64_t SoftVcpu::source_tick(uint64_t time_base) {
    if (time_base == kNever) return kNever;
    const uint64_t now = core_.timers().time_base();
    const uint64_t ahead = time_base > now ? time_base - now : 0;
    const uint64_t ticks = vm_.time().ticks(core_.state.totals.cycles());
    return ahead > kNever - ticks ? kNever : ticks + ahead;
}

// ---- a CPU that waits ----

// When a timer or the time base event of the performance monitor will end a wait; what no
// interrupt is enabled for does not.
uint64_t SoftVcpu::next_wake_up() {
    const core::Timers& timers = core_.timers();
    const uint64_t now = timers.time_base();
    uint64_t event = core_.perfmon().next_time_base_event(now);
    if ((timers.tcr() & (kTcrFie | kTcrWie | kTcrWrc)) != 0)
        event = std::min(event, timers.next_event_tick());
    else if ((timers.tcr() & kTcrDie) != 0 && (timers.tsr() & kTsrDis) == 0 &&
             timers.decrementer() != 0)
        event = std::min(event, now + timers.decrementer());
    return source_tick(event);
}

SoftVcpu::Step SoftVcpu::wait_for_event() {
    GuestTime& time = vm_.time();
    const uint64_t cycles = core_.state.totals.cycles();
    const uint64_t event = std::min(next_wake_up(), deadline_.load());
    if (event == kNever && halt_exit_) return stop_or_rest(kAnyInput);
    if (event != kNever && time.skips_idle_time()) {
        time.skip_to(event, cycles);
        return kGoOn;
    }
    const uint64_t length = event == kNever ? kNever : time.nanoseconds_until(event, cycles);
    return sleep(length) ? kGoOn : exit_interrupted();
}

// False if a signal ended it, which ends KVM_RUN as it does with the kernel's KVM.
bool SoftVcpu::sleep(uint64_t nanoseconds) {
    return sleeper_.sleep(
        nanoseconds, [this] { return core_.state.attention.load() == 0 && !leave_requested(); });
}

// ---- a CPU that can go no further ----

// The VMM is told when no CPU of the VM is left that could set this one going again, by a doorbell
// or by changing its code. Until then this one only looks now and then.
SoftVcpu::Step SoftVcpu::stop_or_rest(uint32_t could_wake) {
    if (!vm_.cpu_rests()) {
        run_.hw.hardware_exit_reason = could_wake;
        return exit_for(KVM_EXIT_HLT);
    }
    const bool undisturbed = sleep(kRestNanoseconds);
    vm_.cpu_active();
    return undisturbed ? kGoOn : exit_interrupted();
}

bool SoftVcpu::at_branch_to_self() {
    if ((core_.state.msr & core::msr::kEE) != 0) return false;
    return instruction_at_pc(core_) == kBranchToSelf;
}

// Whether the core's own timers, performance monitor or debug events could still change its course.
bool SoftVcpu::timers_could_interrupt() {
    const uint32_t msr = core_.state.msr;
    const uint32_t tcr = core_.timers().tcr();
    return (msr & core::msr::kEE) != 0 || core_.debug_armed() || (tcr & kTcrWrc) != 0 ||
           ((msr & core::msr::kCE) != 0 && (tcr & kTcrWie) != 0);
}

uint32_t SoftVcpu::inputs_enabled() {
    const uint32_t msr = core_.state.msr;
    return ((msr & core::msr::kEE) ? KVM_SOFT_HLT_EXTERNAL : 0) |
           ((msr & core::msr::kCE) ? KVM_SOFT_HLT_CRITICAL : 0) |
           ((msr & core::msr::kME) ? KVM_SOFT_HLT_MACHINE_CHECK : 0);
}

// ---- exits ----

SoftVcpu::Step SoftVcpu::exit_for(uint32_t reason, int result) {
    run_.exit_reason = reason;
    return {true, result};
}

SoftVcpu::Step SoftVcpu::exit_interrupted() {
    return exit_for(KVM_EXIT_INTR, -EINTR);
}

SoftVcpu::Step SoftVcpu::exit_mmio() {
    const core::MmioAccess& access = *core_.mmio_request();
    run_.mmio.phys_addr = access.physical;
    run_.mmio.len = access.size;
    run_.mmio.is_write = access.write ? 1 : 0;
    std::memcpy(run_.mmio.data, access.data, sizeof run_.mmio.data);
    mmio_unfinished_ = true;
    return exit_for(KVM_EXIT_MMIO);
}

SoftVcpu::Step SoftVcpu::exit_failed() {
    run_.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    run_.internal.ndata = 0;
    return exit_for(KVM_EXIT_INTERNAL_ERROR);
}

SoftVcpu::Step SoftVcpu::exit_debug(const GuestDebugger::Event& event) {
    run_.debug.arch = {event.address, event.status, 0};
    return exit_for(KVM_EXIT_DEBUG);
}

// Each request is told once. The watchdog's only to a VMM that asked for it, as Linux does; one by
// DBCR0[RST] is a system event.
SoftVcpu::Step SoftVcpu::exit_reset() {
    reset_reported_ = core_.reset_request();
    if (reset_reported_ == 0) return kGoOn;
    if ((core_.timers().tsr() & kTsrWrs) != 0)
        return watchdog_enabled_ ? exit_for(KVM_EXIT_WATCHDOG) : kGoOn;
    run_.system_event.type = KVM_SYSTEM_EVENT_RESET;
    run_.system_event.ndata = 0;
    return exit_for(KVM_EXIT_SYSTEM_EVENT);
}

}  // namespace perfvisor::kvm
