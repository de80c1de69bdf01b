// SPDX-License-Identifier: GPL-2.0-or-later
// Floating point (Power ISA 2.06 Book I, 4.6). Arithmetic is the host's while no exception is
// enabled, results are rounded to nearest (Mode::plain_float) and the result is well inside the
// range, under the conditions that float_status.h gives; else the interpreter's.
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

using isa::Opcode;
using Xbyak::Xmm;

namespace {

// Exponents of results that are neither tiny nor too large, as doubles have them.
constexpr unsigned kLowestDouble = 2, kHighestDouble = 2046;
constexpr unsigned kLowestSingle = 898, kHighestSingle = 1150;

}  // namespace

struct Emitter::FloatOperation {
    enum Kind { kAdd, kSubtract, kMultiply, kDivide, kFuse, kRound } kind;
    bool single;
    bool subtracts = false, negates = false;  // of kFuse

    static std::optional<FloatOperation> of(Opcode opcode) {
        switch (opcode) {
            case Opcode::Fadd:
                return FloatOperation{kAdd, false};
            case Opcode::Fadds:
                return FloatOperation{kAdd, true};
            case Opcode::Fsub:
                return FloatOperation{kSubtract, false};
            case Opcode::Fsubs:
                return FloatOperation{kSubtract, true};
            case Opcode::Fmul:
                return FloatOperation{kMultiply, false};
            case Opcode::Fmuls:
                return FloatOperation{kMultiply, true};
            case Opcode::Fdiv:
                return FloatOperation{kDivide, false};
            case Opcode::Fdivs:
                return FloatOperation{kDivide, true};
            case Opcode::Frsp:
                return FloatOperation{kRound, true};
            case Opcode::Fmadd:
                return FloatOperation{kFuse, false};
            case Opcode::Fmadds:
                return FloatOperation{kFuse, true};
            case Opcode::Fmsub:
                return FloatOperation{kFuse, false, true};
            case Opcode::Fmsubs:
                return FloatOperation{kFuse, true, true};
            case Opcode::Fnmadd:
                return FloatOperation{kFuse, false, false, true};
            case Opcode::Fnmadds:
                return FloatOperation{kFuse, true, false, true};
            case Opcode::Fnmsub:
                return FloatOperation{kFuse, false, true, true};
            case Opcode::Fnmsubs:
                return FloatOperation{kFuse, true, true, true};
            default:
                return std::nullopt;
        }
    }
    bool has_a() const { return kind != kRound; }
    bool has_b() const { return kind != kMultiply; }
    bool has_c() const { return kind == kMultiply || kind == kFuse; }
};

bool Emitter::emit_float(const GuestInstruction& in) {
    if (!(isa::describe(in.opcode).flags & isa::kFloat)) return false;
    return emit_float_load(in) || emit_float_store(in) || emit_float_move(in) ||
           emit_float_arithmetic(in) || emit_float_compare(in);
}

// ---- registers ----

Xmm Emitter::use_float(unsigned n, const Xmm& scratch) {
    if (is_float_pinned(n)) return Xmm(float_host(n));
    vmovsd(scratch, float_memory(n));
    return scratch;
}

void Emitter::put_float(unsigned n, const Xmm& value) {
    if (!is_float_pinned(n))
        vmovsd(float_memory(n), value);
    else if (float_host(n) != value.getIdx())
        vmovaps(Xmm(float_host(n)), value);
}

// ---- arithmetic ----

// Of the double in xmm0; clobbers rax. The exponent comes to the highest bits of eax.
void Emitter::check_exponent(unsigned lowest, unsigned highest, Label* slow) {
    constexpr unsigned kLowBits = 21;
    vmovq(rax, xmm0);
    shr(rax, 52 - kLowBits);
    sub(eax, lowest << kLowBits);
    cmp(eax, (highest - lowest) << kLowBits | ((1u << kLowBits) - 1));
    ja(*slow, T_NEAR);
}

// The host's result, in xmm0.
void Emitter::compute(const FloatOperation& operation, unsigned, unsigned a, unsigned b,
                      unsigned c) {
    const auto with_float = [&](unsigned n, auto use_operand) {
        if (is_float_pinned(n))
            use_operand(Xmm(float_host(n)));
        else
            use_operand(float_memory(n));
    };
    using Operand = Xbyak::Operand;
    switch (operation.kind) {
        case FloatOperation::kAdd:
            with_float(b, [&](const Operand& y) { vaddsd(xmm0, use_float(a, xmm0), y); });
            break;
        case FloatOperation::kSubtract:
            with_float(b, [&](const Operand& y) { vsubsd(xmm0, use_float(a, xmm0), y); });
            break;
        case FloatOperation::kMultiply:
            with_float(c, [&](const Operand& y) { vmulsd(xmm0, use_float(a, xmm0), y); });
            break;
        case FloatOperation::kDivide:
            with_float(b, [&](const Operand& y) { vdivsd(xmm0, use_float(a, xmm0), y); });
            break;
        case FloatOperation::kRound: {
            const Xmm x = use_float(b, xmm0);
            if (x.getIdx() != 0) vmovaps(xmm0, x);
            break;
        }
        case FloatOperation::kFuse: {
            const Xmm x = use_float(a, xmm0);
            if (x.getIdx() != 0) vmovaps(xmm0, x);
            const Xmm addend = use_float(b, xmm1);
            with_float(c, [&](const Operand& y) {
                if (operation.subtracts)
                    vfmsub132sd(xmm0, addend, y);
                else
                    vfmadd132sd(xmm0, addend, y);
            });
            break;
        }
    }
}

// The double in xmm0 is the exact result rounded once. Rounding it again to a single is as good as
// rounding the exact one, unless it is just between two singles; then it must be exact, as it is
// for sums, products and quotients of singles (53 bits are twice 24 and more).
void Emitter::round_to_single(const FloatOperation& operation, const GuestInstruction& in,
                              Label* slow) {
    Label *between = new_label(), *round = new_label();
    vmovq(rax, xmm0);
    and_(eax, 0x1fffffff);
    cmp(eax, 0x10000000);
    je(*between, T_NEAR);
    L(*round);
    vcvtsd2ss(xmm0, xmm0, xmm0);
    vcvtss2sd(xmm0, xmm0, xmm0);
    const bool always_slow = operation.kind == FloatOperation::kFuse;
    const bool always_exact = operation.kind == FloatOperation::kRound;
    const unsigned a = isa::ra(in.word);
    const unsigned y = operation.has_c() ? isa::rc_field(in.word) : isa::rb(in.word);
    later([this, between, round, slow, always_slow, always_exact, a, y] {
        L(*between);
        if (always_slow) {
            jmp(*slow, T_NEAR);
            return;
        }
        if (!always_exact) {
            vmovq(rax, use_float(a, xmm1));
            vmovq(rcx, use_float(y, xmm1));
            or_(eax, ecx);
            test(eax, 0x1fffffff);
            jnz(*slow, T_NEAR);
        }
        jmp(*round, T_NEAR);
    });
}

// Whether FR, FI and FPRF are set anew behind this instruction before anybody can look. The
// interpreter's handlers set them, too: no exception is enabled that would leave them.
bool Emitter::float_status_is_set_again() const {
    for (unsigned n = index_ + 1; n < guest_->instructions.size(); ++n) {
        const GuestInstruction& in = guest_->instructions[n];
        if (FloatOperation::of(in.opcode) && !in.refused) return true;
        if (liveness_.effects(n).may_leave) return false;
    }
    return false;
}

bool Emitter::changes_float_control(Opcode opcode) {
    return opcode == Opcode::Mtfsf || opcode == Opcode::Mtfsfi || opcode == Opcode::Mtfsb0 ||
           opcode == Opcode::Mtfsb1;
}

void Emitter::check_float_control(const GuestInstruction& in) {
    Label* changed = new_label();
    test(dword[kState + kFpscrOffset], Mode::kFloatControl);
    jump_if(guest_->mode.plain_float ? kEqual ^ 1 : kEqual, *changed);
    later([this, &in, changed, index = index_] {
        L(*changed);
        leave_behind(in, index, {});
    });
}

bool Emitter::emit_float_arithmetic(const GuestInstruction& in) {
    const std::optional<FloatOperation> found = FloatOperation::of(in.opcode);
    if (!found || isa::record(in.word) || !guest_->mode.plain_float) return false;
    const FloatOperation& operation = *found;
    const unsigned d = isa::rd(in.word), a = isa::ra(in.word), b = isa::rb(in.word),
                   c = isa::rc_field(in.word);
    Label *slow = new_label(), *done = new_label();
    Label* stopped = stopped_at(in);
    later([this, &in, slow, stopped, done] {
        L(*slow);
        call_handler(in, stopped, done);
    });
    compute(operation, d, a, b, c);
    if (operation.single) {
        round_to_single(operation, in, slow);
        check_exponent(kLowestSingle, kHighestSingle, slow);
    } else {
        check_exponent(kLowestDouble, kHighestDouble, slow);
    }
    if (operation.negates) {
        vmovq(rax, xmm0);
        btc(rax, 63);
        vmovq(xmm0, rax);
    }
    if (!float_status_is_set_again()) {
        const auto& status = shared().float_status;
        const auto keep = [&](unsigned place, unsigned n) {
            vmovsd(datum(&status.operands[place]), use_float(n, xmm1));
        };
        // Of a comparison before it nothing is left: the word behind the opcode becomes 0 too.
        mov(qword[rip + static_cast<const void*>(&status.opcode)],
            static_cast<uint32_t>(in.opcode));
        if (operation.has_a()) keep(0, a);
        if (operation.has_c()) keep(1, c);
        if (operation.has_b()) keep(2, b);
    }
    put_float(d, xmm0);
    L(*done);
    return true;
}

// fcmpu, fcmpo without a NaN
bool Emitter::emit_float_compare(const GuestInstruction& in) {
    if (in.opcode != Opcode::Fcmpu && in.opcode != Opcode::Fcmpo) return false;
    if (!guest_->mode.plain_float) return false;
    const unsigned field = isa::crfd(in.word);
    Label *slow = new_label(), *done = new_label();
    Label* stopped = stopped_at(in);
    pending_[field] = {};
    later([this, &in, slow, stopped, done] {
        L(*slow);
        call_handler(in, stopped, done);
    });
    const Xmm a = use_float(isa::ra(in.word), xmm0);
    vucomisd(a, use_float(isa::rb(in.word), xmm1));
    jp(*slow, T_NEAR);
    seta(al);
    setb(cl);
    movzx(eax, al);
    movzx(ecx, cl);
    sub(rax, rcx);
    mov(qword[kState + cr_field_offset(field)], rax);
    mov(byte[kState + cr_so_offset(field)], 0);
    add(eax, 2);
    mov(dword[rip + static_cast<const void*>(&shared().float_status.comparison)], eax);
    L(*done);
    return true;
}

// ---- moves ----

bool Emitter::emit_float_move(const GuestInstruction& in) {
    const unsigned d = isa::rd(in.word), b = isa::rb(in.word);
    if (isa::record(in.word)) return false;
    switch (in.opcode) {
        case Opcode::Fmr:
            put_float(d, use_float(b, xmm0));
            return true;
        case Opcode::Fneg:
        case Opcode::Fabs:
        case Opcode::Fnabs:
            vmovq(rax, use_float(b, xmm0));
            if (in.opcode == Opcode::Fneg) btc(rax, 63);
            if (in.opcode == Opcode::Fabs) btr(rax, 63);
            if (in.opcode == Opcode::Fnabs) bts(rax, 63);
            vmovq(xmm0, rax);
            put_float(d, xmm0);
            return true;
        default:
            return false;
    }
}

// ---- loads and stores ----

// The single in eax as the double in xmm0; clobbers the scratch registers.
void Emitter::widen_single() {
    Label *nan = new_label(), *done = new_label();
    vmovd(xmm0, eax);
    vcvtss2sd(xmm0, xmm0, xmm0);
    vucomisd(xmm0, xmm0);
    jp(*nan, T_NEAR);
    L(*done);
    later([this, nan, done] {  // kept as it is, where the host would make it quiet
        L(*nan);
        mov(ecx, eax);
        and_(ecx, 0x7fffff);
        shl(rcx, 29);
        and_(eax, 0x80000000);
        shl(rax, 32);
        or_(rax, rcx);
        mov(rcx, uint64_t{0x7ff} << 52);
        or_(rax, rcx);
        vmovq(xmm0, rax);
        jmp(*done, T_NEAR);
    });
}

// The double in rax as a single in edx; clobbers rcx. Denormalized ones go to `slow`.
void Emitter::narrow_double(Label* slow) {
    Label *small = new_label(), *done = new_label();
    mov(rcx, rax);
    shr(rcx, 52);
    and_(ecx, 0x7ff);
    mov(rdx, rax);
    shr(rdx, 32);
    cmp(ecx, 896);
    jbe(*small, T_NEAR);
    and_(edx, 0xc0000000);
    shr(rax, 29);
    and_(eax, 0x3fffffff);
    or_(edx, eax);
    L(*done);
    later([this, small, done, slow] {
        L(*small);
        cmp(ecx, 874);
        jae(*slow, T_NEAR);
        and_(edx, 0x80000000);
        jmp(*done, T_NEAR);
    });
}

bool Emitter::emit_float_load(const GuestInstruction& in) {
    Access access{3, false, false};
    switch (in.opcode) {
        case Opcode::Lfs:
            access = {2, false, false};
            break;
        case Opcode::Lfsu:
            access = {2, false, true};
            break;
        case Opcode::Lfsx:
            access = {2, true, false};
            break;
        case Opcode::Lfsux:
            access = {2, true, true};
            break;
        case Opcode::Lfd:
            break;
        case Opcode::Lfdu:
            access.update = true;
            break;
        case Opcode::Lfdx:
            access.indexed = true;
            break;
        case Opcode::Lfdux:
            access.indexed = access.update = true;
            break;
        default:
            return false;
    }
    const bool is_single = access.size_log2 == 2;
    Label *slow = new_label(), *loaded = new_label();
    Label* stopped = stopped_at(in);
    const Xbyak::RegExp where = place(in, access, kReadPages, slow);
    const unsigned site = access_site();
    if (is_single)
        movbe(eax, dword[where]);
    else
        movbe(rax, qword[where]);
    L(*loaded);
    if (is_single)
        widen_single();
    else
        vmovq(xmm0, rax);
    put_float(isa::rd(in.word), xmm0);
    update_base(in, access);
    later([this, &in, slow, loaded, stopped, access, site] {
        slow_road(in, access, slow, site);
        call(slow_load(access.size_log2));
        test(edx, edx);
        jz(*loaded);
        jmp(*stopped, T_NEAR);
    });
    return true;
}

bool Emitter::emit_float_store(const GuestInstruction& in) {
    Access access{3, false, false};
    switch (in.opcode) {
        case Opcode::Stfs:
            access = {2, false, false};
            break;
        case Opcode::Stfsu:
            access = {2, false, true};
            break;
        case Opcode::Stfsx:
            access = {2, true, false};
            break;
        case Opcode::Stfsux:
            access = {2, true, true};
            break;
        case Opcode::Stfiwx:
            access = {2, true, false};
            break;
        case Opcode::Stfd:
            break;
        case Opcode::Stfdu:
            access.update = true;
            break;
        case Opcode::Stfdx:
            access.indexed = true;
            break;
        case Opcode::Stfdux:
            access.indexed = access.update = true;
            break;
        default:
            return false;
    }
    const bool is_word = access.size_log2 == 2;
    Label *slow = new_label(), *stored = new_label(), *denormal = new_label();
    Label* stopped = stopped_at(in);
    if (tells_accesses()) {  // here, as a denormal goes another way
        address(in, access);
        tell_access();
    }
    // The value to xmm1, as the address takes all scratch registers.
    vmovq(rdx, use_float(isa::rd(in.word), xmm0));
    if (is_word && in.opcode != Opcode::Stfiwx) {
        mov(rax, rdx);
        narrow_double(denormal);
    }
    Xbyak::RegExp where;
    if (in_window()) {
        where = in_window(in, access);
    } else {
        vmovq(xmm1, rdx);
        address(in, access);
        translate(access.size_log2, kWritePages, slow);
        vmovq(rdx, xmm1);
        where = rcx + rax;
    }
    const unsigned site = access_site();
    if (is_word)
        movbe(dword[where], edx);
    else
        movbe(qword[where], rdx);
    L(*stored);
    update_base(in, access);
    Label* done = new_label();
    L(*done);
    later([this, &in, slow, stored, stopped, denormal, done, access, site] {
        slow_road(in, access, slow, site);
        if (!in_window()) vmovq(rdx, xmm1);
        call(slow_store(access.size_log2));
        test(edx, edx);
        jz(*stored);
        stop_store(in, access, stopped);
        L(*denormal);
        call_handler(in, stopped, done);
    });
    return true;
}

}  // namespace perfvisor::engine::translator::x64
