// SPDX-License-Identifier: GPL-2.0-or-later
// Puts the ppce500 board together: devices on the bus, lines to the MPIC, hooks to the VMM.
#include "machine/ppce500.h"

#include <string>
#include <utility>

#include "devices/gpio.h"
#include "devices/guts.h"
#include "devices/i2c.h"
#include "devices/local_bus.h"
#include "devices/mpic.h"
#include "devices/pci_host.h"
#include "devices/rcpm.h"
#include "devices/rtc.h"
#include "devices/spin_table.h"
#include "devices/uart16550.h"

namespace perfvisor::machine {

namespace {

using devices::IrqLine;

// Both UARTs pull the same line; it is asserted while either does.
class SharedLine {
  public:
    explicit SharedLine(IrqLine line) : line_(std::move(line)) {}

    IrqLine input(unsigned index) {
        return IrqLine([this, index](bool level) { set(index, level); });
    }

  private:
    void set(unsigned index, bool level) {
        const std::lock_guard lock(mutex_);
        const unsigned bit = 1U << index;
        asserted_ = level ? asserted_ | bit : asserted_ & ~bit;
        line_.set(asserted_ != 0);
    }

    std::mutex mutex_;
    unsigned asserted_ = 0;
    IrqLine line_;
};

}  // namespace

CpuStart secondary_start(unsigned cpu, uint64_t entry, uint64_t r3) {
    CpuStart start;
    start.cpu = cpu;
    start.pc = entry % kSecondaryMapBytes;
    start.gpr[3] = r3;
    start.gpr[7] = kSecondaryMapBytes;
    // Those that run broadcast tlbivax; this CPU must find its mapping however late it gets going.
    start.mapping = {1, 0, entry - start.pc, kSecondaryMapBytes, true};
    return start;
}

struct Ppce500::Parts {
    Parts(const MachineConfig& config, MachineHooks machine_hooks)
        : hooks(std::move(machine_hooks)),
          rcpm(config.cpus, {hooks.set_timebases, hooks.set_napping}),
          mpic(devices::MpicVersion::k42, config.cpus, mpic_outputs(), hooks.clock),
          serial_line(mpic.input(kSerialInterrupt)),
          serial{{{serial_line.input(0), hooks.serial_output[0], hooks.serial_input_ready[0]},
                  {serial_line.input(1), hooks.serial_output[1], hooks.serial_input_ready[1]}}},
          rtc(hooks.wall_clock),
          i2c(mpic.input(kI2cInterrupt), rtc),
          guts(config.pvr, config.svr, {hooks.request_reset, hooks.set_timebases}),
          gpio(mpic.input(kGpioInterrupt),
               [this](unsigned pin, bool level) {
                   if (pin == kPowerOffPin && level && hooks.request_power_off) {
                       hooks.request_power_off();
                   }
               }),
          spin_table(config.cpus, [this](const devices::SpinTable::Release& release) {
              if (!hooks.start_secondary) return;
              hooks.start_secondary(secondary_start(release.cpu, release.entry, release.r3));
          }) {}

    // The RCPM looks at the interrupts on their way to a core: they wake it.
    devices::Mpic::Outputs mpic_outputs() {
        using Kind = devices::Rcpm::Interrupt;
        const auto by_way_of_rcpm = [this](Kind kind, const auto& onward) {
            return [this, kind, &onward](unsigned cpu, bool level) {
                if (onward) onward(cpu, level);
                rcpm.set_interrupt(cpu, kind, level);
            };
        };
        return {by_way_of_rcpm(Kind::External, hooks.set_external),
                by_way_of_rcpm(Kind::Critical, hooks.set_critical),
                by_way_of_rcpm(Kind::MachineCheck, hooks.set_machine_check),
                hooks.set_external_proxy,
                hooks.set_deadline,
                [this](unsigned cpu) { reset_core(cpu); }};
    }

    // CPU 0 starts from its own reset vector, where nothing is: it is not reset alone.
    void reset_core(unsigned cpu) {
        if (cpu == 0 || !hooks.reset_secondary) return;
        hooks.reset_secondary(cpu);
        rcpm.core_reset(cpu);
        spin_table.wait_again(cpu);
    }

    Result<void> map_devices() {
        using devices::Gpio, devices::Guts, devices::I2c, devices::LocalBus, devices::Mpic,
            devices::PciHost, devices::SpinTable, devices::Uart16550;
        struct Mapping {
            uint64_t base;
            uint64_t size;
            devices::MmioDevice& device;
            const char* name;
        };
        // The MPIC first: devices that are reset after it lower their lines.
        const Mapping mappings[] = {
            {kCcsrBase + kMpicOffset, Mpic::kRegionBytes, mpic, "mpic"},
            {kCcsrBase + kSerialOffset[0], Uart16550::kRegionBytes, serial[0], "serial0"},
            {kCcsrBase + kSerialOffset[1], Uart16550::kRegionBytes, serial[1], "serial1"},
            {kCcsrBase + kLocalBusOffset, LocalBus::kRegionBytes, local_bus, "local-bus"},
            {kCcsrBase + kPciOffset, PciHost::kRegionBytes, pci, "pci"},
            {kCcsrBase + kI2cOffset, I2c::kRegionBytes, i2c, "i2c"},
            {kCcsrBase + kGutsOffset, Guts::kRegionBytes, guts, "guts"},
            {kCcsrBase + kRcpmOffset, devices::Rcpm::kRegionBytes, rcpm, "rcpm"},
            {kCcsrBase + kGpioOffset, Gpio::kRegionBytes, gpio, "gpio"},
            {kSpinTableBase, SpinTable::kRegionBytes, spin_table, "spin-table"},
        };
        for (const Mapping& m : mappings) {
            if (auto mapped = bus.map(m.base, m.size, m.device, m.name); !mapped) return mapped;
        }
        bus.on_first_unmapped(hooks.first_unmapped_access);
        return {};
    }

    const MachineHooks hooks;
    devices::MmioBus bus;
    devices::Rcpm rcpm;
    devices::Mpic mpic;
    SharedLine serial_line;
    std::array<devices::Uart16550, kSerialPorts> serial;
    devices::Rtc rtc;
    devices::I2c i2c;
    devices::LocalBus local_bus;
    devices::PciHost pci;
    devices::Guts guts;
    devices::Gpio gpio;
    devices::SpinTable spin_table;
};

Ppce500::Ppce500(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Ppce500::~Ppce500() = default;

Result<std::unique_ptr<Ppce500>> Ppce500::create(const MachineConfig& config, MachineHooks hooks) {
    if (config.cpus < 1 || config.cpus > kMaxCpus) {
        return fail("the machine ppce500 has 1 to {} CPUs, not {}", kMaxCpus, config.cpus);
    }
    auto parts = std::make_unique<Parts>(config, std::move(hooks));
    if (auto mapped = parts->map_devices(); !mapped) return tl::unexpected(mapped.error());
    return std::unique_ptr<Ppce500>(new Ppce500(std::move(parts)));
}

devices::MmioBus& Ppce500::bus() {
    return parts_->bus;
}

uint32_t Ppce500::acknowledge(unsigned cpu) {
    return parts_->mpic.acknowledge(cpu);
}

bool Ppce500::external_proxy() const {
    return parts_->mpic.external_proxy();
}

size_t Ppce500::send_to_serial(unsigned port, std::span<const uint8_t> bytes) {
    return port < kSerialPorts ? parts_->serial[port].receive(bytes) : 0;
}

void Ppce500::run_timers() {
    parts_->mpic.run_timers();
}

void Ppce500::reset() {
    parts_->bus.reset();
}

}  // namespace perfvisor::machine
