// SPDX-License-Identifier: GPL-2.0-or-later
// Loads and stores (Power ISA 2.06 Book I, 3.3.2 to 3.3.4, 4.6.2, 4.6.3): to the window, where the
// block has one, or else aligned ones to pages in the page map; everything else behind the block.
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

using isa::Opcode;

std::optional<Emitter::Access> Emitter::load_access(Opcode opcode) {
    switch (opcode) {
        case Opcode::Lbz:
            return Access{0, false, false};
        case Opcode::Lbzu:
            return Access{0, false, true};
        case Opcode::Lbzx:
            return Access{0, true, false};
        case Opcode::Lbzux:
            return Access{0, true, true};
        case Opcode::Lhz:
            return Access{1, false, false};
        case Opcode::Lhzu:
            return Access{1, false, true};
        case Opcode::Lhzx:
            return Access{1, true, false};
        case Opcode::Lhzux:
            return Access{1, true, true};
        case Opcode::Lha:
            return Access{1, false, false, true};
        case Opcode::Lhau:
            return Access{1, false, true, true};
        case Opcode::Lhax:
            return Access{1, true, false, true};
        case Opcode::Lhaux:
            return Access{1, true, true, true};
        case Opcode::Lwz:
            return Access{2, false, false};
        case Opcode::Lwzu:
            return Access{2, false, true};
        case Opcode::Lwzx:
            return Access{2, true, false};
        case Opcode::Lwzux:
            return Access{2, true, true};
        case Opcode::Lhbrx:
            return Access{1, true, false, false, true};
        case Opcode::Lwbrx:
            return Access{2, true, false, false, true};
        default:
            return std::nullopt;
    }
}

std::optional<Emitter::Access> Emitter::store_access(Opcode opcode) {
    switch (opcode) {
        case Opcode::Stb:
            return Access{0, false, false};
        case Opcode::Stbu:
            return Access{0, false, true};
        case Opcode::Stbx:
            return Access{0, true, false};
        case Opcode::Stbux:
            return Access{0, true, true};
        case Opcode::Sth:
            return Access{1, false, false};
        case Opcode::Sthu:
            return Access{1, false, true};
        case Opcode::Sthx:
            return Access{1, true, false};
        case Opcode::Sthux:
            return Access{1, true, true};
        case Opcode::Stw:
            return Access{2, false, false};
        case Opcode::Stwu:
            return Access{2, false, true};
        case Opcode::Stwx:
            return Access{2, true, false};
        case Opcode::Stwux:
            return Access{2, true, true};
        case Opcode::Sthbrx:
            return Access{1, true, false, false, true};
        case Opcode::Stwbrx:
            return Access{2, true, false, false, true};
        default:
            return std::nullopt;
    }
}

bool Emitter::emit_memory(const GuestInstruction& in) {
    return emit_load(in) || emit_store(in) || emit_multiple(in) || emit_zero_line(in);
}

// ---- addresses ----

// To eax. With update rA=0 is an invalid form that is executed as if it were any other register.
void Emitter::address(const GuestInstruction& in, const Access& access) {
    const unsigned a = isa::ra(in.word), b = isa::rb(in.word);
    const bool has_base = a != 0 || access.update;
    if (access.indexed) {
        if (!has_base) {
            fetch(eax, b);
        } else if (is_pinned(a) && is_pinned(b)) {
            lea(eax, ptr[host64(a) + host64(b)]);
        } else {
            fetch(eax, a);
            with(b, [&](const Xbyak::Operand& operand) { add(eax, operand); });
        }
        return;
    }
    const int32_t displacement = isa::si(in.word);
    if (!has_base) {
        mov(eax, static_cast<uint32_t>(displacement));
    } else if (is_pinned(a) && displacement != 0) {
        lea(eax, ptr[host64(a) + displacement]);
    } else {
        fetch(eax, a);
        if (displacement != 0) add(eax, displacement);
    }
}

// rA = the address, after the access. The registers it is made of are what they were.
void Emitter::update_base(const GuestInstruction& in, const Access& access) {
    if (!access.update) return;
    const unsigned a = isa::ra(in.word), b = isa::rb(in.word);
    if (!access.indexed) {
        with(a, [&](const Xbyak::Operand& operand) { add(operand, isa::si(in.word)); });
        return;
    }
    fetch(eax, a);
    with(b, [&](const Xbyak::Operand& operand) { add(eax, operand); });
    put(a, eax);
}

// The page number is in the low bits of the address rotated to the right by 12; rotated by less,
// the bits of a misaligned address stand above it, where the tables have nothing.
void Emitter::translate(unsigned size_log2, int pages, Label* slow) {
    static_assert(core::kPageSize == 4096);
    if (size_log2 == 0)
        mov(ecx, eax);
    else
        rorx(ecx, eax, static_cast<uint8_t>(size_log2));
    shr(ecx, static_cast<int>(12 - size_log2));
    putSeg(gs);
    mov(rcx, qword[rcx * 8 + pages]);
    test(rcx, rcx);
    jz(*slow, T_NEAR);
}

Xbyak::RegExp Emitter::place(const GuestInstruction& in, const Access& access, int pages,
                             Label* slow) {
    if (in_window() && !tells_accesses()) return in_window(in, access);
    address(in, access);
    tell_access();
    if (in_window()) return eax;
    translate(access.size_log2, pages, slow);
    return rcx + rax;
}

// ---- the window ----

Xbyak::RegExp Emitter::in_window(const GuestInstruction& in, const Access& access) {
    const unsigned a = isa::ra(in.word), b = isa::rb(in.word);
    const bool has_base = a != 0 || access.update;
    if (!access.indexed) {
        if (has_base) return use(a, eax) + isa::si(in.word);
        mov(eax, static_cast<uint32_t>(isa::si(in.word)));
        return eax;
    }
    if (!has_base) return use(b, eax);
    if (is_pinned(b)) return use(a, eax) + host32(b);
    fetch(eax, b);
    if (is_pinned(a)) return host32(a) + eax;
    add(eax, memory32(a));
    return eax;
}

unsigned Emitter::access_site() {
    if (!in_window()) return 0;
    const unsigned site = sites_.add(buffer_.executable(getCurr()));
    putSeg(gs);
    return site;
}

void Emitter::fault_leads_here(unsigned site) {
    sites_.leads_to(site, buffer_.executable(getCurr()));
}

void Emitter::slow_road(const GuestInstruction& in, const Access& access, Label* slow,
                        unsigned site) {
    if (in_window()) {
        fault_leads_here(site);
        address(in, access);
    } else {
        L(*slow);
    }
}

// ---- general registers ----

bool Emitter::emit_load(const GuestInstruction& in) {
    const std::optional<Access> found = load_access(in.opcode);
    if (!found) return false;
    const Access access = *found;
    const unsigned d = isa::rd(in.word);
    if (access.update && (d == isa::ra(in.word) || (access.indexed && d == isa::rb(in.word))))
        return false;
    const Reg32 result = target(d, eax);
    Label *slow = new_label(), *loaded = new_label();
    Label* stopped = stopped_at(in);
    const Xbyak::RegExp where = place(in, access, kReadPages, slow);
    const unsigned site = access_site();
    switch (access.size_log2) {
        case 0:
            movzx(result, byte[where]);
            break;
        case 1:
            if (access.reversed) {
                movzx(result, word[where]);
                break;
            }
            movzx(result, word[where]);
            bswap(result);
            if (access.is_signed)
                sar(result, 16);
            else
                shr(result, 16);
            break;
        default:
            if (access.reversed)
                mov(result, dword[where]);
            else
                movbe(result, dword[where]);
    }
    L(*loaded);
    put(d, result);
    update_base(in, access);
    later([this, &in, slow, loaded, stopped, access, result, site] {
        slow_road(in, access, slow, site);
        call(slow_load(access.size_log2));
        test(edx, edx);
        jnz(*stopped, T_NEAR);
        if (access.is_signed) movsx(eax, ax);
        if (access.reversed) {
            bswap(eax);
            if (access.size_log2 == 1) shr(eax, 16);
        }
        if (result.getIdx() != eax.getIdx()) mov(result, eax);
        jmp(*loaded);
    });
    return true;
}

bool Emitter::emit_store(const GuestInstruction& in) {
    const std::optional<Access> found = store_access(in.opcode);
    if (!found) return false;
    const Access access = *found;
    const unsigned s = isa::rd(in.word);
    Label *slow = new_label(), *stored = new_label();
    Label* stopped = stopped_at(in);
    const Xbyak::RegExp where = place(in, access, kWritePages, slow);
    const Reg32 value = use(s, edx);
    const unsigned site = access_site();
    switch (access.size_log2) {
        case 0:
            mov(byte[where], value.cvt8());
            break;
        case 1:
            if (access.reversed)
                mov(word[where], Xbyak::Reg16(value.getIdx()));
            else
                movbe(word[where], Xbyak::Reg16(value.getIdx()));
            break;
        default:
            if (access.reversed)
                mov(dword[where], value);
            else
                movbe(dword[where], value);
    }
    L(*stored);
    update_base(in, access);
    later([this, &in, slow, stored, stopped, access, s, site] {
        slow_road(in, access, slow, site);
        fetch(edx, s);
        if (access.reversed) {
            bswap(edx);
            if (access.size_log2 == 1) shr(edx, 16);
        }
        call(slow_store(access.size_log2));
        test(edx, edx);
        jz(*stored);
        stop_store(in, access, stopped);
    });
    return true;
}

// Behind a store by C++ that says more than that it was done, in edx.
void Emitter::stop_store(const GuestInstruction& in, const Access& access, Label* stopped) {
    if (access.update) {
        cmp(edx, static_cast<uint32_t>(kStopped));
        je(*stopped);
        update_base(in, access);
    }
    jmp(*stopped);
}

// Where the run crosses into another page, is misaligned, or its page is not in the map, each
// access is done by itself, in cold code.
void Emitter::emit_run(const AccessRun& run) {
    const unsigned first = index_;
    const GuestInstruction* instructions = &guest_->instructions[first];
    const bool is_load = instructions->opcode == Opcode::Lwz;
    for (unsigned n = 0; n < run.count; ++n) {
        index_ = first + n;
        store_pending_of(liveness_.effects(index_).writes, 0);
    }
    index_ = first;
    Label *slow = new_label(), *done = new_label();
    lea(eax, ptr[use(isa::ra(instructions->word), eax).cvt64() + run.lowest]);
    mov(ecx, eax);
    and_(ecx, static_cast<int>(core::kPageSize - 1));
    cmp(ecx, static_cast<int>(core::kPageSize - run.span));
    ja(*slow, T_NEAR);
    translate(2, is_load ? kReadPages : kWritePages, slow);
    add(rcx, rax);
    for (unsigned n = 0; n < run.count; ++n) {
        const uint32_t w = instructions[n].word;
        const Xbyak::Address there = dword[rcx + (isa::si(w) - run.lowest)];
        if (is_load) {
            const Reg32 result = target(isa::rd(w), eax);
            movbe(result, there);
            put(isa::rd(w), result);
        } else {
            movbe(there, use(isa::rd(w), eax));
        }
    }
    L(*done);
    later([this, slow, done, first, count = run.count, is_load, remembered = remember_pending()] {
        L(*slow);
        pending_ = remembered_[remembered];
        for (index_ = first; index_ < first + count; ++index_) {
            const GuestInstruction& in = guest_->instructions[index_];
            if (is_load)
                emit_load(in);
            else
                emit_store(in);
        }
        pending_ = {};
        jmp(*done);
    });
}

// lmw, stmw within a page; the rest, misaligned ones included, is the interpreter's. It may do
// again what was done of it.
bool Emitter::emit_multiple(const GuestInstruction& in) {
    const bool is_load = in.opcode == Opcode::Lmw;
    if ((!is_load && in.opcode != Opcode::Stmw) || tells_accesses()) return false;
    const unsigned first = isa::rd(in.word);
    if (is_load) store_all_pending();  // it may end in the middle, with some registers loaded
    Label *slow = new_label(), *done = new_label();
    Label* stopped = stopped_at(in);
    address(in, {2, false, false});
    if (in_window() && !(is_load && isa::ra(in.word) >= first)) {
        multiple_in_window(in, first, is_load, stopped);
        return true;
    }
    mov(ecx, eax);
    and_(ecx, static_cast<int>(core::kPageSize - 1));
    cmp(ecx, static_cast<int>(core::kPageSize - 4 * (32 - first)));
    ja(*slow, T_NEAR);
    translate(2, is_load ? kReadPages : kWritePages, slow);
    add(rcx, rax);
    for (unsigned r = first; r < 32; ++r) {
        const Xbyak::Address there = dword[rcx + static_cast<int>(4 * (r - first))];
        if (is_load) {
            const Reg32 result = target(r, eax);
            movbe(result, there);
            put(r, result);
        } else {
            movbe(there, use(r, eax));
        }
    }
    L(*done);
    later([this, &in, slow, stopped, done] {
        L(*slow);
        call_handler(in, stopped, done);
    });
    return true;
}

// dcbz, dcbzl
bool Emitter::emit_zero_line(const GuestInstruction& in) {
    const bool is_zero = in.opcode == Opcode::Dcbz || in.opcode == Opcode::Dcbzl;
    if (!is_zero || writes_addresses()) return false;
    const auto line = static_cast<int>(core_.model().cache_line);
    constexpr int kXmmBytes = 16;
    Label *slow = new_label(), *done = new_label();
    Label* stopped = stopped_at(in);
    address(in, {0, true, false});
    if (is_clock()) tell_access();
    and_(eax, -line);
    translate(0, kWritePages, slow);
    vpxor(xmm0, xmm0, xmm0);
    for (int at = 0; at < line; at += kXmmBytes)
        vmovdqu(xword[rcx + rax + at], xmm0);
    L(*done);
    later([this, &in, slow, stopped, done] {
        L(*slow);
        call_handler(in, stopped, done, calls().execute_zero);
    });
    return true;
}

// The address is in eax.
void Emitter::multiple_in_window(const GuestInstruction& in, unsigned first, bool is_load,
                                 Label* stopped) {
    Label *misaligned = new_label(), *done = new_label();
    unsigned site = 0;
    test(eax, 3);
    jnz(*misaligned);
    if (is_load) {  // no register changes where a later word is not there
        mov(ecx, eax);
        and_(ecx, static_cast<int>(core::kPageSize - 1));
        cmp(ecx, static_cast<int>(core::kPageSize - 4 * (32 - first)));
        ja(*misaligned);
    }
    for (unsigned r = first; r < 32; ++r) {
        const Xbyak::RegExp where = eax + static_cast<int>(4 * (r - first));
        if (is_load) {
            const Reg32 result = target(r, edx);
            site = access_site();
            movbe(result, dword[where]);
            put(r, result);
        } else {
            const Reg32 value = use(r, edx);
            site = access_site();
            movbe(dword[where], value);
        }
    }
    L(*done);
    later([this, &in, stopped, misaligned, done, last_site = site, count = 32 - first] {
        for (unsigned n = 0; n < count; ++n)
            fault_leads_here(last_site - n);
        L(*misaligned);
        call_handler(in, stopped, done);
    });
}

}  // namespace perfvisor::engine::translator::x64
