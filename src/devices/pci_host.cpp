// SPDX-License-Identifier: GPL-2.0-or-later
// The PCI host controller: configuration accesses, and the registers of windows and errors.
#include "devices/pci_host.h"

#include <fmt/format.h>

#include <vector>

namespace perfvisor::devices {

namespace {

constexpr uint64_t kCfgAddr = 0x000;
constexpr uint64_t kCfgData = 0x004;
constexpr uint64_t kErrDr = 0xe00;

// CFG_ADDR: enable, bus, device, function, register.
constexpr uint32_t kEnable = 0x80000000;
constexpr uint32_t kAddressMask = 0x80fffffc;
constexpr uint32_t kTarget = 0x00ffff00;
constexpr uint32_t kController = 0;

// ERR_DR: all errors that are told apart; a master abort of a configuration cycle is none of them.
constexpr uint32_t kErrors = 0x800007ff;

// Configuration space of the controller (type 0 header).
struct ConfigByte {
    unsigned offset;
    uint8_t reset;
    uint8_t writable;  // bits that software can change
};
constexpr ConfigByte kConfig[] = {
    {0x00, 0x57, 0},     // vendor 0x1957, Freescale
    {0x01, 0x19, 0},     //
    {0x02, 0x32, 0},     // device 0x0032, MPC8544E
    {0x03, 0x00, 0},     //
    {0x04, 0x04, 0x46},  // command: bus master; memory space, parity error response
    {0x05, 0x00, 0x01},  // SERR
    {0x06, 0xa0, 0},     // status: 66 MHz, fast back-to-back
    {0x0b, 0x0b, 0},     // class: processor,
    {0x0a, 0x20, 0},     // PowerPC,
    {0x09, 0x00, 0},     // programming interface: host
    {0x0c, 0x00, 0xff},  // cache line size
    {0x0d, 0x00, 0xf8},  // latency timer
    {0x12, 0x00, 0xf0},  // PCSRBAR: 1 MiB
    {0x13, 0x00, 0xff},  //
    {0x3c, 0x00, 0xff},  // interrupt line; there is no pin
};
constexpr unsigned kStatusHigh = 0x07;
// The status bits that writing 1 clears: errors, among them that this master aborted.
constexpr uint8_t kStatusErrors = 0xf9;
constexpr uint8_t kReceivedMasterAbort = 0x20;

// Bits that a register of the windows and errors keeps; 0: there is none.
constexpr uint32_t register_mask(uint64_t offset) {
    if (offset >= 0xc00 && offset < 0xca0) {
        switch (offset & 0x1c) {
            case 0x00:
                return 0x00ffffff;  // POTAR
            case 0x04:
                return 0x000fffff;  // POTEAR
            case 0x08:
                return offset == 0xc08 ? 0 : 0x00ffffff;  // POWBAR; window 0 is all the rest
            case 0x10:
                return offset == 0xc10 ? 0x000ff000 : 0x800ff03f;  // POWAR
            default:
                return 0;
        }
    }
    if (offset >= 0xda0 && offset < 0xe00) {
        switch (offset & 0x1c) {
            case 0x00:
                return 0x00ffffff;  // PITAR
            case 0x08:
                return 0x000fffff;  // PIWBAR
            case 0x0c:
                return offset == 0xdec ? 0 : 0x000fffff;  // PIWBEAR; window 1 is 32 bits
            case 0x10:
                return 0xa0fff03f;  // PIWAR
            default:
                return 0;
        }
    }
    switch (offset) {
        case 0xe04:  // ERR_CAP_DR
        case 0xe08:  // ERR_EN
            return kErrors & 0x7ff;
        case 0xe20:  // GAS_TIMR
            return 0x00010fff;
        default:
            return 0;
    }
}

}  // namespace

// ---- configuration accesses ----

bool PciHost::selects_controller() const {
    return (state_.address & kTarget) == kController;
}

// PCI is little-endian: the byte at CFG_DATA + n is the one at the register's address + n.
uint64_t PciHost::read_config_data(const MmioAccess& access) {
    if ((state_.address & kEnable) == 0) return 0;
    const unsigned first = (state_.address & 0xfc) + (access.offset & 3);
    uint64_t value = 0;
    for (unsigned n = 0; n < access.size; ++n)
        value = value << 8 | (selects_controller() ? state_.config[first + n] : 0xff);
    if (!selects_controller()) state_.config[kStatusHigh] |= kReceivedMasterAbort;
    return value;
}

void PciHost::write_config_data(const MmioAccess& access, uint64_t value) {
    if ((state_.address & kEnable) == 0) return;
    if (!selects_controller()) {
        state_.config[kStatusHigh] |= kReceivedMasterAbort;
        return;
    }
    const unsigned first = (state_.address & 0xfc) + (access.offset & 3);
    for (unsigned n = 0; n < access.size; ++n) {
        const auto written = static_cast<uint8_t>(value >> 8 * (access.size - 1 - n));
        uint8_t& byte = state_.config[first + n];
        if (first + n == kStatusHigh) byte &= static_cast<uint8_t>(~(written & kStatusErrors));
        for (const ConfigByte& known : kConfig)
            if (known.offset == first + n)
                byte = static_cast<uint8_t>((byte & ~known.writable) | (written & known.writable));
    }
}

// ---- registers ----

namespace {

// Within CFG_DATA, naturally aligned.
bool is_config_data(const MmioAccess& access) {
    return access.offset >= kCfgData && access.offset < kCfgData + 4 &&
           (access.size == 1 || access.size == 2 || access.size == 4) &&
           access.offset % access.size == 0;
}

bool is_register(const MmioAccess& access) {
    return access.size == 4 && access.offset % 4 == 0 && access.offset < PciHost::kRegionBytes;
}

}  // namespace

uint64_t PciHost::read(const MmioAccess& access) {
    const std::lock_guard lock(mutex_);
    if (is_config_data(access)) return read_config_data(access);
    if (!is_register(access)) return 0;
    return access.offset == kCfgAddr ? state_.address : state_.registers[access.offset / 4];
}

void PciHost::write(const MmioAccess& access, uint64_t value) {
    const std::lock_guard lock(mutex_);
    if (is_config_data(access)) return write_config_data(access, value);
    if (!is_register(access)) return;
    const auto word = static_cast<uint32_t>(value);
    uint32_t& kept = state_.registers[access.offset / 4];
    if (access.offset == kCfgAddr)
        state_.address = word & kAddressMask;
    else if (access.offset == kErrDr)
        kept &= ~(word & kErrors);
    else
        kept = word & register_mask(access.offset);
}

void PciHost::reset() {
    const std::lock_guard lock(mutex_);
    state_ = State{};
    for (const ConfigByte& byte : kConfig)
        state_.config[byte.offset] = byte.reset;
}

PciHost::State PciHost::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void PciHost::restore(const State& state) {
    const std::lock_guard lock(mutex_);
    state_ = state;
}

// ---- device tree (IEEE 1275 PCI bus binding) ----

void PciHost::describe(FdtBuilder& fdt, const Node& node) {
    constexpr uint32_t kMemorySpace = 0x02000000, kIoSpace = 0x01000000;
    constexpr uint32_t kSlots = 32, kPins = 4, kFirstSource = 1, kSense = 1;
    const auto high = [](uint64_t value) { return static_cast<uint32_t>(value >> 32); };
    const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };

    fdt.begin_node(fmt::format("pci@{:x}", node.registers));
    fdt.string("compatible", "fsl,mpc8540-pci");
    fdt.string("device_type", "pci");
    fdt.cells("cell-index", {0});
    fdt.cells("#address-cells", {3});
    fdt.cells("#size-cells", {2});
    fdt.cells("#interrupt-cells", {1});
    fdt.cells("reg", {high(node.registers), low(node.registers), 0, uint32_t{kRegionBytes}});
    fdt.cells("bus-range", {0, 255});
    fdt.cells("clock-frequency", {66666666});
    fdt.cells("ranges", {kMemorySpace, 0, node.memory.bus, high(node.memory.physical),
                         low(node.memory.physical), 0, node.memory.size,  //
                         kIoSpace, 0, node.io.bus, high(node.io.physical), low(node.io.physical), 0,
                         node.io.size});
    fdt.cells("interrupts", {node.interrupt, kSenseLevelHigh});
    fdt.cells("interrupt-parent", {node.pic});
    fdt.cells("fsl,msi", {node.msi});
    fdt.cells("interrupt-map-mask", {0xf800, 0, 0, 7});
    std::vector<uint32_t> map;
    for (uint32_t slot = 1; slot < kSlots; ++slot)
        for (uint32_t pin = 0; pin < kPins; ++pin)
            map.insert(map.end(), {slot << 11, 0, 0, pin + 1, node.pic,
                                   kFirstSource + (slot + pin) % kPins, kSense});
    fdt.cells("interrupt-map", map);
    fdt.end_node();
}

}  // namespace perfvisor::devices
