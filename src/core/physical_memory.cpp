// SPDX-License-Identifier: GPL-2.0-or-later
// The slots of guest physical memory.
#include "core/physical_memory.h"

#include <algorithm>
#include <utility>

namespace perfvisor::core {

void PhysicalMemory::set_slot(MemorySlot slot) {
    std::erase_if(slots_, [&](const MemorySlot& old) { return old.id == slot.id; });
    if (slot.size == 0) return;
    if (!slot.has_code) {
        const size_t pages = static_cast<size_t>((slot.size + kPageSize - 1) / kPageSize);
        slot.has_code = std::shared_ptr<std::atomic<uint8_t>[]>(new std::atomic<uint8_t>[pages]());
    }
    slots_.push_back(std::move(slot));
    // The largest first: find() meets main memory before small regions.
    std::stable_sort(slots_.begin(), slots_.end(),
                     [](const MemorySlot& a, const MemorySlot& b) { return a.size > b.size; });
}

}  // namespace perfvisor::core
