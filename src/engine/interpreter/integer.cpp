// SPDX-License-Identifier: GPL-2.0-or-later
// Fixed-point arithmetic, compares, logic, rotates and the condition register (Power ISA 2.06
// Book I, 2.5 and 3.3).
#include <bit>
#include <limits>
#include <type_traits>

#include "engine/interpreter/op.h"

namespace perfvisor::engine::interpreter {
namespace {

using core::Core;
using isa::Opcode;

template <typename Word>
constexpr unsigned kBits = 8 * sizeof(Word);

void set_overflow(Core& core, bool overflow) {
    core.state.xer_ov = overflow;
    core.state.xer_so |= uint8_t{overflow};
}

// ---- additions and subtractions: rD = (rA or ~rA) + addend + carry ----

enum class Addend : uint8_t { Register, Immediate, Zero, MinusOne };
enum class Carry : uint8_t { Zero, One, Ca };

template <typename Word, bool Invert, Addend kAddend, Carry kCarry, bool SetCa, bool Oe, bool Rc>
const Op* add_form(Core& core, const Op* op) {
    Word x = get<Word>(core, op->a);
    if constexpr (Invert) x = ~x;
    Word y = 0;
    if constexpr (kAddend == Addend::Register) y = get<Word>(core, op->b);
    if constexpr (kAddend == Addend::Immediate) y = immediate<Word>(op);
    if constexpr (kAddend == Addend::MinusOne) y = ~Word{0};
    Word carry = kCarry == Carry::One;
    if constexpr (kCarry == Carry::Ca) carry = core.state.xer_ca;
    const Word sum = x + y;
    const Word result = sum + carry;
    if constexpr (SetCa) core.state.xer_ca = (sum < x) | (result < sum);
    if constexpr (Oe) set_overflow(core, ((x ^ result) & (y ^ result)) >> (kBits<Word> - 1));
    put(core, op->d, result);
    if constexpr (Rc) record_cr0(core, result);
    return next(core, op);
}

template <typename Word, bool Invert, Addend kAddend, Carry kCarry, bool SetCa>
Handler pick_add(uint32_t word) {
    if (isa::overflow_form(word))
        return isa::record(word) ? add_form<Word, Invert, kAddend, kCarry, SetCa, true, true>
                                 : add_form<Word, Invert, kAddend, kCarry, SetCa, true, false>;
    return isa::record(word) ? add_form<Word, Invert, kAddend, kCarry, SetCa, false, true>
                             : add_form<Word, Invert, kAddend, kCarry, SetCa, false, false>;
}

// addi, addis with rA=0
template <typename Word>
const Op* load_immediate(Core& core, const Op* op) {
    put(core, op->d, immediate<Word>(op));
    return next(core, op);
}

// ---- multiplication and division: the low words of the operands ----

struct Product {
    uint32_t low;
    bool overflow;
};

Product multiply_low(uint32_t a, uint32_t b) {
    const int64_t product = int64_t{static_cast<int32_t>(a)} * static_cast<int32_t>(b);
    return {static_cast<uint32_t>(product), product != static_cast<int32_t>(product)};
}
// Where the quotient does not exist the manual leaves rD undefined; the dividend stays here.
Product divide_signed(uint32_t a, uint32_t b) {
    if (b == 0 || (a == 0x80000000 && b == 0xffffffff)) return {a, true};
    return {static_cast<uint32_t>(static_cast<int32_t>(a) / static_cast<int32_t>(b)), false};
}
Product divide_unsigned(uint32_t a, uint32_t b) {
    return b == 0 ? Product{a, true} : Product{a / b, false};
}

template <typename Word, Product (*F)(uint32_t, uint32_t), bool Oe, bool Rc>
const Op* multiply_form(Core& core, const Op* op) {
    const Product product = F(get<uint32_t>(core, op->a), get<uint32_t>(core, op->b));
    put<Word>(core, op->d, product.low);
    if constexpr (Oe) set_overflow(core, product.overflow);
    if constexpr (Rc) record_cr0<Word>(core, product.low);
    return next(core, op);
}

template <typename Word, Product (*F)(uint32_t, uint32_t)>
Handler pick_multiply(uint32_t word) {
    if (isa::overflow_form(word))
        return isa::record(word) ? multiply_form<Word, F, true, true>
                                 : multiply_form<Word, F, true, false>;
    return isa::record(word) ? multiply_form<Word, F, false, true>
                             : multiply_form<Word, F, false, false>;
}

// mulhw[u] rD,rA,rB
template <typename Word, bool Signed, bool Rc>
const Op* multiply_high(Core& core, const Op* op) {
    using Wide = std::conditional_t<Signed, int64_t, uint64_t>;
    using Narrow = std::conditional_t<Signed, int32_t, uint32_t>;
    const Wide product = Wide{static_cast<Narrow>(get<uint32_t>(core, op->a))} *
                         Wide{static_cast<Narrow>(get<uint32_t>(core, op->b))};
    const auto high = static_cast<uint32_t>(static_cast<uint64_t>(product) >> 32);
    put<Word>(core, op->d, high);
    if constexpr (Rc) record_cr0<Word>(core, high);
    return next(core, op);
}

// mulli rD,rA,SIMM
template <typename Word>
const Op* mulli(Core& core, const Op* op) {
    put<Word>(core, op->d, get<Word>(core, op->a) * immediate<Word>(op));
    return next(core, op);
}

// ---- compares ----

template <bool Signed>
int64_t extend(uint32_t value) {
    if constexpr (Signed) return static_cast<int32_t>(value);
    return value;
}

// cmp, cmpl crfD,L,rA,rB. The core has no 64-bit compare: L is ignored.
template <bool Signed>
const Op* compare(Core& core, const Op* op) {
    core.state.cr.set_difference(
        op->d,
        extend<Signed>(get<uint32_t>(core, op->a)) - extend<Signed>(get<uint32_t>(core, op->b)),
        core.state.xer_so);
    return next(core, op);
}

// cmpi, cmpli crfD,L,rA,imm
template <bool Signed>
const Op* compare_immediate(Core& core, const Op* op) {
    core.state.cr.set_difference(op->d, extend<Signed>(get<uint32_t>(core, op->a)) - op->imm,
                                 core.state.xer_so);
    return next(core, op);
}

// isel rD,rA|0,rB,BC: the condition bit is in c
template <typename Word, bool ZeroA>
const Op* isel(Core& core, const Op* op) {
    const Word a = ZeroA ? 0 : get<Word>(core, op->a);
    put<Word>(core, op->d, core.state.cr.bit(op->c) ? a : get<Word>(core, op->b));
    return next(core, op);
}

// ---- logic: rA = f(rS, rB) ----

template <typename W>
W logic_and(W s, W b) {
    return s & b;
}
template <typename W>
W logic_andc(W s, W b) {
    return s & ~b;
}
template <typename W>
W logic_or(W s, W b) {
    return s | b;
}
template <typename W>
W logic_orc(W s, W b) {
    return s | ~b;
}
template <typename W>
W logic_xor(W s, W b) {
    return s ^ b;
}
template <typename W>
W logic_nand(W s, W b) {
    return ~(s & b);
}
template <typename W>
W logic_nor(W s, W b) {
    return ~(s | b);
}
template <typename W>
W logic_eqv(W s, W b) {
    return ~(s ^ b);
}
template <typename W>
W shift_left(W s, W b) {
    return b & 32 ? 0 : static_cast<uint32_t>(s) << (b & 31);
}
template <typename W>
W shift_right(W s, W b) {
    return b & 32 ? 0 : static_cast<uint32_t>(s) >> (b & 31);
}

template <typename Word, Word (*F)(Word, Word), bool Rc>
const Op* logical(Core& core, const Op* op) {
    const Word result = F(get<Word>(core, op->d), get<Word>(core, op->b));
    put(core, op->a, result);
    if constexpr (Rc) record_cr0(core, result);
    return next(core, op);
}
template <typename Word, Word (*F)(Word, Word)>
Handler pick_logical(uint32_t word) {
    return isa::record(word) ? logical<Word, F, true> : logical<Word, F, false>;
}

// andi. andis. ori oris xori xoris: the mask is in imm
template <typename Word, Word (*F)(Word, Word), bool Rc>
const Op* logical_immediate(Core& core, const Op* op) {
    const Word result = F(get<Word>(core, op->d), static_cast<uint32_t>(op->imm));
    put(core, op->a, result);
    if constexpr (Rc) record_cr0(core, result);
    return next(core, op);
}

// mr rA,rS, the usual form of or
template <typename Word>
const Op* move(Core& core, const Op* op) {
    put(core, op->a, get<Word>(core, op->d));
    return next(core, op);
}

template <typename W>
W sign_extend_byte(W s) {
    return static_cast<W>(static_cast<int8_t>(s));
}
template <typename W>
W sign_extend_half(W s) {
    return static_cast<W>(static_cast<int16_t>(s));
}
template <typename W>
W leading_zeros(W s) {
    return static_cast<W>(std::countl_zero(static_cast<uint32_t>(s)));
}

template <typename Word, Word (*F)(Word), bool Rc>
const Op* unary(Core& core, const Op* op) {
    const Word result = F(get<Word>(core, op->d));
    put(core, op->a, result);
    if constexpr (Rc) record_cr0(core, result);
    return next(core, op);
}
template <typename Word, Word (*F)(Word)>
Handler pick_unary(uint32_t word) {
    return isa::record(word) ? unary<Word, F, true> : unary<Word, F, false>;
}

// ---- rotates: the mask is in imm, the shift in b (a register for rlwnm) ----

uint32_t mask_from_to(unsigned mb, unsigned me) {
    const uint32_t from = 0xffffffffu >> mb, to = 0xffffffffu << (31 - me);
    return mb <= me ? from & to : from | to;
}

// rlwinm rA,rS,SH,MB,ME
template <typename Word, bool Rc>
const Op* rlwinm(Core& core, const Op* op) {
    const uint32_t result =
        std::rotl(get<uint32_t>(core, op->d), op->b) & static_cast<uint32_t>(op->imm);
    put<Word>(core, op->a, result);
    if constexpr (Rc) record_cr0<Word>(core, result);
    return next(core, op);
}

// rlwimi rA,rS,SH,MB,ME
template <typename Word, bool Rc>
const Op* rlwimi(Core& core, const Op* op) {
    const auto mask = static_cast<uint32_t>(op->imm);
    const uint32_t result = (std::rotl(get<uint32_t>(core, op->d), op->b) & mask) |
                            (get<uint32_t>(core, op->a) & ~mask);
    put<Word>(core, op->a, result);
    if constexpr (Rc) record_cr0<Word>(core, result);
    return next(core, op);
}

// rlwnm rA,rS,rB,MB,ME
template <typename Word, bool Rc>
const Op* rlwnm(Core& core, const Op* op) {
    const uint32_t result =
        std::rotl(get<uint32_t>(core, op->d), static_cast<int>(get<uint32_t>(core, op->b) & 31)) &
        static_cast<uint32_t>(op->imm);
    put<Word>(core, op->a, result);
    if constexpr (Rc) record_cr0<Word>(core, result);
    return next(core, op);
}

// sraw[i]: CA is set when a negative number loses one-bits
template <typename Word, bool Immediate, bool Rc>
const Op* shift_right_algebraic(Core& core, const Op* op) {
    const auto value = static_cast<int32_t>(get<uint32_t>(core, op->d));
    const uint32_t count = Immediate ? op->b : get<uint32_t>(core, op->b) & 63;
    const int32_t result = value >> (count < 31 ? count : 31);
    const uint32_t lost = count < 32 ? (uint32_t{1} << count) - 1 : 0xffffffff;
    core.state.xer_ca = value < 0 && (static_cast<uint32_t>(value) & lost) != 0;
    put<Word>(core, op->a, static_cast<Word>(result));
    if constexpr (Rc) record_cr0(core, static_cast<Word>(result));
    return next(core, op);
}

// ---- condition register ----

// crand and the others: crbD, crbA, crbB in d, a, b; F is a truth table, bit 2*A+B
template <unsigned F>
const Op* condition_logic(Core& core, const Op* op) {
    core::ConditionRegister& cr = core.state.cr;
    cr.set_bit(op->d, F >> (2 * cr.bit(op->a) + cr.bit(op->b)) & 1);
    return next(core, op);
}

// mcrf crfD,crfS
const Op* mcrf(Core& core, const Op* op) {
    core::ConditionRegister& cr = core.state.cr;
    cr.field[op->d] = cr.field[op->a];
    cr.so[op->d] = cr.so[op->a];
    return next(core, op);
}

// mcrxr crfD
const Op* mcrxr(Core& core, const Op* op) {
    core::CpuState& state = core.state;
    state.cr.set(op->d, unsigned{state.xer_so} << 3 | unsigned{state.xer_ov} << 2 |
                            unsigned{state.xer_ca} << 1);
    state.xer_so = state.xer_ov = state.xer_ca = 0;
    return next(core, op);
}

// mfcr rD; mfocrf rD,FXM: the fields that imm does not select read as 0
template <typename Word>
const Op* mfcr(Core& core, const Op* op) {
    put<Word>(core, op->d, core.state.cr.word() & static_cast<uint32_t>(op->imm));
    return next(core, op);
}

// mtcrf, mtocrf FXM,rS: FXM is in imm, its bit 0x80 standing for field 0
const Op* mtcrf(Core& core, const Op* op) {
    const uint32_t value = get<uint32_t>(core, op->d);
    for (unsigned n = 0; n < 8; ++n)
        if (op->imm & 0x80 >> n) core.state.cr.set(n, (value >> (28 - 4 * n)) & 15);
    return next(core, op);
}

uint32_t field_mask(unsigned crm) {
    uint32_t mask = 0;
    for (unsigned n = 0; n < 8; ++n)
        if (crm & 0x80u >> n) mask |= 0xf0000000u >> (4 * n);
    return mask;
}

Handler select_add(Opcode opcode, uint32_t word, Op& op) {
    using Word = uint32_t;
    switch (opcode) {
        case Opcode::Addis:
            op.imm = static_cast<int32_t>(isa::ui(word) << 16);
            [[fallthrough]];
        case Opcode::Addi:
            if (op.a == 0) return load_immediate<Word>;
            return add_form<Word, false, Addend::Immediate, Carry::Zero, false, false, false>;
        case Opcode::Addic:
            return add_form<Word, false, Addend::Immediate, Carry::Zero, true, false, false>;
        case Opcode::AddicRc:
            return add_form<Word, false, Addend::Immediate, Carry::Zero, true, false, true>;
        case Opcode::Subfic:
            return add_form<Word, true, Addend::Immediate, Carry::One, true, false, false>;
        case Opcode::Add:
            return pick_add<Word, false, Addend::Register, Carry::Zero, false>(word);
        case Opcode::Addc:
            return pick_add<Word, false, Addend::Register, Carry::Zero, true>(word);
        case Opcode::Adde:
            return pick_add<Word, false, Addend::Register, Carry::Ca, true>(word);
        case Opcode::Addme:
            return pick_add<Word, false, Addend::MinusOne, Carry::Ca, true>(word);
        case Opcode::Addze:
            return pick_add<Word, false, Addend::Zero, Carry::Ca, true>(word);
        case Opcode::Subf:
            return pick_add<Word, true, Addend::Register, Carry::One, false>(word);
        case Opcode::Subfc:
            return pick_add<Word, true, Addend::Register, Carry::One, true>(word);
        case Opcode::Subfe:
            return pick_add<Word, true, Addend::Register, Carry::Ca, true>(word);
        case Opcode::Subfme:
            return pick_add<Word, true, Addend::MinusOne, Carry::Ca, true>(word);
        case Opcode::Subfze:
            return pick_add<Word, true, Addend::Zero, Carry::Ca, true>(word);
        case Opcode::Neg:
            return pick_add<Word, true, Addend::Zero, Carry::One, false>(word);
        default:
            return nullptr;
    }
}

Handler select_multiply(Opcode opcode, uint32_t word) {
    using Word = uint32_t;
    const bool rc = isa::record(word);
    switch (opcode) {
        case Opcode::Mulli:
            return mulli<Word>;
        case Opcode::Mullw:
            return pick_multiply<Word, multiply_low>(word);
        case Opcode::Divw:
            return pick_multiply<Word, divide_signed>(word);
        case Opcode::Divwu:
            return pick_multiply<Word, divide_unsigned>(word);
        case Opcode::Mulhw:
            return rc ? multiply_high<Word, true, true> : multiply_high<Word, true, false>;
        case Opcode::Mulhwu:
            return rc ? multiply_high<Word, false, true> : multiply_high<Word, false, false>;
        default:
            return nullptr;
    }
}

Handler select_compare(Opcode opcode, uint32_t word, Op& op) {
    using Word = uint32_t;
    switch (opcode) {
        case Opcode::Cmpi:
            op.d = static_cast<uint8_t>(isa::crfd(word));
            return compare_immediate<true>;
        case Opcode::Cmpli:
            op.d = static_cast<uint8_t>(isa::crfd(word));
            op.imm = static_cast<int32_t>(isa::ui(word));
            return compare_immediate<false>;
        case Opcode::Cmp:
            op.d = static_cast<uint8_t>(isa::crfd(word));
            return compare<true>;
        case Opcode::Cmpl:
            op.d = static_cast<uint8_t>(isa::crfd(word));
            return compare<false>;
        case Opcode::Isel:
            return op.a == 0 ? isel<Word, true> : isel<Word, false>;
        default:
            return nullptr;
    }
}

Handler select_logical(Opcode opcode, uint32_t word, Op& op) {
    using Word = uint32_t;
    switch (opcode) {
        case Opcode::And:
            return pick_logical<Word, logic_and>(word);
        case Opcode::Andc:
            return pick_logical<Word, logic_andc>(word);
        case Opcode::Or:
            if (op.d == op.b && !isa::record(word)) return move<Word>;
            return pick_logical<Word, logic_or>(word);
        case Opcode::Orc:
            return pick_logical<Word, logic_orc>(word);
        case Opcode::Xor:
            return pick_logical<Word, logic_xor>(word);
        case Opcode::Nand:
            return pick_logical<Word, logic_nand>(word);
        case Opcode::Nor:
            return pick_logical<Word, logic_nor>(word);
        case Opcode::Eqv:
            return pick_logical<Word, logic_eqv>(word);
        case Opcode::Slw:
            return pick_logical<Word, shift_left>(word);
        case Opcode::Srw:
            return pick_logical<Word, shift_right>(word);
        case Opcode::Extsb:
            return pick_unary<Word, sign_extend_byte>(word);
        case Opcode::Extsh:
            return pick_unary<Word, sign_extend_half>(word);
        case Opcode::Cntlzw:
            return pick_unary<Word, leading_zeros>(word);
        case Opcode::AndisRc:
        case Opcode::Oris:
        case Opcode::Xoris:
            op.imm = static_cast<int32_t>(isa::ui(word) << 16);
            break;
        default:
            op.imm = static_cast<int32_t>(isa::ui(word));
            break;
    }
    switch (opcode) {
        case Opcode::AndiRc:
        case Opcode::AndisRc:
            return logical_immediate<Word, logic_and, true>;
        case Opcode::Ori:
        case Opcode::Oris:
            return logical_immediate<Word, logic_or, false>;
        case Opcode::Xori:
        case Opcode::Xoris:
            return logical_immediate<Word, logic_xor, false>;
        default:
            return nullptr;
    }
}

Handler select_rotate(Opcode opcode, uint32_t word, Op& op) {
    using Word = uint32_t;
    const bool rc = isa::record(word);
    const auto mask = static_cast<int32_t>(mask_from_to(isa::rc_field(word), isa::me(word)));
    switch (opcode) {
        case Opcode::Rlwinm:
            op.imm = mask;
            return rc ? rlwinm<Word, true> : rlwinm<Word, false>;
        case Opcode::Rlwimi:
            op.imm = mask;
            return rc ? rlwimi<Word, true> : rlwimi<Word, false>;
        case Opcode::Rlwnm:
            op.imm = mask;
            return rc ? rlwnm<Word, true> : rlwnm<Word, false>;
        case Opcode::Sraw:
            return rc ? shift_right_algebraic<Word, false, true>
                      : shift_right_algebraic<Word, false, false>;
        case Opcode::Srawi:
            return rc ? shift_right_algebraic<Word, true, true>
                      : shift_right_algebraic<Word, true, false>;
        default:
            return nullptr;
    }
}

Handler select_condition(Opcode opcode, uint32_t word, Op& op) {
    using Word = uint32_t;
    switch (opcode) {
        case Opcode::Crand:
            return condition_logic<0b1000>;
        case Opcode::Crandc:
            return condition_logic<0b0100>;
        case Opcode::Creqv:
            return condition_logic<0b1001>;
        case Opcode::Crnand:
            return condition_logic<0b0111>;
        case Opcode::Crnor:
            return condition_logic<0b0001>;
        case Opcode::Cror:
            return condition_logic<0b1110>;
        case Opcode::Crorc:
            return condition_logic<0b1101>;
        case Opcode::Crxor:
            return condition_logic<0b0110>;
        case Opcode::Mcrf:
            op.d = static_cast<uint8_t>(isa::crfd(word));
            op.a = static_cast<uint8_t>(isa::crfs(word));
            return mcrf;
        case Opcode::Mcrxr:
            op.d = static_cast<uint8_t>(isa::crfd(word));
            return mcrxr;
        case Opcode::Mfcr:
            op.imm = -1;
            return mfcr<Word>;
        case Opcode::Mfocrf:
            op.imm = static_cast<int32_t>(field_mask(isa::crm(word)));
            return mfcr<Word>;
        case Opcode::Mtcrf:
        case Opcode::Mtocrf:
            op.imm = static_cast<int32_t>(isa::crm(word));
            return mtcrf;
        default:
            return nullptr;
    }
}

}  // namespace

Handler select_integer(Opcode opcode, uint32_t word, Op& op) {
    if (Handler handler = select_add(opcode, word, op)) return handler;
    if (Handler handler = select_multiply(opcode, word)) return handler;
    if (Handler handler = select_compare(opcode, word, op)) return handler;
    if (Handler handler = select_rotate(opcode, word, op)) return handler;
    if (Handler handler = select_condition(opcode, word, op)) return handler;
    const int32_t imm = op.imm;
    if (Handler handler = select_logical(opcode, word, op)) return handler;
    op.imm = imm;
    return nullptr;
}

}  // namespace perfvisor::engine::interpreter
