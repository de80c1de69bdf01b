// SPDX-License-Identifier: GPL-2.0-or-later
// Cache management (Power ISA 2.06 Book II, 4.3; EREF 6.3.2). Caches hold nothing that memory does
// not, so what remains of most of these is their address: it is translated and may fault.
#include <array>

#include "engine/interpreter/op.h"

namespace perfvisor::engine::interpreter {
namespace {

using core::Access;
using core::Core;
using isa::Opcode;
using Word = uint32_t;

template <typename W>
[[gnu::always_inline]] inline W effective_address(const Core& core, const Op* op) {
    return (op->a == 0 ? 0 : get<W>(core, op->a)) + get<W>(core, op->b);
}

// dcbt, dcbtst, dcba, icbt and their forms: hints, which never fault
const Op* hint(Core& core, const Op* op) {
    return next(core, op);
}

// dcbf, dcbst (checked like loads), dcbi (like a store), dcbfep, dcbstep
template <typename W, Access kAccess, bool External>
const Op* flush(Core& core, const Op* op) {
    uint64_t physical = 0;
    if (!core.translate_data(effective_address<W>(core, op), kAccess, physical, External))
        return op;
    return next(core, op);
}

// dcbz, dcbzl rA,rB: zeroes the line. Where there is nothing to cache: alignment interrupt
// (e500mc manual, 4.9.7).
template <typename W>
const Op* dcbz(Core& core, const Op* op) {
    const W line = core.model().cache_line;
    const W ea = effective_address<W>(core, op) & ~(line - 1);
    const core::FastTlbEntry& entry = core.state.fast_tlb[core::fast_tlb_index(ea)];
    if (entry.write_tag == ((ea & core::kPageMask) | core.state.data_context)) {
        core::clear_guest(reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(entry.addend + ea)),
                          static_cast<unsigned>(line));
        return next(core, op);
    }
    uint64_t physical = 0;
    if (!core.translate_data(ea, Access::Store, physical)) return op;
    if (!core.memory().find(physical)) {
        core::Fault fault{core::Interrupt::Alignment, core::esr::kST};
        fault.dear = ea;
        fault.sets_dear = true;
        core.raise(fault);
        return op;
    }
    for (W offset = 0; offset < line; offset += 8)
        if (!core.store(ea + offset, uint64_t{0})) return op;
    return next(core, op);
}

// dcbzep, dcbzlep
template <typename W>
const Op* dcbzep(Core& core, const Op* op) {
    static constexpr std::array<uint8_t, 64> kZeros{};
    const W line = core.model().cache_line;
    const W ea = effective_address<W>(core, op) & ~(line - 1);
    if (!core.store_bytes_external(ea, kZeros.data(), line)) return op;
    return next(core, op);
}

// icbi, icbiep rA,rB: code decoded from the line is decoded anew, on every core
template <typename W, bool External>
const Op* icbi(Core& core, const Op* op) {
    uint64_t physical = 0;
    if (!core.translate_data(effective_address<W>(core, op), Access::Load, physical, External))
        return op;
    const uint64_t line = core.model().cache_line;
    core.invalidate_code(physical & ~(line - 1), line);
    return next(core, op);
}

// dcbtls, dcbtstls, dcblc, icbtls, icblc: user mode needs MSR[UCLE], else DSI (EREF 7.8.3). The
// lines themselves have no state here.
template <typename W, uint32_t kEsr>
const Op* lock(Core& core, const Op* op) {
    const W ea = effective_address<W>(core, op);
    if ((core.state.msr & core::msr::kPR) && !(core.state.msr & core::msr::kUCLE)) {
        core::Fault fault{core::Interrupt::DataStorage, kEsr};
        fault.dear = ea;
        fault.sets_dear = true;
        core.raise(fault);
        return op;
    }
    uint64_t physical = 0;
    if (!core.translate_data(ea, Access::Load, physical)) return op;
    return next(core, op);
}

}  // namespace

Handler select_cache(Opcode opcode, uint32_t, Op&) {
    switch (opcode) {
        case Opcode::Dcbt:
        case Opcode::Dcbtst:
        case Opcode::Dcbtep:
        case Opcode::Dcbtstep:
        case Opcode::Dcba:
        case Opcode::Dcbal:
        case Opcode::Icbt:
            return hint;
        case Opcode::Dcbf:
        case Opcode::Dcbst:
            return flush<Word, Access::Load, false>;
        case Opcode::Dcbfep:
        case Opcode::Dcbstep:
            return flush<Word, Access::Load, true>;
        case Opcode::Dcbi:
            return flush<Word, Access::Store, false>;
        case Opcode::Dcbz:
        case Opcode::Dcbzl:
            return dcbz<Word>;
        case Opcode::Dcbzep:
        case Opcode::Dcbzlep:
            return dcbzep<Word>;
        case Opcode::Icbi:
            return icbi<Word, false>;
        case Opcode::Icbiep:
            return icbi<Word, true>;
        case Opcode::Dcbtls:
        case Opcode::Dcbtstls:
        case Opcode::Dcblc:
            return lock<Word, core::esr::kDLK>;
        case Opcode::Icbtls:
        case Opcode::Icblc:
            return lock<Word, core::esr::kILK>;
        default:
            return nullptr;
    }
}

}  // namespace perfvisor::engine::interpreter
