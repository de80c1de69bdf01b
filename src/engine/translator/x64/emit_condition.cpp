// SPDX-License-Identifier: GPL-2.0-or-later
// Compares, CR0 of record forms, tests of condition bits (Power ISA 2.06 Book I, 3.3.9, 2.3).
// Fields are kept as differences: see core::ConditionRegister.
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

using isa::Opcode;

// The host's flags must be those of the difference, as a signed 64-bit number compared with 0;
// they stay. Moves do not change them.
void Emitter::set_field(unsigned field, const Reg64& difference) {
    mov(qword[kState + cr_field_offset(field)], difference);
    mov(byte[kState + cr_so_offset(field)], guest_->mode.summary_overflow ? 1 : 0);
    flags_field_ = static_cast<int>(field);
}

void Emitter::record(const GuestInstruction&, const Reg32& result) {
    movsxd(rax, result);
    test(rax, rax);
    set_field(0, rax);
}

bool Emitter::emit_compare(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const unsigned a = isa::ra(w), b = isa::rb(w);
    switch (in.opcode) {
        case Opcode::Cmpi:
            with(a, [&](const Xbyak::Operand& operand) { movsxd(rax, operand); });
            if (isa::si(w) == 0)
                test(rax, rax);
            else
                sub(rax, isa::si(w));
            break;
        case Opcode::Cmpli:
            fetch(eax, a);
            sub(rax, static_cast<int>(isa::ui(w)));
            break;
        case Opcode::Cmp:
            with(a, [&](const Xbyak::Operand& operand) { movsxd(rax, operand); });
            with(b, [&](const Xbyak::Operand& operand) { movsxd(rcx, operand); });
            sub(rax, rcx);
            break;
        case Opcode::Cmpl:
            fetch(eax, a);
            if (is_pinned(b))
                sub(rax, host64(b));
            else
                sub(rax, qword[kState + gpr_offset(b)]);
            break;
        default:
            return false;
    }
    set_field(isa::crfd(w), rax);
    return true;
}

// Sets the host's flags, and says which jumps go with them.
Emitter::Jumps Emitter::test_condition(unsigned bit) {
    const unsigned field = bit / 4;
    if (bit % 4 != 3 && flags_field_ == static_cast<int>(field)) {
        switch (bit % 4) {
            case 0:
                return {&Emitter::jl, &Emitter::jge};
            case 1:
                return {&Emitter::jg, &Emitter::jle};
            default:
                return {&Emitter::je, &Emitter::jne};
        }
    }
    flags_field_ = -1;
    switch (bit % 4) {
        case 0:
            test(byte[kState + cr_field_offset(field) + 7], 0x40);
            return {&Emitter::jnz, &Emitter::jz};
        case 1:
            cmp(qword[kState + cr_field_offset(field)], 0);
            return {&Emitter::jg, &Emitter::jle};
        case 2:
            cmp(dword[kState + cr_field_offset(field)], 0);
            return {&Emitter::je, &Emitter::jne};
        default:
            cmp(byte[kState + cr_so_offset(field)], 0);
            return {&Emitter::jne, &Emitter::je};
    }
}

// isel rD,rA|0,rB,BC
bool Emitter::emit_isel(const GuestInstruction& in) {
    if (in.opcode != Opcode::Isel) return false;
    const unsigned d = isa::rd(in.word), a = isa::ra(in.word), b = isa::rb(in.word);
    Label* chosen = new_label();
    fetch(ecx, b);
    if (a == 0)
        mov(eax, 0);
    else
        fetch(eax, a);
    const Jumps jumps = test_condition(isa::rc_field(in.word));
    (this->*jumps.if_set)(*chosen, T_NEAR);
    mov(eax, ecx);
    L(*chosen);
    put(d, eax);
    return true;
}

// mfcr, mtcrf, mtocrf, mcrf
bool Emitter::emit_condition_move(const GuestInstruction& in) {
    const uint32_t w = in.word;
    switch (in.opcode) {
        case Opcode::Mfcr:
            call(runtime_.condition_word);
            put(isa::rd(w), eax);
            return true;
        case Opcode::Mtcrf:
        case Opcode::Mtocrf:
            lea(rdx, datum(&shared().condition_fields));
            for (unsigned n = 0; n < 8; ++n) {
                if (!(isa::crm(w) & 0x80 >> n)) continue;
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
