// SPDX-License-Identifier: GPL-2.0-or-later
// The physical address space outside RAM: a sorted table of regions and the last one that was hit.
#include "devices/bus.h"

#include <algorithm>
#include <utility>

namespace perfvisor::devices {

namespace {

bool covers(uint64_t base, uint64_t region_size, uint64_t address, unsigned size) {
    return address >= base && address - base < region_size &&
           region_size - (address - base) >= size;
}

}  // namespace

Result<void> MmioBus::map(uint64_t base, uint64_t size, MmioDevice& device, std::string name) {
    if (size == 0 || base + (size - 1) < base) {
        return fail("device {} has an empty or wrapping address range at {:#x}", name, base);
    }
    const uint64_t last = base + (size - 1);
    for (const Region& other : regions_) {
        if (base <= other.base + (other.size - 1) && other.base <= last) {
            return fail("device {} at {:#x} overlaps {} at {:#x}", name, base, other.name,
                        other.base);
        }
    }
    const Region& region = regions_.emplace_back(Region{base, size, &device, std::move(name)});
    const auto position = std::upper_bound(
        sorted_.begin(), sorted_.end(), base,
        [](uint64_t address, const Region* other) { return address < other->base; });
    sorted_.insert(position, &region);
    return {};
}

const MmioBus::Region* MmioBus::find(uint64_t address, unsigned size) {
    const Region* last = last_hit_.load(std::memory_order_relaxed);
    if (last != nullptr && covers(last->base, last->size, address, size)) return last;
    auto position =
        std::upper_bound(sorted_.begin(), sorted_.end(), address,
                         [](uint64_t value, const Region* other) { return value < other->base; });
    if (position == sorted_.begin()) return nullptr;
    const Region* region = *--position;
    if (!covers(region->base, region->size, address, size)) return nullptr;
    last_hit_.store(region, std::memory_order_relaxed);
    return region;
}

void MmioBus::on_first_unmapped(std::function<void(const Unmapped&)> hook) {
    unmapped_hook_ = std::move(hook);
}

void MmioBus::note_unmapped(uint64_t address, unsigned size, bool is_write) {
    if (unmapped_count_.fetch_add(1, std::memory_order_relaxed) == 0 && unmapped_hook_) {
        unmapped_hook_({address, size, is_write});
    }
}

uint64_t MmioBus::read(uint64_t address, unsigned size, unsigned cpu) {
    const Region* region = size >= 1 && size <= 8 ? find(address, size) : nullptr;
    if (region == nullptr) {
        note_unmapped(address, size, false);
        return 0;
    }
    const uint64_t value = region->device->read({address - region->base, size, cpu});
    return size == 8 ? value : value & ((uint64_t{1} << (size * 8)) - 1);
}

void MmioBus::write(uint64_t address, unsigned size, uint64_t value, unsigned cpu) {
    const Region* region = size >= 1 && size <= 8 ? find(address, size) : nullptr;
    if (region == nullptr) {
        note_unmapped(address, size, true);
        return;
    }
    if (size < 8) value &= (uint64_t{1} << (size * 8)) - 1;
    region->device->write({address - region->base, size, cpu}, value);
}

void MmioBus::read_bytes(uint64_t address, std::span<uint8_t> data, unsigned cpu) {
    if (data.size() > 8) {
        std::fill(data.begin(), data.end(), uint8_t{0});
        return;
    }
    uint64_t value = read(address, static_cast<unsigned>(data.size()), cpu);
    for (size_t i = data.size(); i-- > 0; value >>= 8)
        data[i] = static_cast<uint8_t>(value);
}

void MmioBus::write_bytes(uint64_t address, std::span<const uint8_t> data, unsigned cpu) {
    if (data.size() > 8) return;
    uint64_t value = 0;
    for (const uint8_t byte : data)
        value = value << 8 | byte;
    write(address, static_cast<unsigned>(data.size()), value, cpu);
}

void MmioBus::reset() {
    for (Region& region : regions_)
        region.device->reset();
}

}  // namespace perfvisor::devices
