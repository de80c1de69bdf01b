// SPDX-License-Identifier: GPL-2.0-or-later
// Where guest state is while translated code runs. Ten general registers stay in host registers
// from block to block, so that a jump between blocks moves nothing; all else is in CpuState,
// within reach of one base register.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/state.h"
#include "engine/translator/page_map.h"
#include "engine/translator/x64/xbyak.h"

namespace perfvisor::engine::translator::x64 {

// The base stands in the middle of the GPRs, whose displacements then fit a byte.
constexpr int kStateBias = 128;
inline const Xbyak::Reg64 kState(Xbyak::Operand::RBP);
// Instructions left before translated code must return.
inline const Xbyak::Reg64 kBudget(Xbyak::Operand::R15);
// SharedData::counts while translated code runs.
inline const Xbyak::Xmm kCounts(15);

struct Pinned {
    unsigned guest;
    int host;
};
// The GPRs that compilers use most (SVR4 ABI: stack, arguments, scratch, the first saved one).
// The scratch registers rax, rcx and rdx are not among the hosts.
constexpr std::array<Pinned, 10> kPinned = {{{9, Xbyak::Operand::RBX},
                                             {3, Xbyak::Operand::RSI},
                                             {10, Xbyak::Operand::RDI},
                                             {4, Xbyak::Operand::R8},
                                             {5, Xbyak::Operand::R9},
                                             {6, Xbyak::Operand::R10},
                                             {7, Xbyak::Operand::R11},
                                             {8, Xbyak::Operand::R12},
                                             {31, Xbyak::Operand::R13},
                                             {1, Xbyak::Operand::R14}}};

// The host register of a GPR, or -1.
constexpr int pinned_host(unsigned guest) {
    for (const Pinned& pin : kPinned)
        if (pin.guest == guest) return pin.host;
    return -1;
}

// Where MSR[FP] is 1, f0 to f12 are in xmm2 to xmm14; xmm0 and xmm1 are scratch.
constexpr unsigned kPinnedFloats = 13;
constexpr int float_host(unsigned guest) {
    return guest < kPinnedFloats ? static_cast<int>(guest) + 2 : -1;
}

// Displacements from kState.
constexpr int state_offset(size_t offset) {
    return static_cast<int>(offset) - kStateBias;
}
constexpr int gpr_offset(unsigned n) {
    return state_offset(offsetof(core::CpuState, gpr) + 8 * size_t{n});
}
constexpr int fpr_offset(unsigned n) {
    return state_offset(offsetof(core::CpuState, fpr) + 8 * size_t{n});
}
constexpr int cr_field_offset(unsigned n) {
    return state_offset(offsetof(core::CpuState, cr) + offsetof(core::ConditionRegister, field) +
                        8 * size_t{n});
}
constexpr int cr_so_offset(unsigned n) {
    return state_offset(offsetof(core::CpuState, cr) + offsetof(core::ConditionRegister, so) + n);
}
constexpr int kPcOffset = state_offset(offsetof(core::CpuState, pc));
constexpr int kLrOffset = state_offset(offsetof(core::CpuState, lr));
constexpr int kCtrOffset = state_offset(offsetof(core::CpuState, ctr));
constexpr int kCaOffset = state_offset(offsetof(core::CpuState, xer_ca));
constexpr int kMsrOffset = state_offset(offsetof(core::CpuState, msr));
constexpr int total_offset(core::Total total) {
    return state_offset(offsetof(core::CpuState, totals) + offsetof(core::Totals, value) +
                        8 * static_cast<size_t>(total));
}
constexpr int kReserveAddressOffset = state_offset(offsetof(core::CpuState, reserve_address));
constexpr int kReserveValueOffset = state_offset(offsetof(core::CpuState, reserve_value));
constexpr int kReserveVersionOffset = state_offset(offsetof(core::CpuState, reserve_version));
constexpr int kReservePausesOffset = state_offset(offsetof(core::CpuState, reserve_pauses));
constexpr int kReserveSizeOffset = state_offset(offsetof(core::CpuState, reserve_size));
constexpr int kFpscrOffset = state_offset(offsetof(core::CpuState, fpscr));
constexpr int kPaceOffset = state_offset(offsetof(core::CpuState, pace));
constexpr int kCyclesLeftOffset = state_offset(offsetof(core::CpuState, cycles_left));
constexpr size_t kFiltersOffset = offsetof(core::CpuState, filters);
// Of something in core::timing::Filters.
constexpr int filter_offset(size_t offset) {
    return state_offset(kFiltersOffset + offset);
}
constexpr int kBudgetOffset = state_offset(offsetof(core::CpuState, budget));

// The page tables of PageMap::select, relative to the host's GS segment, which stands at its
// window.
constexpr int kReadPages = -2 * static_cast<int>(PageMap::kTableBytes);
constexpr int kWritePages = -1 * static_cast<int>(PageMap::kTableBytes);

}  // namespace perfvisor::engine::translator::x64
