// SPDX-License-Identifier: GPL-2.0-or-later
// Delivery of synchronous exceptions and asynchronous interrupts (EREF chapter 7).
#include "core/interrupts.h"

#include "core/core.h"
#include "core/spr.h"

namespace perfvisor::core {
namespace {

// Threshold events (pm_events.cpp).
constexpr unsigned kExternalLatency = 78, kCriticalLatency = 79, kExternalPendingLatency = 80,
                   kCriticalPendingLatency = 81;
// From the recognition of an interrupt to the fetch of its handler (docs/timing.md).
constexpr uint64_t kRedirectCycles = 2;

// MSR bits that an interrupt of the class leaves as they are; it clears the others (EREF chapter 7,
// with category E.ED, which gives debug interrupts save registers of their own).
constexpr uint32_t kept_msr_bits(InterruptClass by) {
    switch (by) {
        case InterruptClass::Base:
            return msr::kCE | msr::kME | msr::kDE | msr::kRI;
        case InterruptClass::Critical:
            return msr::kME | msr::kDE | msr::kRI;
        case InterruptClass::Debug:
            return msr::kCE | msr::kME | msr::kRI;
        default:
            return 0;
    }
}

// The SPR that saves pc; the next number saves MSR.
constexpr unsigned save_register(InterruptClass of) {
    switch (of) {
        case InterruptClass::Base:
            return spr::kSRR0;
        case InterruptClass::Critical:
            return spr::kCSRR0;
        case InterruptClass::Debug:
            return spr::kDSRR0;
        default:
            return spr::kMCSRR0;
    }
}

constexpr unsigned vector_register(Interrupt kind) {
    const unsigned n = static_cast<unsigned>(kind);
    if (n < 16) return spr::kIVOR0 + n;
    if (n < 38) return spr::kIVOR32 + (n - 32);
    return 432 + (n - 38);  // IVOR38-42
}

constexpr uint32_t line_bit(Line line) {
    return 1u << static_cast<unsigned>(line);
}

// Pending doorbells, and the message of msgsnd and msgclr (EREF, msgsnd).
constexpr uint32_t kDoorbell = 1, kCriticalDoorbell = 2;
constexpr uint32_t kMessageBroadcast = 0x04000000, kMessagePirTag = 0x3fff;

// The pending bit of a message's type; 0 for types that are not there (category E.HV).
uint32_t doorbell_of(uint64_t message) {
    switch (message >> 27 & 31) {
        case 0:
            return kDoorbell;
        case 1:
            return kCriticalDoorbell;
        default:
            return 0;
    }
}

}  // namespace

// ---- delivery ----

void Core::take_interrupt(Interrupt kind, uint64_t return_address) {
    const InterruptClass by = interrupt_class(kind);
    if (by == InterruptClass::MachineCheck && !(state.msr & msr::kME)) {
        enter_checkstop();
        return;
    }
    ++state.totals[Total::Interrupts];
    if (kind == Interrupt::ExternalInput) {
        ++state.totals[Total::ExternalInterrupts];
        input_taken(external_times_, kExternalLatency, kExternalPendingLatency);
    }
    if (kind == Interrupt::CriticalInput) {
        ++state.totals[Total::CriticalInterrupts];
        input_taken(critical_times_, kCriticalLatency, kCriticalPendingLatency);
    }
    if (kind == Interrupt::SystemCall) ++state.totals[Total::SystemCallsAndTraps];
    if (kind == Interrupt::DataTlbError || kind == Interrupt::InstructionTlbError)
        ++state.totals[Total::TlbMisses];
    if (kind != Interrupt::SystemCall) timing_.interrupt_taken();
    if (kind == Interrupt::PerformanceMonitor) perfmon_.interrupt_taken();
    if (kind == Interrupt::Doorbell) doorbells_.fetch_and(~kDoorbell);
    if (kind == Interrupt::CriticalDoorbell) doorbells_.fetch_and(~kCriticalDoorbell);

    sprs_[save_register(by)] = return_address & value_mask_;
    sprs_[save_register(by) + 1] = state.msr;
    state.pc = (sprs_[spr::kIVPR] & ~uint64_t{0xffff}) | (sprs_[vector_register(kind)] & 0xfff0);
    if (halted_) set_halted(false);
    // Interrupt-taken debug events; the debug interrupt comes before the handler's first
    // instruction.
    if (by == InterruptClass::Base) debug_event(dbcr0::kIRPT & sprs_[spr::kDBCR0]);
    if (by == InterruptClass::Critical) debug_event(dbcr0::kCIRPT & sprs_[spr::kDBCR0]);
    set_msr(state.msr & kept_msr_bits(by));
    check_interrupts();
}

void Core::deliver_fault(uint64_t pc) {
    const Fault fault = fault_;
    fault_pending_ = false;
    instruction_finished();
    if (fault.kind == Interrupt::MachineCheck) {
        deliver_machine_check(fault, pc);
        return;
    }
    const bool trap = fault.kind == Interrupt::Program && (fault.esr & esr::kPTR);
    if (trap) {
        ++state.totals[Total::SystemCallsAndTraps];
        // A trap debug event stands for the program interrupt where it is enabled.
        if ((sprs_[spr::kDBCR0] & dbcr0::kTRAP) && (sprs_[spr::kDBCR0] & dbcr0::kIDM) &&
            (state.msr & msr::kDE)) {
            debug_event(dbcr0::kTRAP);
            take_interrupt(Interrupt::Debug, pc);
            return;
        }
    }
    // sc completes before its interrupt: it is a step of its own (EREF, debug events).
    if (fault.kind == Interrupt::SystemCall) debug_event(dbcr0::kICMP & sprs_[spr::kDBCR0]);
    if (fault.sets_esr && fault.kind != Interrupt::SystemCall) sprs_[spr::kESR] = fault.esr;
    if (fault.sets_dear) sprs_[spr::kDEAR] = fault.dear & value_mask_;
    if (fault.kind == Interrupt::DataTlbError) {
        const Access access = (fault.esr & esr::kST) ? Access::Store : Access::Load;
        const AccessContext in = context(access, fault.esr & esr::kEPID);
        mmu_.set_mas_for_miss(fault.dear, in.as, in.pid);
    } else if (fault.kind == Interrupt::InstructionTlbError) {
        const AccessContext in = context(Access::Fetch, false);
        mmu_.set_mas_for_miss(pc, in.as, in.pid);
    }
    take_interrupt(fault.kind, pc);
}

void Core::deliver_machine_check(const Fault& fault, uint64_t pc) {
    sprs_[spr::kMCSR] |= fault.esr;
    if (fault.esr & mcsr::kMAV) {
        sprs_[spr::kMCAR] = fault.dear & 0xffffffff;
        sprs_[spr::kMCARU] = fault.dear >> 32;
    }
    take_interrupt(Interrupt::MachineCheck, pc);
}

void Core::enter_checkstop() {
    checkstop_ = true;
    set_halted(true);
}

void Core::return_from_interrupt(InterruptClass from) {
    const unsigned save = save_register(from);
    const uint32_t events = from == InterruptClass::Base ? dbcr0::kRET : dbcr0::kCRET;
    if (from <= InterruptClass::Critical) debug_event(events & sprs_[spr::kDBCR0]);
    state.pc = sprs_[save] & ~uint64_t{3};
    set_msr(static_cast<uint32_t>(sprs_[save + 1]));
    check_interrupts();
}

// ---- what is pending ----

// In order of priority (e500mc core manual 4.11), of those that MSR bits `enabled_by` let through.
std::optional<Interrupt> Core::most_urgent(uint32_t enabled_by) const {
    const uint32_t lines = lines_.load(std::memory_order_acquire);
    const uint32_t doorbells = doorbells_.load(std::memory_order_acquire);
    if ((enabled_by & msr::kME) && (lines & line_bit(Line::MachineCheck)))
        return Interrupt::MachineCheck;
    if ((enabled_by & msr::kDE) && debug_pending()) return Interrupt::Debug;
    if (enabled_by & msr::kCE) {
        if (lines & line_bit(Line::Critical)) return Interrupt::CriticalInput;
        if (timers_.watchdog_pending()) return Interrupt::Watchdog;
        if (doorbells & kCriticalDoorbell) return Interrupt::CriticalDoorbell;
    }
    if (enabled_by & msr::kEE) {
        if (lines & line_bit(Line::External)) return Interrupt::ExternalInput;
        if (timers_.fixed_interval_pending()) return Interrupt::FixedIntervalTimer;
        if (perfmon_.interrupt_pending()) return Interrupt::PerformanceMonitor;
        if (timers_.decrementer_pending()) return Interrupt::Decrementer;
        if (doorbells & kDoorbell) return Interrupt::Doorbell;
    }
    return std::nullopt;
}

void Core::check_interrupts() {
    if (most_urgent(state.msr)) state.attention.fetch_or(kInterruptCheck);
}

void Core::synchronize_time() {
    if (const unsigned reset = timers_.update()) reset_request_ = reset;
    const uint64_t now = timers_.time_base();
    if (now < last_time_base_) last_time_base_ = now;  // the time base was written
    if (perfmon_.next_time_base_event(last_time_base_) <= now) perfmon_.time_base_event();
    last_time_base_ = now;
    perfmon_.sync();
}

// For the latencies that the threshold events 78 to 81 measure.
void Core::notice_inputs() {
    const uint32_t lines = lines_.load(std::memory_order_acquire);
    const auto notice = [&](InputTimes& times, Line line, uint32_t enable) {
        if (!(lines & line_bit(line))) {
            times = {};
            return;
        }
        const uint64_t now = state.totals.cycles();
        if (times.asserted == kNever) times.asserted = now;
        if (times.enabled == kNever && (state.msr & enable)) times.enabled = now;
    };
    notice(external_times_, Line::External, msr::kEE);
    notice(critical_times_, Line::Critical, msr::kCE);
}

void Core::input_taken(InputTimes& times, unsigned latency_event, unsigned pending_event) {
    const uint64_t now = state.totals.cycles() + kRedirectCycles;
    if (times.asserted != kNever) perfmon_.occurred(latency_event, now - times.asserted);
    if (times.enabled != kNever) perfmon_.occurred(pending_event, now - times.enabled);
    times = {};
}

bool Core::deliver_pending_interrupt() {
    state.attention.fetch_and(~uint32_t{kInterruptCheck});
    external_wanted_ = false;
    // An instruction that has begun its device accesses is finished first: they happened.
    if (checkstop_ || mmio_waiting_ || !mmio_log_.empty()) return false;
    synchronize_time();
    notice_inputs();
    const auto kind = most_urgent(state.msr);
    if (!kind) return false;
    if (*kind == Interrupt::ExternalInput && external_proxy_) {
        external_wanted_ = true;
        return false;
    }
    if (*kind == Interrupt::MachineCheck) sprs_[spr::kMCSR] |= mcsr::kMCP;
    take_interrupt(*kind, state.pc);
    return true;
}

bool Core::interrupt_pending_unmasked() {
    if (checkstop_) return false;
    synchronize_time();
    return most_urgent(msr::kME | msr::kDE | msr::kCE | msr::kEE).has_value();
}

void Core::deliver_external(uint32_t epr) {
    external_wanted_ = false;
    sprs_[spr::kEPR] = epr;
    take_interrupt(Interrupt::ExternalInput, state.pc);
}

void Core::set_epr(uint32_t epr) {
    sprs_[spr::kEPR] = epr;
}

// ---- from any thread ----

void Core::set_line(Line line, bool level) {
    if (level)
        lines_.fetch_or(line_bit(line), std::memory_order_release);
    else
        lines_.fetch_and(~line_bit(line), std::memory_order_release);
    if (level) state.attention.fetch_or(kKick | kInterruptCheck);
}

void Core::post_doorbell(bool critical) {
    doorbells_.fetch_or(critical ? kCriticalDoorbell : kDoorbell, std::memory_order_release);
    state.attention.fetch_or(kKick | kInterruptCheck);
}

void Core::receive_doorbell(uint64_t message) {
    const uint32_t bit = doorbell_of(message);
    if (bit == 0) return;
    const bool meant = (message & kMessageBroadcast) ||
                       (message & kMessagePirTag) == (pir_.load() & kMessagePirTag);
    if (meant) post_doorbell(bit == kCriticalDoorbell);
}

void Core::send_doorbell(uint64_t message) {
    if (config_.interconnect)
        config_.interconnect->send_doorbell(*this, message);
    else
        receive_doorbell(message);
}

void Core::clear_doorbell(uint64_t message) {
    doorbells_.fetch_and(~doorbell_of(message));
}

void Core::tlbivax(uint64_t ea) {
    mmu_.tlbivax(ea);
    if (config_.interconnect) config_.interconnect->broadcast_tlbivax(*this, ea);
}

}  // namespace perfvisor::core
