// SPDX-License-Identifier: GPL-2.0-or-later
// The code that all blocks share. Within blocks rsp is 8 below a multiple of 16, so that it is
// right for a C++ function when a block has called one of these and these call it.
#include "engine/translator/x64/runtime_code.h"

#include <bit>

#include "core/core.h"
#include "core/timing/cache.h"
#include "core/timing/filters.h"
#include "core/timing/pace.h"
#include "engine/translator/model_block.h"
#include "engine/translator/x64/code_buffer.h"
#include "engine/translator/x64/registers.h"
#include "engine/translator/x64/shared_data.h"

namespace perfvisor::engine::translator::x64 {
namespace {

using namespace Xbyak::util;

class Generator : public Xbyak::CodeGenerator {
  public:
    Generator(CodeBuffer& buffer, core::Core& core, const Callbacks& callbacks)
        : CodeGenerator(buffer.code_bytes(), buffer.code()),
          buffer_(buffer),
          core_(core),
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
            calls.ask_access = emit_ask_access();
            calls.ask_branch[0] = emit_ask_branch(false, false);
            calls.ask_branch[1] = emit_ask_branch(true, false);
            calls.ask_branch[2] = emit_ask_branch(true, true);
            calls.end_segment = emit_end_segment();
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
        mov(kState, reinterpret_cast<uintptr_t>(&core_.state) + kStateBias);
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
    // What using a line changes that the L1 cache and its MMU have (HitFilter); to `ask` where they
    // may not have it. Its address is in eax and stays there. Gives the number of its set in rsi,
    // the set's address in rdi, and eight times its way in rcx; clobbers xmm0 and xmm1.
    void emit_hit(size_t filter, const core::timing::Cache& cache, Xbyak::Label& ask) {
        using core::timing::Cache;
        using core::timing::HitFilter;
        using core::timing::kL1LineBytes;
        using core::timing::kL1Sets;
        const auto offset = [filter](size_t member) { return filter_offset(filter + member); };
        static_assert(sizeof(HitFilter::Page) == 8 && HitFilter::kPageBytes == 4096);
        static_assert(Cache::kWays == 8 && core::timing::kL1Ways == 8 && sizeof(Cache::Set) == 48);
        mov(esi, eax);
        shr(esi, 12);
        and_(esi, HitFilter::kPages - 1);
        mov(ecx, eax);
        and_(ecx, -static_cast<int>(HitFilter::kPageBytes));
        cmp(dword[kState + rsi * 8 + offset(offsetof(HitFilter, pages))], ecx);
        jne(ask);
        const size_t entry =
            offsetof(HitFilter, pages) + offsetof(HitFilter::Page, entry_and_number);
        mov(edi, dword[kState + rsi * 8 + offset(entry)]);
        mov(ecx, edi);
        and_(ecx, HitFilter::kNumbers - 1);
        mov(esi, eax);
        and_(esi, -static_cast<int>(kL1LineBytes));
        or_(ecx, esi);
        vmovd(xmm0, ecx);
        vpshufd(xmm0, xmm0, 0);
        mov(esi, eax);
        shr(esi, 6);
        and_(esi, kL1Sets - 1);
        mov(ecx, esi);
        shl(ecx, 5);
        vpcmpeqd(xmm1, xmm0, ptr[kState + rcx + offset(offsetof(HitFilter, ways))]);
        vpcmpeqd(xmm0, xmm0, ptr[kState + rcx + offset(offsetof(HitFilter, ways) + 16)]);
        vpackssdw(xmm1, xmm1, xmm0);
        vpmovmskb(ecx, xmm1);
        tzcnt(ecx, ecx);
        jc(ask);
        // The MMU's entry, if the line is not the last used of its set.
        Xbyak::Label newest;
        push(rdx);
        push(rsi);
        lea(edx, ptr[rsi + rsi * 2]);
        shl(edx, 4);
        mov(rsi, reinterpret_cast<uintptr_t>(cache.sets()));
        lea(rdx, ptr[rdx + rsi]);
        mov(esi, dword[rdx + rcx * 2 + offsetof(Cache::Set, lines)]);
        cmp(dword[rdx + offsetof(Cache::Set, newest)], esi);
        je(newest);
        mov(dword[rdx + offsetof(Cache::Set, newest)], esi);
        shr(edi, std::countr_zero(HitFilter::kNumbers));
        mov(rsi, qword[kState + offset(offsetof(HitFilter, time))]);
        inc(rsi);
        mov(qword[kState + offset(offsetof(HitFilter, time))], rsi);
        mov(qword[kState + rdi * 8 + offset(offsetof(HitFilter, used))], rsi);
        shl(ecx, 2);  // it was twice the way
        movzx(edi, byte[rdx + offsetof(Cache::Set, tree)]);
        mov(rsi, std::bit_cast<uint64_t>(Cache::kSet));
        shrx(rsi, rsi, rcx);
        or_(edi, esi);
        mov(rsi, ~std::bit_cast<uint64_t>(Cache::kClear));
        shrx(rsi, rsi, rcx);
        and_(edi, esi);
        mov(byte[rdx + offsetof(Cache::Set, tree)], dil);
        shr(ecx, 2);
        L(newest);
        shl(ecx, 2);
        mov(rdi, rdx);
        pop(rsi);
        pop(rdx);
    }
    // The line at eax as the last used of its set, whose number is in rsi; gives it in ecx.
    void emit_remember(size_t line_filter) {
        mov(ecx, eax);
        and_(ecx, -static_cast<int>(core::timing::kL1LineBytes));
        mov(dword[kState + rsi * 4 + filter_offset(line_filter)], ecx);
    }
    // Of what knows the answer to most questions itself: the registers that it uses and keeps.
    void enter_asked() {
        for (const auto& reg : {rax, rsi, rdi})
            push(reg);
    }
    // Back, or from `ask` on to the code that asks the model.
    void leave_asked(Xbyak::Label& ask, const uint8_t* asks) {
        const auto restore = [this] {
            for (const auto& reg : {rdi, rsi, rax})
                pop(reg);
        };
        restore();
        ret();
        L(ask);
        restore();
        jmp(asks);
    }
    // Timing::native_access where all that changes is the order of use.
    const uint8_t* emit_ask_access() {
        using core::timing::Cache;
        using core::timing::Filters;
        using core::timing::MemoryUse;
        const uint8_t* slow = emit_ask(callbacks_.ask_access);
        align(16);
        const uint8_t* start = getCurr();
        Xbyak::Label ask, fetched, fetches, done, load;
        enter_asked();
        cmp(byte[rdx + offsetof(AskedAccess, begins_line)], 0);
        je(fetched);
        // The first of a segment may be in a group that was fetched before.
        cmp(byte[rdx + offsetof(AskedAccess, is_first)], 0);
        je(fetches);
        test(dword[kState + kPaceOffset], 1);
        jnz(fetches);
        test(dword[rdx + offsetof(AskedAccess, pc)], 15);
        jnz(fetched);
        L(fetches);
        mov(eax, dword[rdx + offsetof(AskedAccess, pc)]);
        emit_hit(offsetof(Filters, fetch_hits), core_.timing().l1_instructions(), ask);
        emit_remember(offsetof(Filters, fetches));
        mov(rax, qword[rsp + 16]);
        L(fetched);
        cmp(byte[rdx + offsetof(AskedAccess, use)], static_cast<int>(MemoryUse::None));
        je(done);
        Xbyak::Label usual;
        cmp(byte[rdx + offsetof(AskedAccess, use)], static_cast<int>(MemoryUse::Store));
        jbe(usual);
        cmp(byte[rdx + offsetof(AskedAccess, use)], static_cast<int>(MemoryUse::Allocate));
        jne(ask);
        L(usual);
        movzx(ecx, byte[rdx + offsetof(AskedAccess, last_byte)]);
        mov(edi, eax);
        and_(edi, 7);
        add(edi, ecx);
        cmp(edi, 7);
        ja(ask);  // it takes two accesses
        // It will happen, where the page map has its page.
        static_assert(kWritePages - kReadPages == 1 << 26);
        xor_(edi, edi);
        cmp(byte[rdx + offsetof(AskedAccess, use)], static_cast<int>(MemoryUse::Load));
        setne(dil);
        shl(edi, 26);
        mov(ecx, eax);
        shr(ecx, 12);
        putSeg(gs);
        cmp(qword[rdi + rcx * 8 + kReadPages], 0);
        je(ask);
        emit_hit(offsetof(Filters, data_hits), core_.timing().l1_data(), ask);
        cmp(byte[rdx + offsetof(AskedAccess, use)], static_cast<int>(MemoryUse::Load));
        je(load);
        shr(ecx, 3);
        mov(edx, 1);
        shl(edx, cl);
        or_(byte[rdi + offsetof(Cache::Set, dirty)], dl);
        emit_remember(offsetof(Filters, loads));
        mov(dword[kState + rsi * 4 + filter_offset(offsetof(Filters, stores))], ecx);
        jmp(done);
        L(load);
        emit_remember(offsetof(Filters, loads));
        xor_(ecx, core::timing::kL1LineBytes);
        mov(dword[kState + rsi * 4 + filter_offset(offsetof(Filters, stores))], ecx);
        L(done);
        xor_(edx, edx);
        leave_asked(ask, slow);
        return start;
    }
    // BranchPredictor::make_last for the branch at ecx, in the set with the number in rsi; to `ask`
    // if there is no entry of it. Gives its weakness in edi; clobbers xmm0.
    void emit_make_last(Xbyak::Label& ask) {
        using core::timing::BranchPredictor;
        using core::timing::Filters;
        using Set = BranchPredictor::Set;
        static_assert(sizeof(Set) == 48 && BranchPredictor::kWays == 4);
        constexpr size_t kEntry = offsetof(Filters, last_branches);
        constexpr size_t kTarget = kEntry + offsetof(Filters::Branch, target);
        const auto tag = dword[kState + rsi * 8 + filter_offset(kEntry)];
        const auto target = dword[kState + rsi * 8 + filter_offset(kTarget)];
        lea(edi, ptr[rsi + rsi * 2]);
        shl(edi, 4);
        push(rax);
        push(rdx);
        Xbyak::Label found, other, leave;
        mov(rax, reinterpret_cast<uintptr_t>(core_.timing().branch_sets()));
        add(rdi, rax);
        vmovd(xmm0, ecx);
        vpshufd(xmm0, xmm0, 0);
        vpcmpeqd(xmm0, xmm0, ptr[rdi + offsetof(Set, pc)]);
        vmovmskps(eax, xmm0);
        tzcnt(eax, eax);
        jnc(found);
        pop(rdx);
        pop(rax);
        jmp(ask);
        L(found);
        push(rcx);
        // The one that was the last: not taken, it changes something now.
        movzx(edx, byte[rdi + offsetof(Set, last)]);
        mov(byte[rdi + offsetof(Set, last)], al);
        mov(ecx, tag);
        and_(ecx, static_cast<int>(Filters::Branch::kStrongest));
        mov(byte[rdi + rdx + offsetof(Set, weakness)], cl);
        mov(ecx, target);
        mov(dword[rdi + rdx * 4 + offsetof(Set, target)], ecx);
        mov(ecx, dword[rdi + rdx * 4 + offsetof(Set, pc)]);
        forget_not_taken(ecx, edx);
        mov(ecx, dword[rdi + rax * 4 + offsetof(Set, target)]);
        mov(target, ecx);
        // Those that were used since it was grow older (BranchPredictor::make_last).
        constexpr uint32_t kOnes = 0x01010101, kTops = 0x80808080;
        movzx(ecx, byte[rdi + rax + offsetof(Set, age)]);
        imul(ecx, ecx, static_cast<int>(kOnes));
        mov(edx, dword[rdi + offsetof(Set, age)]);
        or_(edx, static_cast<int>(kTops));
        sub(edx, ecx);
        not_(edx);
        and_(edx, static_cast<int>(kTops));
        shr(edx, 7);
        add(dword[rdi + offsetof(Set, age)], edx);
        mov(byte[rdi + rax + offsetof(Set, age)], 0);
        movzx(edi, byte[rdi + rax + offsetof(Set, weakness)]);
        pop(rcx);
        pop(rdx);
        pop(rax);
    }
    // Filters::not_taken_changes; clobbers `scratch`.
    void forget_not_taken(const Xbyak::Reg32& pc, const Xbyak::Reg32& scratch) {
        using core::timing::Filters;
        Xbyak::Label leave;
        const auto entry =
            dword[kState + scratch.cvt64() * 4 + filter_offset(offsetof(Filters, not_taken))];
        mov(scratch, pc);
        shr(scratch, 2);
        and_(scratch, Filters::kNotTaken - 1);
        cmp(entry, pc);
        jne(leave);
        mov(entry, Filters::kNone);
        L(leave);
    }
    // What the predictor does with a branch that it has an entry of (BranchPredictor::branch),
    // without asking it.
    const uint8_t* emit_ask_branch(bool taken, bool indirect) {
        using core::timing::Filters;
        using core::timing::Pace;
        constexpr auto kStrongest = static_cast<int>(Filters::Branch::kStrongest);
        const uint8_t* slow = emit_ask(callbacks_.ask_branch);
        align(16);
        const uint8_t* start = getCurr();
        Xbyak::Label ask, there, leave;
        const auto& pc = ecx;
        const auto& set = rsi;
        const auto& weakness = edi;
        enter_asked();
        mov(pc, dword[rdx + offsetof(AskedBranch, pc)]);
        if (taken && !indirect) mov(eax, dword[rdx + offsetof(AskedBranch, target)]);
        mov(set.cvt32(), pc);
        shr(set.cvt32(), 2);
        and_(set.cvt32(), Filters::kBranchSets - 1);
        constexpr size_t kEntry = offsetof(Filters, last_branches);
        constexpr size_t kTarget = kEntry + offsetof(Filters::Branch, target);
        static_assert(sizeof(Filters::Branch) == 8 && offsetof(Filters::Branch, tag) == 0);
        const auto tag = dword[kState + set * 8 + filter_offset(kEntry)];
        const auto target = dword[kState + set * 8 + filter_offset(kTarget)];
        const auto stalls = qword[kState + total_offset(core::Total::StallCycles)];
        mov(weakness, tag);
        sub(weakness, pc);
        cmp(weakness, kStrongest);
        jbe(there);
        emit_make_last(ask);
        L(there);
        if (taken) {
            Xbyak::Label changes;
            cmp(weakness, kStrongest);
            jne(changes);
            forget_not_taken(pc, edx);
            L(changes);
            cmp(weakness, 2);
            setae(dl);  // predicted as not taken
            cmp(target, eax);
            mov(target, eax);
            setne(al);
            or_(dl, al);
            movzx(edx, dl);
            neg(edx);
            sub(weakness, 1);
            adc(weakness, 0);
        } else {
            cmp(weakness, 2);
            sbb(edx, edx);  // predicted as taken
            cmp(weakness, kStrongest);
            adc(weakness, 0);
        }
        and_(edx, static_cast<int>(Pace::kMispredicted));
        add(stalls, rdx);
        lea(edx, ptr[rdi + rcx]);
        mov(tag, edx);
        if (!taken) {
            cmp(weakness, kStrongest);
            jne(leave);
            mov(edx, pc);
            shr(edx, 2);
            and_(edx, Filters::kNotTaken - 1);
            mov(dword[kState + rdx * 4 + filter_offset(offsetof(Filters, not_taken))], pc);
        }
        L(leave);
        leave_asked(ask, slow);
        return start;
    }
    // Timing::native_end where the way is one of SegmentEnd::more_known.
    const uint8_t* emit_end_segment() {
        using core::timing::SegmentEnd;
        using Known = SegmentEnd::Known;
        const uint8_t* slow = emit_ask(callbacks_.end_segment);
        align(16);
        const uint8_t* start = getCurr();
        Xbyak::Label ask;
        static_assert(sizeof(Known) == 16 && SegmentEnd::kMoreKnown == 8);
        push(rax);
        mov(ecx, dword[kState + kPaceOffset]);
        mov(eax, ecx);
        shr(eax, 3);
        xor_(eax, ecx);
        and_(eax, SegmentEnd::kMoreKnown - 1);
        shl(eax, 4);
        const auto more = offsetof(SegmentEnd, more_known);
        cmp(dword[rdx + rax + (more + offsetof(Known, from))], ecx);
        jne(ask);
        movups(xmm0, ptr[rdx + rax + more]);
        movups(ptr[rdx + offsetof(SegmentEnd, known)], xmm0);
        mov(ecx, dword[rdx + rax + (more + offsetof(Known, to))]);
        mov(dword[kState + kPaceOffset], ecx);
        mov(rax, qword[rdx + rax + (more + offsetof(Known, stalls))]);
        add(qword[kState + total_offset(core::Total::StallCycles)], rax);
        pop(rax);
        ret();
        L(ask);
        pop(rax);
        jmp(slow);
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
    core::Core& core_;
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

RuntimeCode emit_runtime(CodeBuffer& buffer, core::Core& core, const Callbacks& callbacks) {
    return Generator(buffer, core, callbacks).emit();
}

}  // namespace perfvisor::engine::translator::x64
