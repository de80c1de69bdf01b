// SPDX-License-Identifier: GPL-2.0-or-later
// How an instruction's operands are written in assembler, for disassembling and assembling.
#pragma once

#include "isa/instruction.h"

namespace perfvisor::isa {

// The operands in the order they are written, a letter each:
//   d a b     general registers rD rA rB       0  rA, or "0" for rA=0
//   D A B C   floating registers frD frA frB frC
//   i u       signed, unsigned 16-bit immediate
//   m         displacement and base: 8(r1)     q  the same with the displacement a multiple of 4
//   f g       condition fields crfD crfS
//   y z w     decimal of the fields d, a, b    c  decimal of c   e  decimal of me
//   x         CR mask   X  mtfsf's field mask   s SPR or PMR number
//   t         branch target                    n  NB of the string instructions
//   1 2       L of cmp, L of sync and wait     E  immediate bit of wrteei
//   I         mtfsfi's immediate               T  T of tlbilx      5  BH of bclr
//   S M       6-bit shift and mask of the 64-bit rotates           V  sc's LEV
//   O U       ehpriv's and dnh's numbers       W  a whole word
const char* operand_letters(Opcode opcode);

}  // namespace perfvisor::isa
