// SPDX-License-Identifier: GPL-2.0-or-later
// The disassembler writes what GNU objdump writes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>
#include <vector>

#include "isa/instruction.h"

using namespace perfvisor::isa;

TEST(Disassemble, WritesRawMnemonicsOperandsAndBranchTargets) {
    EXPECT_EQ(disassemble(0x38630008, 0), "addi r3,r3,8");
    EXPECT_EQ(disassemble(0x7c632215, 0), "add. r3,r3,r4");
    EXPECT_EQ(disassemble(0x7c632615, 0), "addo. r3,r3,r4");
    EXPECT_EQ(disassemble(0x90010004, 0), "stw r0,4(r1)");
    EXPECT_EQ(disassemble(0x48000011, 0x1000), "bl 0x1010");
    EXPECT_EQ(disassemble(0x4082fff0, 0x1000), "bc 4,2,0xff0");
    EXPECT_EQ(disassemble(0xfc01102a, 0), "fadd f0,f1,f2");
    EXPECT_EQ(disassemble(0x00000001, 0), ".long 0x1");
}

namespace {

// One line of objdump's: "   0:\t38 63 00 08 \taddi    r3,r3,8" as "addi r3,r3,8".
std::string normalise(const std::string& line) {
    const std::string text = line.substr(line.rfind('\t') + 1);
    std::string out;
    for (char c : text) {
        if (c == '<') break;  // a symbol after a branch target
        if (c == ' ' && (out.empty() || out.back() == ' ')) continue;
        out += c;
    }
    while (!out.empty() && out.back() == ' ')
        out.pop_back();
    return out;
}

// objdump writes condition fields, zero displacements and optional operands in ways of its own.
bool spelled_differently(Opcode opcode) {
    switch (opcode) {
        case Opcode::Sync:
        case Opcode::Wait:
        case Opcode::Mbar:
        case Opcode::Bclr:
        case Opcode::Bcctr:
        case Opcode::Sc:
        case Opcode::Tlbilx:
        case Opcode::Crand:
        case Opcode::Crandc:
        case Opcode::Creqv:
        case Opcode::Crnand:
        case Opcode::Crnor:
        case Opcode::Cror:
        case Opcode::Crorc:
        case Opcode::Crxor:
        case Opcode::Mtfsfi:
        case Opcode::Mtfsb0:
        case Opcode::Mtfsb1:
        case Opcode::Bc:
        case Opcode::Isel:
        case Opcode::Rlwimi:
        case Opcode::Rlwinm:
        case Opcode::Rlwnm:
        case Opcode::Ehpriv:
        case Opcode::Mfcr:  // "mfcr r3,-1"
        case Opcode::Mfspr:
        case Opcode::Mtspr:
        case Opcode::Mftb:
        case Opcode::Dcbf:
        case Opcode::Dcbtep:
        case Opcode::Dcbtstep:
        case Opcode::Fres:
        case Opcode::Frsqrte:
        case Opcode::Lwarx:
        case Opcode::Mtmsr:
        case Opcode::Tlbre:
        case Opcode::Tlbwe:
        case Opcode::Tlbsx:
            return true;
        default:
            return false;
    }
}

}  // namespace

TEST(Disassemble, AgreesWithObjdumpOnTheWholeTable) {
    if (std::system("command -v powerpc-linux-gnu-objdump >/dev/null 2>&1") != 0)
        GTEST_SKIP() << "powerpc-linux-gnu-objdump is not installed";
    std::mt19937 random(3);
    std::vector<uint32_t> words;
    for (unsigned i = 1; i < static_cast<unsigned>(Opcode::Count); ++i) {
        const Instruction& row = describe(static_cast<Opcode>(i));
        if (row.category == Category::Sixty4Bit || row.category == Category::MoveAssist) continue;
        if (spelled_differently(row.opcode)) continue;
        for (int n = 0; n < 8; ++n) {
            uint32_t operand_bits = 0;
            for (unsigned bit = 0; bit < 32; ++bit) {
                const char c = row.pattern[bit];
                // Reserved bits and the L of a 64-bit comparison are 0 in valid words.
                const bool free = c != '0' && c != '1' && c != '-' && c != 'L';
                operand_bits = operand_bits << 1 | free;
            }
            const uint32_t word = row.match | (static_cast<uint32_t>(random()) & operand_bits);
            if (decode(word) == row.opcode) words.push_back(word);
        }
    }
    const std::string path = testing::TempDir() + "/perfvisor-disassemble.bin";
    {
        std::ofstream file(path, std::ios::binary);
        for (uint32_t word : words)
            for (int shift = 24; shift >= 0; shift -= 8)
                file.put(static_cast<char>(word >> shift));
    }
    const std::string command =
        "powerpc-linux-gnu-objdump -D -b binary -m powerpc:e500mc -M e500mc,raw -EB " + path;
    FILE* pipe = popen(command.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    std::vector<std::string> lines;
    char buffer[256];
    while (std::fgets(buffer, sizeof buffer, pipe)) {
        std::string line = buffer;
        if (!line.empty() && line.back() == '\n') line.pop_back();
        if (std::count(line.begin(), line.end(), '\t') >= 2) lines.push_back(line);
    }
    EXPECT_EQ(pclose(pipe), 0);
    std::remove(path.c_str());
    ASSERT_EQ(lines.size(), words.size());
    unsigned compared = 0;
    for (size_t i = 0; i < words.size(); ++i) {
        if (lines[i].find(".long") != std::string::npos) continue;  // an invalid form to objdump
        EXPECT_EQ(disassemble(words[i], 4 * i), normalise(lines[i]));
        ++compared;
    }
    EXPECT_GT(compared, words.size() * 3 / 4);
}
