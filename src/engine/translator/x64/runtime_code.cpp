// SPDX-License-Identifier: GPL-2.0-or-later
// The code that all blocks share. Within blocks rsp is 8 below a multiple of 16, so that it is
// right for a C++ function when a block has called one of these and these call it.
#include "engine/translator/x64/runtime_code.h"

#include "engine/translator/x64/code_buffer.h"
#include "engine/translator/x64/registers.h"
#include "engine/translator/x64/shared_data.h"

namespace perfvisor::engine::translator::x64 {
namespace {

using namespace Xbyak::util;

class Generator : public Xbyak::CodeGenerator {
  public:
    Generator(CodeBuffer& buffer, core::CpuState& state, const Callbacks& callbacks)
        : CodeGenerator(buffer.code_bytes(), buffer.code()),
          buffer_(buffer),
          state_(state),
          callbacks_(callbacks) {
        setDefaultJmpNEAR(true);
    }

    RuntimeCode emit() {
        RuntimeCode code{};
        Xbyak::Label leave, leave_with_floats;
        emit_miss(leave, leave_with_floats);
        const uint8_t* enter = emit_enter();
        using Enter = uint64_t (*)(const uint8_t*);
        code.enter =
            reinterpret_cast<Enter>(reinterpret_cast<uintptr_t>(buffer_.executable(enter)));
        code.condition_word = emit_condition_word();
        for (unsigned floats = 0; floats < 2; ++floats) {
            floats_ = floats != 0;
            RuntimeCode::Calls& calls = code.calls[floats];
            emit_leave(floats_ ? leave_with_floats : leave);
            calls.leave_site = emit_leave_site(floats_ ? leave_with_floats : leave);
            code.link_edge[floats] = emit_link_edge(floats_ ? leave_with_floats : leave);
            for (unsigned n = 0; n < 4; ++n) {
                calls.load[n] = emit_load(n, n != 0);
                calls.store[n] = emit_store(n, n != 0);
                calls.load_page[n] = emit_load(n, false);
                calls.store_page[n] = emit_store(n, false);
            }
            calls.load_reserve = emit_access(callbacks_.load_reserve);
            calls.store_conditional = emit_access(callbacks_.store_conditional);
            calls.execute = emit_execute(callbacks_.execute);
            calls.execute_zero = emit_execute(callbacks_.execute_zero);
            calls.enable_interrupts = emit_enable_interrupts();
            calls.execute_told = emit_execute(callbacks_.execute_told);
            calls.ask_access = emit_ask(callbacks_.ask_access);
            calls.ask_branch = emit_ask(callbacks_.ask_branch);
            calls.end_segment = emit_ask(callbacks_.end_segment);
        }
        code.dispatch_edge = emit_dispatch_edge();
        code.dispatch = emit_dispatch();
        for (unsigned floats = 0; floats < 2; ++floats) {
            floats_ = floats != 0;
            RuntimeCode::Calls& calls = code.calls[floats];
            calls.execute_last = emit_execute_last(callbacks_.execute_last, code, leave);
            calls.execute_last_told = emit_execute_last(callbacks_.execute_last_told, code, leave);
        }
        align(64);
        code.end = getCurr();
        return code;
    }

  private:
    const SharedData* shared() const {
        return reinterpret_cast<const SharedData*>(buffer_.beside_code(buffer_.data()));
    }
    Xbyak::Address counts() { return ptr[rip + static_cast<const void*>(&shared()->counts)]; }

    void save_guest() {
        for (const Pinned& pin : kPinned)
            mov(qword[kState + gpr_offset(pin.guest)], Xbyak::Reg64(pin.host));
        mov(qword[kState + kBudgetOffset], kBudget);
        movdqa(counts(), kCounts);
        if (floats_) save_floats();
    }
    void save_floats() {
        for (unsigned n = 0; n < kPinnedFloats; ++n)
            movq(qword[kState + fpr_offset(n)], Xbyak::Xmm(float_host(n)));
        stmxcsr(ptr[rip + static_cast<const void*>(&shared()->float_status.mxcsr)]);
    }
    void load_floats() {
        for (unsigned n = 0; n < kPinnedFloats; ++n)
            movq(Xbyak::Xmm(float_host(n)), qword[kState + fpr_offset(n)]);
        ldmxcsr(ptr[rip + static_cast<const void*>(&shared()->float_status.mxcsr)]);
    }
    void load_guest() {
        load_general();
        if (floats_) load_floats();
    }
    void load_general() {
        for (const Pinned& pin : kPinned)
            mov(Xbyak::Reg64(pin.host), qword[kState + gpr_offset(pin.guest)]);
        mov(kBudget, qword[kState + kBudgetOffset]);
        movdqa(kCounts, counts());
    }
    // What a C++ function does not keep, whatever guest registers a trace has there.
    void save_scratch() {
        for (const auto& reg : {rsi, rdi, r8, r9, r10, r11})
            push(reg);
        movdqa(counts(), kCounts);
        if (floats_) save_floats();
    }
    void load_scratch() {
        if (floats_) load_floats();
        movdqa(kCounts, counts());
        for (const auto& reg : {r11, r10, r9, r8, rdi, rsi})
            pop(reg);
    }
    template <typename F>
    void call_function(F* function) {
        mov(rdi, reinterpret_cast<uintptr_t>(callbacks_.engine));
        mov(rax, reinterpret_cast<uintptr_t>(function));
        call(rax);
    }

    // A load of what is at eax, with its status in edx, and back.
    void call_access(LoadResult (*function)(void*, uint64_t)) {
        save_scratch();
        mov(esi, eax);
        call_function(function);
        load_scratch();
        ret();
    }
    // A store there of the value in rdx.
    void call_access(uint64_t (*function)(void*, uint64_t, uint64_t)) {
        save_scratch();
        mov(esi, eax);
        call_function(function);
        mov(edx, eax);
        load_scratch();
        ret();
    }

    const uint8_t* emit_enter() {
        const uint8_t* start = getCurr();
        for (const auto& saved : {rbx, rbp, r12, r13, r14, r15})
            push(saved);
        mov(rax, rdi);
        mov(kState, reinterpret_cast<uintptr_t>(&state_) + kStateBias);
        load_general();
        Xbyak::Label without;
        test(dword[kState + kMsrOffset], core::msr::kFP);
        jz(without);
        load_floats();
        L(without);
        jmp(rax);
        return start;
    }
    // The first of all code: where no block is known for eax.
    void emit_miss(Xbyak::Label& leave, Xbyak::Label& leave_with_floats) {
        mov(qword[kState + kPcOffset], rax);
        mov(eax, static_cast<uint32_t>(Exit::Lookup));
        test(dword[kState + kMsrOffset], core::msr::kFP);
        jz(leave);
        jmp(leave_with_floats);
    }
    // rax: the exit
    void emit_leave(Xbyak::Label& label) {
        align(16);
        L(label);
        save_guest();
        for (const auto& saved : {r15, r14, r13, r12, rbp, rbx})
            pop(saved);
        ret();
    }
    const uint8_t* emit_leave_site(Xbyak::Label& leave) {
        align(16);
        const uint8_t* start = getCurr();
        pop(rax);
        mov(ptr[rip + static_cast<const void*>(&shared()->status)], edx);
        lea(rcx, ptr[rip + static_cast<const void*>(buffer_.code())]);
        sub(rax, rcx);
        shl(rax, kExitBits);
        or_(rax, static_cast<int>(Exit::Site));
        jmp(leave);
        return start;
    }
    const uint8_t* emit_link_edge(Xbyak::Label& leave) {
        align(16);
        const uint8_t* start = getCurr();
        pop(rcx);
        mov(eax, dword[rcx]);
        mov(qword[kState + kPcOffset], rax);
        mov(eax, dword[rcx + 4]);
        jmp(leave);
        return start;
    }
    const uint8_t* emit_dispatch_edge() {
        align(16);
        const uint8_t* start = getCurr();
        pop(rcx);
        mov(eax, dword[rcx]);
        emit_look_up(*this, buffer_);
        return start;
    }
    const uint8_t* emit_dispatch() {
        align(16);
        const uint8_t* start = getCurr();
        emit_look_up(*this, buffer_);
        return start;
    }
    // Gives rcx + rax as the host address of what is at eax, misaligned but within a page.
    void translate_misaligned(unsigned size_log2, int pages, Xbyak::Label& otherwise) {
        mov(ecx, eax);
        and_(ecx, static_cast<int>(core::kPageSize - 1));
        cmp(ecx, static_cast<int>(core::kPageSize - (1u << size_log2)));
        ja(otherwise);
        mov(ecx, eax);
        shr(ecx, 12);
        putSeg(gs);
        mov(rcx, qword[rcx * 8 + pages]);
        test(rcx, rcx);
        jz(otherwise);
    }
    // `looks`: whether in the page map first, for misaligned accesses.
    const uint8_t* emit_load(unsigned size_log2, bool looks) {
        align(16);
        const uint8_t* start = getCurr();
        Xbyak::Label otherwise;
        if (looks) {
            translate_misaligned(size_log2, kReadPages, otherwise);
            if (size_log2 == 1) {
                movzx(eax, word[rcx + rax]);
                bswap(eax);
                shr(eax, 16);
            } else if (size_log2 == 2) {
                movbe(eax, dword[rcx + rax]);
            } else {
                movbe(rax, qword[rcx + rax]);
            }
            xor_(edx, edx);
            ret();
        }
        L(otherwise);
        call_access(callbacks_.load[size_log2]);
        return start;
    }
    const uint8_t* emit_store(unsigned size_log2, bool looks) {
        align(16);
        const uint8_t* start = getCurr();
        Xbyak::Label otherwise;
        if (looks) {
            translate_misaligned(size_log2, kWritePages, otherwise);
            if (size_log2 == 1)
                movbe(word[rcx + rax], dx);
            else if (size_log2 == 2)
                movbe(dword[rcx + rax], edx);
            else
                movbe(qword[rcx + rax], rdx);
            xor_(edx, edx);
            ret();
        }
        L(otherwise);
        call_access(callbacks_.store[size_log2]);
        return start;
    }
    template <typename F>
    const uint8_t* emit_access(F* function) {
        align(16);
        const uint8_t* start = getCurr();
        call_access(function);
        return start;
    }
    // The timing model computes nothing in floating point: MXCSR stays.
    template <typename F>
    const uint8_t* emit_ask(F* function) {
        align(16);
        const uint8_t* start = getCurr();
        const auto kept = {rax, rsi, rdi, r8, r9, r10, r11};
        constexpr int kAlignment = 8;
        for (const auto& reg : kept)
            push(reg);
        sub(rsp, kAlignment);
        mov(qword[kState + kBudgetOffset], kBudget);
        movdqa(counts(), kCounts);
        for (unsigned n = 0; floats_ && n < kPinnedFloats; ++n)
            movq(qword[kState + fpr_offset(n)], Xbyak::Xmm(float_host(n)));
        mov(rsi, rdx);
        mov(edx, eax);
        call_function(function);
        mov(edx, eax);
        for (unsigned n = 0; floats_ && n < kPinnedFloats; ++n)
            movq(Xbyak::Xmm(float_host(n)), qword[kState + fpr_offset(n)]);
        movdqa(kCounts, counts());
        add(rsp, kAlignment);
        for (auto reg = kept.end(); reg != kept.begin();)
            pop(*--reg);
        ret();
        return start;
    }
    const uint8_t* emit_enable_interrupts() {
        align(16);
        const uint8_t* start = getCurr();
        save_scratch();
        call_function(callbacks_.enable_interrupts);
        mov(edx, eax);
        load_scratch();
        ret();
        return start;
    }
    const uint8_t* emit_condition_word() {
        align(16);
        const uint8_t* start = getCurr();
        xor_(eax, eax);
        for (unsigned n = 0; n < 8; ++n) {
            mov(rcx, qword[kState + cr_field_offset(n)]);
            bt(rcx, 62);
            adc(eax, eax);  // LT
            xor_(edx, edx);
            test(rcx, rcx);
            setg(dl);
            lea(eax, ptr[rdx + rax * 2]);  // GT
            cmp(ecx, 1);
            adc(eax, eax);  // EQ
            movzx(edx, byte[kState + cr_so_offset(n)]);
            lea(eax, ptr[rdx + rax * 2]);  // SO
        }
        ret();
        return start;
    }
    template <typename F>
    const uint8_t* emit_execute(F* function) {
        align(16);
        const uint8_t* start = getCurr();
        save_guest();
        mov(rsi, rax);
        call_function(function);
        mov(edx, eax);
        load_guest();
        ret();
        return start;
    }
    template <typename F>
    const uint8_t* emit_execute_last(F* function, const RuntimeCode& code, Xbyak::Label& leave) {
        align(16);
        const uint8_t* start = getCurr();
        // The instruction may have changed MSR[FP].
        Xbyak::Label floats, leave_now;
        save_guest();
        mov(rsi, rax);
        sub(rsp, 8);
        call_function(function);
        add(rsp, 8);
        mov(edx, eax);
        load_general();
        test(edx, edx);
        jnz(leave_now);
        mov(eax, dword[kState + kPcOffset]);
        test(dword[kState + kMsrOffset], core::msr::kFP);
        jnz(floats);
        jmp(code.dispatch);
        L(floats);
        load_floats();
        jmp(code.dispatch);
        L(leave_now);
        mov(eax, static_cast<uint32_t>(Exit::Fault));
        mov(ecx, static_cast<uint32_t>(Exit::Return));
        cmp(edx, static_cast<uint32_t>(kStopped));
        cmovne(eax, ecx);
        jmp(leave);
        return start;
    }

    CodeBuffer& buffer_;
    core::CpuState& state_;
    const Callbacks& callbacks_;
    bool floats_ = false;  // for blocks with floating-point registers in host registers
};

}  // namespace

void emit_look_up(Xbyak::CodeGenerator& to, const CodeBuffer& buffer) {
    const auto* shared = reinterpret_cast<const SharedData*>(buffer.beside_code(buffer.data()));
    to.mov(ecx, eax);
    to.shr(ecx, 12);
    to.mov(rdx, ptr[rip + static_cast<const void*>(&shared->fetches)]);
    to.mov(edx, dword[rdx + rcx * 4]);
    to.mov(ecx, eax);
    to.and_(ecx, 0xffc);
    to.add(edx, ecx);
    to.lea(rcx, ptr[rip + static_cast<const void*>(buffer.code())]);
    to.mov(edx, dword[rcx + rdx - static_cast<int>(kDataBytes - kEntriesOffset)]);
    to.add(rcx, rdx);
    to.jmp(rcx);
}

RuntimeCode emit_runtime(CodeBuffer& buffer, core::CpuState& state, const Callbacks& callbacks) {
    return Generator(buffer, state, callbacks).emit();
}

}  // namespace perfvisor::engine::translator::x64
