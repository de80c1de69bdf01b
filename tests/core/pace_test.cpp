// SPDX-License-Identifier: GPL-2.0-or-later
// The clock's pipeline: what bounds the time of instructions, and what it knows of those before.
#include "core/timing/pace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

using perfvisor::core::timing::describe;
using perfvisor::core::timing::Instruction;
using perfvisor::core::timing::Pace;

namespace {

constexpr uint32_t kAdd = 0x7c632214, kMullw = 0x7c6321d6, kDivw = 0x7c6323d6, kLwz = 0x80830000,
                   kStw = 0x90830000, kLmw = 0xb8030000, kStmw = 0xbc030000, kSync = 0x7c0004ac,
                   kIsync = 0x4c00012c, kFdiv = 0xfc221824, kFmadd = 0xfc2220fa, kLfd = 0xc8230000,
                   kMtlr = 0x7c6803a6, kBlr = 0x4e800020, kBdnz = 0x4200fff0, kMfmsr = 0x7c6000a6,
                   kStwcx = 0x7c60212d, kCmpw = 0x7c032000;

unsigned words_of(const Instruction& in) {
    return in.ops;
}

}  // namespace

// Translated code is entered where no deadline can come in it by this bound.
TEST(Pace, NoStretchTakesLongerThanItsInstructionsMayAndWhatIsUnderWay) {
    constexpr std::array kWords = {kAdd,  kMullw, kDivw, kLwz,  kStw, kLmw,  kStmw,  kSync,  kIsync,
                                   kFdiv, kFmadd, kLfd,  kMtlr, kBlr, kBdnz, kMfmsr, kStwcx, kCmpw};
    std::mt19937 random(1);
    Pace pace;
    for (unsigned round = 0; round < 10000; ++round) {
        // A few kinds at a time: what is in the way of each other meets.
        std::array<Instruction, 4> kinds;
        for (Instruction& kind : kinds)
            kind = describe(kWords[random() % kWords.size()]);
        uint64_t excess = 0;  // by which the worst stretch so far, up to here, exceeds its bound
        for (unsigned n = 0; n < 64; ++n) {
            const Instruction& in = kinds[random() % kinds.size()];
            const uint64_t wrong = in.branch ? Pace::kMispredicted : 0;
            const uint64_t cycles = wrong + pace.complete(in, random() % 3 == 0, words_of(in));
            const uint64_t most = Pace::most_cycles(in);
            excess = excess + cycles > most ? excess + cycles - most : 0;
            ASSERT_LE(excess, Pace::kMostUnderWay) << "round " << round << ", instruction " << n;
        }
        if (random() % 8 == 0) pace.interrupt_taken();
    }
}

// The third run before is forgotten: whatever it was, the present one takes the same time.
TEST(Pace, ARunTakesTheSameTimeWhereverTheTwoBeforeItCame) {
    const std::array<std::vector<uint32_t>, 3> histories = {
        {{kAdd, kAdd, kBdnz}, {kFdiv, kStmw, kLmw, kBdnz}, {kLwz, kDivw, kSync, kBdnz}}};
    const std::vector<uint32_t> same = {kLwz, kMullw, kBdnz, kAdd, kLfd, kFmadd, kBdnz};
    const std::vector<uint32_t> measured = {kStw, kLwz, kAdd, kMullw, kBdnz};
    std::vector<uint64_t> times;
    for (const auto& history : histories) {
        Pace pace;
        uint64_t cycles = 0;
        const auto run = [&](const std::vector<uint32_t>& words) {
            cycles = 0;
            for (const uint32_t word : words) {
                const Instruction in = describe(word);
                cycles += pace.complete(in, true, words_of(in));
            }
        };
        run(history);
        run(same);
        run(measured);
        times.push_back(cycles);
    }
    EXPECT_EQ(times[0], times[1]);
    EXPECT_EQ(times[0], times[2]);
}
