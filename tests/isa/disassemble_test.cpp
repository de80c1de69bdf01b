// SPDX-License-Identifier: GPL-2.0-or-later
// The disassembler writes what GNU objdump writes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <string>
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

// objdump writes condition fields, SPR names and optional operands in ways of its own: of these
// only the mnemonic is compared.
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
        case Opcode::Mtfsf:
        case Opcode::Bc:
        case Opcode::Isel:
        case Opcode::Rlwimi:
        case Opcode::Rlwinm:
        case Opcode::Rlwnm:
        case Opcode::Ehpriv:
        case Opcode::Mfspr:
        case Opcode::Mtspr:
        case Opcode::Mftb:
        case Opcode::Mfcr:
        case Opcode::Dcbf:
        case Opcode::Dcbtep:
        case Opcode::Dcbtstep:
        case Opcode::Fres:
        case Opcode::Frsqrte:
        case Opcode::Lwarx:
        case Opcode::Ldarx:
        case Opcode::Mtmsr:
        case Opcode::Tlbre:
        case Opcode::Tlbwe:
        case Opcode::Tlbsx:
            return true;
        default:
            return false;
    }
}

// The machine that objdump knows the instruction of.
std::string machine_of(const Instruction& row) {
    switch (row.opcode) {
        case Opcode::Mftb:
            return "ppc";
        case Opcode::Ldepx:
        case Opcode::Stdepx:
        case Opcode::Lddx:
        case Opcode::Stddx:
            return "e500mc";
        default:
            break;
    }
    switch (row.category) {
        case Category::MoveAssist:
            return "ppc";
        case Category::Sixty4Bit:
            return "power7";
        default:
            return "e500mc";
    }
}

// What objdump calls these words; one of its lines a word.
std::vector<std::string> objdump(const std::vector<uint32_t>& words, const std::string& machine) {
    const std::string path =
        testing::TempDir() + "perfvisor-disassemble-" + std::to_string(getpid()) + ".bin";
    {
        std::ofstream file(path, std::ios::binary);
        for (uint32_t word : words)
            for (int shift = 24; shift >= 0; shift -= 8)
                file.put(static_cast<char>(word >> shift));
    }
    const std::string command = "powerpc-linux-gnu-objdump -D -b binary -m powerpc:common -M " +
                                machine + ",raw -EB " + path;
    std::vector<std::string> lines;
    if (FILE* pipe = popen(command.c_str(), "r")) {
        char buffer[256];
        while (std::fgets(buffer, sizeof buffer, pipe)) {
            std::string line = buffer;
            if (!line.empty() && line.back() == '\n') line.pop_back();
            if (std::count(line.begin(), line.end(), '\t') >= 2) lines.push_back(line);
        }
        pclose(pipe);
    }
    std::remove(path.c_str());
    return lines;
}

std::string mnemonic_of(const std::string& text) {
    return text.substr(0, text.find(' '));
}

}  // namespace

TEST(Disassemble, AgreesWithObjdumpOnEveryInstruction) {
    if (std::system("command -v powerpc-linux-gnu-objdump >/dev/null 2>&1") != 0)
        GTEST_SKIP() << "powerpc-linux-gnu-objdump is not installed";
    std::mt19937 random(3);
    std::map<std::string, std::vector<uint32_t>> words;  // by machine
    for (unsigned i = 1; i < static_cast<unsigned>(Opcode::Count); ++i) {
        const Instruction& row = describe(static_cast<Opcode>(i));
        uint32_t operand_bits = 0;
        for (unsigned bit = 0; bit < 32; ++bit) {
            const char c = row.pattern[bit];
            // Reserved bits and the L of a 64-bit comparison are 0 in valid words.
            const bool free = c != '0' && c != '1' && c != '-' && c != 'L';
            operand_bits = operand_bits << 1 | free;
        }
        for (int n = 0; n < 16; ++n) {
            const uint32_t word = row.match | (static_cast<uint32_t>(random()) & operand_bits);
            if (decode(word) == row.opcode) words[machine_of(row)].push_back(word);
        }
    }
    std::set<Opcode> recognized;
    for (const auto& [machine, of_machine] : words) {
        const std::vector<std::string> lines = objdump(of_machine, machine);
        ASSERT_EQ(lines.size(), of_machine.size());
        for (size_t i = 0; i < lines.size(); ++i) {
            const std::string theirs = normalise(lines[i]);
            if (theirs.find(".long") == 0) continue;  // an invalid form to objdump
            const Opcode opcode = decode(of_machine[i]);
            const std::string ours = disassemble(of_machine[i], 4 * i);
            recognized.insert(opcode);
            // sync and wait have mnemonics of their own for some operands.
            if (opcode == Opcode::Sync || opcode == Opcode::Wait || opcode == Opcode::Tlbilx)
                continue;
            if (spelled_differently(opcode))
                EXPECT_EQ(mnemonic_of(ours), mnemonic_of(theirs));
            else
                EXPECT_EQ(ours, theirs);
        }
    }
    for (unsigned i = 1; i < static_cast<unsigned>(Opcode::Count); ++i) {
        const Opcode opcode = static_cast<Opcode>(i);
        // objdump has no dcbzlep, and of ehpriv only the form without a number.
        const bool unknown = opcode == Opcode::Dcbzlep || opcode == Opcode::Ehpriv;
        EXPECT_EQ(recognized.contains(opcode), !unknown) << describe(opcode).mnemonic;
    }
}
