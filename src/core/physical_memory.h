// SPDX-License-Identifier: GPL-2.0-or-later
// Guest physical memory as a core sees it: slots of host memory, everything else is MMIO.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/reservation_table.h"

namespace perfvisor::core {

constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kPageMask = ~(kPageSize - 1);

// One KVM memory slot. Guest memory is always whole 4 KiB pages.
struct MemorySlot {
    uint32_t id = 0;
    uint64_t base = 0;  // guest physical address, bytes
    uint64_t size = 0;  // bytes
    uint8_t* host = nullptr;
    bool readonly = false;
    // A byte per page: not 0 while some engine holds code decoded from the page. Shared by all
    // cores of the VM; a store to such a page takes the slow path, which invalidates and counts
    // here how often (Core::protect_code_page). Made by set_slot where the caller gives none.
    std::shared_ptr<std::atomic<uint8_t>[]> has_code {};
};

// The slots of one VM. Changed only while no core of the VM runs.
class PhysicalMemory {
  public:
    // Adds, replaces or (size 0) removes the slot `slot.id`. Each core must then drop what it
    // derived (Mmu::forget_all).
    void set_slot(MemorySlot slot);

    // The slot that holds the physical address, or null where there is no memory (MMIO).
    const MemorySlot* find(uint64_t address) const {
        for (const MemorySlot& slot : slots_)
            if (address - slot.base < slot.size) return &slot;
        return nullptr;
    }

    // Host address of a physical address, or null where there is no memory.
    uint8_t* host(uint64_t address) const {
        const MemorySlot* slot = find(address);
        return slot ? slot->host + (address - slot->base) : nullptr;
    }

    const std::vector<MemorySlot>& slots() const { return slots_; }

    // Of all cores that share the memory.
    ReservationTable& reservations() const { return *reservations_; }
    void share_reservations(const PhysicalMemory& other) { reservations_ = other.reservations_; }

  private:
    std::vector<MemorySlot> slots_;
    std::shared_ptr<ReservationTable> reservations_ = std::make_shared<ReservationTable>();
};

}  // namespace perfvisor::core
