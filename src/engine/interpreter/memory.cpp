// SPDX-License-Identifier: GPL-2.0-or-later
// Fixed-point loads and stores, reservations, external process ID and decorated forms (Power ISA
// 2.06 Book I, 3.3; Book II, 4.4; Book III-E, 6.9; EREF 6.3).
#include <array>
#include <type_traits>

#include "engine/interpreter/op.h"

namespace perfvisor::engine::interpreter {
namespace {

using core::Core;
using isa::Opcode;
using Address = uint32_t;

// How the effective address is made: (rA) + d, d alone, (rA) + (rB). rA|0 + (rB) with rA=0 is
// decoded as (rB) + 0.
enum class Form : uint8_t { Displacement, Absolute, Indexed };

template <typename Word, Form kForm>
[[gnu::always_inline]] inline Word effective_address(const Core& core, const Op* op) {
    if constexpr (kForm == Form::Displacement)
        return get<Word>(core, op->a) + immediate<Word>(op);
    else if constexpr (kForm == Form::Absolute)
        return immediate<Word>(op);
    else
        return get<Word>(core, op->a) + get<Word>(core, op->b);
}

template <typename T>
T swap_bytes(T value) {
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
    return value;
}

template <typename Word, typename T, bool Update, bool Swap>
[[gnu::always_inline]] inline const Op* finish_load(Core& core, const Op* op, Word ea,
                                                    std::make_unsigned_t<T> value) {
    if constexpr (Swap) value = swap_bytes(value);
    put<Word>(core, op->d, static_cast<Word>(static_cast<T>(value)));
    if constexpr (Update) put<Word>(core, op->a, ea);
    return next(core, op);
}

// Beside the common road, which so needs no stack.
template <typename Word, typename T, Form kForm, bool Update, bool Swap>
[[gnu::noinline]] const Op* load_slow(Core& core, const Op* op) {
    const Word ea = effective_address<Word, kForm>(core, op);
    std::make_unsigned_t<T> value;
    if (!core.load(ea, value)) return op;
    return finish_load<Word, T, Update, Swap>(core, op, ea, value);
}

// lbz lhz lha lwz lhbrx lwbrx and their forms; T is unsigned, or signed for lha
template <typename Word, typename T, Form kForm, bool Update, bool Swap>
const Op* load(Core& core, const Op* op) {
    const Word ea = effective_address<Word, kForm>(core, op);
    std::make_unsigned_t<T> value;
    if (!core.load_inline(ea, value)) return load_slow<Word, T, kForm, Update, Swap>(core, op);
    return finish_load<Word, T, Update, Swap>(core, op, ea, value);
}

template <typename Word, typename T, Form kForm, bool Update, bool Swap>
[[gnu::noinline]] const Op* store_slow(Core& core, const Op* op) {
    const Word ea = effective_address<Word, kForm>(core, op);
    T value = static_cast<T>(get<Word>(core, op->d));
    if constexpr (Swap) value = swap_bytes(value);
    if (!core.store(ea, value)) return op;
    if constexpr (Update) put<Word>(core, op->a, ea);
    return next(core, op);
}

// stb sth stw sthbrx stwbrx and their forms
template <typename Word, typename T, Form kForm, bool Update, bool Swap>
const Op* store(Core& core, const Op* op) {
    const Word ea = effective_address<Word, kForm>(core, op);
    T value = static_cast<T>(get<Word>(core, op->d));
    if constexpr (Swap) value = swap_bytes(value);
    if (!core.store_inline(ea, value)) return store_slow<Word, T, kForm, Update, Swap>(core, op);
    if constexpr (Update) put<Word>(core, op->a, ea);
    return next(core, op);
}

// rA|0 + (rB) with rA=0
Form fold_index(Op& op) {
    if (op.a != 0) return Form::Indexed;
    op.a = op.b;
    op.imm = 0;
    return Form::Displacement;
}

Form displacement_form(const Op& op) {
    return op.a == 0 ? Form::Absolute : Form::Displacement;
}

template <typename T>
Handler pick_load(Form form) {
    switch (form) {
        case Form::Displacement:
            return load<Address, T, Form::Displacement, false, false>;
        case Form::Absolute:
            return load<Address, T, Form::Absolute, false, false>;
        default:
            return load<Address, T, Form::Indexed, false, false>;
    }
}
template <typename T>
Handler pick_store(Form form) {
    switch (form) {
        case Form::Displacement:
            return store<Address, T, Form::Displacement, false, false>;
        case Form::Absolute:
            return store<Address, T, Form::Absolute, false, false>;
        default:
            return store<Address, T, Form::Indexed, false, false>;
    }
}

// rA=0 is an invalid form with update; it is executed as if rA were a register like others.
template <typename T>
constexpr Handler kLoadUpdate = load<Address, T, Form::Displacement, true, false>;
template <typename T>
constexpr Handler kLoadUpdateIndexed = load<Address, T, Form::Indexed, true, false>;
template <typename T>
constexpr Handler kStoreUpdate = store<Address, T, Form::Displacement, true, false>;
template <typename T>
constexpr Handler kStoreUpdateIndexed = store<Address, T, Form::Indexed, true, false>;

template <typename T>
Handler pick_load_swapped(Form form) {
    return form == Form::Indexed ? load<Address, T, Form::Indexed, false, true>
                                 : load<Address, T, Form::Displacement, false, true>;
}
template <typename T>
Handler pick_store_swapped(Form form) {
    return form == Form::Indexed ? store<Address, T, Form::Indexed, false, true>
                                 : store<Address, T, Form::Displacement, false, true>;
}

// ---- multiple and string ----

template <typename Word>
Word base_address(const Core& core, const Op* op) {
    return op->a == 0 ? 0 : get<Word>(core, op->a);
}

const Op* alignment_fault(Core& core, const Op* op, uint64_t ea, bool store) {
    core::Fault fault{core::Interrupt::Alignment, store ? core::esr::kST : 0};
    fault.dear = ea;
    fault.sets_dear = true;
    core.raise(fault);
    return op;
}

// lmw rD,d(rA). All words are read before a register changes, so that a fault in the middle
// leaves the instruction to be executed again. Not word-aligned: alignment interrupt (e500mc
// manual 4.9.7).
template <typename Word>
const Op* lmw(Core& core, const Op* op) {
    const Word ea = base_address<Word>(core, op) + immediate<Word>(op);
    if (ea & 3) return alignment_fault(core, op, ea, false);
    std::array<uint32_t, 32> words;
    for (unsigned r = op->d; r < 32; ++r)
        if (!core.load(static_cast<Word>(ea + 4 * (r - op->d)), words[r])) return op;
    for (unsigned r = op->d; r < 32; ++r)
        put<Word>(core, r, words[r]);
    return next(core, op);
}

// stmw rS,d(rA)
template <typename Word>
const Op* stmw(Core& core, const Op* op) {
    const Word ea = base_address<Word>(core, op) + immediate<Word>(op);
    if (ea & 3) return alignment_fault(core, op, ea, true);
    for (unsigned r = op->d; r < 32; ++r)
        if (!core.store(static_cast<Word>(ea + 4 * (r - op->d)), get<uint32_t>(core, r))) return op;
    return next(core, op);
}

// The bytes of lswi and lswx: `count` (0-127) from `ea` into rD and those behind it, r0 after r31.
template <typename Word>
bool load_string(Core& core, unsigned reg, Word ea, unsigned count) {
    std::array<uint32_t, 32> words{};
    for (unsigned i = 0; i < count; i += 4) {
        uint32_t& word = words[i / 4];
        if (count - i >= 4) {
            if (!core.load(static_cast<Word>(ea + i), word)) return false;
            continue;
        }
        for (unsigned n = i; n < count; ++n) {
            uint8_t byte;
            if (!core.load(static_cast<Word>(ea + n), byte)) return false;
            word |= uint32_t{byte} << (24 - 8 * (n - i));
        }
    }
    for (unsigned i = 0; i < count; i += 4)
        put<Word>(core, (reg + i / 4) % 32, words[i / 4]);
    return true;
}

template <typename Word>
bool store_string(Core& core, unsigned reg, Word ea, unsigned count) {
    for (unsigned i = 0; i < count; i += 4) {
        const auto word = get<uint32_t>(core, (reg + i / 4) % 32);
        if (count - i >= 4) {
            if (!core.store(static_cast<Word>(ea + i), word)) return false;
            continue;
        }
        for (unsigned n = i; n < count; ++n) {
            const auto byte = static_cast<uint8_t>(word >> (24 - 8 * (n - i)));
            if (!core.store(static_cast<Word>(ea + n), byte)) return false;
        }
    }
    return true;
}

// lswi rD,rA,NB; stswi rS,rA,NB: the count is in imm
template <typename Word>
const Op* lswi(Core& core, const Op* op) {
    const auto count = static_cast<unsigned>(op->imm);
    if (!load_string(core, op->d, base_address<Word>(core, op), count)) return op;
    return next(core, op);
}
template <typename Word>
const Op* stswi(Core& core, const Op* op) {
    const auto count = static_cast<unsigned>(op->imm);
    if (!store_string(core, op->d, base_address<Word>(core, op), count)) return op;
    return next(core, op);
}

// lswx rD,rA,rB; stswx rS,rA,rB: the count is XER's; their micro-ops are counted here
template <typename Word>
const Op* lswx(Core& core, const Op* op) {
    const Word ea = base_address<Word>(core, op) + get<Word>(core, op->b);
    const unsigned count = core.state.xer_count;
    if (!load_string(core, op->d, ea, count)) return op;
    core.state.totals[core::Total::Loads] += (count + 3) / 4;
    return next(core, op);
}
template <typename Word>
const Op* stswx(Core& core, const Op* op) {
    const Word ea = base_address<Word>(core, op) + get<Word>(core, op->b);
    const unsigned count = core.state.xer_count;
    if (!store_string(core, op->d, ea, count)) return op;
    core.state.totals[core::Total::Stores] += (count + 3) / 4;
    return next(core, op);
}

// ---- reservations ----

// lwarx rD,rA,rB
template <typename Word>
const Op* lwarx(Core& core, const Op* op) {
    uint64_t value = 0;
    const Word ea = base_address<Word>(core, op) + get<Word>(core, op->b);
    if (!core.load_reserve(ea, 4, value)) return op;
    put<Word>(core, op->d, static_cast<Word>(value));
    return next(core, op);
}

// stwcx. rS,rA,rB
template <typename Word>
const Op* stwcx(Core& core, const Op* op) {
    bool stored = false;
    const Word ea = base_address<Word>(core, op) + get<Word>(core, op->b);
    if (!core.store_conditional(ea, 4, get<uint32_t>(core, op->d), stored)) return op;
    core.state.cr.set(0, (stored ? core::ConditionRegister::kEQ : 0) | core.state.xer_so);
    return next(core, op);
}

// ---- external process ID: addresses in the contexts of EPLC and EPSC ----

template <typename Word, typename T>
const Op* load_external(Core& core, const Op* op) {
    T value;
    const Word ea = base_address<Word>(core, op) + get<Word>(core, op->b);
    if (!core.load_bytes_external(ea, &value, sizeof value)) return op;
    put<Word>(core, op->d, core::from_big_endian(value));
    return next(core, op);
}
template <typename Word, typename T>
const Op* store_external(Core& core, const Op* op) {
    const T value = core::from_big_endian(static_cast<T>(get<Word>(core, op->d)));
    const Word ea = base_address<Word>(core, op) + get<Word>(core, op->b);
    if (!core.store_bytes_external(ea, &value, sizeof value)) return op;
    return next(core, op);
}

// ---- decorated storage: the address is (rB); the decoration in rA means nothing to memory and
// to the devices here, so what remains is an ordinary access (e500mc manual 3.4.3.6) ----

template <typename Word, typename T>
const Op* load_decorated(Core& core, const Op* op) {
    T value;
    if (!core.load(get<Word>(core, op->b), value)) return op;
    put<Word>(core, op->d, value);
    ++core.state.totals[core::Total::DecoratedLoads];
    return next(core, op);
}
template <typename Word, typename T>
const Op* store_decorated(Core& core, const Op* op) {
    if (!core.store(get<Word>(core, op->b), static_cast<T>(get<Word>(core, op->d)))) return op;
    ++core.state.totals[core::Total::DecoratedStores];
    return next(core, op);
}
// dsn rA,rB: notifies the device; checked like a store
template <typename Word>
const Op* dsn(Core& core, const Op* op) {
    uint64_t physical = 0;
    if (!core.translate_data(get<Word>(core, op->b), core::Access::Store, physical)) return op;
    ++core.state.totals[core::Total::DecoratedStores];
    return next(core, op);
}

Handler select_load(Opcode opcode, Op& op) {
    switch (opcode) {
        case Opcode::Lwz:
            return pick_load<uint32_t>(displacement_form(op));
        case Opcode::Lbz:
            return pick_load<uint8_t>(displacement_form(op));
        case Opcode::Lhz:
            return pick_load<uint16_t>(displacement_form(op));
        case Opcode::Lha:
            return pick_load<int16_t>(displacement_form(op));
        case Opcode::Lwzx:
            return pick_load<uint32_t>(fold_index(op));
        case Opcode::Lbzx:
            return pick_load<uint8_t>(fold_index(op));
        case Opcode::Lhzx:
            return pick_load<uint16_t>(fold_index(op));
        case Opcode::Lhax:
            return pick_load<int16_t>(fold_index(op));
        case Opcode::Lwbrx:
            return pick_load_swapped<uint32_t>(fold_index(op));
        case Opcode::Lhbrx:
            return pick_load_swapped<uint16_t>(fold_index(op));
        case Opcode::Lwzu:
            return kLoadUpdate<uint32_t>;
        case Opcode::Lbzu:
            return kLoadUpdate<uint8_t>;
        case Opcode::Lhzu:
            return kLoadUpdate<uint16_t>;
        case Opcode::Lhau:
            return kLoadUpdate<int16_t>;
        case Opcode::Lwzux:
            return kLoadUpdateIndexed<uint32_t>;
        case Opcode::Lbzux:
            return kLoadUpdateIndexed<uint8_t>;
        case Opcode::Lhzux:
            return kLoadUpdateIndexed<uint16_t>;
        case Opcode::Lhaux:
            return kLoadUpdateIndexed<int16_t>;
        default:
            return nullptr;
    }
}

Handler select_store(Opcode opcode, Op& op) {
    switch (opcode) {
        case Opcode::Stw:
            return pick_store<uint32_t>(displacement_form(op));
        case Opcode::Stb:
            return pick_store<uint8_t>(displacement_form(op));
        case Opcode::Sth:
            return pick_store<uint16_t>(displacement_form(op));
        case Opcode::Stwx:
            return pick_store<uint32_t>(fold_index(op));
        case Opcode::Stbx:
            return pick_store<uint8_t>(fold_index(op));
        case Opcode::Sthx:
            return pick_store<uint16_t>(fold_index(op));
        case Opcode::Stwbrx:
            return pick_store_swapped<uint32_t>(fold_index(op));
        case Opcode::Sthbrx:
            return pick_store_swapped<uint16_t>(fold_index(op));
        case Opcode::Stwu:
            return kStoreUpdate<uint32_t>;
        case Opcode::Stbu:
            return kStoreUpdate<uint8_t>;
        case Opcode::Sthu:
            return kStoreUpdate<uint16_t>;
        case Opcode::Stwux:
            return kStoreUpdateIndexed<uint32_t>;
        case Opcode::Stbux:
            return kStoreUpdateIndexed<uint8_t>;
        case Opcode::Sthux:
            return kStoreUpdateIndexed<uint16_t>;
        default:
            return nullptr;
    }
}

Handler select_special(Opcode opcode, uint32_t word, Op& op) {
    switch (opcode) {
        case Opcode::Lmw:
            return lmw<Address>;
        case Opcode::Stmw:
            return stmw<Address>;
        case Opcode::Lswi:
        case Opcode::Stswi:
            op.imm = static_cast<int32_t>(isa::rb(word) ? isa::rb(word) : 32);
            return opcode == Opcode::Lswi ? lswi<Address> : stswi<Address>;
        case Opcode::Lswx:
            return lswx<Address>;
        case Opcode::Stswx:
            return stswx<Address>;
        case Opcode::Lwarx:
            return lwarx<Address>;
        case Opcode::Stwcx:
            return stwcx<Address>;
        case Opcode::Lbepx:
            return load_external<Address, uint8_t>;
        case Opcode::Lhepx:
            return load_external<Address, uint16_t>;
        case Opcode::Lwepx:
            return load_external<Address, uint32_t>;
        case Opcode::Stbepx:
            return store_external<Address, uint8_t>;
        case Opcode::Sthepx:
            return store_external<Address, uint16_t>;
        case Opcode::Stwepx:
            return store_external<Address, uint32_t>;
        case Opcode::Lbdx:
            return load_decorated<Address, uint8_t>;
        case Opcode::Lhdx:
            return load_decorated<Address, uint16_t>;
        case Opcode::Lwdx:
            return load_decorated<Address, uint32_t>;
        case Opcode::Stbdx:
            return store_decorated<Address, uint8_t>;
        case Opcode::Sthdx:
            return store_decorated<Address, uint16_t>;
        case Opcode::Stwdx:
            return store_decorated<Address, uint32_t>;
        case Opcode::Dsn:
            return dsn<Address>;
        default:
            return nullptr;
    }
}

}  // namespace

Handler select_memory(Opcode opcode, uint32_t word, Op& op) {
    if (Handler handler = select_load(opcode, op)) return handler;
    if (Handler handler = select_store(opcode, op)) return handler;
    return select_special(opcode, word, op);
}

}  // namespace perfvisor::engine::interpreter
