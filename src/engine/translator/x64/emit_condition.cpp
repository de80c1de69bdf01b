// SPDX-License-Identifier: GPL-2.0-or-later
// Compares, CR0 of record forms, tests of condition bits (Power ISA 2.06 Book I, 3.3.9, 2.3).
// Fields are kept as differences: see core::ConditionRegister.
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

using isa::Opcode;

void Emitter::pend(unsigned field, const Pending& comparison) {
    pending_[field] = comparison;
}

void Emitter::store_pending(unsigned field, const Pending& comparison) {
    if (comparison.kind == Pending::kSigned) {
        with(comparison.a, [&](const Xbyak::Operand& operand) { movsxd(rax, operand); });
        if (!comparison.immediate) {
            with(comparison.b, [&](const Xbyak::Operand& operand) { movsxd(rcx, operand); });
            sub(rax, rcx);
        } else if (comparison.value != 0) {
            sub(rax, comparison.value);
        } else {
            test(rax, rax);
        }
    } else {
        fetch(eax, comparison.a);
        if (comparison.immediate)
            sub(rax, comparison.value);
        else if (is_pinned(comparison.b))
            sub(rax, host64(comparison.b));
        else
            sub(rax, qword[kState + gpr_offset(comparison.b)]);
    }
    mov(qword[kState + cr_field_offset(field)], rax);
    mov(byte[kState + cr_so_offset(field)], guest_->mode.summary_overflow ? 1 : 0);
}

void Emitter::store_all_pending(int last) {
    const auto store = [this](unsigned field) {
        if (pending_[field].kind != Pending::kNone) store_pending(field, pending_[field]);
    };
    for (unsigned field = 0; field < 8; ++field)
        if (static_cast<int>(field) != last) store(field);
    if (last >= 0) store(static_cast<unsigned>(last));
    pending_ = {};
}

// What is pending of these fields, and what is made of these registers, which change now. Where the
// field is set anew before anybody looks nothing is stored.
void Emitter::store_pending_of(uint32_t registers, uint8_t fields) {
    const Effects& effects = liveness_.effects(index_);
    const bool is_select = guest_->instructions[index_].opcode == Opcode::Isel;
    for (unsigned field = 0; field < 8; ++field) {
        Pending& pending = pending_[field];
        if (pending.kind == Pending::kNone) continue;
        const bool looked_at = (fields & 1u << field) && !is_select;
        if (!looked_at && !uses(pending, registers)) continue;
        const bool set_anew = effects.fields_written & 1u << field;
        if (looked_at || effects.may_leave ||
            (liveness_.field_lives_behind(index_, field) && !set_anew))
            store_pending(field, pending);
        // A selection compares the operands itself before it writes.
        if (!is_select || !(fields & 1u << field)) pending = {};
    }
}

bool Emitter::uses(const Pending& pending, uint32_t registers) {
    const uint32_t used = 1u << pending.a | (pending.immediate ? 0 : 1u << pending.b);
    return used & registers;
}

unsigned Emitter::remember_pending() {
    if (remembered_.empty() || remembered_.back() != pending_) remembered_.push_back(pending_);
    return static_cast<unsigned>(remembered_.size() - 1);
}

void Emitter::complete(unsigned remembered) {
    for (unsigned field = 0; field < 8; ++field) {
        const Pending& pending = remembered_[remembered][field];
        if (pending.kind != Pending::kNone) store_pending(field, pending);
    }
}

void Emitter::record(unsigned reg) {
    pend(0, {Pending::kSigned, true, static_cast<uint8_t>(reg), 0, 0});
}

bool Emitter::emit_compare(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const auto a = static_cast<uint8_t>(isa::ra(w)), b = static_cast<uint8_t>(isa::rb(w));
    const unsigned field = isa::crfd(w);
    switch (in.opcode) {
        case Opcode::Cmpi:
            pend(field, {Pending::kSigned, true, a, 0, isa::si(w)});
            return true;
        case Opcode::Cmpli:
            pend(field, {Pending::kUnsigned, true, a, 0, static_cast<int32_t>(isa::ui(w))});
            return true;
        case Opcode::Cmp:
            pend(field, {Pending::kSigned, false, a, b, 0});
            return true;
        case Opcode::Cmpl:
            pend(field, {Pending::kUnsigned, false, a, b, 0});
            return true;
        default:
            return false;
    }
}

// Of the flags of a field's difference. SO is elsewhere.
unsigned Emitter::condition_of_difference(unsigned bit) {
    return bit % 4 == 0 ? kLess : bit % 4 == 1 ? kGreater : kEqual;
}

unsigned Emitter::test_condition(unsigned bit) {
    const unsigned field = bit / 4;
    const Pending& pending = pending_[field];
    if (pending.kind != Pending::kNone && bit % 4 != 3) {
        const bool is_signed = pending.kind == Pending::kSigned;
        if (!pending.immediate) {
            const Reg32 a = use(pending.a, eax);
            with(pending.b, [&](const Xbyak::Operand& operand) { cmp(a, operand); });
        } else if (pending.value == 0 && is_pinned(pending.a)) {
            test(host32(pending.a), host32(pending.a));
        } else {
            with(pending.a, [&](const Xbyak::Operand& operand) { cmp(operand, pending.value); });
        }
        if (bit % 4 == 2) return kEqual;
        if (is_signed) return bit % 4 == 0 ? kLess : kGreater;
        return bit % 4 == 0 ? kBelow : kAbove;
    }
    if (pending.kind != Pending::kNone) {
        store_pending(field, pending);
        pending_[field] = {};
    }
    switch (bit % 4) {
        case 0:
            test(byte[kState + cr_field_offset(field) + 7], 0x40);
            return kEqual ^ 1;
        case 1:
            cmp(qword[kState + cr_field_offset(field)], 0);
            return kGreater;
        case 2:
            cmp(dword[kState + cr_field_offset(field)], 0);
            return kEqual;
        default:
            cmp(byte[kState + cr_so_offset(field)], 0);
            return kEqual ^ 1;
    }
}

// isel rD,rA|0,rB,BC
bool Emitter::emit_isel(const GuestInstruction& in) {
    if (in.opcode != Opcode::Isel) return false;
    const unsigned d = isa::rd(in.word), a = isa::ra(in.word), b = isa::rb(in.word);
    const unsigned condition = test_condition(isa::rc_field(in.word));
    // Moves, as they leave the flags.
    if (a == 0)
        mov(ecx, 0);
    else
        fetch(ecx, a);
    fetch(eax, b);
    db(0x0f);  // cmov eax, ecx
    db(static_cast<int>(0x40 | condition));
    db(0xc1);
    put(d, eax);
    if (uses(pending_[isa::rc_field(in.word) / 4], 1u << d))
        pending_[isa::rc_field(in.word) / 4] = {};
    return true;
}

// mfcr, mtcrf, mtocrf, mcrf
bool Emitter::emit_condition_move(const GuestInstruction& in) {
    const uint32_t w = in.word;
    switch (in.opcode) {
        case Opcode::Mfcr:
            store_all_pending();
            call(runtime_.condition_word);
            put(isa::rd(w), eax);
            return true;
        case Opcode::Mtcrf:
        case Opcode::Mtocrf:
            lea(rdx, datum(&shared().condition_fields));
            for (unsigned n = 0; n < 8; ++n) {
                if (!(isa::crm(w) & 0x80 >> n)) continue;
                pending_[n] = {};
                fetch(eax, isa::rd(w));
                if (n < 7) shr(eax, static_cast<int>(28 - 4 * n));
                and_(eax, 15);
                mov(rcx, qword[rdx + rax * 8]);
                mov(qword[kState + cr_field_offset(n)], rcx);
                and_(eax, 1);
                mov(byte[kState + cr_so_offset(n)], al);
            }
            return true;
        case Opcode::Mcrf:
            store_all_pending();
            mov(rax, qword[kState + cr_field_offset(isa::crfs(w))]);
            mov(cl, byte[kState + cr_so_offset(isa::crfs(w))]);
            mov(qword[kState + cr_field_offset(isa::crfd(w))], rax);
            mov(byte[kState + cr_so_offset(isa::crfd(w))], cl);
            return true;
        default:
            return false;
    }
}

}  // namespace perfvisor::engine::translator::x64
