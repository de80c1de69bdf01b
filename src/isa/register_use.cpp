// SPDX-License-Identifier: GPL-2.0-or-later
// Registers by the operands as assembler has them: the first is the result, if it is one that can
// be, the others are read.
#include "isa/register_use.h"

#include <cstring>

#include "isa/operands.h"

namespace perfvisor::isa {
namespace {

uint32_t bit(unsigned n) {
    return 1u << n;
}
uint8_t field(unsigned n) {
    return static_cast<uint8_t>(1u << n);
}
// CRM has CR0 at the most significant bit.
uint8_t fields_of_mask(unsigned crm) {
    uint8_t fields = 0;
    for (unsigned n = 0; n < 8; ++n)
        if (crm & 0x80u >> n) fields |= field(n);
    return fields;
}

bool reads_first(const Instruction& row) {
    return (row.flags & kStore) || row.opcode == Opcode::Mtmsr || row.opcode == Opcode::Wrtee;
}

void add_operand(char letter, bool first, const Instruction& row, uint32_t word, RegisterUse& use) {
    const bool result = first && !reads_first(row);
    uint32_t& general = result ? use.writes : use.reads;
    uint32_t& floating = result ? use.float_writes : use.float_reads;
    switch (letter) {
        case 'd':
            general |= row.flags & kMultiple ? ~0u << rd(word) : bit(rd(word));
            break;
        case 'a':
            general |= bit(ra(word));
            break;
        case '0':
        case 'm':
        case 'q':
            if (ra(word) != 0 || (row.flags & kUpdate)) use.reads |= bit(ra(word));
            break;
        case 'b':
            use.reads |= bit(rb(word));
            break;
        case 'D':
            floating |= bit(rd(word));
            break;
        case 'A':
            floating |= bit(ra(word));
            break;
        case 'B':
            floating |= bit(rb(word));
            break;
        case 'C':
            floating |= bit(rc_field(word));
            break;
        case 'f':  // mtfsfi's is of the FPSCR
            if (row.opcode != Opcode::Mtfsfi) use.fields_written |= field(crfd(word));
            break;
        case 'g':  // mcrfs's, too
            if (row.opcode != Opcode::Mcrfs) use.fields_read |= field(crfs(word));
            break;
        case 'x':
            (first ? use.fields_written : use.fields_read) |= fields_of_mask(crm(word));
            break;
        default:
            break;
    }
}

// What no operand names.
void add_implied(const Instruction& row, uint32_t word, RegisterUse& use) {
    switch (row.opcode) {
        case Opcode::Rlwimi:
        case Opcode::Rldimi:
            use.reads |= bit(ra(word));
            break;
        case Opcode::Isel:
            use.fields_read |= field(rc_field(word) / 4);
            break;
        case Opcode::Mfcr:
            use.fields_read = 0xff;
            break;
        case Opcode::Bc:
        case Opcode::Bclr:
        case Opcode::Bcctr:
            if (!(rd(word) & 16)) use.fields_read |= field(ra(word) / 4);
            break;
        case Opcode::AddicRc:
        case Opcode::AndiRc:
        case Opcode::AndisRc:
        case Opcode::Stwcx:
        case Opcode::Stdcx:
            use.fields_written |= field(0);
            break;
        case Opcode::Lswi:
        case Opcode::Lswx:
            use.writes = ~0u;
            break;
        case Opcode::Stswi:
        case Opcode::Stswx:
            use.reads = ~0u;
            break;
        default:
            break;
    }
    if (row.flags & kConditionLogic) {  // the field's other bits stay as they are
        use.fields_read |= field(ra(word) / 4) | field(rb(word) / 4) | field(rd(word) / 4);
        use.fields_written |= field(rd(word) / 4);
    }
    if (row.flags & kUpdate) use.writes |= bit(ra(word));
    if (record(word) && std::strchr(row.pattern, 'r'))
        use.fields_written |= field(row.flags & kFloat ? 1 : 0);
}

}  // namespace

RegisterUse register_use(const Instruction& row, uint32_t word) {
    RegisterUse use;
    const char* const letters = operand_letters(row.opcode);
    for (const char* letter = letters; *letter; ++letter)
        add_operand(*letter, letter == letters, row, word, use);
    add_implied(row, word, use);
    return use;
}

}  // namespace perfvisor::isa
