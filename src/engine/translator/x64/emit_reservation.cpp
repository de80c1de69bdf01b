// SPDX-License-Identifier: GPL-2.0-or-later
// lwarx and stwcx. (Power ISA 2.06 Book II, 4.4.2): what Core::load_reserve and store_conditional
// do (core/reservation_table.h says why), for pages in the page map.
#include "core/reservation_table.h"
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

using core::ConditionRegister;
using core::ReservationTable;
using isa::Opcode;

namespace {

constexpr unsigned kWordLog2 = 2;

}  // namespace

bool Emitter::emit_reservation(const GuestInstruction& in) {
    return emit_load_reserve(in) || emit_store_conditional(in);
}

// rdx + rax: the entry of the host address in rcx, or that of a later byte of the granule.
void Emitter::find_reservation_entry() {
    static_assert(sizeof(ReservationTable::Entry) == ReservationTable::kGranuleBytes);
    mov(eax, ecx);
    and_(eax, static_cast<int>(ReservationTable::kIndexMask));
    mov(rdx, reinterpret_cast<uintptr_t>(core_.memory().reservations().entries()));
}

bool Emitter::emit_load_reserve(const GuestInstruction& in) {
    if (in.opcode != Opcode::Lwarx) return false;
    const unsigned d = isa::rd(in.word);
    const Reg32 result = target(d, eax);
    Label *slow = new_label(), *taken = new_label(), *loaded = new_label();
    Label* stopped = stopped_at(in);
    address(in, {kWordLog2, true, false});
    tell_access();
    translate(kWordLog2, kReadPages, slow);
    add(rcx, rax);
    find_reservation_entry();
    mov(edx, dword[rdx + rax]);  // before the value
    test(edx, 1);
    jnz(*taken, T_NEAR);
    mov(eax, dword[rcx]);
    mov(qword[kState + kReserveAddressOffset], rcx);
    mov(dword[kState + kReserveVersionOffset], edx);
    mov(qword[kState + kReserveValueOffset], rax);
    mov(dword[kState + kReserveSizeOffset], 4);
    bswap(eax);
    if (result.getIdx() != eax.getIdx()) mov(result, eax);
    L(*loaded);
    put(d, result);
    later([this, &in, slow, taken, loaded, stopped, result] {
        L(*taken);
        address(in, {kWordLog2, true, false});
        L(*slow);
        call(calls().load_reserve);
        test(edx, edx);
        jnz(*stopped, T_NEAR);
        if (result.getIdx() != eax.getIdx()) mov(result, eax);
        jmp(*loaded);
    });
    return true;
}

// Of the address in rcx. Clobbers what find_reservation_entry() does, and rcx.
void Emitter::release_reservation_entry() {
    find_reservation_entry();
    mov(ecx, dword[kState + kReserveVersionOffset]);
    add(ecx, core_.memory().reservations().step());
    mov(dword[rdx + rax], ecx);
}

bool Emitter::emit_store_conditional(const GuestInstruction& in) {
    if (in.opcode != Opcode::Stwcx) return false;
    const unsigned s = isa::rd(in.word);
    Label *slow = new_label(), *none = new_label(), *lost = new_label(), *changed = new_label(),
          *failed = new_label(), *known = new_label(), *done = new_label();
    Label* stopped = stopped_at(in);
    address(in, {kWordLog2, true, false});
    tell_access();
    pending_[0] = {};
    translate(kWordLog2, kWritePages, slow);
    add(rcx, rax);
    cmp(qword[kState + kReserveAddressOffset], rcx);
    jne(*none);
    cmp(dword[kState + kReserveSizeOffset], 4);
    jne(*none);
    mov(dword[kState + kReserveSizeOffset], 0);
    find_reservation_entry();
    add(rdx, rax);
    mov(eax, dword[kState + kReserveVersionOffset]);
    inc(rcx);  // any odd value takes the entry
    lock();
    cmpxchg(dword[rdx], ecx);
    jne(*lost);
    fetch(edx, s);
    bswap(edx);
    mov(eax, dword[kState + kReserveValueOffset]);
    lock();
    cmpxchg(dword[rcx - 1], edx);
    jne(*changed);
    release_reservation_entry();
    mov(dword[kState + kReservePausesOffset], ReservationTable::kFewestPauses);
    inc(qword[kState + total_offset(core::Total::StwcxSuccess)]);
    mov(rax, ConditionRegister::encode(ConditionRegister::kEQ));
    L(*known);
    mov(qword[kState + cr_field_offset(0)], rax);
    mov(byte[kState + cr_so_offset(0)], guest_->mode.summary_overflow ? 1 : 0);
    L(*done);
    later([this, &in, slow, none, lost, changed, failed, known, done, stopped, s, index = index_,
           remembered = remember_pending()] {
        Label* again = new_label();
        L(*changed);
        release_reservation_entry();
        L(*lost);  // ReservationTable::back_off()
        mov(ecx, dword[kState + kReservePausesOffset]);
        mov(edx, ecx);
        L(*again);
        pause();
        sub(ecx, 1);
        jnz(*again);
        add(edx, edx);
        mov(eax, ReservationTable::kMostPauses);
        cmp(edx, eax);
        cmova(edx, eax);
        mov(dword[kState + kReservePausesOffset], edx);
        L(*failed);
        inc(qword[kState + total_offset(core::Total::StwcxFailure)]);
        mov(rax, ConditionRegister::encode(0));
        jmp(*known);

        L(*none);
        mov(dword[kState + kReserveSizeOffset], 0);
        jmp(*failed);

        L(*slow);
        fetch(edx, s);
        call(calls().store_conditional);
        test(edx, edx);
        jz(*done);
        cmp(edx, static_cast<uint32_t>(kStopped));
        je(*stopped, T_NEAR);
        leave_behind(in, index, remembered_[remembered]);
    });
    return true;
}

}  // namespace perfvisor::engine::translator::x64
