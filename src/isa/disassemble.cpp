// SPDX-License-Identifier: GPL-2.0-or-later
// Instruction words as text, in the raw mnemonics of the manuals (objdump -M raw).
#include <fmt/format.h>

#include "isa/instruction.h"
#include "isa/operands.h"

namespace perfvisor::isa {
namespace {

std::string base_register(uint32_t w) {
    return ra(w) ? fmt::format("r{}", ra(w)) : "0";
}

std::string operand(char letter, uint32_t w, uint64_t pc) {
    switch (letter) {
        case 'd':
            return fmt::format("r{}", rd(w));
        case 'a':
            return fmt::format("r{}", ra(w));
        case 'b':
            return fmt::format("r{}", rb(w));
        case '0':
            return base_register(w);
        case 'D':
            return fmt::format("f{}", rd(w));
        case 'A':
            return fmt::format("f{}", ra(w));
        case 'B':
            return fmt::format("f{}", rb(w));
        case 'C':
            return fmt::format("f{}", rc_field(w));
        case 'i':
            return fmt::format("{}", si(w));
        case 'u':
            return fmt::format("{}", ui(w));
        case 'm':
            return fmt::format("{}({})", si(w), base_register(w));
        case 'q':
            return fmt::format("{}({})", si(w & ~3u), base_register(w));
        case 'f':
            return fmt::format("cr{}", crfd(w));
        case 'g':
            return fmt::format("cr{}", crfs(w));
        case 'y':
            return fmt::format("{}", rd(w));
        case 'z':
            return fmt::format("{}", ra(w));
        case 'w':
            return fmt::format("{}", rb(w));
        case 'c':
            return fmt::format("{}", rc_field(w));
        case 'e':
            return fmt::format("{}", me(w));
        case 'x':
            return fmt::format("{}", crm(w));
        case 'X':
            return fmt::format("{}", (w >> 17) & 0xff);
        case 's':
            return fmt::format("{}", spr(w));
        case 't': {
            const int64_t offset = w >> 26 == 18 ? li(w) : bd(w);
            return fmt::format("0x{:x}", static_cast<uint32_t>((aa(w) ? 0 : pc) + offset));
        }
        case 'n':
            return fmt::format("{}", rb(w) ? rb(w) : 32);
        case '1':
            return fmt::format("{}", (w >> 21) & 1);
        case '2':
        case 'T':
            return fmt::format("{}", (w >> 21) & 3);
        case '5':
            return fmt::format("{}", (w >> 11) & 3);
        case 'E':
            return fmt::format("{}", (w >> 15) & 1);
        case 'I':
            return fmt::format("{}", (w >> 12) & 15);
        case 'S':
            return fmt::format("{}", rb(w) | (w & 2) << 4);
        case 'M':
            return fmt::format("{}", ((w >> 6) & 31) | (w & 0x20));
        case 'V':
            return fmt::format("{}", (w >> 5) & 0x7f);
        case 'O':
            return fmt::format("{}", (w >> 11) & 0x7fff);
        case 'U':
            return fmt::format("{}", (w >> 11) & 0x3ff);
        default:  // 'W'
            return fmt::format("0x{:x}", w);
    }
}

}  // namespace

std::string disassemble(uint32_t word, uint64_t pc) {
    const Opcode opcode = decode(word);
    const Instruction& row = describe(opcode);
    std::string text = row.mnemonic;
    if (row.pattern[21] == 'o' && overflow_form(word)) text += 'o';
    if (row.pattern[31] == 'r' && record(word)) text += '.';
    if (row.pattern[31] == 'l' && lk(word)) text += 'l';
    if (row.pattern[30] == 'k' && aa(word)) text += 'a';
    char separator = ' ';
    for (const char* letter = operand_letters(opcode); *letter; ++letter) {
        text += separator + operand(*letter, word, pc);
        separator = ',';
    }
    return text;
}

}  // namespace perfvisor::isa
