// SPDX-License-Identifier: GPL-2.0-or-later
// Fixed-point arithmetic, logic and rotates (Power ISA 2.06 Book I, 3.3). Forms with OE are the
// interpreter's.
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

using isa::Opcode;

namespace {

uint32_t mask_from_to(unsigned mb, unsigned me) {
    const uint32_t from = 0xffffffffu >> mb, to = 0xffffffffu << (31 - me);
    return mb <= me ? from & to : from | to;
}

}  // namespace

// ---- additions ----

void Emitter::add_immediate(unsigned d, unsigned a, int32_t immediate) {
    const Reg32 result = target(d, eax);
    if (is_pinned(a) && host32(a).getIdx() != result.getIdx()) {
        if (immediate == 0)
            mov(result, host32(a));
        else
            lea(result, ptr[host64(a) + immediate]);
        put(d, result);
        return;
    }
    if (d == a && !is_pinned(d)) {
        if (immediate != 0) add(memory32(d), immediate);
        return;
    }
    fetch(result, a);
    if (immediate != 0) add(result, immediate);
    put(d, result);
}

// d = x operation y, where the order does not matter
template <typename F>
void Emitter::commutative(unsigned d, unsigned x, unsigned y, F operation) {
    const Reg32 result = target(d, eax);
    if (d == y) std::swap(x, y);
    fetch(result, x);
    with(y, [&](const Xbyak::Operand& operand) { operation(result, operand); });
    put(d, result);
}

// d = a - b
void Emitter::subtract(unsigned d, unsigned a, unsigned b) {
    const bool in_place = is_pinned(d) && (d != b || d == a);
    const Reg32 result = in_place ? host32(d) : eax;
    fetch(result, a);
    with(b, [&](const Xbyak::Operand& operand) { sub(result, operand); });
    put(d, result);
}

bool Emitter::emit_arithmetic(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const unsigned d = isa::rd(w), a = isa::ra(w), b = isa::rb(w);
    switch (in.opcode) {
        case Opcode::Addi:
        case Opcode::Addis: {
            const int32_t immediate =
                in.opcode == Opcode::Addi ? isa::si(w) : static_cast<int32_t>(isa::ui(w) << 16);
            if (a != 0) {
                add_immediate(d, a, immediate);
            } else if (is_pinned(d)) {
                mov(host32(d), static_cast<uint32_t>(immediate));
            } else {
                mov(memory32(d), static_cast<uint32_t>(immediate));
            }
            return true;
        }
        case Opcode::Add:
            if (is_pinned(d) && is_pinned(a) && is_pinned(b) && d != a && d != b)
                lea(host32(d), ptr[host64(a) + host64(b)]);
            else
                commutative(d, a, b, [&](const Reg32& x, const Xbyak::Operand& y) { add(x, y); });
            break;
        case Opcode::Subf:
            subtract(d, b, a);
            break;
        case Opcode::Neg: {
            const Reg32 result = target(d, eax);
            fetch(result, a);
            neg(result);
            put(d, result);
            break;
        }
        default:
            return false;
    }
    if (isa::record(w)) record(d);
    return true;
}

// ---- with XER[CA] ----

// The host's carry flag from XER[CA]; clobbers cl.
void Emitter::load_carry() {
    mov(cl, byte[kState + kCaOffset]);
    add(cl, 0xff);
}
void Emitter::store_carry() {
    if (carry_lives()) setc(byte[kState + kCaOffset]);
}
void Emitter::store_not_borrow() {
    if (carry_lives()) setnc(byte[kState + kCaOffset]);
}

bool Emitter::emit_carrying(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const unsigned d = isa::rd(w), a = isa::ra(w), b = isa::rb(w);
    bool is_record = isa::record(w);
    switch (in.opcode) {
        case Opcode::AddicRc:
        case Opcode::Addic:
            is_record = in.opcode == Opcode::AddicRc;
            fetch(eax, a);
            add(eax, isa::si(w));
            store_carry();
            break;
        case Opcode::Subfic:
            is_record = false;
            mov(eax, static_cast<uint32_t>(isa::si(w)));
            with(a, [&](const Xbyak::Operand& operand) { sub(eax, operand); });
            store_not_borrow();
            break;
        case Opcode::Addc:
            fetch(eax, a);
            with(b, [&](const Xbyak::Operand& operand) { add(eax, operand); });
            store_carry();
            break;
        case Opcode::Subfc:
            fetch(eax, b);
            with(a, [&](const Xbyak::Operand& operand) { sub(eax, operand); });
            store_not_borrow();
            break;
        case Opcode::Adde:
            load_carry();
            fetch(eax, a);
            with(b, [&](const Xbyak::Operand& operand) { adc(eax, operand); });
            store_carry();
            break;
        case Opcode::Subfe:  // b - a - (1 - CA)
            cmp(byte[kState + kCaOffset], 1);
            fetch(eax, b);
            with(a, [&](const Xbyak::Operand& operand) { sbb(eax, operand); });
            store_not_borrow();
            break;
        case Opcode::Addze:
        case Opcode::Addme:
            load_carry();
            fetch(eax, a);
            adc(eax, in.opcode == Opcode::Addze ? 0 : -1);
            store_carry();
            break;
        case Opcode::Subfze:
        case Opcode::Subfme:
            load_carry();
            fetch(eax, a);
            not_(eax);
            adc(eax, in.opcode == Opcode::Subfze ? 0 : -1);
            store_carry();
            break;
        default:
            return false;
    }
    put(d, eax);
    if (is_record) record(d);
    return true;
}

// ---- multiplication, division ----

bool Emitter::emit_multiply(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const unsigned d = isa::rd(w), a = isa::ra(w), b = isa::rb(w);
    bool is_record = isa::record(w);
    switch (in.opcode) {
        case Opcode::Mulli: {
            is_record = false;
            const Reg32 result = target(d, eax);
            with(a, [&](const Xbyak::Operand& operand) { imul(result, operand, isa::si(w)); });
            put(d, result);
            break;
        }
        case Opcode::Mullw:
            commutative(d, a, b, [&](const Reg32& x, const Xbyak::Operand& y) { imul(x, y); });
            break;
        case Opcode::Mulhw:
            with(a, [&](const Xbyak::Operand& operand) { movsxd(rax, operand); });
            with(b, [&](const Xbyak::Operand& operand) { movsxd(rcx, operand); });
            imul(rax, rcx);
            shr(rax, 32);
            put(d, eax);
            break;
        case Opcode::Mulhwu:
            fetch(eax, a);
            fetch(ecx, b);
            imul(rax, rcx);
            shr(rax, 32);
            put(d, eax);
            break;
        case Opcode::Divw:
        case Opcode::Divwu:
            divide(in, in.opcode == Opcode::Divw);
            break;
        default:
            return false;
    }
    if (is_record) record(d);
    return true;
}

// Where there is no quotient the interpreter leaves the dividend.
void Emitter::divide(const GuestInstruction& in, bool is_signed) {
    Label *special = new_label(), *done = new_label();
    fetch(eax, isa::ra(in.word));
    fetch(ecx, isa::rb(in.word));
    if (is_signed) {
        lea(edx, ptr[rcx + 1]);
        cmp(edx, 1);
        jbe(*special);  // divisor 0 or -1
        cdq();
        idiv(ecx);
        later([this, special, done] {
            L(*special);
            test(ecx, ecx);
            jz(*done);
            neg(eax);
            jmp(*done);
        });
    } else {
        xor_(edx, edx);
        test(ecx, ecx);
        jz(*done);
        div(ecx);
    }
    L(*done);
    put(isa::rd(in.word), eax);
}

// ---- logic ----

bool Emitter::emit_logic(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const unsigned s = isa::rd(w), a = isa::ra(w), b = isa::rb(w);
    using Operand = Xbyak::Operand;
    const auto inverted = [&](unsigned what, auto operation) {  // a = other operation ~what
        const unsigned other = what == b ? s : b;
        fetch(eax, what);
        not_(eax);
        with(other, [&](const Operand& y) { operation(eax, y); });
        put(a, eax);
    };
    const auto negated = [&](auto operation) {
        fetch(eax, s);
        with(b, [&](const Operand& y) { operation(eax, y); });
        not_(eax);
        put(a, eax);
    };
    const auto and_op = [&](const Reg32& x, const Operand& y) { and_(x, y); };
    const auto or_op = [&](const Reg32& x, const Operand& y) { or_(x, y); };
    const auto xor_op = [&](const Reg32& x, const Operand& y) { xor_(x, y); };
    switch (in.opcode) {
        case Opcode::And:
            commutative(a, s, b, and_op);
            break;
        case Opcode::Or:
            if (s == b)
                put(a, use(s, eax));
            else
                commutative(a, s, b, or_op);
            break;
        case Opcode::Xor:
            commutative(a, s, b, xor_op);
            break;
        case Opcode::Andc:
            inverted(b, and_op);
            break;
        case Opcode::Orc:
            inverted(b, or_op);
            break;
        case Opcode::Nand:
            negated(and_op);
            break;
        case Opcode::Nor:
            negated(or_op);
            break;
        case Opcode::Eqv:
            negated(xor_op);
            break;
        default:
            return false;
    }
    if (isa::record(w)) record(a);
    return true;
}

bool Emitter::emit_logic_immediate(const GuestInstruction& in) {
    const unsigned s = isa::rd(in.word), a = isa::ra(in.word);
    const uint32_t low = isa::ui(in.word), high = low << 16;
    const auto immediate = [&](auto operation) {
        const Reg32 result = target(a, eax);
        fetch(result, s);
        operation(result);
        put(a, result);
    };
    const auto and_with = [&](uint32_t value) {
        immediate([&](const Reg32& x) { and_(x, value); });
        record(a);
    };
    const auto or_with = [&](uint32_t value) {
        immediate([&](const Reg32& x) {
            if (value) or_(x, value);
        });
    };
    const auto xor_with = [&](uint32_t value) {
        immediate([&](const Reg32& x) { xor_(x, value); });
    };
    switch (in.opcode) {
        case Opcode::AndiRc:
            and_with(low);
            return true;
        case Opcode::AndisRc:
            and_with(high);
            return true;
        case Opcode::Ori:
            or_with(low);
            return true;
        case Opcode::Oris:
            or_with(high);
            return true;
        case Opcode::Xori:
            xor_with(low);
            return true;
        case Opcode::Xoris:
            xor_with(high);
            return true;
        default:
            return false;
    }
}

bool Emitter::emit_extension(const GuestInstruction& in) {
    const unsigned s = isa::rd(in.word), a = isa::ra(in.word);
    switch (in.opcode) {
        case Opcode::Extsb:
            fetch(eax, s);
            movsx(eax, al);
            put(a, eax);
            break;
        case Opcode::Extsh:
            fetch(eax, s);
            movsx(eax, ax);
            put(a, eax);
            break;
        case Opcode::Cntlzw: {
            const Reg32 result = target(a, eax);
            with(s, [&](const Xbyak::Operand& x) { lzcnt(result, x); });
            put(a, result);
            break;
        }
        default:
            return false;
    }
    if (isa::record(in.word)) record(a);
    return true;
}

// ---- shifts and rotates ----

bool Emitter::emit_shift(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const unsigned s = isa::rd(w), a = isa::ra(w), b = isa::rb(w);
    switch (in.opcode) {
        // Six bits of the count matter, as on the host: bits 32 and up of a register are 0.
        case Opcode::Slw:
        case Opcode::Srw:
            fetch(eax, s);
            fetch(ecx, b);
            if (in.opcode == Opcode::Slw)
                shlx(rax, rax, rcx);
            else
                shrx(rax, rax, rcx);
            put(a, eax);
            break;
        case Opcode::Sraw:
        case Opcode::Srawi:
            shift_algebraic(in);
            break;
        case Opcode::Rlwinm:
            rotate_and_mask(in);
            break;
        case Opcode::Rlwimi:
            rotate_insert(in);
            break;
        case Opcode::Rlwnm:
            fetch(ecx, b);
            fetch(eax, s);
            rol(eax, cl);
            and_(eax, mask_from_to(isa::rc_field(w), isa::me(w)));
            put(a, eax);
            break;
        default:
            return false;
    }
    if (isa::record(w)) record(a);
    return true;
}

// CA is set when a negative number loses one-bits.
void Emitter::shift_algebraic(const GuestInstruction& in) {
    const unsigned s = isa::rd(in.word), a = isa::ra(in.word), b = isa::rb(in.word);
    if (in.opcode == Opcode::Srawi) {
        const unsigned count = b;
        fetch(eax, s);
        if (!carry_lives()) {
            sar(eax, static_cast<int>(count));
            put(a, eax);
            return;
        }
        mov(ecx, eax);
        sar(eax, static_cast<int>(count));
        // Bits lost, and the sign: both must be there.
        mov(edx, ecx);
        shr(edx, 31);
        and_(ecx, static_cast<int>((1u << count) - 1));
        setne(cl);
        and_(cl, dl);
        mov(byte[kState + kCaOffset], cl);
        put(a, eax);
        return;
    }
    with(s, [&](const Xbyak::Operand& operand) { movsxd(rdx, operand); });
    fetch(ecx, b);
    sarx(rax, rdx, rcx);
    if (!carry_lives()) {
        put(a, eax);
        return;
    }
    shlx(rcx, rax, rcx);
    cmp(rcx, rdx);
    setne(cl);
    shr(rdx, 63);
    and_(cl, dl);
    mov(byte[kState + kCaOffset], cl);
    put(a, eax);
}

void Emitter::rotate_and_mask(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const unsigned s = isa::rd(w), a = isa::ra(w), count = isa::rb(w);
    const uint32_t mask = mask_from_to(isa::rc_field(w), isa::me(w));
    const Reg32 result = target(a, eax);
    if (count != 0 && mask == 0xffffffffu << count) {
        fetch(result, s);
        shl(result, static_cast<int>(count));
    } else if (count != 0 && mask == 0xffffffffu >> (32 - count)) {
        fetch(result, s);
        shr(result, static_cast<int>(32 - count));
    } else if (count == 0 && mask == 0xffff) {
        with(s, [&](const Xbyak::Operand& operand) {
            if (operand.isREG())
                movzx(result, Xbyak::Reg16(operand.getIdx()));
            else
                movzx(result, word_at(s));
        });
    } else {
        if (count != 0)
            with(s, [&](const Xbyak::Operand& operand) {
                rorx(result, operand, static_cast<uint8_t>(32 - count));
            });
        else
            fetch(result, s);
        if (mask != 0xffffffff) and_(result, mask);
    }
    put(a, result);
}

void Emitter::rotate_insert(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const unsigned s = isa::rd(w), a = isa::ra(w), count = isa::rb(w);
    const uint32_t mask = mask_from_to(isa::rc_field(w), isa::me(w));
    with(s, [&](const Xbyak::Operand& operand) {
        rorx(eax, operand, static_cast<uint8_t>((32 - count) & 31));
    });
    and_(eax, mask);
    const Reg32 result = target(a, ecx);
    fetch(result, a);
    and_(result, ~mask);
    or_(result, eax);
    put(a, result);
}

}  // namespace perfvisor::engine::translator::x64
