// SPDX-License-Identifier: GPL-2.0-or-later
// The MPIC's sources, per-CPU interrupt state and registers. Its timers are in mpic_timers.cpp.
#include "devices/mpic.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace perfvisor::devices {

namespace {

// IVPR: interrupt vector/priority register.
constexpr uint32_t kIvprMask = 0x80000000;
constexpr uint32_t kIvprActivity = 0x40000000;
constexpr uint32_t kIvprPolarity = 0x00800000;
constexpr uint32_t kIvprSense = 0x00400000;
constexpr uint32_t kIvprPriority = 0x000f0000;
constexpr uint32_t kIvprVector = 0x0000ffff;

// IDR: interrupt destination register. EP and CI only before version 4.0.
constexpr uint32_t kIdrExternalPin = 0x80000000;
constexpr uint32_t kIdrCritical0 = 0x40000000;
constexpr unsigned kMaxCpusWithCriticalBits = 15;  // Beyond, CI and P bits would overlap.

constexpr uint32_t kIlrTarget = 0xff;

constexpr uint32_t kGcrReset = 0x80000000;
constexpr uint32_t kGcrMixed = 0x20000000;
constexpr uint32_t kGcrProxy = 0x60000000;

// Register blocks, bytes from the MPIC's base.
constexpr uint32_t kPir = 0x1090;
constexpr uint32_t kTimerGroupA = 0x10f0;
constexpr uint32_t kTimerGroupB = 0x20f0;
constexpr uint32_t kTimerGroupBytes = 0x220;
constexpr uint32_t kMsiBank = 0x1600;
constexpr uint32_t kMsiBankBytes = 0x200;
constexpr uint32_t kErrorStatus = 0x3900;
constexpr uint32_t kErrorMask = 0x3910;
constexpr uint32_t kSourceBank = 0x10000;
constexpr uint32_t kCpuBank = 0x20000;

constexpr unsigned kFirstOnChipSource = 16;

uint8_t priority_of(const Mpic::Source& source) {
    return static_cast<uint8_t>((source.ivpr & kIvprPriority) >> 16);
}

}  // namespace

Mpic::Mpic(MpicVersion version, unsigned cpus, Outputs outputs, NanosecondClock clock)
    : version_(version),
      cpu_count_(std::clamp(cpus, 1U, kMaxCpus)),
      cpu_mask_(static_cast<uint32_t>((uint64_t{1} << cpu_count_) - 1)),
      outputs_(std::move(outputs)),
      clock_(std::move(clock)) {
    reset_registers();
}

// IPIs and timers are edges; so are external inputs unless their sense bit says level.
bool Mpic::is_level(unsigned source) const {
    if (source >= kSources) return false;
    return source >= kFirstOnChipSource || (state_.sources[source].ivpr & kIvprSense) != 0;
}

// The CPUs that a source's destination register names.
uint32_t Mpic::targets(unsigned source) const {
    const Source& s = state_.sources[source];
    if (version_ == MpicVersion::k42 || s.output == kExternal) return s.idr & cpu_mask_;
    uint32_t mask = 0;
    for (unsigned cpu = 0; cpu < cpu_count_; ++cpu) {
        if ((s.idr & (kIdrCritical0 >> cpu)) != 0) mask |= 1U << cpu;
    }
    return mask;
}

// The CPUs that a source wants to interrupt now, masking included.
uint32_t Mpic::requests(unsigned source) const {
    const Source& s = state_.sources[source];
    // Before version 4.0 critical interrupts cannot be masked here.
    const bool maskable = version_ == MpicVersion::k42 || s.output == kExternal;
    if (maskable && (s.ivpr & kIvprMask) != 0) return 0;
    if (source >= kFirstIpi) return s.multicast & cpu_mask_;
    return (is_level(source) ? s.line : s.latched) ? targets(source) : 0;
}

bool Mpic::in_service(unsigned source) const {
    for (unsigned c = 0; c < cpu_count_; ++c) {
        const Cpu& cpu = state_.cpus[c];
        const auto end = cpu.service.begin() + cpu.depth;
        if (std::any_of(cpu.service.begin(), end,
                        [&](const InService& s) { return s.source == source; })) {
            return true;
        }
    }
    return false;
}

// The raised source of the highest priority; of equals, the one with the lowest number.
std::optional<unsigned> Mpic::best_raised(const Cpu& cpu) const {
    std::optional<unsigned> best;
    const auto& raised = cpu.raised[kExternal];
    if (raised.none()) return best;
    int best_priority = -1;
    for (size_t source = raised._Find_first(); source < kAllSources;
         source = raised._Find_next(source)) {
        const int priority = priority_of(state_.sources[source]);
        if (priority > best_priority) {
            best = static_cast<unsigned>(source);
            best_priority = priority;
        }
    }
    return best;
}

void Mpic::drive(unsigned cpu, Output output, bool level) {
    bool& now_level = state_.cpus[cpu].level[output];
    if (now_level == level) return;
    now_level = level;
    const auto& function = output == kExternal   ? outputs_.external
                           : output == kCritical ? outputs_.critical
                                                 : outputs_.machine_check;
    if (function) function(cpu, level);
}

void Mpic::update_outputs(unsigned index) {
    const Cpu& cpu = state_.cpus[index];
    const auto best = best_raised(cpu);
    const uint8_t in_service_priority = cpu.depth > 0 ? cpu.service[cpu.depth - 1].priority : 0;
    const bool signalled =
        best && priority_of(state_.sources[*best]) > std::max(cpu.ctpr, in_service_priority);
    drive(index, kExternal, signalled);
    drive(index, kCritical, cpu.raised[kCritical].any());
    drive(index, kMachineCheck, cpu.raised[kMachineCheck].any());
}

// Brings the CPUs' view of a source up to date after anything about it changed.
void Mpic::refresh(unsigned source) {
    const uint32_t wanted = requests(source);
    const uint8_t output = state_.sources[source].output;
    for (unsigned c = 0; c < cpu_count_; ++c) {
        Cpu& cpu = state_.cpus[c];
        for (uint8_t o = 0; o < kOutputs; ++o) {
            cpu.raised[o].set(source, o == output && (wanted >> c & 1) != 0);
        }
        update_outputs(c);
    }
}

void Mpic::change_line(unsigned source, bool level) {
    Source& s = state_.sources[source];
    const bool rising = level && !s.line;
    s.line = level;
    if (!is_level(source) && rising) s.latched = true;
    refresh(source);
    if (!is_level(source) && s.output != kExternal) {
        // Nothing ever acknowledges a critical interrupt: an edge is over at once.
        s.latched = false;
        refresh(source);
    }
}

IrqLine Mpic::input(unsigned source) {
    return IrqLine([this, source](bool level) { set_input(source, level); });
}

void Mpic::set_input(unsigned source, bool level) {
    const std::lock_guard lock(mutex_);
    if (source < kSources) change_line(source, level);
}

uint32_t Mpic::acknowledge(unsigned cpu) {
    const std::lock_guard lock(mutex_);
    return cpu < cpu_count_ ? acknowledge_locked(cpu) : state_.spurious;
}

uint32_t Mpic::acknowledge_locked(unsigned index) {
    Cpu& cpu = state_.cpus[index];
    if (!cpu.level[kExternal]) return state_.spurious;
    const unsigned source = best_raised(cpu).value_or(kAllSources);
    if (source >= kAllSources || cpu.depth >= cpu.service.size()) return state_.spurious;
    Source& s = state_.sources[source];
    cpu.service[cpu.depth++] = {static_cast<uint16_t>(source), priority_of(s)};
    // An edge is used up: by the first CPU, or for IPIs and timers by each CPU for itself.
    s.latched = false;
    s.multicast &= ~(1U << index);
    refresh(source);
    update_deadline();
    return s.ivpr & kIvprVector;
}

void Mpic::end_of_interrupt(unsigned index) {
    Cpu& cpu = state_.cpus[index];
    if (cpu.depth == 0) return;
    --cpu.depth;
    update_outputs(index);
}

bool Mpic::external_proxy() const {
    const std::lock_guard lock(mutex_);
    return (state_.gcr & kGcrProxy) == kGcrProxy;
}

uint32_t Mpic::read_ivpr(unsigned source) const {
    const bool active = requests(source) != 0 || in_service(source);
    return state_.sources[source].ivpr | (active ? kIvprActivity : 0);
}

void Mpic::write_ivpr(unsigned source, uint32_t value) {
    if (source >= kFirstTimer) expire(source - kFirstTimer);
    uint32_t mask = kIvprMask | kIvprPriority | kIvprVector;
    if (source < kSources) mask |= kIvprPolarity;
    if (source < kFirstOnChipSource) mask |= kIvprSense;
    state_.sources[source].ivpr = value & mask;
    refresh(source);
    update_deadline();
}

void Mpic::write_idr(unsigned source, uint32_t value) {
    Source& s = state_.sources[source];
    if (version_ == MpicVersion::k42) {
        s.idr = value & cpu_mask_;
    } else {
        uint32_t critical_bits = 0;
        if (cpu_count_ <= kMaxCpusWithCriticalBits) {
            critical_bits = cpu_mask_ << (31 - cpu_count_);
        }
        s.idr = value & (cpu_mask_ | critical_bits | kIdrExternalPin);
        // A source that names both kinds of destination is critical.
        s.output = (s.idr & critical_bits) != 0 ? kCritical : kExternal;
    }
    refresh(source);
    update_deadline();
}

void Mpic::write_ilr(unsigned source, uint32_t value) {
    if (version_ != MpicVersion::k42) return;
    const uint32_t target = value & kIlrTarget;
    // The other targets (interrupt outputs of the chip) lead nowhere on this board.
    const bool known = target == kExternal || target == kCritical || target == kMachineCheck;
    state_.sources[source].output = static_cast<uint8_t>(known ? target : uint32_t{kExternal});
    refresh(source);
}

void Mpic::write_gcr(uint32_t value) {
    if ((value & kGcrReset) != 0) {
        reset_registers();  // GCR[RST] is clear again when it is done, which is at once.
        return;
    }
    const uint32_t modes = version_ == MpicVersion::k42 ? kGcrProxy : kGcrMixed;
    const bool before = state_.gcr == kGcrProxy;
    state_.gcr = value & modes;
    const bool after = state_.gcr == kGcrProxy;
    if (before != after && outputs_.external_proxy) outputs_.external_proxy(after);
}

// A core is reset when its bit is set, not held in reset for as long as it is. Without the lock: it
// may have to finish an access to this device first.
void Mpic::write_pir(uint32_t value) {
    uint32_t set;
    {
        const std::lock_guard lock(mutex_);
        value &= cpu_mask_;
        set = value & ~std::exchange(state_.pir, value);
    }
    for (unsigned cpu = 0; cpu < cpu_count_ && outputs_.reset_core; ++cpu)
        if ((set >> cpu & 1) != 0) outputs_.reset_core(cpu);
}

void Mpic::reset_registers() {
    const bool was_proxy = state_.gcr == kGcrProxy;
    state_.gcr = 0;
    state_.pir = 0;
    state_.spurious = kIvprVector;
    state_.error_mask = 0xffffffff;
    state_.msir.fill(0);
    state_.groups = {};
    for (TimerGroup& group : state_.groups) {
        for (Timer& timer : group.timers)
            timer.base = 0x80000000;  // Counting inhibited.
    }
    for (Cpu& cpu : state_.cpus) {
        cpu.ctpr = 15;
        cpu.depth = 0;
    }
    for (unsigned n = 0; n < kAllSources; ++n) {
        Source& source = state_.sources[n];
        const bool is_ipi = n >= kFirstIpi && n < kFirstTimer;
        const bool is_on_chip = n >= kFirstOnChipSource && n < kSources;
        source.ivpr = kIvprMask | (is_on_chip ? kIvprPolarity : 0);
        source.idr = is_ipi ? 0 : 1;
        source.output = kExternal;
        source.latched = false;
        source.multicast = 0;
        if (n >= kFirstMsiSource && n < kFirstMsiSource + state_.msir.size()) source.line = false;
        refresh(n);
    }
    update_deadline();
    if (was_proxy && outputs_.external_proxy) outputs_.external_proxy(false);
}

void Mpic::reset() {
    const std::lock_guard lock(mutex_);
    reset_registers();
}

uint32_t Mpic::read_cpu(unsigned cpu, uint32_t reg) {
    if (cpu >= cpu_count_) return 0;
    switch (reg) {
        case 0x80:
            return state_.cpus[cpu].ctpr;
        case 0x90:  // WHOAMI
            return cpu;
        case 0xa0:
            return acknowledge_locked(cpu);
        default:
            return 0;
    }
}

void Mpic::write_cpu(unsigned cpu, uint32_t reg, uint32_t value) {
    if (cpu >= cpu_count_) return;
    switch (reg) {
        case 0x40:  // IPIDR0 … IPIDR3
        case 0x50:
        case 0x60:
        case 0x70: {
            const unsigned source = kFirstIpi + (reg - 0x40) / 0x10;
            state_.sources[source].multicast |= value & cpu_mask_;
            refresh(source);
            break;
        }
        case 0x80:
            state_.cpus[cpu].ctpr = value & 0xf;
            update_outputs(cpu);
            break;
        case 0xb0:
            end_of_interrupt(cpu);
            break;
        default:
            break;
    }
}

uint32_t Mpic::read_global(uint32_t offset, unsigned cpu) {
    switch (offset) {
        case 0x0000:  // BRR1: block identification and version.
            return version_ == MpicVersion::k42 ? 0x00400402 : 0x00400200;
        case 0x1000: {  // FRR: interrupts and CPUs, each minus one, and OpenPIC version 1.2.
            const uint32_t interrupts = version_ == MpicVersion::k42 ? 196 : 80;
            return (interrupts - 1) << 16 | (cpu_count_ - 1) << 8 | 2;
        }
        case 0x1020:
            return state_.gcr;
        case kPir:
            return state_.pir;
        case 0x10a0:  // IPIVPR0 … IPIVPR3
        case 0x10b0:
        case 0x10c0:
        case 0x10d0:
            return read_ivpr(kFirstIpi + (offset - 0x10a0) / 0x10);
        case 0x10e0:
            return state_.spurious;
        case kErrorStatus:
            return 0;
        case kErrorMask:
            return state_.error_mask;
        default:
            // The CPU that asks finds its own bank at the very start of the block as well.
            return offset < 0x100 ? read_cpu(cpu, offset) : 0;
    }
}

void Mpic::write_global(uint32_t offset, uint32_t value, unsigned cpu) {
    switch (offset) {
        case 0x1020:
            write_gcr(value);
            break;
        case 0x10a0:
        case 0x10b0:
        case 0x10c0:
        case 0x10d0:
            write_ivpr(kFirstIpi + (offset - 0x10a0) / 0x10, value);
            break;
        case 0x10e0:
            state_.spurious = value & kIvprVector;
            break;
        case kErrorMask:
            state_.error_mask = value;
            break;
        default:
            if (offset < 0x100) write_cpu(cpu, offset, value);
            break;
    }
}

uint32_t Mpic::read_source(uint32_t offset) const {
    const unsigned source = offset / 0x20;
    if (source >= kSources) return 0;
    switch (offset % 0x20) {
        case 0x00:
            return read_ivpr(source);
        case 0x10:
            return state_.sources[source].idr;
        case 0x18:
            return version_ == MpicVersion::k42 ? state_.sources[source].output : 0;
        default:
            return 0;
    }
}

void Mpic::write_source(uint32_t offset, uint32_t value) {
    const unsigned source = offset / 0x20;
    if (source >= kSources) return;
    switch (offset % 0x20) {
        case 0x00:
            write_ivpr(source, value);
            break;
        case 0x10:
            write_idr(source, value);
            break;
        case 0x18:
            write_ilr(source, value);
            break;
        default:
            break;
    }
}

uint32_t Mpic::read_msi(uint32_t offset) {
    const uint32_t index = offset / 0x10;
    if (offset % 0x10 == 0 && index < state_.msir.size()) {
        // MSIRn is cleared by reading it, and with it the interrupt.
        const uint32_t value = std::exchange(state_.msir[index], 0);
        change_line(kFirstMsiSource + index, false);
        return value;
    }
    if (offset != 0x120) return 0;
    uint32_t status = 0;  // MSISR
    for (unsigned i = 0; i < state_.msir.size(); ++i) {
        if (state_.msir[i] != 0) status |= 1U << i;
    }
    return status;
}

void Mpic::write_msi(uint32_t offset, uint32_t value) {
    if (offset != 0x140) return;  // MSIIR: which register (SRS), which bit (IBS).
    const unsigned index = value >> 29;
    state_.msir[index] |= 1U << (value >> 24 & 0x1f);
    change_line(kFirstMsiSource + index, true);
}

uint64_t Mpic::read(const MmioAccess& access) {
    if (access.size != 4 || access.offset >= kRegionBytes) return 0;
    const std::lock_guard lock(mutex_);
    const auto offset = static_cast<uint32_t>(access.offset);
    if (offset >= kCpuBank) {
        return read_cpu((offset - kCpuBank) / 0x1000, offset % 0x1000);
    }
    if (offset >= kSourceBank) return read_source(offset - kSourceBank);
    if (offset - kTimerGroupA < kTimerGroupBytes) return read_timer(0, offset - kTimerGroupA);
    if (offset - kTimerGroupB < kTimerGroupBytes) return read_timer(1, offset - kTimerGroupB);
    if (offset - kMsiBank < kMsiBankBytes) return read_msi(offset - kMsiBank);
    return read_global(offset, access.cpu);
}

void Mpic::write(const MmioAccess& access, uint64_t value) {
    if (access.size != 4 || access.offset >= kRegionBytes) return;
    const auto offset = static_cast<uint32_t>(access.offset);
    const auto word = static_cast<uint32_t>(value);
    if (offset == kPir) return write_pir(word);
    const std::lock_guard lock(mutex_);
    if (offset >= kCpuBank) {
        write_cpu((offset - kCpuBank) / 0x1000, offset % 0x1000, word);
    } else if (offset >= kSourceBank) {
        write_source(offset - kSourceBank, word);
    } else if (offset - kTimerGroupA < kTimerGroupBytes) {
        write_timer(0, offset - kTimerGroupA, word);
    } else if (offset - kTimerGroupB < kTimerGroupBytes) {
        write_timer(1, offset - kTimerGroupB, word);
    } else if (offset - kMsiBank < kMsiBankBytes) {
        write_msi(offset - kMsiBank, word);
    } else {
        write_global(offset, word, access.cpu);
    }
}

Mpic::State Mpic::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void Mpic::restore(const State& state) {
    const std::lock_guard lock(mutex_);
    std::array<std::array<bool, kOutputs>, kMaxCpus> levels{};
    for (unsigned c = 0; c < kMaxCpus; ++c)
        levels[c] = state_.cpus[c].level;
    state_ = state;
    // The outputs' levels are those of this MPIC until it has driven them anew.
    for (unsigned c = 0; c < kMaxCpus; ++c)
        state_.cpus[c].level = levels[c];
    for (unsigned c = 0; c < cpu_count_; ++c)
        update_outputs(c);
    if (outputs_.external_proxy) outputs_.external_proxy(state_.gcr == kGcrProxy);
    update_deadline();
}

void Mpic::describe(FdtBuilder& fdt, uint32_t offset, uint32_t pic_phandle) {
    fdt.begin_node(fmt::format("pic@{:x}", offset));
    fdt.string("device_type", "open-pic");
    fdt.string("compatible", "fsl,mpic");
    fdt.cells("reg", {offset, static_cast<uint32_t>(kRegionBytes)});
    fdt.cells("#address-cells", {0});
    fdt.cells("#interrupt-cells", {2});
    fdt.phandle(pic_phandle);
    fdt.empty("interrupt-controller");
    fdt.end_node();
}

void Mpic::describe_msi(FdtBuilder& fdt, uint32_t offset, uint32_t pic_phandle,
                        uint32_t msi_phandle) {
    constexpr uint32_t kEdge = 0;
    constexpr uint32_t kFirst = kFirstMsiSource;
    fdt.begin_node(fmt::format("msi@{:x}", offset));
    fdt.string("compatible", "fsl,mpic-msi");
    fdt.cells("reg", {offset, kMsiBankBytes});
    fdt.cells("msi-available-ranges", {0, 0x100});
    fdt.cells("interrupts",
              {kFirst, kEdge, kFirst + 1, kEdge, kFirst + 2, kEdge, kFirst + 3, kEdge, kFirst + 4,
               kEdge, kFirst + 5, kEdge, kFirst + 6, kEdge, kFirst + 7, kEdge});
    fdt.cells("interrupt-parent", {pic_phandle});
    fdt.phandle(msi_phandle);
    fdt.end_node();
}

}  // namespace perfvisor::devices
