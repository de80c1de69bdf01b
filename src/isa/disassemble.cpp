// SPDX-License-Identifier: GPL-2.0-or-later
// Instruction words as text, in the raw mnemonics of the manuals (objdump -M raw).
#include <fmt/format.h>

#include "isa/instruction.h"

namespace perfvisor::isa {
namespace {

// The operands in the order they are written, a letter each:
//   d a b     general registers rD rA rB       0  rA, or "0" for rA=0
//   D A B C   floating registers frD frA frB frC
//   i u       signed, unsigned 16-bit immediate
//   m         displacement and base: 8(r1)     q  the same with the displacement a multiple of 4
//   f g       condition fields crfD crfS       F  their bits BO..., i.e. decimal of d
//   y z w     decimal of the fields d, a, b    c  decimal of c   e  decimal of me
//   x         CR mask   X  mtfsf's field mask   s SPR or PMR number
//   t         branch target                    n  NB of the string instructions
//   1 2       L of cmp, L of sync and wait     E  immediate bit of wrteei
//   I         mtfsfi's immediate               T  T of tlbilx      5  BH of bclr
//   S M       6-bit shift and mask of the 64-bit rotates           V  sc's LEV
const char* operands(Opcode opcode) {
    switch (opcode) {
        case Opcode::Invalid:
            return "W";
        case Opcode::Addi:
        case Opcode::Addis:
            return "d0i";
        case Opcode::Addic:
        case Opcode::AddicRc:
        case Opcode::Subfic:
        case Opcode::Mulli:
            return "dai";
        case Opcode::Addme:
        case Opcode::Addze:
        case Opcode::Subfme:
        case Opcode::Subfze:
        case Opcode::Neg:
            return "da";
        case Opcode::Cmpi:
            return "f1ai";
        case Opcode::Cmpli:
            return "f1au";
        case Opcode::Cmp:
        case Opcode::Cmpl:
            return "f1ab";
        case Opcode::Twi:
        case Opcode::Tdi:
            return "yai";
        case Opcode::Tw:
        case Opcode::Td:
            return "yab";
        case Opcode::Isel:
            return "d0bc";
        case Opcode::AndiRc:
        case Opcode::AndisRc:
        case Opcode::Ori:
        case Opcode::Oris:
        case Opcode::Xori:
        case Opcode::Xoris:
            return "adu";
        case Opcode::And:
        case Opcode::Andc:
        case Opcode::Or:
        case Opcode::Orc:
        case Opcode::Xor:
        case Opcode::Nand:
        case Opcode::Nor:
        case Opcode::Eqv:
        case Opcode::Slw:
        case Opcode::Srw:
        case Opcode::Sraw:
        case Opcode::Sld:
        case Opcode::Srd:
        case Opcode::Srad:
        case Opcode::Cmpb:
        case Opcode::Bpermd:
            return "adb";
        case Opcode::Srawi:
            return "adw";
        case Opcode::Sradi:
            return "adS";
        case Opcode::Extsb:
        case Opcode::Extsh:
        case Opcode::Extsw:
        case Opcode::Cntlzw:
        case Opcode::Cntlzd:
        case Opcode::Popcntb:
        case Opcode::Popcntw:
        case Opcode::Popcntd:
        case Opcode::Prtyw:
        case Opcode::Prtyd:
            return "ad";
        case Opcode::Rlwimi:
        case Opcode::Rlwinm:
            return "adwce";
        case Opcode::Rlwnm:
            return "adbce";
        case Opcode::Rldicl:
        case Opcode::Rldicr:
        case Opcode::Rldic:
        case Opcode::Rldimi:
            return "adSM";
        case Opcode::Rldcl:
        case Opcode::Rldcr:
            return "adbM";
        case Opcode::Lswi:
        case Opcode::Stswi:
            return "d0n";
        case Opcode::Ld:
        case Opcode::Ldu:
        case Opcode::Lwa:
        case Opcode::Std:
        case Opcode::Stdu:
            return "dq";
        case Opcode::Lfs:
        case Opcode::Lfsu:
        case Opcode::Lfd:
        case Opcode::Lfdu:
        case Opcode::Stfs:
        case Opcode::Stfsu:
        case Opcode::Stfd:
        case Opcode::Stfdu:
            return "Dm";
        case Opcode::Lfsx:
        case Opcode::Lfsux:
        case Opcode::Lfdx:
        case Opcode::Lfdux:
        case Opcode::Stfsx:
        case Opcode::Stfsux:
        case Opcode::Stfdx:
        case Opcode::Stfdux:
        case Opcode::Stfiwx:
        case Opcode::Lfdepx:
        case Opcode::Stfdepx:
            return "D0b";
        case Opcode::Lfddx:
        case Opcode::Stfddx:
            return "Dab";
        case Opcode::Lbdx:
        case Opcode::Lhdx:
        case Opcode::Lwdx:
        case Opcode::Lddx:
        case Opcode::Stbdx:
        case Opcode::Sthdx:
        case Opcode::Stwdx:
        case Opcode::Stddx:
            return "dab";
        case Opcode::Dsn:
            return "ab";
        case Opcode::Sync:
        case Opcode::Wait:
            return "2";
        case Opcode::Mbar:
            return "y";
        case Opcode::B:
            return "t";
        case Opcode::Bc:
            return "yzt";
        case Opcode::Bclr:
        case Opcode::Bcctr:
            return "yz5";
        case Opcode::Sc:
            return "V";
        case Opcode::Isync:
        case Opcode::Rfi:
        case Opcode::Rfci:
        case Opcode::Rfmci:
        case Opcode::Rfdi:
        case Opcode::Rfgi:
        case Opcode::Tlbwe:
        case Opcode::Tlbre:
        case Opcode::Tlbsync:
            return "";
        case Opcode::Ehpriv:
            return "O";
        case Opcode::Dnh:
            return "yU";
        case Opcode::Crand:
        case Opcode::Crandc:
        case Opcode::Creqv:
        case Opcode::Crnand:
        case Opcode::Crnor:
        case Opcode::Cror:
        case Opcode::Crorc:
        case Opcode::Crxor:
            return "yzw";
        case Opcode::Mcrf:
        case Opcode::Mcrfs:
            return "fg";
        case Opcode::Mcrxr:
            return "f";
        case Opcode::Mfcr:
        case Opcode::Mfmsr:
        case Opcode::Mtmsr:
        case Opcode::Wrtee:
            return "d";
        case Opcode::Mfocrf:
            return "dx";
        case Opcode::Mtcrf:
        case Opcode::Mtocrf:
            return "xd";
        case Opcode::Mfspr:
        case Opcode::Mftb:
        case Opcode::Mfpmr:
            return "ds";
        case Opcode::Mtspr:
        case Opcode::Mtpmr:
            return "sd";
        case Opcode::Wrteei:
            return "E";
        case Opcode::Dcbf:
        case Opcode::Dcbst:
        case Opcode::Dcbi:
        case Opcode::Dcba:
        case Opcode::Dcbal:
        case Opcode::Dcbz:
        case Opcode::Dcbzl:
        case Opcode::Icbi:
        case Opcode::Tlbsx:
        case Opcode::Tlbivax:
        case Opcode::Dcbstep:
        case Opcode::Dcbfep:
        case Opcode::Icbiep:
        case Opcode::Dcbzep:
        case Opcode::Dcbzlep:
            return "0b";
        case Opcode::Dcbt:
        case Opcode::Dcbtst:
        case Opcode::Icbt:
        case Opcode::Dcbtls:
        case Opcode::Dcbtstls:
        case Opcode::Dcblc:
        case Opcode::Icbtls:
        case Opcode::Icblc:
        case Opcode::Dcbtep:
        case Opcode::Dcbtstep:
            return "y0b";
        case Opcode::Tlbilx:
            return "T0b";
        case Opcode::Msgsnd:
        case Opcode::Msgclr:
            return "b";
        case Opcode::Fadd:
        case Opcode::Fadds:
        case Opcode::Fsub:
        case Opcode::Fsubs:
        case Opcode::Fdiv:
        case Opcode::Fdivs:
            return "DAB";
        case Opcode::Fmul:
        case Opcode::Fmuls:
            return "DAC";
        case Opcode::Fmadd:
        case Opcode::Fmadds:
        case Opcode::Fmsub:
        case Opcode::Fmsubs:
        case Opcode::Fnmadd:
        case Opcode::Fnmadds:
        case Opcode::Fnmsub:
        case Opcode::Fnmsubs:
        case Opcode::Fsel:
            return "DACB";
        case Opcode::Fres:
        case Opcode::Frsqrte:
        case Opcode::Fmr:
        case Opcode::Fneg:
        case Opcode::Fabs:
        case Opcode::Fnabs:
        case Opcode::Frsp:
        case Opcode::Fctiw:
        case Opcode::Fctiwz:
        case Opcode::Fctid:
        case Opcode::Fctidz:
        case Opcode::Fcfid:
            return "DB";
        case Opcode::Fcmpu:
        case Opcode::Fcmpo:
            return "fAB";
        case Opcode::Mffs:
            return "D";
        case Opcode::Mtfsf:
            return "XB";
        case Opcode::Mtfsfi:
            return "fI";
        case Opcode::Mtfsb0:
        case Opcode::Mtfsb1:
            return "y";
        default:
            break;
    }
    const Instruction& row = describe(opcode);
    if (row.flags & (kLoad | kStore)) return row.pattern[16] == 'i' ? "dm" : "d0b";
    return "dab";
}

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
    for (const char* letter = operands(opcode); *letter; ++letter) {
        text += separator + operand(*letter, word, pc);
        separator = ',';
    }
    return text;
}

}  // namespace perfvisor::isa
