// SPDX-License-Identifier: GPL-2.0-or-later
// What translated code looks at before it asks the timing model, which keeps it: accesses, fetches
// and branches that would change nothing in it, and those of which it is known what they change.
// The rest may change nothing all the same.
#pragma once

#include <array>
#include <cstdint>

namespace perfvisor::core::timing {

// CpuState::pace: twice the number of what the clock's pipeline knows (Pace::shape), and 1 if what
// follows begins a fetch.
constexpr uint32_t kAwake = 0x3fffffff;  // the number of none

constexpr unsigned kL1Sets = 64, kL1Ways = 8, kL1LineBytes = 64;  // a page's lines: EA and RA agree

// Of an L1 cache: by set, the effective address of the line last used, if its page is in the L1
// MMU. Using it changes nothing. In the address context that MemorySystem::set_context() names.
class LineFilter {
  public:
    LineFilter() { forget_all(); }
    static unsigned set_of(uint64_t address) {
        return static_cast<unsigned>(address / kL1LineBytes) % kL1Sets;
    }
    void remember(uint32_t ea) { lines_[set_of(ea)] = ea & ~(kL1LineBytes - 1); }
    void forget_set(unsigned set) { lines_[set] = none_in(set); }
    // The lines of a page; a power of two of bytes, up to 4 GiB.
    void forget(uint32_t page, uint64_t bytes) {
        const auto mask = static_cast<uint32_t>(~(bytes - 1));
        for (unsigned set = 0; set < kL1Sets; ++set)
            lines_[set] = (lines_[set] & mask) == page ? none_in(set) : lines_[set];
    }
    void forget_all() {
        for (unsigned set = 0; set < kL1Sets; ++set)
            forget_set(set);
    }

  private:
    // A line of another set.
    static constexpr uint32_t none_in(unsigned set) { return (set ^ 1) * kL1LineBytes; }

    std::array<uint32_t, kL1Sets> lines_;
};

// Of an L1 cache and its MMU: lines that both have, of which it is known where. Using one changes
// no more than which was the last used.
struct HitFilter {
    static constexpr unsigned kPages = 64, kPageBytes = 4096, kMmuEntries = 68;
    static constexpr unsigned kNumbers = kL1LineBytes;  // of pages
    // By low bits of its number: a page's effective address, and its entry in the MMU; its own
    // number in the low bits. A page that is forgotten and remembered has another number.
    struct Page {
        uint32_t ea, entry_and_number;
    };
    std::array<Page, kPages> pages;
    // By the place of the line: its effective address and its page's number.
    std::array<std::array<uint32_t, kL1Ways>, kL1Sets> ways;
    // When the MMU's entries were last used.
    std::array<uint64_t, kMmuEntries> used{};
    uint64_t time = 0;
    unsigned last_number = 0;  // of a page

    HitFilter() { forget_all(); }
    static unsigned index_of(uint32_t ea) { return ea / kPageBytes % kPages; }
    void use(unsigned entry) { used[entry] = ++time; }
    void remember(uint32_t ea, unsigned entry, unsigned way) {
        Page& page = pages[index_of(ea)];
        const uint32_t page_ea = ea & ~(kPageBytes - 1);
        if (page.ea != page_ea) {
            if (last_number + 1 == kNumbers) forget_all();
            page = {page_ea, entry * kNumbers + ++last_number};
        }
        ways[LineFilter::set_of(ea)][way] =
            (ea & ~(kL1LineBytes - 1)) | page.entry_and_number % kNumbers;
    }
    // What is in that place is another line, or none.
    void forget_place(unsigned set, unsigned way) { ways[set][way] = 0; }
    void forget(uint32_t page_ea, uint64_t bytes) {
        if (bytes == kPageBytes) {
            if (pages[index_of(page_ea)].ea == page_ea) forget_page(index_of(page_ea));
            return;
        }
        const auto mask = static_cast<uint32_t>(~(bytes - 1));
        for (unsigned n = 0; n < kPages; ++n)
            if ((pages[n].ea & mask) == page_ea) forget_page(n);
    }
    void forget_all() {
        for (unsigned n = 0; n < kPages; ++n)
            forget_page(n);
        ways = {};  // 0 is no page's number
        last_number = 0;
    }
    // A page of another place.
    void forget_page(unsigned n) { pages[n] = {(n ^ 1) * kPageBytes, 0}; }
};

struct Filters {
    static constexpr unsigned kBranchSets = 128, kNotTaken = 512;
    static constexpr uint32_t kNone = 1;  // no instruction's address

    bool kept = false;  // somebody looks at them: otherwise these stay empty
    LineFilter fetches, loads;
    LineFilter stores;  // of lines that are modified already
    HitFilter fetch_hits, data_hits;
    // The branch target buffer's entries that are the last used of their sets. Here is what the
    // predictor knows of them, who keeps them whether others look or not.
    struct Branch {
        static constexpr uint32_t kStrongest = 3;
        // The branch's address, and in its low bits how much its history is short of strongly taken
        // (0) on its way to strongly not taken (3). A tag of another set: no entry.
        uint32_t tag, target;
    };
    std::array<Branch, kBranchSets> last_branches;
    // Branches that are not taken, which changes nothing.
    std::array<uint32_t, kNotTaken> not_taken = [] {
        std::array<uint32_t, kNotTaken> none{};
        none.fill(kNone);
        return none;
    }();

    Filters() { forget_branches(); }
    void forget_branches() {
        for (unsigned set = 0; set < kBranchSets; ++set)
            last_branches[set] = {(set ^ 1) * 4, 0};
    }
    // But for what is the predictor's.
    void forget_all() {
        for (LineFilter* lines : {&fetches, &loads, &stores})
            lines->forget_all();
        for (HitFilter* hits : {&fetch_hits, &data_hits})
            hits->forget_all();
        not_taken.fill(kNone);
    }
    static unsigned branch_set(uint32_t pc) { return pc / 4 % kBranchSets; }
    static unsigned not_taken_place(uint32_t pc) { return pc / 4 % kNotTaken; }
    void not_taken_changes(uint32_t pc) {
        uint32_t& place = not_taken[not_taken_place(pc)];
        if (place == pc) place = kNone;
    }
};

}  // namespace perfvisor::core::timing
