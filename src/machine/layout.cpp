// SPDX-License-Identifier: GPL-2.0-or-later
// Where device tree and initrd go in RAM beside a kernel that has its place.
#include "machine/layout.h"

#include <algorithm>
#include <optional>

namespace perfvisor::machine {

namespace {

// QEMU's ppce500: the tree 24 MiB above the kernel, on a MiB (Linux finds it only within 64 MiB of
// its own start); the initrd 32 MiB above the kernel or above 32 MiB, on 16 MiB.
constexpr uint64_t kTreeGap = 24 * kMiB;
constexpr uint64_t kTreeAlign = kMiB;
constexpr uint64_t kInitrdFloor = 32 * kMiB;
constexpr uint64_t kInitrdGap = 32 * kMiB;
constexpr uint64_t kInitrdAlign = 16 * kMiB;

// What the peer keeps free for U-Boot.
constexpr uint64_t kFirmwareRoom = 32 * kMiB;

constexpr uint64_t kCloseAlign = 64 * 1024;
constexpr uint64_t kTreeReach = 64 * kMiB;
// A 32-bit kernel has 32-bit addresses, and one TLB1 entry maps no more either.
constexpr uint64_t kAddressLimit = 4 * kGiB;

uint64_t align_down(uint64_t value, uint64_t alignment) {
    return value / alignment * alignment;
}

uint64_t align_up(uint64_t value, uint64_t alignment) {
    return align_down(value + alignment - 1, alignment);
}

bool disjoint(const Placement& a, const Placement& b) {
    return a.size == 0 || b.size == 0 || a.end() <= b.base || b.end() <= a.base;
}

// [base, base + size) with base as high as `ceiling` and the alignment allow, if there is room.
std::optional<Placement> highest_below(uint64_t ceiling, uint64_t size) {
    if (size > ceiling) return std::nullopt;
    return Placement{align_down(ceiling - size, kCloseAlign), size};
}

class Planner {
  public:
    Planner(const Placement& kernel, uint64_t ram_bytes)
        : kernel_(kernel), limit_(std::min(ram_bytes, kAddressLimit)) {}

    std::optional<Placement> tree(uint64_t size, const Placement& initrd) const {
        const auto good = [&](const Placement& place) {
            return free(place) && disjoint(place, initrd);
        };
        const Placement usual{align_down(kernel_.end() + kTreeGap, kTreeAlign), size};
        if (good(usual)) return usual;
        // High above a kernel whose zeroed data may not be part of its image, but within reach.
        const uint64_t ceiling = initrd.size != 0 ? initrd.base : limit_;
        const auto high = highest_below(std::min(ceiling, kernel_.base + kTreeReach), size);
        return high && good(*high) ? high : std::nullopt;
    }

    std::optional<Layout> both(uint64_t tree_size, uint64_t initrd_size) const {
        const uint64_t kernel_end = std::max(kernel_.end(), kInitrdFloor);
        const Placement usual{align_down(kernel_end + kInitrdGap, kInitrdAlign), initrd_size};
        for (const auto& initrd : {std::optional(usual), highest_below(limit_, initrd_size)}) {
            if (!initrd || !free(*initrd)) continue;
            if (const auto place = tree(tree_size, *initrd)) return Layout{*place, *initrd};
        }
        return std::nullopt;
    }

  private:
    bool free(const Placement& place) const {
        return place.end() <= limit_ && disjoint(place, kernel_);
    }

    Placement kernel_;
    uint64_t limit_;
};

}  // namespace

Result<Layout> place_images(const Placement& kernel, uint64_t initrd_bytes, uint64_t tree_bytes,
                            uint64_t ram_bytes) {
    const uint64_t ram_mib = ram_bytes / kMiB;
    if (kernel.end() > kAddressLimit) {
        return fail("the kernel ends at {:#x}, above the 4 GiB that a 32-bit CPU can address",
                    kernel.end());
    }
    const Planner planner(kernel, ram_bytes);
    const auto alone = planner.tree(tree_bytes, {});
    if (!alone) {
        return fail(
            "the device tree of {} bytes does not fit into the guest's memory of {} MiB "
            "beside a kernel that ends at {:#x}; give the guest more with -m",
            tree_bytes, ram_mib, kernel.end());
    }
    if (initrd_bytes == 0) return Layout{*alone, {}};
    const auto layout = planner.both(tree_bytes, initrd_bytes);
    if (!layout) {
        return fail(
            "the initrd of {} bytes is too large for the guest's memory of {} MiB beside a "
            "kernel that ends at {:#x}; give the guest more with -m",
            initrd_bytes, ram_mib, kernel.end());
    }
    return *layout;
}

Result<FirmwareLayout> place_beside_firmware(const Placement& firmware, uint64_t kernel_bytes,
                                             uint64_t initrd_bytes, uint64_t tree_bytes,
                                             uint64_t ram_bytes) {
    const uint64_t limit = std::min(ram_bytes, kAddressLimit);
    FirmwareLayout layout;
    const auto good = [&](const Placement& place) {
        return place.end() <= limit && disjoint(place, firmware) &&
               disjoint(place, layout.kernel) && disjoint(place, layout.initrd);
    };
    const auto too_large = [&](const char* what, uint64_t bytes) {
        return fail(
            "the {} of {} bytes does not fit into the guest's memory of {} MiB beside firmware, "
            "which has the memory below {} MiB; give the guest more with -m",
            what, bytes, ram_bytes / kMiB, kFirmwareRoom / kMiB);
    };
    const uint64_t above = std::max(firmware.end(), kFirmwareRoom);
    if (kernel_bytes != 0) {
        const Placement usual{align_up(above, kCloseAlign), kernel_bytes};
        if (!good(usual)) return too_large("kernel", kernel_bytes);
        layout.kernel = usual;
    }

    const uint64_t occupied = std::max(above, layout.kernel.end());
    if (initrd_bytes != 0) {
        const Placement usual{align_down(occupied + kInitrdGap, kInitrdAlign), initrd_bytes};
        // High: U-Boot unpacks the kernel low, and puts itself where it finds room.
        const auto high = highest_below(align_down(limit - limit / 4, kMiB), initrd_bytes);
        if (good(usual)) {
            layout.initrd = usual;
        } else if (high && good(*high)) {
            layout.initrd = *high;
        } else {
            return too_large("initrd", initrd_bytes);
        }
    }

    // The peer's place; behind the kernel where that is there; close to the firmware.
    for (const uint64_t base :
         {align_down(firmware.end() + kTreeGap, kTreeAlign), align_up(occupied, kTreeAlign),
          align_up(firmware.end(), kTreeAlign)}) {
        const Placement place{base, tree_bytes};
        if (!good(place)) continue;
        layout.tree = place;
        return layout;
    }
    return too_large("device tree", tree_bytes);
}

}  // namespace perfvisor::machine
