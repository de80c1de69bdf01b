// SPDX-License-Identifier: GPL-2.0-or-later
// Run control and power management: which cores stand still, and whose time base does.
#include "devices/rcpm.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace perfvisor::devices {

namespace {

constexpr uint64_t kCdozsr = 0x04;
constexpr uint64_t kCdozcr = 0x0c;
constexpr uint64_t kCnapsr = 0x14;
constexpr uint64_t kCnapcr = 0x1c;
constexpr uint64_t kCdozpsr = 0x24;
constexpr uint64_t kCnappsr = 0x2c;
constexpr uint64_t kIppdexpcr = 0x50;
constexpr uint64_t kCpmimr = 0x64;
constexpr uint64_t kCpmcimr = 0x6c;
constexpr uint64_t kCpmmcmr = 0x74;
constexpr uint64_t kCpmnmimr = 0x7c;
constexpr uint64_t kCtbenr = 0x84;

}  // namespace

Rcpm::Rcpm(unsigned cpus, Hooks hooks)
    : cpus_(static_cast<uint32_t>((uint64_t{1} << std::clamp(cpus, 1U, kMaxCpus)) - 1)),
      hooks_(std::move(hooks)) {
    state_.timebases = cpus_;
}

uint32_t* Rcpm::register_at(uint64_t offset) {
    switch (offset) {
        case kCdozcr:
            return &state_.doze;
        case kCnapcr:
            return &state_.nap;
        case kCdozpsr:
            return &state_.dozed;
        case kCnappsr:
            return &state_.napped;
        case kIppdexpcr:
            return &state_.power_down_exceptions;
        case kCpmimr:
            return &state_.masked[static_cast<unsigned>(Interrupt::External)];
        case kCpmcimr:
            return &state_.masked[static_cast<unsigned>(Interrupt::Critical)];
        case kCpmmcmr:
            return &state_.masked[static_cast<unsigned>(Interrupt::MachineCheck)];
        case kCpmnmimr:
            return &state_.nmi_masked;
        case kCtbenr:
            return &state_.timebases;
        default:
            return nullptr;
    }
}

uint64_t Rcpm::read(const MmioAccess& access) {
    if (access.size != 4) return 0;
    const std::lock_guard lock(mutex_);
    if (access.offset == kCdozsr) return state_.doze;
    if (access.offset == kCnapsr) return state_.nap;
    const uint32_t* found = register_at(access.offset);
    return found != nullptr ? *found : 0;
}

void Rcpm::write(const MmioAccess& access, uint64_t value) {
    if (access.size != 4) return;
    const std::lock_guard lock(mutex_);
    uint32_t* const found = register_at(access.offset);
    if (found == nullptr) return;
    const auto word = static_cast<uint32_t>(value);
    if (access.offset == kCtbenr) {
        write_timebases(word & cpus_);
    } else if (access.offset == kCdozpsr || access.offset == kCnappsr) {
        *found &= ~word;  // Write one to clear.
    } else {
        *found = access.offset == kIppdexpcr ? word : word & cpus_;
        update();
    }
}

void Rcpm::write_timebases(uint32_t value) {
    const uint32_t stopped = state_.timebases & ~value;
    const uint32_t running = value & ~state_.timebases;
    state_.timebases = value;
    if (!hooks_.set_timebases) return;
    if (stopped != 0) hooks_.set_timebases(stopped, false);
    if (running != 0) hooks_.set_timebases(running, true);
}

// Wakes up the cores that an interrupt wants, and tells which stand still.
void Rcpm::update() {
    uint32_t wanted = 0;
    for (unsigned kind = 0; kind < state_.interrupts.size(); ++kind)
        wanted |= state_.interrupts[kind] & ~state_.masked[kind];
    state_.doze &= ~wanted;
    state_.nap &= ~wanted;
    state_.dozed |= state_.doze;
    state_.napped |= state_.nap;
    const uint32_t napping = state_.doze | state_.nap;
    const uint32_t changed = std::exchange(napping_, napping) ^ napping;
    for (unsigned cpu = 0; cpu < kMaxCpus && hooks_.set_napping; ++cpu)
        if ((changed >> cpu & 1) != 0) hooks_.set_napping(cpu, (napping >> cpu & 1) != 0);
}

void Rcpm::set_interrupt(unsigned cpu, Interrupt kind, bool level) {
    const std::lock_guard lock(mutex_);
    uint32_t& levels = state_.interrupts[static_cast<unsigned>(kind)];
    const uint32_t bit = 1U << cpu;
    levels = level ? levels | bit : levels & ~bit;
    if (level && (napping_ & bit) != 0) update();
}

void Rcpm::core_reset(unsigned cpu) {
    const std::lock_guard lock(mutex_);
    state_.doze &= ~(1U << cpu);
    state_.nap &= ~(1U << cpu);
    napping_ &= ~(1U << cpu);
}

void Rcpm::reset() {
    restore(State{.timebases = cpus_});
}

Rcpm::State Rcpm::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void Rcpm::restore(const State& state) {
    const std::lock_guard lock(mutex_);
    write_timebases(state.timebases & cpus_);
    const auto interrupts = state_.interrupts;
    state_ = state;
    state_.timebases &= cpus_;
    state_.interrupts = interrupts;  // The MPIC's.
    update();
}

void Rcpm::describe(FdtBuilder& fdt, uint32_t offset) {
    fdt.begin_node(fmt::format("global-utilities@{:x}", offset));
    fdt.string("compatible", "fsl,qoriq-rcpm-1.0");
    fdt.cells("reg", {offset, static_cast<uint32_t>(kRegionBytes)});
    fdt.end_node();
}

}  // namespace perfvisor::devices
