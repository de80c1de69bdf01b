// SPDX-License-Identifier: GPL-2.0-or-later
// What translated floating-point code leaves of the FPSCR for later: the instruction once more.
#include "engine/translator/float_status.h"

#include "core/fpu/fast.h"

namespace perfvisor::engine::translator {
namespace {

namespace fpu = core::fpu;
using isa::Opcode;

void repeat(Opcode opcode, uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b) {
    switch (opcode) {
        case Opcode::Fadd:
            fpu::add(fpscr, a, b);
            break;
        case Opcode::Fadds:
            fpu::adds(fpscr, a, b);
            break;
        case Opcode::Fsub:
            fpu::sub(fpscr, a, b);
            break;
        case Opcode::Fsubs:
            fpu::subs(fpscr, a, b);
            break;
        case Opcode::Fmul:
            fpu::mul(fpscr, a, c);
            break;
        case Opcode::Fmuls:
            fpu::muls(fpscr, a, c);
            break;
        case Opcode::Fdiv:
            fpu::div(fpscr, a, b);
            break;
        case Opcode::Fdivs:
            fpu::divs(fpscr, a, b);
            break;
        case Opcode::Frsp:
            fpu::frsp(fpscr, b);
            break;
        case Opcode::Fmadd:
            fpu::madd(fpscr, a, c, b);
            break;
        case Opcode::Fmadds:
            fpu::madds(fpscr, a, c, b);
            break;
        case Opcode::Fmsub:
            fpu::msub(fpscr, a, c, b);
            break;
        case Opcode::Fmsubs:
            fpu::msubs(fpscr, a, c, b);
            break;
        case Opcode::Fnmadd:
            fpu::nmadd(fpscr, a, c, b);
            break;
        case Opcode::Fnmadds:
            fpu::nmadds(fpscr, a, c, b);
            break;
        case Opcode::Fnmsub:
            fpu::nmsub(fpscr, a, c, b);
            break;
        case Opcode::Fnmsubs:
            fpu::nmsubs(fpscr, a, c, b);
            break;
        default:
            break;
    }
}

}  // namespace

void complete_float_status(core::CpuState& state, x64::SharedData& shared) {
    auto& status = shared.float_status;
    if (status.mxcsr & x64::SharedData::kMxcsrPrecision) {
        if (!(state.fpscr & fpu::kXx)) state.fpscr |= fpu::kFx | fpu::kXx;
        status.mxcsr = x64::SharedData::kMxcsr;
    }
    if (status.opcode != 0)
        repeat(static_cast<Opcode>(status.opcode), state.fpscr, status.operands[0],
               status.operands[1], status.operands[2]);
    if (status.comparison != 0) {
        const uint32_t field = status.comparison == 1 ? 8 : status.comparison == 2 ? 2 : 4;
        state.fpscr = (state.fpscr & ~fpu::kFpcc) | field << 12;
    }
    status.opcode = status.comparison = 0;
}

}  // namespace perfvisor::engine::translator
