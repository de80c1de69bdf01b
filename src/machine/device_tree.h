// SPDX-License-Identifier: GPL-2.0-or-later
// The flattened device tree of the ppce500 machine: built from nothing, or patched from the user's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "machine/guest_memory.h"

namespace perfvisor::machine {

// The largest device tree that is accepted or made; bytes.
constexpr uint64_t kMaxDeviceTreeBytes = uint64_t{8} << 20;

struct DeviceTreeConfig {
    unsigned cpus = 1;              // 1 … kMaxCpus.
    uint64_t memory_bytes = 0;      // RAM from physical address 0.
    uint32_t clock_hz = 400000000;  // clock-frequency of cpus and UARTs.
    uint32_t timebase_hz = 400000000;
    // Whether the guest may use the performance monitor: every cpu node has "power-isa-e.pm", or
    // none has it. Unset: as the user's tree says; none in a tree of our own.
    std::optional<bool> perfmon = {};
    // /chosen/bootargs. Unset: empty in a tree of our own, left as it is in the user's.
    std::optional<std::string> command_line = {};
    // In front of it: of an argument that is there twice Linux takes the second.
    std::string default_arguments = {};

    Placement initrd = {};
    Placement kernel = {};  // For firmware, as "qemu,boot-kernel".

    // The whole command line, where the tree has `theirs`.
    std::string bootargs(const std::string& theirs) const;
};

// The tree of the machine in `config`, as the peer's ppce500 makes it for the devices that exist
// here. No random seed: equal input gives equal bytes.
Result<std::vector<uint8_t>> build_device_tree(const DeviceTreeConfig& config);

// The user's tree (bytes of a .dtb; `name` for messages) with memory, initrd, bootargs and
// "power-isa-e.pm" set from `config`. Everything else stays as it is. Fails when it is not a
// complete, well-formed tree or does not have the nodes that are needed (/cpus).
Result<std::vector<uint8_t>> patch_device_tree(const std::vector<uint8_t>& blob,
                                               const std::string& name,
                                               const DeviceTreeConfig& config);

}  // namespace perfvisor::machine
