// SPDX-License-Identifier: GPL-2.0-or-later
// Branches (Power ISA 2.06 Book I, 2.4) and moves to and from LR and CTR.
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

using isa::Opcode;

namespace {

constexpr unsigned kLr = 8, kCtr = 9;

}  // namespace

bool Emitter::emit_branch(const GuestInstruction& in) {
    const uint32_t w = in.word;
    switch (in.opcode) {
        case Opcode::B:
            if (isa::lk(w)) {
                mov(eax, in.pc + 4);
                mov(qword[kState + kLrOffset], rax);
            }
            taken_exit(in, static_cast<uint32_t>(isa::li(w)) + (isa::aa(w) ? 0 : in.pc));
            return true;
        case Opcode::Bc:
            emit_conditional(in);
            return true;
        case Opcode::Bclr:
            emit_indirect(in, kLrOffset);
            return true;
        case Opcode::Bcctr:
            emit_indirect(in, kCtrOffset);
            return true;
        case Opcode::Mfspr:
        case Opcode::Mtspr: {
            const unsigned number = isa::spr(w);
            if (number != kLr && number != kCtr) return false;
            const int offset = number == kLr ? kLrOffset : kCtrOffset;
            if (in.opcode == Opcode::Mfspr) {
                const Reg32 value = target(isa::rd(w), eax);
                mov(value, dword[kState + offset]);
                put(isa::rd(w), value);
            } else {
                mov(dword[kState + offset], use(isa::rd(w), eax));
            }
            return true;
        }
        default:
            return false;
    }
}

// The counts of a taken branch, the way to its target.
void Emitter::taken_exit(const GuestInstruction& in, uint32_t target_pc) {
    Counts counts = in.before;
    ++counts.branches;
    ++counts.taken;
    add_counts(counts);
    go_to(target_pc);
}

// The target is in eax.
void Emitter::indirect_exit(const GuestInstruction& in) {
    Counts counts = in.before;
    ++counts.branches;
    ++counts.taken;
    add_counts(counts);
    look_up_jump();
}

// As RuntimeCode::dispatch, for eax; here, so that the host predicts each branch by itself.
void Emitter::look_up_jump() {
    mov(ecx, eax);
    and_(ecx, (kJumps - 1) << 2);
    lea(rdx, ptr[rip + static_cast<const void*>(&shared().jumps)]);
    lea(rdx, ptr[rdx + rcx * 4]);
    mov(rcx, qword[rip + static_cast<const void*>(&shared().jump_key)]);
    or_(rcx, rax);
    cmp(rcx, qword[rdx + offsetof(Jump, key)]);
    CodeGenerator::jne(runtime_.dispatch[guest_->mode.floating_point ? 1 : 0]);
    CodeGenerator::jmp(qword[rdx + offsetof(Jump, code)]);
}

// Decrements CTR if BO says so; the label is where the branch is not taken.
Label* Emitter::branch_unless(const GuestInstruction& in) {
    const unsigned bo = isa::rd(in.word), bit = isa::ra(in.word);
    if ((bo & 20) == 20) return nullptr;
    Label* not_taken = new_label();
    if (!(bo & 4)) {
        if (!(bo & 16)) {
            // The condition first, whose flags may be at hand; CTR is decremented either way.
            const Jumps jumps = test_condition(bit);
            Label* counted = new_label();
            mov(ecx, dword[kState + kCtrOffset]);
            lea(ecx, ptr[rcx - 1]);
            mov(dword[kState + kCtrOffset], ecx);
            (this->*((bo & 8) ? jumps.if_set : jumps.if_clear))(*counted, T_NEAR);
            jmp(*not_taken, T_NEAR);
            L(*counted);
            test(ecx, ecx);
        } else {
            sub(dword[kState + kCtrOffset], 1);
        }
        if (bo & 2)
            jnz(*not_taken, T_NEAR);
        else
            jz(*not_taken, T_NEAR);
        return not_taken;
    }
    const Jumps jumps = test_condition(bit);
    (this->*((bo & 8) ? jumps.if_clear : jumps.if_set))(*not_taken, T_NEAR);
    return not_taken;
}

// bc[l][a]
void Emitter::emit_conditional(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const uint32_t target_pc = static_cast<uint32_t>(isa::bd(w)) + (isa::aa(w) ? 0 : in.pc);
    const bool is_last = index_ + 1 == guest_->instructions.size();
    if (isa::lk(w)) {
        mov(eax, in.pc + 4);
        mov(qword[kState + kLrOffset], rax);
    }
    if (!is_last && (isa::rd(w) & 4)) {
        // Straight on where it is not taken; the way out is cold.
        Label* taken = new_label();
        const Jumps jumps = test_condition(isa::ra(w));
        (this->*((isa::rd(w) & 8) ? jumps.if_set : jumps.if_clear))(*taken, T_NEAR);
        later([this, &in, taken, target_pc, done = index_ + 1] {
            L(*taken);
            refund(done);
            taken_exit(in, target_pc);
        });
        return;
    }
    Label* not_taken = branch_unless(in);
    if (!is_last) refund(index_ + 1);
    taken_exit(in, target_pc);
    if (!not_taken) return;
    L(*not_taken);
    flags_field_ = -1;
    if (is_last && !is_side_exit(in)) {
        add_counts(guest_->total);
        go_to(in.pc + 4);
    }
}

// bclr[l], bcctr[l]; the decrement of bcctr is an invalid form and not done
void Emitter::emit_indirect(const GuestInstruction& in, int target_offset) {
    const uint32_t w = in.word;
    const bool to_count = in.opcode == Opcode::Bcctr;
    Label* not_taken = nullptr;
    if (to_count && !(isa::rd(w) & 4)) {
        GuestInstruction without = in;
        without.word |= 4u << 21;
        not_taken = branch_unless(without);
    } else {
        not_taken = branch_unless(in);
    }
    mov(eax, dword[kState + target_offset]);
    and_(eax, -4);
    if (isa::lk(w)) {
        mov(ecx, in.pc + 4);
        mov(qword[kState + kLrOffset], rcx);
    }
    indirect_exit(in);
    if (!not_taken) return;
    L(*not_taken);
    if (isa::lk(w)) {
        mov(ecx, in.pc + 4);
        mov(qword[kState + kLrOffset], rcx);
    }
    add_counts(guest_->total);
    go_to(in.pc + 4);
}

}  // namespace perfvisor::engine::translator::x64
