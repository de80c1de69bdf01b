// SPDX-License-Identifier: GPL-2.0-or-later
// The derived counters against a reference that steps one instruction at a time and follows the
// rules literally: random programs, MSR changes, PMR writes and time base transitions. At every
// boundary PMCs, PMGC0 and the pending interrupt agree, and no overflow comes before its deadline.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "perfmon_fixture.h"

namespace perfvisor::core {
namespace {

constexpr unsigned kPmcs = 4;
constexpr unsigned kHidden = ~0u;  // stands for the hidden state among PMR numbers

// What one instruction adds to each total.
using Step = std::array<uint8_t, kTotalCount>;

// The rules, followed one instruction and one increment at a time.
struct Reference {
    uint32_t pmgc0 = 0;
    std::array<uint32_t, kPmcs> pmc{}, lca{}, lcb{};
    std::array<bool, kPmcs> waiting{};
    uint32_t watchpoints = 0;  // a bit for each counter that has passed one in this instruction
    bool transition = false;
    uint64_t triggers = 0;

    static uint64_t occurrences(unsigned code, const Step& s) {
        const auto of = [&](Total t) { return uint64_t{s[static_cast<unsigned>(t)]}; };
        switch (code) {
            case 1:
                return of(Total::Instructions) + of(Total::StallCycles);
            case 2:
                return of(Total::Instructions);
            case 8:
            case 12:
                return of(Total::Branches);
            case 9:
                return of(Total::Loads);
            case 10:
                return of(Total::Stores);
            case 13:
                return of(Total::TakenBranches);
            case 86:
                return of(Total::Interrupts);
            case 179:
                return of(Total::StwcxSuccess);
            default:
                return 0;
        }
    }
    unsigned code(unsigned n) const { return lca[n] >> 16 & 0xff; }
    bool frozen(unsigned n, uint32_t msr) const {
        if (pmgc0 & 0x80000000 || lca[n] & 0x80000000 || waiting[n]) return true;
        if (lca[n] & 0x40000000 && !(msr & msr::kPR)) return true;
        if (lca[n] & 0x20000000 && msr & msr::kPR) return true;
        if (lca[n] & 0x10000000 && msr & msr::kPMM) return true;
        if (lca[n] & 0x08000000 && !(msr & msr::kPMM)) return true;
        if (lca[n] & 0x00000002 && msr & msr::kGS) return true;
        return lca[n] & 0x00000001 && !(msr & msr::kGS);
    }
    void increment(unsigned n, uint32_t msr) {
        if (frozen(n, msr)) return;
        ++pmc[n];
        const uint32_t pmp = lcb[n] >> 13 & 7;
        if (pmp == 0 ? pmc[n] == 0x80000000 : pmc[n] % (1u << 4 * (7 - pmp)) == 0)
            watchpoints |= 1u << n;
        if (pmc[n] != 0) return;
        for (unsigned chained = 0; chained < kPmcs; ++chained)
            if (code(chained) == 82 + n) increment(chained, msr);
    }
    bool condition() const {
        for (unsigned n = 0; n < kPmcs; ++n)
            if (lca[n] & 0x04000000 && pmc[n] & 0x80000000) return true;
        return false;
    }
    bool pending() const { return pmgc0 & 0x40000000 && (transition || condition()); }
    void freeze_on_condition() {
        if (pmgc0 & 0x20000000 && condition()) pmgc0 |= 0x80000000;
    }
    void instruction(const Step& s, uint32_t msr) {
        for (unsigned n = 0; n < kPmcs; ++n)
            for (uint64_t i = occurrences(code(n), s); i > 0; --i)
                increment(n, msr);
        trigger(watchpoints << 1);
        watchpoints = 0;
        freeze_on_condition();
    }
    void trigger(uint32_t which) {
        for (unsigned n = 0; n < kPmcs; ++n) {
            const uint32_t by = waiting[n] ? lcb[n] >> 28 : lcb[n] >> 24 & 15;
            if (by == 0 || !(which >> by & 1)) continue;
            waiting[n] = !waiting[n];
            ++triggers;
            if (!waiting[n] && lcb[n] & 0x00800000) pmc[n] = 0;
        }
    }
    void write(unsigned pmr, uint32_t value) {
        if (pmr == kPmgc0) {
            pmgc0 = value & 0xe0001900;
            if ((pmgc0 & 0x40000100) != 0x40000100) transition = false;
        } else if (pmr >= kPmlcb0) {
            lcb[pmr - kPmlcb0] = value & 0xff80e73f;
            waiting[pmr - kPmlcb0] = value >> 28;
        } else if (pmr >= kPmlca0) {
            lca[pmr - kPmlca0] = value & 0xfcff0003;
        } else {
            pmc[pmr - kPmc0] = value;
        }
        freeze_on_condition();
    }
    void time_base_transition() {
        if (!(pmgc0 & 0x100)) return;
        if (pmgc0 & 0x40000000) transition = true;
        if (pmgc0 & 0x20000000) pmgc0 |= 0x80000000;
    }
};

class Duel {
  public:
    explicit Duel(unsigned seed) : random_(seed), triggers_(seed % 2 == 0) {}

    void run(unsigned rounds) {
        for (unsigned round = 0; round < rounds && !testing::Test::HasFailure(); ++round) {
            execute();
            compare("after instructions");
            disturb();
            compare("after a change");
            if (one_in(16)) write_all_back();
        }
    }
    uint64_t overflows = 0, instructions = 0;
    uint64_t triggers() const { return reference_.triggers; }

  private:
    uint32_t pick(uint32_t n) { return static_cast<uint32_t>(random_() % n); }
    bool one_in(uint32_t n) { return pick(n) == 0; }

    Step random_step() {
        Step s{};
        const auto set = [&](Total t, uint32_t n) { s[static_cast<unsigned>(t)] = uint8_t(n); };
        if (one_in(50)) {  // ended by an interrupt instead of completed
            set(Total::Interrupts, 1);
            return s;
        }
        set(Total::Instructions, 1);
        const uint32_t kind = pick(10);
        if (kind == 0) set(Total::Loads, one_in(10) ? 32 : 1);
        if (kind == 1) set(Total::Stores, one_in(10) ? pick(33) : 1);
        if (kind == 2) set(Total::StwcxSuccess, 1);
        if (kind <= 4 && kind >= 3) {
            set(Total::Branches, 1);
            set(Total::TakenBranches, kind == 3);
        }
        return s;
    }

    // As many instructions as the deadline allows, often all of them: nothing may overflow before
    // the last.
    void execute() {
        m_.pm.sync();
        const uint64_t limit = m_.pm.instructions_to_event();
        ASSERT_GE(limit, 1u);
        const uint64_t count = std::min<uint64_t>(limit, 1 + pick(one_in(4) ? 400 : 20));
        const bool before = reference_.condition();
        const uint32_t frozen_before = reference_.pmgc0;
        for (uint64_t i = 0; i < count; ++i) {
            const bool matters = reference_.pmgc0 & (pmgc0::kPMIE | pmgc0::kFCECE);
            if (matters && !before) {
                ASSERT_FALSE(reference_.condition()) << "an overflow before its deadline";
            }
            ASSERT_EQ(reference_.pmgc0, frozen_before) << "a freeze before its deadline";
            const Step s = random_step();
            reference_.instruction(s, m_.state.msr);
            for (unsigned t = 0; t < kTotalCount; ++t)
                m_.state.totals.value[t] += s[t];
        }
        instructions += count;
        overflows += !before && reference_.condition();
    }

    void disturb() {
        const uint32_t kind = pick(12);
        if (kind < 3) {
            change_msr();
        } else if (kind < 8) {
            write_pmr();
        } else if (kind == 8) {
            m_.pm.time_base_event();
            reference_.time_base_transition();
        } else if (kind == 9 && m_.pm.interrupt_pending()) {
            m_.pm.interrupt_taken();
            reference_.transition = false;
        } else if (kind == 10 && reference_.condition()) {
            handle_overflow();
        } else if (kind == 11) {
            const uint32_t dvt = pick(8);
            m_.pm.debug_notify(static_cast<uint8_t>(1u << dvt));
            reference_.trigger(0x100u << dvt);
        }
    }

    // What a sampling handler does: writes every counter in overflow anew and unfreezes.
    void handle_overflow() {
        for (unsigned n = 0; n < kPmcs; ++n)
            if (reference_.pmc[n] & 0x80000000) write(kPmc0 + n, 0x80000000 - 1 - pick(100));
        write(kPmgc0, pmgc0::kPMIE | (one_in(2) ? pmgc0::kFCECE : 0));
        for (unsigned n = 0; n < kPmcs; ++n)
            if (one_in(2)) write(kPmlca0 + n, random_lca());
    }

    void change_msr() {
        uint32_t msr = m_.state.msr;
        for (const uint32_t bit : {msr::kPR, msr::kPMM, msr::kGS, msr::kEE})
            if (one_in(3)) msr ^= bit;
        m_.set_msr(msr);
    }

    void write_pmr() {
        const uint32_t n = pick(kPmcs);
        const uint32_t kind = pick(10);
        if (kind < 3) {
            write(kPmc0 + n, random_count());
        } else if (kind < 7) {
            write(kPmlca0 + n, random_lca());
        } else if (kind == 7) {
            write(kPmlcb0 + n, random_lcb());
        } else {
            uint32_t value = 0;
            for (const uint32_t bit : {pmgc0::kPMIE, pmgc0::kFCECE, pmgc0::kTBEE, 0x1000u})
                if (one_in(2)) value |= bit;
            write(kPmgc0, one_in(6) ? value | pmgc0::kFAC : value);
        }
    }
    // Near the overflow or the wrap most of the time.
    uint32_t random_count() {
        switch (pick(4)) {
            case 0:
                return 0x80000000 - 1 - pick(300);
            case 1:
                return 0xffffffff - pick(100);
            case 2:
                return pick(1000);
            default:
                return static_cast<uint32_t>(random_());
        }
    }
    uint32_t random_lca() {
        constexpr unsigned kCodes[] = {0, 1,  2,  2,  8,  9,  10, 12, 13,  76,
                                       3, 82, 82, 83, 84, 85, 86, 90, 179, 255};
        uint32_t value = selects(kCodes[pick(std::size(kCodes))]);
        if (one_in(2)) value |= pmlca::kCE;
        for (const uint32_t bit : {pmlca::kFC, pmlca::kFCS, pmlca::kFCU, pmlca::kFCM1, pmlca::kFCM0,
                                   pmlca::kFCGS1, pmlca::kFCGS0})
            if (one_in(16)) value |= bit;
        return value;
    }
    // Few triggers that wait for ever, and periods that come within a run.
    uint32_t random_lcb() {
        if (!triggers_) return pick(0x800);
        if (one_in(8)) return static_cast<uint32_t>(random_());
        uint32_t value = pick(0x800) | (one_in(3) ? 0 : 5 + pick(3)) << 13;
        if (one_in(2)) value |= (1 + pick(5)) << 28;
        if (one_in(2)) value |= (1 + pick(5)) << 24;
        if (one_in(4)) value |= 0x00800000;
        return value;
    }
    void write(unsigned pmr, uint32_t value) {
        // The mtpmr itself completes before it takes effect; it may be the one that overflows.
        Step s{};
        s[static_cast<unsigned>(Total::Instructions)] = 1;
        reference_.instruction(s, m_.state.msr);
        reference_.write(pmr, value);
        ASSERT_TRUE(m_.mtpmr(pmr, value));
    }

    // Everything read and written back, in any order: nothing has happened.
    void write_all_back() {
        std::vector<std::pair<unsigned, uint32_t>> saved;
        for (const unsigned first : {kPmc0, kPmlca0, kPmlcb0})
            for (unsigned n = 0; n < kPmcs; ++n)
                saved.emplace_back(first + n, m_.get(first + n));
        saved.emplace_back(kPmgc0, m_.get(kPmgc0));
        saved.emplace_back(kHidden, m_.pm.hidden_state());
        std::shuffle(saved.begin(), saved.end(), random_);
        for (const auto& [pmr, value] : saved) {
            if (pmr == kHidden)
                m_.pm.restore_hidden_state(value);
            else
                ASSERT_TRUE(m_.pm.restore(pmr, value));
        }
        compare("after writing back");
    }

    void compare(const char* when) {
        for (unsigned n = 0; n < kPmcs; ++n) {
            ASSERT_EQ(m_.get(kPmc0 + n), reference_.pmc[n]) << when << ", PMC" << n;
            ASSERT_EQ(m_.get(kPmlca0 + n), reference_.lca[n]) << when;
            ASSERT_EQ(m_.get(kPmlcb0 + n), reference_.lcb[n]) << when;
        }
        ASSERT_EQ(m_.get(kPmgc0), reference_.pmgc0) << when;
        ASSERT_EQ(m_.pm.interrupt_pending(), reference_.pending()) << when;
        uint32_t hidden = reference_.transition ? pm_state::kTimeBase : 0;
        for (unsigned n = 0; n < kPmcs; ++n)
            hidden |= reference_.waiting[n] ? 1u << n : 0;
        ASSERT_EQ(m_.pm.hidden_state(), hidden) << when;
    }

    std::mt19937_64 random_;
    bool triggers_;
    Machine m_;
    Reference reference_;
};

TEST(PerfMonRandom, DerivedCountersAgreeWithAReferenceThatStepsEachInstruction) {
    uint64_t overflows = 0, instructions = 0, triggers = 0;
    for (unsigned seed = 1; seed <= 100 && !HasFailure(); ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        Duel duel(seed);
        duel.run(1000);
        overflows += duel.overflows;
        instructions += duel.instructions;
        triggers += duel.triggers();
    }
    // The runs met what they are for.
    EXPECT_GT(overflows, 250u);
    EXPECT_GT(instructions, 250000u);
    EXPECT_GT(triggers, 250u);
}

// Save and restore: two counters' state moved into a fresh core in the middle of a run go on alike.
TEST(PerfMonRandom, ARunContinuesFromRegistersReadAndWrittenBack) {
    std::mt19937_64 random(7);
    for (unsigned round = 0; round < 200; ++round) {
        Machine a;
        for (unsigned n = 0; n < kPmcs; ++n) {
            a.set(kPmc0 + n, 0x80000000 - 1 - static_cast<uint32_t>(random() % 64));
            a.set(kPmlca0 + n, selects(n % 2 ? 8 : 2) | pmlca::kCE);
        }
        a.set(kPmgc0, pmgc0::kPMIE | pmgc0::kFCECE);
        a.execute(random() % 32);
        a.add(Total::Branches, random() % 16);
        a.pm.sync();

        Machine b;
        b.state.totals[Total::Instructions] = random();
        for (unsigned pmr = 0; pmr < 1024; ++pmr)
            if (PerfMon::is_supervisor(pmr) && a.pm.read(pmr)) b.pm.restore(pmr, a.get(pmr));
        for (unsigned i = 0; i < 100; ++i) {
            for (Machine* m : {&a, &b}) {
                m->execute(1);
                m->add(Total::Branches, i % 3 == 0);
            }
            for (unsigned n = 0; n < kPmcs; ++n)
                ASSERT_EQ(a.get(kPmc0 + n), b.get(kPmc0 + n));
            ASSERT_EQ(a.get(kPmgc0), b.get(kPmgc0));
            ASSERT_EQ(a.pending(), b.pending());
        }
    }
}

}  // namespace
}  // namespace perfvisor::core
