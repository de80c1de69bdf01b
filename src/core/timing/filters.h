// SPDX-License-Identifier: GPL-2.0-or-later
// What would change nothing in the timing model: accesses, fetches and branches that find
// everything as the one before left it. Translated code looks here first and asks the model only
// about the rest. The model keeps them; what is not here may change nothing all the same.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <utility>

namespace perfvisor::core::timing {

// CpuState::pace: twice the number of the shape of the clock's pipeline (Pace::shape), and 1 if
// what follows begins a fetch. Some prediction of the present segment was not right.
constexpr uint32_t kAwake = 0x3fffffff;  // the number of none
constexpr uint32_t kUnusual = 0x80000000;

// Of an L1 cache: by set, the effective address of the line last used, if its page is the last used
// in its set of the L1 MMU, too. In the address context that MemorySystem::set_context() names.
class LineFilter {
  public:
    static constexpr unsigned kSets = 64, kLineBytes = 64;  // a page's lines: EA and RA agree

    LineFilter() { forget_all(); }
    static unsigned set_of(uint64_t address) {
        return static_cast<unsigned>(address / kLineBytes) % kSets;
    }
    void remember(uint32_t ea) {
        const unsigned set = set_of(ea);
        lines_[set] = ea & ~(kLineBytes - 1);
        held_[group_of(ea)] |= uint64_t{1} << set;
    }
    void forget_set(unsigned set) { lines_[set] = none_in(set); }
    // The lines of a page; a power of two of bytes, up to 4 GiB.
    void forget(uint32_t page, uint64_t bytes) {
        const auto mask = static_cast<uint32_t>(~(bytes - 1));
        const bool is_small = bytes == kPageBytes;
        uint64_t left = is_small ? std::exchange(held_[group_of(page)], 0) : ~uint64_t{0};
        for (; left != 0; left &= left - 1) {
            const auto set = static_cast<unsigned>(std::countr_zero(left));
            if ((lines_[set] & mask) == page)
                forget_set(set);
            else if (is_small)
                held_[group_of(page)] |= uint64_t{1} << set;
        }
    }
    void forget_all() {
        for (unsigned set = 0; set < kSets; ++set)
            forget_set(set);
        held_ = {};
    }

  private:
    // A line of another set.
    static constexpr uint32_t none_in(unsigned set) { return (set ^ 1) * kLineBytes; }
    static constexpr uint32_t kPageBytes = 4096, kGroups = 16;
    static unsigned group_of(uint32_t ea) { return ea / kPageBytes % kGroups; }

    std::array<uint32_t, kSets> lines_;
    // By low bits of the page's number: the sets that may hold lines of such pages.
    std::array<uint64_t, kGroups> held_{};
};

struct Filters {
    static constexpr unsigned kBranchSets = 128, kNotTaken = 512;
    static constexpr uint32_t kNone = 1;  // no instruction's address

    bool kept = false;  // somebody looks at them: otherwise they stay empty
    LineFilter fetches, loads;
    LineFilter stores;  // of lines that are modified already
    // Branches that are predicted right and strongly so. Taken ones by their set of the branch
    // target buffer, in which they are the last used.
    struct Taken {
        uint32_t pc = kNone, target = 0;
    };
    std::array<Taken, kBranchSets> taken;
    std::array<uint32_t, kNotTaken> not_taken = [] {
        std::array<uint32_t, kNotTaken> none{};
        none.fill(kNone);
        return none;
    }();

    void forget_all() {
        for (LineFilter* lines : {&fetches, &loads, &stores})
            lines->forget_all();
        taken.fill({});
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
