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

    // `filters` and `hits`: of lines in its pages, forgotten where a page is no longer here. It
    // keeps in `hits` when its entries were last used.
    L1Mmu(const Mmu& mmu, std::initializer_list<LineFilter*> filters, HitFilter& hits)
        : mmu_(mmu), filters_(filters), hits_(hits) {}

    enum class Found : uint8_t { Here, ReloadedSmall, ReloadedVariable, Nowhere };
    struct Result {
        Found found = Found::Nowhere;
        uint64_t physical = 0;
        uint32_t attributes = 0;  // MAS2's
        uint8_t entry = 0;        // which of the entries
    };

    void invalidate();
    // Software's TLBs are others than when the filters were made.
    void refresh_filters();
    // Core::mirror.
    void mirror(const L1Mmu& from) {
        entries_ = from.entries_;
        hits_.used = from.hits_.used;
        hits_.time = from.hits_.time;
        fills_ = from.fills_;
        recent_.fill({});
    }
    // The entry is the last used now.
    void use(unsigned entry) { hits_.use(entry); }
    // Translates as an access would that software's TLBs allow. Unless it is made anew the entry is
    // no more used than before.
    [[gnu::always_inline]] Result translate(uint32_t ea, Access access, unsigned as, uint32_t pid,
                                            bool user) {
        if (const Recent* recent = find_recent(ea, as, pid)) [[likely]]
            return {Found::Here, recent->addend + ea, recent->attributes,
                    number_of(*recent->entry)};
        return look_up(ea, access, as, pid, user);
    }
    // The same where it was translated lately: Found::Nowhere otherwise, and nothing has happened.
    [[gnu::always_inline]] Result translate_recent(uint32_t ea, unsigned as, uint32_t pid) {
        if (const Recent* recent = find_recent(ea, as, pid)) [[likely]]
            return {Found::Here, recent->addend + ea, recent->attributes,
                    number_of(*recent->entry)};
        return {};
    }

  private:
    struct Entry {
        uint64_t ea = 0, ra = 0, size = 0;  // size 0: invalid
        uint32_t tid = 0, attributes = 0;
        uint32_t generation = 0;  // of the entry it was made from: it ends with that
        uint16_t position = 0;    // of that entry: Mmu::position()
        uint8_t as = 0;
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
        return &recent;
    }
    uint8_t number_of(const Entry& entry) const {
        return static_cast<uint8_t>(&entry - entries_.data());
    }
    // Its page's lines are not to be found in the filters any more.
    void forget(const Entry& entry) {
        for (LineFilter* filter : filters_)
            filter->forget(static_cast<uint32_t>(entry.ea), entry.size);
        hits_.forget(static_cast<uint32_t>(entry.ea), entry.size);
    }
    // Of the set in which a page of 4 KiB is.
    static unsigned first_of(uint32_t ea) {
        return ea / HitFilter::kPageBytes % (kSmallEntries / kSmallWays) * kSmallWays;
    }
    Result look_up(uint32_t ea, Access access, unsigned as, uint32_t pid, bool user);
    Entry* find(uint32_t ea, unsigned as, uint32_t pid);
    Entry& victim(unsigned first, unsigned count);

    const Mmu& mmu_;
    // By set those of 4 KiB, behind them those of all sizes.
    std::array<Entry, kSmallEntries + kVariableEntries> entries_;
    static_assert(kSmallEntries + kVariableEntries == HitFilter::kMmuEntries);
    uint64_t fills_ = 0;
    std::vector<LineFilter*> filters_;
    HitFilter& hits_;
    std::array<Recent, kRecent> recent_;
};

}  // namespace perfvisor::core::timing
