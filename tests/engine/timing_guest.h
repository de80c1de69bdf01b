// SPDX-License-Identifier: GPL-2.0-or-later
// A guest that counts events of the timing model in itself.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "guest_harness.h"

namespace perfvisor::test {

class TimingGuest : public Guest {
  public:
    TimingGuest() { core().perfmon().set_available(true); }

    // Runs `prologue`, then counts up to four events over `text`. The counters start at `text`'s
    // first instruction; the mtpmr that stops them is counted with it.
    std::vector<uint64_t> count(std::initializer_list<unsigned> events, const std::string& text,
                                const std::string& prologue = "") {
        std::string program = "lis r29,0x8000\n mtpmr 400,r29\n";
        unsigned n = 0;
        for (const unsigned event : events) {
            program += "li32 r28," + std::to_string(event << 16) + "\n mtpmr " +
                       std::to_string(144 + n) + ",r28\n li r28,0\n mtpmr " +
                       std::to_string(16 + n) + ",r28\n";
            ++n;
        }
        // On lines of their own, so that the cost of setting up is not in the way of hand-counting.
        program += prologue + "\n b go\n";
        std::string body = "go: li r28,0\n mtpmr 400,r28\n" + text + "\n mtpmr 400,r29\n wait 0\n";
        this->program(program + body);
        EXPECT_TRUE(run(20'000'000));
        std::vector<uint64_t> counts;
        for (unsigned i = 0; i < n; ++i)
            counts.push_back(core().perfmon().read(16 + i).value_or(0));
        return counts;
    }
    uint64_t count_one(unsigned event, const std::string& text, const std::string& prologue = "") {
        return count({event}, text, prologue)[0];
    }

    // Maps `count` pages of 4 KiB at `ea` to physical memory from `ra` on, by TLB0.
    void map_small(uint32_t ea, uint32_t ra, unsigned count) {
        for (unsigned n = 0; n < count; ++n, ea += 4096, ra += 4096) {
            const unsigned set = ea >> 12 & 127;
            unsigned way = 0;
            while (core().mmu().entry(0, set * 4 + way).valid)
                ++way;
            core::TlbEntry entry;
            entry.valid = true;
            entry.ea = ea;
            entry.ra = ra;
            entry.size = 4096;
            entry.permissions = kAllPermissions;
            core().mmu().set_entry(0, set * 4 + way, entry);
        }
    }

    // Cycles of the whole program under --timing=e500mc.
    uint64_t cycles(const std::string& text) {
        core().timing().set_drives_clock(true);
        program(text + "\n wait 0");
        const uint64_t before = state().totals.cycles();
        EXPECT_TRUE(run(20'000'000));
        return state().totals.cycles() - before;
    }
};

// Loads of `stride` bytes apart from r4 on, `count` of them, `passes` times. Uses r5, r6, r7, CTR.
inline std::string walk(unsigned stride, unsigned count, unsigned passes) {
    return "li r7," + std::to_string(passes) + R"(
    pass: mr r5,r4
        li32 r6,)" +
           std::to_string(count) + R"(
        mtctr r6
    next: lwz r6,0(r5)
        addi r5,r5,)" +
           std::to_string(stride) + R"(
        bdnz next
        addi r7,r7,-1
        cmpwi r7,0
        bne pass
    )";
}

}  // namespace perfvisor::test
