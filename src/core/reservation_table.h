// SPDX-License-Identifier: GPL-2.0-or-later
// What makes lwarx and stwcx. of one VM's cores one operation. Each 64-byte granule of memory
// belongs to an entry, several to the same. Its version goes up with each store conditional to
// them, and a reservation is a version with the value that was loaded then: a store conditional
// takes the entry if the version is still the same, exchanges the value if memory still holds it,
// and lets the entry go with the next version.
//
// The value alone, as other emulators have it, would let a store conditional succeed after another
// core has changed it and changed it back: an element that was taken off a list and put there again
// has another successor. The version alone would not notice stores. Together they miss only a value
// that plain stores, none of them conditional, have changed and changed back in between. To catch
// those, every store would have to look at the table.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace perfvisor::core {

class ReservationTable {
  public:
    static constexpr unsigned kGranuleBytes = 64;  // as the e500mc's
    static constexpr unsigned kEntries = 1024;
    // Of the host address of the granule; that of a slot of memory is all cores' own.
    static constexpr uint32_t kIndexMask = (kEntries - 1) * kGranuleBytes;

    // Even: a version. Odd: a store conditional has it just now.
    struct alignas(kGranuleBytes) Entry {  // so that an address's bits are an offset here
        std::atomic<uint32_t> version{0};
    };

    // To be asked for before the value is loaded. Backs off while a store conditional has the
    // entry; not for ever, as the host may let its thread sleep: false, and there is no
    // reservation.
    bool watch(const uint8_t* host, uint32_t& version, uint32_t& pauses);
    // The store conditional: `desired` for `expected`, as they stand in memory.
    bool exchange(uint8_t* host, unsigned size, uint32_t version, uint64_t expected,
                  uint64_t desired);
    // After a lost race: lets the winner go on for a while, twice as long as after the last one if
    // none was won in between. Each look at the cache lines takes them from the winner; cores that
    // try again at once have them come and go with every round.
    static void back_off(uint32_t& pauses);
    // The host's pauses after the first lost race, a microsecond or so, and after many.
    static constexpr uint32_t kFewestPauses = 48;
    static constexpr uint32_t kMostPauses = 8 * kFewestPauses;

    // Versions stay, as what is stored is undone and stored again by another core in place of the
    // first (lockstep), the only one.
    void keep_versions() { step_ = 0; }

    // For translated code.
    const void* entries() const { return entries_.data(); }
    uint32_t step() const { return step_; }

  private:
    Entry& entry_of(const uint8_t* host) {
        return entries_[(reinterpret_cast<uintptr_t>(host) & kIndexMask) / kGranuleBytes];
    }

    std::array<Entry, kEntries> entries_;
    uint32_t step_ = 2;
};

}  // namespace perfvisor::core
