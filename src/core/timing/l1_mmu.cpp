// SPDX-License-Identifier: GPL-2.0-or-later
// First-level address translation.
#include "core/timing/l1_mmu.h"

#include <algorithm>

namespace perfvisor::core::timing {

void L1Mmu::invalidate() {
    entries_.fill({});
    hits_.used = {};
    recent_.fill({});
}

L1Mmu::Entry* L1Mmu::find(uint32_t ea, unsigned as, uint32_t pid) {
    const unsigned first = first_of(ea);
    for (unsigned n = first; n < first + kSmallWays; ++n)
        if (matches(entries_[n], ea, as, pid)) return &entries_[n];
    for (unsigned n = kSmallEntries; n < entries_.size(); ++n)
        if (matches(entries_[n], ea, as, pid)) return &entries_[n];
    return nullptr;
}

// What is no longer in software's TLBs first, then the least recently used (12.3.1: true LRU).
L1Mmu::Entry& L1Mmu::victim(unsigned first, unsigned count) {
    const auto order = [&](const Entry& entry) {
        const bool valid = entry.size != 0 && mmu_.generation(entry.position) == entry.generation;
        return valid ? hits_.used[number_of(entry)] + 1 : uint64_t{0};
    };
    return *std::min_element(entries_.begin() + first, entries_.begin() + first + count,
                             [&](const Entry& a, const Entry& b) { return order(a) < order(b); });
}

void L1Mmu::refresh_filters() {
    for (const Entry& entry : entries_)
        if (entry.size != 0 && mmu_.generation(entry.position) != entry.generation) forget(entry);
}

L1Mmu::Result L1Mmu::look_up(uint32_t ea, Access access, unsigned as, uint32_t pid, bool user) {
    Found found = Found::Here;
    Entry* entry = find(ea, as, pid);
    if (!entry) {
        const Mmu::Lookup lookup = mmu_.translate(ea, access, as, pid, user);
        if (!lookup.translation) return {};
        const Translation& translation = *lookup.translation;
        entry = translation.from_tlb1 ? &victim(kSmallEntries, kVariableEntries)
                                      : &victim(first_of(ea), kSmallWays);
        if (entry->size != 0) forget(*entry);
        *entry = {.ea = translation.page_ea,
                  .ra = translation.physical - (ea - translation.page_ea),
                  .size = translation.page_size,
                  .tid = translation.tid,
                  .attributes = translation.attributes,
                  .generation = mmu_.generation(translation.position),
                  .position = translation.position,
                  .as = static_cast<uint8_t>(as),
                  .fill = ++fills_};
        found = translation.from_tlb1 ? Found::ReloadedVariable : Found::ReloadedSmall;
        use(number_of(*entry));
    }
    const uint64_t addend = entry->ra - entry->ea;
    recent_[ea >> 12 & (kRecent - 1)] = {
        key_of(ea, as, pid), mmu_.epoch(), entry->fill, entry, addend, entry->attributes};
    return {found, addend + ea, entry->attributes, number_of(*entry)};
}

}  // namespace perfvisor::core::timing
