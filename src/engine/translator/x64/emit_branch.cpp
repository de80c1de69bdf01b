// SPDX-License-Identifier: GPL-2.0-or-later
// Branches (Power ISA 2.06 Book I, 2.4) and moves to and from LR and CTR.
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

using isa::Opcode;

namespace {

constexpr unsigned kLr = 8, kCtr = 9;

using Way = core::timing::SegmentEnd::Way;

}  // namespace

bool Emitter::emit_branch(const GuestInstruction& in) {
    const uint32_t w = in.word;
    switch (in.opcode) {
        case Opcode::B:
            if (isa::lk(w)) {
                mov(eax, in.pc + 4);
                mov(qword[kState + kLrOffset], rax);
            }
            if (!is_last()) {
                look_at_passed_branch(true, in.next_pc);
                return true;
            }
            store_all_pending();
            taken_exit(in, static_cast<uint32_t>(isa::li(w)) + (isa::aa(w) ? 0 : in.pc));
            return true;
        case Opcode::Bc:
            if (is_last())
                emit_conditional(in);
            else
                pass_conditional(in);
            return true;
        case Opcode::Bclr:
            if (is_last())
                emit_indirect(in, kLrOffset);
            else
                pass_return(in);
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
    write_end(number_of(in) + 1, Way::Taken, target_pc);
    go_to(target_pc);
}

// The target is in eax.
void Emitter::indirect_exit(const GuestInstruction& in) {
    Counts counts = in.before;
    ++counts.branches;
    ++counts.taken;
    add_counts(counts);
    write_end(number_of(in) + 1, Way::Indirect);
    restore_registers();
    emit_look_up(*this, buffer_);
}

// Decrements CTR if BO says so; the label is where the branch is not taken.
Label* Emitter::branch_unless(const GuestInstruction& in) {
    const unsigned bo = isa::rd(in.word), bit = isa::ra(in.word);
    const auto field = static_cast<int>(bit / 4);
    const bool by_bit = !(bo & 16), by_count = !(bo & 4);
    // The flags of the difference that is stored last are those of the condition.
    const bool pending = by_bit && pending_[bit / 4].kind != Pending::kNone && bit % 4 != 3;
    store_all_pending(pending ? field : -1);
    if (!by_bit && !by_count) return nullptr;
    Label* not_taken = new_label();
    if (by_bit) {
        const unsigned if_set = pending ? condition_of_difference(bit) : test_condition(bit);
        const unsigned if_taken = (bo & 8) ? if_set : if_set ^ 1;
        if (!by_count) {
            jump_if(if_taken ^ 1, *not_taken);
            return not_taken;
        }
        // CTR is decremented either way.
        Label* counted = new_label();
        mov(ecx, dword[kState + kCtrOffset]);
        lea(ecx, ptr[rcx - 1]);
        mov(dword[kState + kCtrOffset], ecx);
        jump_if(if_taken, *counted);
        jmp(*not_taken, T_NEAR);
        L(*counted);
        test(ecx, ecx);
    } else {
        sub(dword[kState + kCtrOffset], 1);
    }
    jump_if((bo & 2) ? kEqual ^ 1 : kEqual, *not_taken);
    return not_taken;
}

// bc[l][a]
void Emitter::emit_conditional(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const uint32_t target_pc = static_cast<uint32_t>(isa::bd(w)) + (isa::aa(w) ? 0 : in.pc);
    if (isa::lk(w)) {
        mov(eax, in.pc + 4);
        mov(qword[kState + kLrOffset], rax);
    }
    Label* not_taken = branch_unless(in);
    taken_exit(in, target_pc);
    if (!not_taken) return;
    L(*not_taken);
    if (!is_side_exit(in)) {
        add_counts(guest_->total);
        write_end(number_of(in) + 1, Way::NotTaken);
        go_to(in.pc + 4);
    }
}

// bc within a block, by a bit of CR or by CTR
void Emitter::pass_conditional(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const unsigned bo = isa::rd(w);
    unsigned if_taken = 0;
    if (bo & 4) {
        const unsigned if_set = test_condition(isa::ra(w));
        if_taken = (bo & 8) ? if_set : if_set ^ 1;
    } else {
        sub(dword[kState + kCtrOffset], 1);
        if_taken = (bo & 2) ? kEqual : kEqual ^ 1;
    }
    Label* out = new_label();
    jump_if(in.follows_taken ? if_taken ^ 1 : if_taken, *out);
    later([this, &in, out, done = index_ + 1, remembered = remember_pending()] {
        L(*out);
        complete(remembered);
        refund(done);
        if (in.follows_taken)
            not_taken_exit(in);
        else
            taken_exit(in, static_cast<uint32_t>(isa::bd(in.word)) + in.pc);
    });
    look_at_passed_branch(in.follows_taken, in.next_pc);
}

void Emitter::not_taken_exit(const GuestInstruction& in) {
    Counts counts = in.before;
    ++counts.branches;
    add_counts(counts);
    write_end(number_of(in) + 1, Way::NotTaken);
    go_to(in.pc + 4);
}

// bclr within a block, that went on at next_pc once
void Emitter::pass_return(const GuestInstruction& in) {
    const unsigned bo = isa::rd(in.word);
    const bool always = (bo & 20) == 20;
    const bool follows_taken = always || in.follows_taken;
    Label *elsewhere = new_label(), *out = new_label();
    if (!always) {
        const unsigned if_set = test_condition(isa::ra(in.word));
        const unsigned if_taken = (bo & 8) ? if_set : if_set ^ 1;
        jump_if(follows_taken ? if_taken ^ 1 : if_taken, follows_taken ? *out : *elsewhere);
    }
    if (follows_taken) {
        cmp(dword[kState + kLrOffset], in.next_pc);
        jump_if(kEqual ^ 1, *elsewhere);
    }
    later([this, &in, elsewhere, out, always, follows_taken, done = index_ + 1,
           remembered = remember_pending()] {
        L(*elsewhere);
        complete(remembered);
        refund(done);
        mov(eax, dword[kState + kLrOffset]);
        and_(eax, -4);
        indirect_exit(in);
        if (always || !follows_taken) return;
        L(*out);
        complete(remembered);
        refund(done);
        not_taken_exit(in);
    });
    look_at_passed_branch(follows_taken, in.next_pc);
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
    write_end(number_of(in) + 1, Way::NotTaken);
    go_to(in.pc + 4);
}

}  // namespace perfvisor::engine::translator::x64
