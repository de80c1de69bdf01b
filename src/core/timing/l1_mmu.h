// SPDX-License-Identifier: GPL-2.0-or-later
// One of the two first-level MMUs, for instructions or data: an array for 4 KiB pages and one for
// all sizes, each a subset of the TLBs that software sees (e500 core family manual 12.3.1).
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "core/mmu.h"
#include "core/timing/filters.h"

namespace perfvisor::core::timing {

class L1Mmu {
  public:
    static constexpr unsigned kSmallEntries = 64, kSmallWays = 4, kVariableEntries = 4;

    // `filters`: of lines in its pages, forgotten where a page is no longer the last used.
    L1Mmu(const Mmu& mmu, std::initializer_list<LineFilter*> filters)
        : mmu_(mmu), filters_(filters) {}

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
        fills_ = from.fills_;
        newest_.fill(nullptr);
        recent_.fill({});
    }
    // Translates as an access would that software's TLBs allow.
    [[gnu::always_inline]] Result translate(uint32_t ea, Access access, unsigned as, uint32_t pid,
                                            bool user) {
        if (const Recent* recent = find_recent(ea, as, pid)) [[likely]]
            return {Found::Here, recent->addend + ea, recent->attributes};
        return look_up(ea, access, as, pid, user);
    }
    // The same where it was translated lately: Found::Nowhere otherwise, and nothing has happened.
    [[gnu::always_inline]] Result translate_recent(uint32_t ea, unsigned as, uint32_t pid) {
        if (const Recent* recent = find_recent(ea, as, pid)) [[likely]]
            return {Found::Here, recent->addend + ea, recent->attributes};
        return {};
    }

  private:
    struct Entry {
        uint64_t ea = 0, ra = 0, size = 0;  // size 0: invalid
        uint32_t tid = 0, attributes = 0;
        uint32_t generation = 0;  // of the entry it was made from: it ends with that
        uint16_t position = 0;    // of that entry: Mmu::position()
        uint8_t as = 0;
        uint8_t set = 0;
        uint64_t used = 0;  // when it was last used
        uint64_t fill = 0;  // which of all that were made it is
    };
    // What a page was translated with, good as long as the entry and software's TLBs are the same.
    struct Recent {
        uint64_t key = ~uint64_t{0};
        uint64_t epoch = 0, fill = 0;
        Entry* entry = nullptr;
        uint64_t addend = 0;
        uint32_t attributes = 0;
    };
    static constexpr unsigned kRecent = 64;

    bool matches(const Entry& entry, uint32_t ea, unsigned as, uint32_t pid) const {
        return ea - entry.ea < entry.size && entry.as == as &&
               (entry.tid == 0 || entry.tid == pid) &&
               mmu_.generation(entry.position) == entry.generation;
    }
    static uint64_t key_of(uint32_t ea, unsigned as, uint32_t pid) {
        return uint64_t{ea >> 12} << 16 | pid << 1 | as;
    }
    [[gnu::always_inline]] const Recent* find_recent(uint32_t ea, unsigned as, uint32_t pid) {
        const Recent& recent = recent_[ea >> 12 & (kRecent - 1)];
        if (recent.key != key_of(ea, as, pid) || recent.epoch != mmu_.epoch() ||
            recent.entry->fill != recent.fill) [[unlikely]]
            return nullptr;
        if (newest_[recent.entry->set] != recent.entry) [[unlikely]]
            use(*recent.entry);
        return &recent;
    }
    void use(Entry& entry);
    Result look_up(uint32_t ea, Access access, unsigned as, uint32_t pid, bool user);
    Entry* find(uint32_t ea, unsigned as, uint32_t pid);
    Entry& victim(Entry* first, unsigned count) const;

    const Mmu& mmu_;
    std::array<Entry, kSmallEntries> small_;
    std::array<Entry, kVariableEntries> variable_;
    uint64_t time_ = 0, fills_ = 0;
    // The most recently used of each set, the last of those for all sizes.
    std::array<Entry*, kSmallEntries / kSmallWays + 1> newest_{};
    std::vector<LineFilter*> filters_;
    std::array<Recent, kRecent> recent_;
};

}  // namespace perfvisor::core::timing
