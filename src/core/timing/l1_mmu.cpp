// SPDX-License-Identifier: GPL-2.0-or-later
// First-level address translation.
#include "core/timing/l1_mmu.h"

#include <algorithm>
#include <utility>

namespace perfvisor::core::timing {

void L1Mmu::invalidate() {
    small_.fill({});
    variable_.fill({});
    recent_.fill({});
    newest_.fill(nullptr);
}

L1Mmu::Entry* L1Mmu::find(uint32_t ea, unsigned as, uint32_t pid) {
    const unsigned set = ea >> 12 & (kSmallEntries / kSmallWays - 1);
    for (unsigned way = 0; way < kSmallWays; ++way) {
        Entry& entry = small_[set * kSmallWays + way];
        if (matches(entry, ea, as, pid)) return &entry;
    }
    for (Entry& entry : variable_)
        if (matches(entry, ea, as, pid)) return &entry;
    return nullptr;
}

// What is no longer in software's TLBs first, then the least recently used (12.3.1: true LRU).
L1Mmu::Entry& L1Mmu::victim(Entry* first, unsigned count) const {
    const auto order = [&](const Entry& entry) {
        const bool valid = entry.size != 0 && mmu_.generation(entry.position) == entry.generation;
        return valid ? entry.used + 1 : uint64_t{0};
    };
    return *std::min_element(first, first + count,
                             [&](const Entry& a, const Entry& b) { return order(a) < order(b); });
}

void L1Mmu::use(Entry& entry) {
    entry.used = ++time_;
    if (Entry* before = std::exchange(newest_[entry.set], &entry); before && before != &entry)
        for (LineFilter* filter : filters_)
            filter->forget(static_cast<uint32_t>(before->ea), before->size);
}

L1Mmu::Result L1Mmu::look_up(uint32_t ea, Access access, unsigned as, uint32_t pid, bool user) {
    Found found = Found::Here;
    Entry* entry = find(ea, as, pid);
    if (!entry) {
        const Mmu::Lookup lookup = mmu_.translate(ea, access, as, pid, user);
        if (!lookup.translation) return {};
        const Translation& translation = *lookup.translation;
        const unsigned set = ea >> 12 & (kSmallEntries / kSmallWays - 1);
        entry = translation.from_tlb1 ? &victim(variable_.data(), kVariableEntries)
                                      : &victim(&small_[set * kSmallWays], kSmallWays);
        *entry = {
            .ea = translation.page_ea,
            .ra = translation.physical - (ea - translation.page_ea),
            .size = translation.page_size,
            .tid = translation.tid,
            .attributes = translation.attributes,
            .generation = mmu_.generation(translation.position),
            .position = translation.position,
            .as = static_cast<uint8_t>(as),
            .set = static_cast<uint8_t>(translation.from_tlb1 ? kSmallEntries / kSmallWays : set),
            .fill = ++fills_};
        found = translation.from_tlb1 ? Found::ReloadedVariable : Found::ReloadedSmall;
    }
    use(*entry);
    const uint64_t addend = entry->ra - entry->ea;
    recent_[ea >> 12 & (kRecent - 1)] = {
        key_of(ea, as, pid), mmu_.epoch(), entry->fill, entry, addend, entry->attributes};
    return {found, addend + ea, entry->attributes};
}

}  // namespace perfvisor::core::timing
