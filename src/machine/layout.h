// SPDX-License-Identifier: GPL-2.0-or-later
// Where device tree and initrd go in RAM beside a kernel that has its place.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "machine/guest_memory.h"

namespace perfvisor::machine {

struct Layout {
    Placement tree;
    Placement initrd;  // Empty when its size is 0.
};

// Sizes in bytes. Nothing overlaps, and all of it lies in RAM and below 4 GiB. Positions are those
// of QEMU's ppce500 where they are free; in small memories tree and initrd are as high as possible.
// Fails, with a sentence that names initrd, device tree or kernel, when there is no room.
Result<Layout> place_images(const Placement& kernel, uint64_t initrd_bytes, uint64_t tree_bytes,
                            uint64_t ram_bytes);

struct FirmwareLayout {
    Placement kernel;  // Empty when its size is 0, as
    Placement initrd;  // this.
    Placement tree;
};

// The same beside firmware that has its place, and starts with it: the kernel above 32 MiB, below
// which U-Boot moves about; the tree at the start of a MiB, as U-Boot maps it.
Result<FirmwareLayout> place_beside_firmware(const Placement& firmware, uint64_t kernel_bytes,
                                             uint64_t initrd_bytes, uint64_t tree_bytes,
                                             uint64_t ram_bytes);

}  // namespace perfvisor::machine
