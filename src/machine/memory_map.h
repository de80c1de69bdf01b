// SPDX-License-Identifier: GPL-2.0-or-later
// The ppce500 board as numbers: physical addresses and interrupt sources, those of QEMU's.
#pragma once

#include <cstdint>

namespace perfvisor::machine {

constexpr unsigned kMaxCpus = 32;
constexpr unsigned kSerialPorts = 2;

// Physical addresses, bytes.
constexpr uint64_t kCcsrBase = 0xfe0000000;
constexpr uint64_t kCcsrSize = 0x100000;
constexpr uint64_t kSpinTableBase = 0xfef000000;
constexpr uint64_t kSpinTableEntryBytes = 32;
constexpr uint64_t kPciMemoryBase = 0xc00000000;
constexpr uint64_t kPciIoBase = 0xfe1000000;
// The same on the PCI bus.
constexpr uint32_t kPciMemoryBus = 0xe0000000;
constexpr uint32_t kPciMemorySize = 0x20000000;
constexpr uint32_t kPciIoBus = 0;
constexpr uint32_t kPciIoSize = 0x10000;

// Bytes from kCcsrBase.
constexpr uint32_t kI2cOffset = 0x3000;
constexpr uint32_t kSerialOffset[kSerialPorts] = {0x4500, 0x4600};
constexpr uint32_t kLocalBusOffset = 0x5000;
constexpr uint32_t kPciOffset = 0x8000;
constexpr uint32_t kMpicOffset = 0x40000;
constexpr uint32_t kMsiOffset = 0x41600;
constexpr uint32_t kGutsOffset = 0xe0000;
constexpr uint32_t kRcpmOffset = 0xe2000;  // As in the P4080; QEMU's board has none.
constexpr uint32_t kGpioOffset = 0xff000;

// MPIC sources. Sources 1 to 4 are the PCI bus's INTA to INTD.
constexpr uint32_t kPciInterrupt = 24;
constexpr uint32_t kSerialInterrupt = 42;  // Shared by both ports.
constexpr uint32_t kI2cInterrupt = 43;
constexpr uint32_t kGpioInterrupt = 47;

// What a released secondary CPU has mapped: from effective address 0 to its entry's 64 MiB.
constexpr uint64_t kSecondaryMapBytes = uint64_t{64} << 20;

constexpr unsigned kPowerOffPin = 0;

}  // namespace perfvisor::machine
