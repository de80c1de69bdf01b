// SPDX-License-Identifier: GPL-2.0-or-later
// Floating point (Power ISA 2.06 Book I, 4.6): loads, stores, and what core/fpu computes. MSR[FP]
// is 1 when a block with these was decoded.
#include <type_traits>

#include "core/fpu/fast.h"
#include "engine/interpreter/op.h"

namespace perfvisor::engine::interpreter {
namespace {

using core::Core;
using isa::Opcode;
using Word = uint32_t;
namespace fpu = core::fpu;

// What follows every instruction that may set an exception bit: CR1, and the program interrupt if
// an enabled exception stands and MSR[FE0] or [FE1] asks for it. The e500mc has the precise mode
// only (manual, 4.9.8).
template <bool Rc>
[[gnu::always_inline]] inline const Op* finish(Core& core, const Op* op) {
    const uint32_t fpscr = core.state.fpscr;
    if constexpr (Rc) core.state.cr.set(1, fpu::cr1_field(fpscr));
    if ((fpscr & fpu::kFex) && (core.state.msr & (core::msr::kFE0 | core::msr::kFE1)))
        [[unlikely]] {
        core.raise_program(core::esr::kFP);
        return op;
    }
    return next(core, op);
}

[[gnu::always_inline]] inline void deliver(Core& core, const Op* op, fpu::Outcome outcome) {
    if (outcome.write) [[likely]]
        core.state.fpr[op->d] = outcome.value;
}

using Unary = fpu::Outcome(uint32_t&, uint64_t);
using Binary = fpu::Outcome(uint32_t&, uint64_t, uint64_t);
using Ternary = fpu::Outcome(uint32_t&, uint64_t, uint64_t, uint64_t);

// frD = f(frB)
template <Unary* F, bool Rc>
const Op* unary(Core& core, const Op* op) {
    deliver(core, op, F(core.state.fpscr, core.state.fpr[op->b]));
    return finish<Rc>(core, op);
}
template <Unary* F>
Handler pick(uint32_t word) {
    return isa::record(word) ? unary<F, true> : unary<F, false>;
}

// frD = f(frA, frB)
template <Binary* F, bool Rc>
const Op* binary(Core& core, const Op* op) {
    deliver(core, op, F(core.state.fpscr, core.state.fpr[op->a], core.state.fpr[op->b]));
    return finish<Rc>(core, op);
}
template <Binary* F>
Handler pick(uint32_t word) {
    return isa::record(word) ? binary<F, true> : binary<F, false>;
}

// frD = f(frA, frC, frB)
template <Ternary* F, bool Rc>
const Op* ternary(Core& core, const Op* op) {
    const auto& fpr = core.state.fpr;
    deliver(core, op, F(core.state.fpscr, fpr[op->a], fpr[op->c], fpr[op->b]));
    return finish<Rc>(core, op);
}
template <Ternary* F>
Handler pick(uint32_t word) {
    return isa::record(word) ? ternary<F, true> : ternary<F, false>;
}

// ---- moves: no exception, CR1 all the same ----

constexpr uint64_t fmr(uint64_t b) {
    return b;
}

template <uint64_t (*F)(uint64_t), bool Rc>
const Op* move(Core& core, const Op* op) {
    core.state.fpr[op->d] = F(core.state.fpr[op->b]);
    if constexpr (Rc) core.state.cr.set(1, fpu::cr1_field(core.state.fpscr));
    return next(core, op);
}
template <uint64_t (*F)(uint64_t)>
Handler pick_move(uint32_t word) {
    return isa::record(word) ? move<F, true> : move<F, false>;
}

// fsel frD,frA,frC,frB
template <bool Rc>
const Op* fsel(Core& core, const Op* op) {
    auto& fpr = core.state.fpr;
    fpr[op->d] = fpu::fsel(fpr[op->a], fpr[op->c], fpr[op->b]);
    if constexpr (Rc) core.state.cr.set(1, fpu::cr1_field(core.state.fpscr));
    return next(core, op);
}

// fcmpu, fcmpo crfD,frA,frB
template <uint32_t (*F)(uint32_t&, uint64_t, uint64_t)>
const Op* compare(Core& core, const Op* op) {
    core.state.cr.set(op->d, F(core.state.fpscr, core.state.fpr[op->a], core.state.fpr[op->b]));
    return finish<false>(core, op);
}

// ---- the FPSCR ----

template <bool Rc>
const Op* mffs(Core& core, const Op* op) {
    core.state.fpr[op->d] = fpu::mffs(core.state.fpscr);
    if constexpr (Rc) core.state.cr.set(1, fpu::cr1_field(core.state.fpscr));
    return next(core, op);
}
const Op* mcrfs(Core& core, const Op* op) {
    core.state.cr.set(op->d, fpu::mcrfs(core.state.fpscr, op->a));
    return finish<false>(core, op);
}
template <bool Rc>
const Op* mtfsf(Core& core, const Op* op) {
    fpu::mtfsf(core.state.fpscr, static_cast<unsigned>(op->imm), core.state.fpr[op->b]);
    return finish<Rc>(core, op);
}
template <bool Rc>
const Op* mtfsfi(Core& core, const Op* op) {
    fpu::mtfsfi(core.state.fpscr, op->d, static_cast<unsigned>(op->imm));
    return finish<Rc>(core, op);
}
template <bool Rc>
const Op* mtfsb0(Core& core, const Op* op) {
    fpu::mtfsb0(core.state.fpscr, op->d);
    return finish<Rc>(core, op);
}
template <bool Rc>
const Op* mtfsb1(Core& core, const Op* op) {
    fpu::mtfsb1(core.state.fpscr, op->d);
    return finish<Rc>(core, op);
}

// ---- loads and stores: (rA|0) + d, or + (rB) ----

enum class Form : uint8_t { Displacement, Absolute, Indexed };

template <typename W, Form kForm>
[[gnu::always_inline]] inline W effective_address(const Core& core, const Op* op) {
    if constexpr (kForm == Form::Displacement) return get<W>(core, op->a) + immediate<W>(op);
    if constexpr (kForm == Form::Absolute) return immediate<W>(op);
    return get<W>(core, op->a) + get<W>(core, op->b);
}

// The bits of an FPR in memory.
template <bool Single>
using Stored = std::conditional_t<Single, uint32_t, uint64_t>;

constexpr uint64_t from_memory(uint32_t single) {
    return fpu::load_single(single);
}
constexpr uint64_t from_memory(uint64_t value) {
    return value;
}
template <bool Single>
constexpr Stored<Single> to_memory(uint64_t value) {
    if constexpr (Single) return fpu::store_single(value);
    return value;
}

template <typename W, bool Single, Form kForm, bool Update>
[[gnu::noinline]] const Op* load_slow(Core& core, const Op* op) {
    const W ea = effective_address<W, kForm>(core, op);
    Stored<Single> value;
    if (!core.load(ea, value)) return op;
    core.state.fpr[op->d] = from_memory(value);
    if constexpr (Update) put<W>(core, op->a, ea);
    return next(core, op);
}
template <typename W, bool Single, Form kForm, bool Update>
const Op* load(Core& core, const Op* op) {
    const W ea = effective_address<W, kForm>(core, op);
    Stored<Single> value;
    if (!core.load_inline(ea, value)) return load_slow<W, Single, kForm, Update>(core, op);
    core.state.fpr[op->d] = from_memory(value);
    if constexpr (Update) put<W>(core, op->a, ea);
    return next(core, op);
}

template <typename W, bool Single, Form kForm, bool Update>
[[gnu::noinline]] const Op* store_slow(Core& core, const Op* op) {
    const W ea = effective_address<W, kForm>(core, op);
    if (!core.store(ea, to_memory<Single>(core.state.fpr[op->d]))) return op;
    if constexpr (Update) put<W>(core, op->a, ea);
    return next(core, op);
}
template <typename W, bool Single, Form kForm, bool Update>
const Op* store(Core& core, const Op* op) {
    const W ea = effective_address<W, kForm>(core, op);
    if (!core.store_inline(ea, to_memory<Single>(core.state.fpr[op->d])))
        return store_slow<W, Single, kForm, Update>(core, op);
    if constexpr (Update) put<W>(core, op->a, ea);
    return next(core, op);
}

// stfiwx frS,rA,rB
template <typename W>
const Op* stfiwx(Core& core, const Op* op) {
    const W ea = (op->a == 0 ? 0 : get<W>(core, op->a)) + get<W>(core, op->b);
    if (!core.store(ea, static_cast<uint32_t>(core.state.fpr[op->d]))) return op;
    return next(core, op);
}

// lfdepx, stfdepx: in the contexts of EPLC and EPSC
template <typename W>
const Op* lfdepx(Core& core, const Op* op) {
    uint64_t value;
    const W ea = (op->a == 0 ? 0 : get<W>(core, op->a)) + get<W>(core, op->b);
    if (!core.load_bytes_external(ea, &value, sizeof value)) return op;
    core.state.fpr[op->d] = core::from_big_endian(value);
    return next(core, op);
}
template <typename W>
const Op* stfdepx(Core& core, const Op* op) {
    const uint64_t value = core::from_big_endian(core.state.fpr[op->d]);
    const W ea = (op->a == 0 ? 0 : get<W>(core, op->a)) + get<W>(core, op->b);
    if (!core.store_bytes_external(ea, &value, sizeof value)) return op;
    return next(core, op);
}

// lfddx, stfddx: decorated, see memory.cpp
template <typename W>
const Op* lfddx(Core& core, const Op* op) {
    uint64_t value;
    if (!core.load(get<W>(core, op->b), value)) return op;
    core.state.fpr[op->d] = value;
    ++core.state.totals[core::Total::DecoratedLoads];
    return next(core, op);
}
template <typename W>
const Op* stfddx(Core& core, const Op* op) {
    if (!core.store(get<W>(core, op->b), core.state.fpr[op->d])) return op;
    ++core.state.totals[core::Total::DecoratedStores];
    return next(core, op);
}

template <bool Single>
Handler pick_load(const Op& op) {
    return op.a == 0 ? load<Word, Single, Form::Absolute, false>
                     : load<Word, Single, Form::Displacement, false>;
}
template <bool Single>
Handler pick_store(const Op& op) {
    return op.a == 0 ? store<Word, Single, Form::Absolute, false>
                     : store<Word, Single, Form::Displacement, false>;
}
// rA=0: (rB) + 0
template <bool Single>
Handler pick_load_indexed(Op& op) {
    if (op.a != 0) return load<Word, Single, Form::Indexed, false>;
    op.a = op.b;
    op.imm = 0;
    return load<Word, Single, Form::Displacement, false>;
}
template <bool Single>
Handler pick_store_indexed(Op& op) {
    if (op.a != 0) return store<Word, Single, Form::Indexed, false>;
    op.a = op.b;
    op.imm = 0;
    return store<Word, Single, Form::Displacement, false>;
}

Handler select_load_store(Opcode opcode, Op& op) {
    switch (opcode) {
        case Opcode::Lfs:
            return pick_load<true>(op);
        case Opcode::Lfd:
            return pick_load<false>(op);
        case Opcode::Lfsu:
            return load<Word, true, Form::Displacement, true>;
        case Opcode::Lfdu:
            return load<Word, false, Form::Displacement, true>;
        case Opcode::Lfsx:
            return pick_load_indexed<true>(op);
        case Opcode::Lfdx:
            return pick_load_indexed<false>(op);
        case Opcode::Lfsux:
            return load<Word, true, Form::Indexed, true>;
        case Opcode::Lfdux:
            return load<Word, false, Form::Indexed, true>;
        case Opcode::Stfs:
            return pick_store<true>(op);
        case Opcode::Stfd:
            return pick_store<false>(op);
        case Opcode::Stfsu:
            return store<Word, true, Form::Displacement, true>;
        case Opcode::Stfdu:
            return store<Word, false, Form::Displacement, true>;
        case Opcode::Stfsx:
            return pick_store_indexed<true>(op);
        case Opcode::Stfdx:
            return pick_store_indexed<false>(op);
        case Opcode::Stfsux:
            return store<Word, true, Form::Indexed, true>;
        case Opcode::Stfdux:
            return store<Word, false, Form::Indexed, true>;
        case Opcode::Stfiwx:
            return stfiwx<Word>;
        case Opcode::Lfdepx:
            return lfdepx<Word>;
        case Opcode::Stfdepx:
            return stfdepx<Word>;
        case Opcode::Lfddx:
            return lfddx<Word>;
        case Opcode::Stfddx:
            return stfddx<Word>;
        default:
            return nullptr;
    }
}

Handler select_arithmetic(Opcode opcode, uint32_t word) {
    switch (opcode) {
        case Opcode::Fadd:
            return pick<fpu::add>(word);
        case Opcode::Fadds:
            return pick<fpu::adds>(word);
        case Opcode::Fsub:
            return pick<fpu::sub>(word);
        case Opcode::Fsubs:
            return pick<fpu::subs>(word);
        case Opcode::Fdiv:
            return pick<fpu::div>(word);
        case Opcode::Fdivs:
            return pick<fpu::divs>(word);
        case Opcode::Fmul:  // frD,frA,frC: select_float puts frC into b
            return pick<fpu::mul>(word);
        case Opcode::Fmuls:
            return pick<fpu::muls>(word);
        case Opcode::Fmadd:
            return pick<fpu::madd>(word);
        case Opcode::Fmadds:
            return pick<fpu::madds>(word);
        case Opcode::Fmsub:
            return pick<fpu::msub>(word);
        case Opcode::Fmsubs:
            return pick<fpu::msubs>(word);
        case Opcode::Fnmadd:
            return pick<fpu::nmadd>(word);
        case Opcode::Fnmadds:
            return pick<fpu::nmadds>(word);
        case Opcode::Fnmsub:
            return pick<fpu::nmsub>(word);
        case Opcode::Fnmsubs:
            return pick<fpu::nmsubs>(word);
        case Opcode::Fres:
            return pick<fpu::fres>(word);
        case Opcode::Frsqrte:
            return pick<fpu::frsqrte>(word);
        case Opcode::Frsp:
            return pick<fpu::frsp>(word);
        case Opcode::Fctiw:
            return pick<fpu::fctiw>(word);
        case Opcode::Fctiwz:
            return pick<fpu::fctiwz>(word);
        case Opcode::Fctid:
            return pick<fpu::fctid>(word);
        case Opcode::Fctidz:
            return pick<fpu::fctidz>(word);
        case Opcode::Fcfid:
            return pick<fpu::fcfid>(word);
        default:
            return nullptr;
    }
}

Handler select_move_status(Opcode opcode, uint32_t word, Op& op) {
    const bool rc = isa::record(word);
    switch (opcode) {
        case Opcode::Fmr:
            return pick_move<fmr>(word);
        case Opcode::Fneg:
            return pick_move<fpu::fneg>(word);
        case Opcode::Fabs:
            return pick_move<fpu::fabs>(word);
        case Opcode::Fnabs:
            return pick_move<fpu::fnabs>(word);
        case Opcode::Fsel:
            return rc ? fsel<true> : fsel<false>;
        case Opcode::Fcmpu:
            op.d = static_cast<uint8_t>(isa::crfd(word));
            return compare<fpu::fcmpu>;
        case Opcode::Fcmpo:
            op.d = static_cast<uint8_t>(isa::crfd(word));
            return compare<fpu::fcmpo>;
        case Opcode::Mffs:
            return rc ? mffs<true> : mffs<false>;
        case Opcode::Mcrfs:
            op.d = static_cast<uint8_t>(isa::crfd(word));
            op.a = static_cast<uint8_t>(isa::crfs(word));
            return mcrfs;
        case Opcode::Mtfsf:
            op.imm = static_cast<int32_t>((word >> 17) & 0xff);
            return rc ? mtfsf<true> : mtfsf<false>;
        case Opcode::Mtfsfi:
            op.d = static_cast<uint8_t>(isa::crfd(word));
            op.imm = static_cast<int32_t>((word >> 12) & 15);
            return rc ? mtfsfi<true> : mtfsfi<false>;
        case Opcode::Mtfsb0:
            return rc ? mtfsb0<true> : mtfsb0<false>;
        case Opcode::Mtfsb1:
            return rc ? mtfsb1<true> : mtfsb1<false>;
        default:
            return nullptr;
    }
}

}  // namespace

Handler select_float(Opcode opcode, uint32_t word, Op& op) {
    if (Handler handler = select_load_store(opcode, op)) return handler;
    if (Handler handler = select_arithmetic(opcode, word)) {
        if (opcode == Opcode::Fmul || opcode == Opcode::Fmuls) op.b = op.c;
        return handler;
    }
    return select_move_status(opcode, word, op);
}

}  // namespace perfvisor::engine::interpreter
