// SPDX-License-Identifier: GPL-2.0-or-later
// The instruction table is consistent and the decoder made from it agrees with it.
#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <set>

#include "isa/instruction.h"

using namespace perfvisor::isa;

namespace {

std::vector<Opcode> all_opcodes() {
    std::vector<Opcode> opcodes;
    for (unsigned i = 1; i < static_cast<unsigned>(Opcode::Count); ++i)
        opcodes.push_back(static_cast<Opcode>(i));
    return opcodes;
}

// What the decoder should say, by a search of the whole table.
Opcode search_table(uint32_t word) {
    Opcode best = Opcode::Invalid;
    int best_bits = 0;
    for (Opcode opcode : all_opcodes()) {
        const Instruction& row = describe(opcode);
        if ((word & row.mask) == row.match && std::popcount(row.mask) > best_bits) {
            best = opcode;
            best_bits = std::popcount(row.mask);
        }
    }
    return best;
}

}  // namespace

TEST(Table, TwoRowsThatMatchOneWordDifferInTheirNumberOfFixedBits) {
    for (Opcode a : all_opcodes()) {
        for (Opcode b : all_opcodes()) {
            if (a >= b) continue;
            const Instruction &x = describe(a), &y = describe(b);
            const uint32_t common = x.mask & y.mask;
            const bool overlap = (x.match & common) == (y.match & common);
            EXPECT_FALSE(overlap && std::popcount(x.mask) == std::popcount(y.mask))
                << x.mnemonic << " and " << y.mnemonic;
        }
    }
}

TEST(Table, RowsStandAtTheirOpcode) {
    std::set<std::string> names;
    for (Opcode opcode : all_opcodes()) {
        EXPECT_EQ(describe(opcode).opcode, opcode);
        EXPECT_TRUE(names.insert(describe(opcode).mnemonic).second) << describe(opcode).mnemonic;
    }
    EXPECT_EQ(describe(Opcode::Invalid).mask, 0u);
}

TEST(Table, EveryBranchEndsABlockAndNothingIsBothPlainLoadAndBranch) {
    for (Opcode opcode : all_opcodes()) {
        const uint32_t flags = describe(opcode).flags;
        if (flags & kBranch) {
            EXPECT_TRUE(flags & kEndsBlock) << describe(opcode).mnemonic;
        }
        EXPECT_NE(flags & (kLoad | kBranch), kLoad | kBranch) << describe(opcode).mnemonic;
        if (flags & kMultiple) {
            EXPECT_TRUE(flags & (kLoad | kStore)) << describe(opcode).mnemonic;
        }
    }
}

TEST(Decode, EveryRowsWordsDecodeToItWhateverTheOperands) {
    std::mt19937 random(1);
    for (Opcode opcode : all_opcodes()) {
        const Instruction& row = describe(opcode);
        for (int i = 0; i < 64; ++i) {
            const uint32_t word = row.match | (static_cast<uint32_t>(random()) & ~row.mask);
            ASSERT_EQ(decode(word), search_table(word)) << std::hex << word << row.mnemonic;
        }
    }
}

TEST(Decode, AgreesWithASearchOfTheTableOnRandomWords) {
    std::mt19937 random(2);
    for (int i = 0; i < 20000; ++i) {
        const auto word = static_cast<uint32_t>(random());
        ASSERT_EQ(decode(word), search_table(word)) << std::hex << word;
    }
}

TEST(Decode, KnowsWordsByHeart) {
    EXPECT_EQ(decode(0x38630008), Opcode::Addi);
    EXPECT_EQ(decode(0x7c632215), Opcode::Add);
    EXPECT_EQ(decode(0x4e800020), Opcode::Bclr);
    EXPECT_EQ(decode(0x7c0803a6), Opcode::Mtspr);
    EXPECT_EQ(decode(0x4c000064), Opcode::Rfi);
    EXPECT_EQ(decode(0x7c0004ac), Opcode::Sync);
    EXPECT_EQ(decode(0x7c2004ac), Opcode::Sync);  // lwsync
    EXPECT_EQ(decode(0x7c60029c), Opcode::Mfpmr);
    EXPECT_EQ(decode(0x7c001fec), Opcode::Dcbz);
    EXPECT_EQ(decode(0x7c201fec), Opcode::Dcbzl);
    EXPECT_EQ(decode(0x44000002), Opcode::Sc);
    EXPECT_EQ(decode(0x00000000), Opcode::Invalid);
    EXPECT_EQ(decode(0xffffffff), Opcode::Fnmadd);
    EXPECT_EQ(decode(0x10000000), Opcode::Invalid);
}

TEST(Decode, MovesToAndFromPlainRegistersDoNotEndABlock) {
    const Instruction& mtspr = describe(Opcode::Mtspr);
    EXPECT_FALSE(ends_block(mtspr, 0x7c0803a6));    // mtlr
    EXPECT_FALSE(reads_totals(mtspr, 0x7c0803a6));  // mtlr
    EXPECT_TRUE(ends_block(mtspr, 0x7c1603a6));     // mtdec
    const Instruction& mfspr = describe(Opcode::Mfspr);
    EXPECT_TRUE(reads_totals(mfspr, 0x7c7602a6));   // mfdec
    EXPECT_FALSE(reads_totals(mfspr, 0x7c6802a6));  // mflr
}
