// SPDX-License-Identifier: GPL-2.0-or-later
// Builds the device tree of the ppce500 board. The devices write their own nodes.
#include "machine/device_tree.h"

#include <algorithm>

#include "devices/fdt_builder.h"
#include "devices/gpio.h"
#include "devices/guts.h"
#include "devices/i2c.h"
#include "devices/mpic.h"
#include "devices/pci_host.h"
#include "devices/rcpm.h"
#include "devices/uart16550.h"
#include "machine/memory_map.h"

namespace perfvisor::machine {

namespace {

using devices::FdtBuilder;

constexpr uint32_t kPicPhandle = 1;
constexpr uint32_t kMsiPhandle = 2;
constexpr uint32_t kGpioPhandle = 3;

constexpr uint32_t kCacheLineBytes = 64;
constexpr uint32_t kL1Bytes = 32 * 1024;

constexpr uint32_t high(uint64_t value) {
    return static_cast<uint32_t>(value >> 32);
}
constexpr uint32_t low(uint64_t value) {
    return static_cast<uint32_t>(value);
}

const std::string& soc_name() {
    static const std::string name = fmt::format("soc@{:x}", kCcsrBase);
    return name;
}

std::string serial_path(unsigned port) {
    return fmt::format("/{}/serial@{:x}", soc_name(), kSerialOffset[port]);
}

void add_memory(FdtBuilder& fdt, const DeviceTreeConfig& config) {
    fdt.begin_node("memory");
    fdt.string("device_type", "memory");
    fdt.cells("reg", {0, 0, high(config.memory_bytes), low(config.memory_bytes)});
    fdt.end_node();
}

void add_chosen(FdtBuilder& fdt, const DeviceTreeConfig& config) {
    fdt.begin_node("chosen");
    if (config.initrd.size != 0) {
        fdt.cells("linux,initrd-start", {low(config.initrd.base)});
        fdt.cells("linux,initrd-end", {low(config.initrd.end())});
    }
    if (config.kernel.size != 0) {
        fdt.cells("qemu,boot-kernel", {high(config.kernel.base), low(config.kernel.base),
                                       high(config.kernel.size), low(config.kernel.size)});
    }
    fdt.string("bootargs", config.bootargs(""));
    // The older name too, for kernels and firmware from before 3.17.
    fdt.string("linux,stdout-path", serial_path(0));
    fdt.string("stdout-path", serial_path(0));
    fdt.end_node();
}

void add_cpu(FdtBuilder& fdt, const DeviceTreeConfig& config, unsigned cpu) {
    fdt.begin_node(fmt::format("PowerPC,8544@{:x}", cpu));
    fdt.string("device_type", "cpu");
    fdt.cells("reg", {cpu});
    fdt.cells("clock-frequency", {config.clock_hz});
    fdt.cells("timebase-frequency", {config.timebase_hz});
    fdt.cells("bus-frequency", {0});
    fdt.cells("d-cache-line-size", {kCacheLineBytes});
    fdt.cells("i-cache-line-size", {kCacheLineBytes});
    fdt.cells("d-cache-size", {kL1Bytes});
    fdt.cells("i-cache-size", {kL1Bytes});
    if (config.perfmon.value_or(false)) fdt.empty("power-isa-e.pm");
    if (cpu == 0) {
        fdt.string("status", "okay");
    } else {
        const uint64_t release = kSpinTableBase + cpu * kSpinTableEntryBytes;
        fdt.string("status", "disabled");
        fdt.string("enable-method", "spin-table");
        fdt.cells("cpu-release-addr", {high(release), low(release)});
    }
    fdt.end_node();
}

void add_cpus(FdtBuilder& fdt, const DeviceTreeConfig& config) {
    fdt.begin_node("cpus");
    fdt.cells("#address-cells", {1});
    fdt.cells("#size-cells", {0});
    // The boot CPU first: Linux takes the first node for the CPU it runs on.
    for (unsigned cpu = 0; cpu < config.cpus; ++cpu)
        add_cpu(fdt, config, cpu);
    fdt.end_node();
}

void add_soc(FdtBuilder& fdt, const DeviceTreeConfig& config) {
    fdt.begin_node(soc_name());
    fdt.string("device_type", "soc");
    fdt.strings("compatible", {"fsl,mpc8544-immr", "simple-bus"});
    fdt.cells("#address-cells", {1});
    fdt.cells("#size-cells", {1});
    fdt.cells("ranges", {0, high(kCcsrBase), low(kCcsrBase), static_cast<uint32_t>(kCcsrSize)});
    fdt.cells("bus-frequency", {0});
    devices::Mpic::describe(fdt, kMpicOffset, kPicPhandle);
    // Port 0 first: Linux takes the first serial node for the console.
    for (unsigned port = 0; port < kSerialPorts; ++port) {
        devices::Uart16550::describe(fdt, {kSerialOffset[port], kSerialInterrupt, kPicPhandle},
                                     port, config.clock_hz);
    }
    devices::I2c::describe(fdt, {kI2cOffset, kI2cInterrupt, kPicPhandle});
    devices::Guts::describe(fdt, kGutsOffset);
    devices::Rcpm::describe(fdt, kRcpmOffset);
    devices::Mpic::describe_msi(fdt, kMsiOffset, kPicPhandle, kMsiPhandle);
    devices::Gpio::describe(fdt, {kGpioOffset, kGpioInterrupt, kPicPhandle}, kGpioPhandle);
    fdt.end_node();
}

void add_pci(FdtBuilder& fdt) {
    devices::PciHost::Node node;
    node.registers = kCcsrBase + kPciOffset;
    node.interrupt = kPciInterrupt;
    node.pic = kPicPhandle;
    node.msi = kMsiPhandle;
    node.memory = {kPciMemoryBase, kPciMemoryBus, kPciMemorySize};
    node.io = {kPciIoBase, kPciIoBus, kPciIoSize};
    devices::PciHost::describe(fdt, node);
}

void add_aliases(FdtBuilder& fdt) {
    const std::string i2c = fmt::format("/{}/i2c@{:x}", soc_name(), kI2cOffset);
    fdt.begin_node("aliases");
    fdt.string("serial0", serial_path(0));
    fdt.string("serial1", serial_path(1));
    fdt.string("pci0", fmt::format("/pci@{:x}", kCcsrBase + kPciOffset));
    fdt.string("i2c", i2c);
    fdt.string("rtc", i2c + "/rtc@68");
    fdt.end_node();
}

}  // namespace

std::string DeviceTreeConfig::bootargs(const std::string& theirs) const {
    const std::string& line = command_line ? *command_line : theirs;
    return default_arguments + (default_arguments.empty() || line.empty() ? "" : " ") + line;
}

Result<std::vector<uint8_t>> build_device_tree(const DeviceTreeConfig& config) {
    if (config.cpus < 1 || config.cpus > kMaxCpus) {
        return fail("the machine ppce500 has 1 to {} CPUs, not {}", kMaxCpus, config.cpus);
    }
    FdtBuilder fdt;
    fdt.begin_node("");
    // The names that Linux (arch/powerpc/platforms/85xx/qemu_e500.c) and U-Boot know the board by.
    fdt.string("compatible", "fsl,qemu-e500");
    fdt.string("model", "QEMU ppce500");
    fdt.cells("#address-cells", {2});
    fdt.cells("#size-cells", {2});
    add_memory(fdt, config);
    add_chosen(fdt, config);
    add_cpus(fdt, config);
    add_soc(fdt, config);
    add_pci(fdt);
    add_aliases(fdt);
    fdt.end_node();
    return fdt.finish();
}

}  // namespace perfvisor::machine
