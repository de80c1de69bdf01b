// SPDX-License-Identifier: GPL-2.0-or-later
// The reference floating-point unit: every instruction in integer arithmetic, always right, on any
// host.
//
// Manual: Power ISA 2.06 Book I, chapter 4 and appendix A. Operands and results are FPR images
// (double format). Each function reads the rounding mode and the enables from `fpscr` and leaves
// it as the instruction does, FX, VX and FEX included: the caller raises the program interrupt if
// FEX is set and MSR[FE0,FE1] ask for it. Nothing here can fail.
//
// Names ending in s round once to single. With operands that are not single numbers, which 4.2.1
// leaves undefined, the exact result is rounded once to single all the same, and a NaN loses its
// low 29 bits as in frsp.
//
// Where the manual leaves something undefined: FR after a disabled overflow tells whether infinity
// was delivered. Conversions to integer leave FPRF as it was, but a disabled invalid one gives the
// class of a NaN. fctiw fills the high word with the sign (0 for a NaN). Estimates are 1/x and
// 1/sqrt(x) correctly rounded in each step, far within the precision asked for (one part in 256
// and in 32), and set FR, FI and XX as those steps do. Where QEMU defines these, it is the same.
#pragma once

#include <cstdint>

#include "core/fpu/fpscr.h"

namespace perfvisor::core::fpu::soft {

Outcome add(uint32_t& fpscr, uint64_t a, uint64_t b);
Outcome adds(uint32_t& fpscr, uint64_t a, uint64_t b);
Outcome sub(uint32_t& fpscr, uint64_t a, uint64_t b);
Outcome subs(uint32_t& fpscr, uint64_t a, uint64_t b);
Outcome mul(uint32_t& fpscr, uint64_t a, uint64_t c);
Outcome muls(uint32_t& fpscr, uint64_t a, uint64_t c);
Outcome div(uint32_t& fpscr, uint64_t a, uint64_t b);
Outcome divs(uint32_t& fpscr, uint64_t a, uint64_t b);

// Operands in assembler order: frA, frC, frB. The result is a*c + b, a*c - b, or its negative.
Outcome madd(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b);
Outcome madds(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b);
Outcome msub(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b);
Outcome msubs(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b);
Outcome nmadd(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b);
Outcome nmadds(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b);
Outcome nmsub(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b);
Outcome nmsubs(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b);

// fsqrt, fsqrts, fre and frsqrtes are for later cores: the e500mc has only fres and frsqrte.
Outcome sqrt(uint32_t& fpscr, uint64_t b);
Outcome sqrts(uint32_t& fpscr, uint64_t b);
Outcome fre(uint32_t& fpscr, uint64_t b);
Outcome fres(uint32_t& fpscr, uint64_t b);
Outcome frsqrte(uint32_t& fpscr, uint64_t b);
Outcome frsqrtes(uint32_t& fpscr, uint64_t b);

Outcome frsp(uint32_t& fpscr, uint64_t b);

// To a 32-bit integer in the low word, or to a 64-bit integer; z rounds toward zero whatever RN
// says.
Outcome fctiw(uint32_t& fpscr, uint64_t b);
Outcome fctiwz(uint32_t& fpscr, uint64_t b);
Outcome fctid(uint32_t& fpscr, uint64_t b);
Outcome fctidz(uint32_t& fpscr, uint64_t b);
Outcome fcfid(uint32_t& fpscr, uint64_t b);

// Compares: return the CR field (8 less, 4 greater, 2 equal, 1 unordered), also put into FPCC.
uint32_t fcmpu(uint32_t& fpscr, uint64_t a, uint64_t b);
uint32_t fcmpo(uint32_t& fpscr, uint64_t a, uint64_t b);

}  // namespace perfvisor::core::fpu::soft
