// SPDX-License-Identifier: GPL-2.0-or-later
// Moves to and from the special purpose registers that are memory of the core, as interrupt
// handlers make many of, and from MSR. The others are the interpreter's.
#include "core/spr.h"
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

using isa::Opcode;

namespace {

// Of a register's number: not for user mode (EREF, mtspr).
constexpr unsigned kPrivileged = 0x10;

}  // namespace

// wrtee, wrteei. Where interrupts become enabled one may be waiting: it comes before the next
// instruction.
bool Emitter::emit_interrupt_enable(const GuestInstruction& in) {
    constexpr uint32_t kEe = core::msr::kEE;
    const auto disable = [this] { and_(dword[kState + kMsrOffset], ~kEe); };
    const bool immediate = in.opcode == Opcode::Wrteei;
    if (!immediate && in.opcode != Opcode::Wrtee) return false;
    if (immediate && !(in.word & kEe)) {
        disable();
        return true;
    }
    Label *off = new_label(), *done = new_label();
    Label* stopped = stopped_at(in);
    if (!immediate) {
        test(use(isa::rd(in.word), eax), kEe);
        jz(*off);
        later([this, off, done, disable] {
            L(*off);
            disable();
            jmp(*done);
        });
    }
    test(dword[kState + kMsrOffset], kEe);
    jnz(*done);
    call(calls().enable_interrupts);
    test(edx, edx);
    jnz(*stopped);
    L(*done);
    return true;
}

bool Emitter::emit_system(const GuestInstruction& in) {
    if (emit_interrupt_enable(in)) return true;
    const uint32_t w = in.word;
    if (in.opcode == Opcode::Mfmsr) {
        const Reg32 value = target(isa::rd(w), eax);
        mov(value, dword[kState + kMsrOffset]);
        put(isa::rd(w), value);
        return true;
    }
    const bool reads = in.opcode == Opcode::Mfspr;
    if ((!reads && in.opcode != Opcode::Mtspr) || in.decoded.ends_block) return false;
    if (guest_->mode.user && (isa::spr(w) & kPrivileged)) return false;
    const std::optional<core::PlainSpr> found = core::plain_spr(core_, isa::spr(w));
    if (!found || (!reads && !found->writable)) return false;
    const Xbyak::Address there = dword[kState + state_offset(static_cast<size_t>(found->offset))];
    if (reads) {
        const Reg32 value = target(isa::rd(w), eax);
        mov(value, there);
        put(isa::rd(w), value);
        return true;
    }
    Reg32 value = use(isa::rd(w), eax);
    if (found->mask != 0xffffffff) {
        fetch(eax, isa::rd(w));
        and_(eax, found->mask);
        value = eax;
    }
    mov(there, value);
    return true;
}

}  // namespace perfvisor::engine::translator::x64
