// SPDX-License-Identifier: GPL-2.0-or-later
// One of the two first-level MMUs, for instructions or data: an array for 4 KiB pages and one for
// all sizes, each a subset of the TLBs that software sees (e500 core family manual 12.3.1).
#pragma once

#include <array>
#include <cstdint>

#include "core/mmu.h"

namespace perfvisor::core::timing {

class L1Mmu {
  public:
    static constexpr unsigned kSmallEntries = 64, kSmallWays = 4, kVariableEntries = 4;

    explicit L1Mmu(const Mmu& mmu) : mmu_(mmu) {}

    enum class Found : uint8_t { Here, ReloadedSmall, ReloadedVariable, Nowhere };
    struct Result {
        Found found = Found::Nowhere;
        uint64_t physical = 0;
        uint32_t attributes = 0;  // MAS2's
    };

    void invalidate();
    // Core::mirror.
    void mirror(const L1Mmu& from) {
        small_ = from.small_;
        variable_ = from.variable_;
        time_ = from.time_;
        last_ = nullptr;
    }
    // Translates as an access would that software's TLBs allow.
    Result translate(uint32_t ea, Access access, unsigned as, uint32_t pid, bool user);

  private:
    struct Entry {
        uint64_t ea = 0, ra = 0, size = 0;  // size 0: invalid
        uint32_t tid = 0, attributes = 0;
        uint32_t generation = 0;  // of the entry it was made from: it ends with that
        uint16_t position = 0;    // of that entry: Mmu::position()
        uint8_t as = 0;
        uint64_t used = 0;  // when it was last used
    };
    bool matches(const Entry& entry, uint32_t ea, unsigned as, uint32_t pid) const {
        return ea - entry.ea < entry.size && entry.as == as &&
               (entry.tid == 0 || entry.tid == pid) &&
               mmu_.generation(entry.position) == entry.generation;
    }
    Entry* find(uint32_t ea, unsigned as, uint32_t pid);
    Entry& victim(Entry* first, unsigned count) const;

    const Mmu& mmu_;
    std::array<Entry, kSmallEntries> small_;
    std::array<Entry, kVariableEntries> variable_;
    uint64_t time_ = 0;
    // The last translation, good while the page, the context and the TLBs are the same.
    Entry* last_ = nullptr;
    uint64_t last_key_ = 0, last_epoch_ = 0;
};

}  // namespace perfvisor::core::timing
