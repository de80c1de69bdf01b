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
    const int result =
        vm_.options().clock == SoftClock::Virtual ? vm_.turns().run(*this) : run_by_the_clock();
    answer_counts();
    tlb_.publish();
    return result;
}

// The host's clock: this CPU on this thread, as long as it can go on.
int SoftVcpu::run_by_the_clock() {
    if (!std::exchange(started_, true)) vm_.cpu_active();
    Step step = finish_last_exit();
    while (!step.leave) {
        step = look_at_events();
        if (step.leave) break;
        switch (course()) {
            case Course::Execute:
                step = execute(kNever);
                break;
            case Course::Wait:
                step = wait_for_event();
                break;
            case Course::Stuck:
                stuck_at_.reset();
                step = stop_or_rest(inputs_enabled());
                break;
        }
    }
    return step.result;
}

// The virtual clock: up to so many cycles, on whichever thread has the turn.
Turn SoftVcpu::take_turn(uint64_t cycles, unsigned sharers, bool others_executed) {
    const uint64_t begin = core_.state.totals.cycles();
    const auto executed = [&] { return core_.state.totals.cycles() - begin; };
    virtual_time_.begin_turn(begin, sharers);
    // The architecture lets a reservation be lost at any time. Lost here, it never survives what
    // another CPU stored, even where the value is the same again.
    if (others_executed) core_.state.reserve_size = 0;
    looked_for_spinning_ = false;
    Turn turn;
    Step step = finish_last_exit();
    while (!step.leave) {
        step = look_at_events();
        if (step.leave) break;
        const Course next = course();
        if (next == Course::Wait) {
            turn.end = Turn::End::Idle;
            turn.wake_at = virtual_time_.cycle_of(next_wake_up());
            turn.for_ever = turn.wake_at == kNever && halt_exit_;
            break;
        }
        if (next == Course::Stuck) {
            turn.end = Turn::End::Stuck;
            break;
        }
        if (executed() >= cycles) break;
        step = execute(cycles - executed());
    }
    if (step.leave) {
        turn.end = Turn::End::Exit;
        turn.result = step.result;
        turn.kicked = run_.exit_reason == KVM_EXIT_INTR && run_.hw.hardware_exit_reason == 0;
    }
    turn.executed = executed();
    virtual_time_.end_turn(core_.state.totals.cycles());
    return turn;
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
// an interrupt, immediate_exit or an invalidation by another CPU, so that it is never executed from
// the start again.
SoftVcpu::Step SoftVcpu::finish_mmio_instruction() {
    const ExecutionGate::Inside inside(vm_.gate());
    const Mailbox::Executing executing(*mailbox_, Mailbox::Receive::Unfinished);
    engine::Stop stop;
    do {
        core_.state.attention.exchange(0);
        stop = engine_->run(1);
    } while (stop != engine::Stop::Mmio && stop != engine::Stop::Breakpoint &&
             core_.mmio_in_progress());
    publish_cycles();
    if (stop == engine::Stop::Failed) return exit_failed();
    if (stop == engine::Stop::Mmio) return exit_mmio();
    if (stop == engine::Stop::Breakpoint) return exit_breakpoint();  // written there meanwhile
    if (debugger_.single_step()) return exit_debug({core_.state.pc, KVMPPC_DEBUG_NONE});
    return kGoOn;
}

// ---- requests, interrupts, resets ----

bool SoftVcpu::leave_requested() {
    return std::atomic_ref<uint8_t>(run_.immediate_exit).load() != 0 || leave_soon_.load();
}

SoftVcpu::Step SoftVcpu::look_at_events() {
    core_.state.attention.exchange(0);
    take_requests();
    counts_.look();
    answer_counts();
    if (leave_requested()) return exit_interrupted();
    if (deadline_reached()) return exit_interrupted(KVM_SOFT_INTR_DEADLINE);
    if (stopped()) return kGoOn;
    if (!debugger_.blocks_interrupts()) deliver_interrupts();
    if (core_.checkstop()) return exit_for(KVM_EXIT_SHUTDOWN);
    if (core_.reset_request() != reset_reported_) return exit_reset();
    if (core_.external_wanted()) {
        run_.epr.epr = 0;
        epr_unfinished_ = true;
        return exit_for(KVM_EXIT_EPR);
    }
    if (core_.halted() && core_.interrupt_pending_unmasked()) core_.set_halted(false);
    // Another CPU may have changed what it is stuck at.
    if (stuck_at_ != core_.state.pc || mailbox_->has_invalidations()) stuck_at_.reset();
    return kGoOn;
}

// After look_at_events().
SoftVcpu::Course SoftVcpu::course() const {
    if (stopped()) return Course::Wait;
    if (stuck_at_) return Course::Stuck;
    return core_.halted() ? Course::Wait : Course::Execute;
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
    if (deadline == kNever || time_.ticks(core_.state.totals.cycles()) < deadline) return false;
    return deadline_.compare_exchange_strong(deadline, kNever);
}

// ---- execution ----

// At most `cycles` of them.
SoftVcpu::Step SoftVcpu::execute(uint64_t cycles) {
    const ExecutionGate::Inside inside(vm_.gate());
    const Mailbox::Executing executing(*mailbox_);
    uint64_t budget = instructions_to_deadline(cycles);
    debugger_.set_breakpoints(core_);
    if (debugger_.looks_at_each()) return execute_debugged(budget);
    // What the spinning's rounds do to the timing model has to be seen round by round.
    const bool may_wait_for_others =
        time_.skips_idle_time() && vm_.has_others() && !core_.state.model.any();
    const bool look = may_wait_for_others && !std::exchange(looked_for_spinning_, true);
    if (look) budget = spin_.first_part(budget);

    const core::Totals before = core_.state.totals;
    const uint64_t start = time_.skips_idle_time() ? 0 : host_nanoseconds();
    const engine::Stop stop = engine_->run(budget);
    if (look && stop == engine::Stop::Budget) skip_spinning(before, cycles);
    publish_cycles();
    if (stop == engine::Stop::Failed) return exit_failed();
    if (stop == engine::Stop::Mmio) return exit_mmio();
    if (stop == engine::Stop::Breakpoint) return exit_breakpoint();
    if (stop == engine::Stop::Attention) {
        // Where the timing model drives the clock, a slice may end by its cycles.
        if (core_.timing().drives_clock() && at_branch_to_self() && !timers_could_interrupt())
            stuck_at_ = core_.state.pc;
        return kGoOn;
    }
    const uint64_t done =
        core_.state.totals[core::Total::Instructions] - before[core::Total::Instructions];
    if (start != 0) pacer_.measured(done, host_nanoseconds() - start);
    fruitless_ = done == 0 ? fruitless_ + budget : 0;
    const bool storm = fruitless_ >= kStorm;
    if ((storm || at_branch_to_self()) && !timers_could_interrupt()) stuck_at_ = core_.state.pc;
    // Executed cycles alone would let the virtual clock stand still, and with it the timer that
    // will end the storm.
    if (storm) time_.skip_cycles(budget);
    return kGoOn;
}

// `cycles`: what the turn had left when the core had `before`.
void SoftVcpu::skip_spinning(const core::Totals& before, uint64_t cycles) {
    const uint64_t executed = core_.state.totals.cycles() - before.cycles();
    if (executed < SpinSkipper::kSuspicious || executed >= cycles || core_.debug_armed()) return;
    const uint64_t budget = instructions_to_deadline(cycles - executed);
    spin_.skip(core_, *engine_, before, budget);
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

// What the engine may execute in one go. With the virtual clock the VM's deadline ends it to the
// instruction, as the core's own deadlines do, and so do the `limit` cycles if it is another CPU's
// turn then. With the host's, a slice is short enough to see them in time.
uint64_t SoftVcpu::instructions_to_deadline(uint64_t limit) {
    const uint64_t cycles = core_.state.totals.cycles();
    const uint64_t deadline = deadline_.load();
    if (time_.skips_idle_time()) {
        const uint64_t left = deadline == kNever ? kNever : time_.cycles_until(deadline, cycles);
        const uint64_t exact = vm_.has_others() ? std::min(left, limit) : left;
        return core_.instructions_to_deadline(std::max<uint64_t>(std::min(left, limit), 1),
                                              std::max<uint64_t>(exact, 1));
    }
    uint64_t time = time_.nanoseconds_of(core_.timers().ticks_to_next_event());
    if (deadline != kNever) time = std::min(time, time_.nanoseconds_until(deadline, cycles));
    return core_.instructions_to_deadline(pacer_.instructions(time));
}

// What KVM_SOFT_GET_TIME tells under the virtual clock.
void SoftVcpu::publish_cycles() {
    virtual_time_.move_on(core_.state.totals.cycles());
}

// The guest time, in ticks, at which the core's time base reaches `time_base`.
uint64_t SoftVcpu::source_tick(uint64_t time_base) {
    if (time_base == kNever) return kNever;
    const uint64_t now = core_.timers().time_base();
    const uint64_t ahead = time_base > now ? time_base - now : 0;
    const uint64_t ticks = time_.ticks(core_.state.totals.cycles());
    return ahead > kNever - ticks ? kNever : ticks + ahead;
}

// ---- a CPU that waits ----

// When a timer or the time base event of the performance monitor will end a wait, in ticks of guest
// time; what no interrupt is enabled for does not.
uint64_t SoftVcpu::next_event() {
    if (time_base_.frozen()) return kNever;
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

// The VMM's deadline among them.
uint64_t SoftVcpu::next_wake_up() {
    const uint64_t deadline = deadline_.load();
    return stopped() ? deadline : std::min(next_event(), deadline);
}

SoftVcpu::Step SoftVcpu::wait_for_event() {
    const uint64_t event = next_wake_up();
    if (event == kNever && halt_exit_ && !stopped()) return stop_or_rest(kAnyInput);
    const uint64_t cycles = core_.state.totals.cycles();
    const uint64_t length = event == kNever ? kNever : time_.nanoseconds_until(event, cycles);
    return sleep(length) ? kGoOn : exit_interrupted();
}

// False if a signal ended it, which ends KVM_RUN as it does with the kernel's KVM.
bool SoftVcpu::sleep(uint64_t nanoseconds) {
    return sleeper_.sleep(
        nanoseconds, [this] { return core_.state.attention.load() == 0 && !leave_requested(); },
        &halt_poll_);
}

// ---- a CPU that can go no further ----

// With the host's clock.
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

// The same under the virtual clock: Turns knows when no CPU is left.
int SoftVcpu::hopeless(bool stuck) {
    stuck_at_.reset();
    run_.hw.hardware_exit_reason = stuck ? inputs_enabled() : kAnyInput;
    return exit_for(KVM_EXIT_HLT).result;
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

SoftVcpu::Step SoftVcpu::exit_interrupted(uint32_t why) {
    leave_soon_ = false;
    run_.hw.hardware_exit_reason = why;
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

// Of Stop::Breakpoint.
SoftVcpu::Step SoftVcpu::exit_breakpoint() {
    return exit_debug(debugger_.before_instruction(core_).value_or(
        GuestDebugger::Event{core_.state.pc, KVMPPC_DEBUG_NONE}));
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
