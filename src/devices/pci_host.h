// SPDX-License-Identifier: GPL-2.0-or-later
// The PCI host controller of the MPC85xx ("fsl,mpc8540-pci") with an empty bus behind it.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "devices/device.h"
#include "devices/fdt_builder.h"

namespace perfvisor::devices {

// Registers as in the MPC8544E manual, chapter "PCI Bus Interface": 32 bits wide, but CFG_DATA
// takes bytes and halfwords too. Bus 0, device 0 is the controller itself. Nobody else answers:
// reading another device's configuration ends in a master abort and gives all ones. The outbound
// and inbound windows are kept without effect, for there is nothing on the bus to reach or to be
// reached by.
class PciHost final : public MmioDevice {
  public:
    static constexpr uint64_t kRegionBytes = 0x1000;
    static constexpr unsigned kConfigBytes = 256;

    PciHost() { reset(); }

    uint64_t read(const MmioAccess& access) override;
    void write(const MmioAccess& access, uint64_t value) override;
    void reset() override;

    struct State {
        uint32_t address = 0;                           // CFG_ADDR
        std::array<uint8_t, kConfigBytes> config = {};  // the controller's own, byte by byte
        std::array<uint32_t, kRegionBytes / 4> registers = {};  // windows and errors, by offset / 4
    };
    State state() const;
    void restore(const State& state);

    // A range of addresses on the bus, and where the CPU has it; bytes.
    struct Range {
        uint64_t physical = 0;
        uint32_t bus = 0;
        uint32_t size = 0;
    };
    struct Node {
        uint64_t registers = 0;  // Physical address.
        uint32_t interrupt = 0;  // MPIC source of the controller's own errors.
        uint32_t pic = 0;        // Phandles.
        uint32_t msi = 0;
        Range memory, io;
    };
    // Writes the node pci@REGISTERS, a child of the root. Pin n (from 0) of slot s is wired to the
    // MPIC's source 1 + (s + n) % 4.
    static void describe(FdtBuilder& fdt, const Node& node);

  private:
    bool selects_controller() const;
    uint64_t read_config_data(const MmioAccess& access);
    void write_config_data(const MmioAccess& access, uint64_t value);

    mutable std::mutex mutex_;
    State state_;
};

}  // namespace perfvisor::devices
