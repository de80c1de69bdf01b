// SPDX-License-Identifier: GPL-2.0-or-later
// System linkage, traps, special registers, TLB management, messages and waiting (Power ISA 2.06
// Book III-E; EREF chapters 3, 5, 6 and 7).
#include <atomic>

#include "engine/interpreter/op.h"

namespace perfvisor::engine::interpreter {
namespace {

using core::Core;
using core::SprResult;
using isa::Opcode;
using Word = uint32_t;

// What a move to or from a special register or PMR met, as the end of the handler.
const Op* after_move(Core& core, const Op* op, SprResult result) {
    if (result == SprResult::Ok) [[likely]]
        return next(core, op);
    core.raise_program(result == SprResult::Privileged ? core::esr::kPPR : core::esr::kPIL);
    return op;
}

// A register read does not see the instruction that reads it. The instruction is the last of its
// block, whose totals were added on entry.
class WithoutThisInstruction {
  public:
    explicit WithoutThisInstruction(Core& core) : core_(core) {
        --core_.state.totals[core::Total::Instructions];
    }
    ~WithoutThisInstruction() { ++core_.state.totals[core::Total::Instructions]; }
    WithoutThisInstruction(const WithoutThisInstruction&) = delete;
    WithoutThisInstruction& operator=(const WithoutThisInstruction&) = delete;

  private:
    Core& core_;
};

// ---- system linkage ----

// sc: completed and counted; SRR0 is the next instruction
template <typename W>
const Op* sc(Core& core, const Op* op) {
    core::Fault call{core::Interrupt::SystemCall};
    call.sets_esr = false;
    core.raise(call);
    core.deliver_fault(static_cast<W>(core.state.pc + 4u * op->c));
    return nullptr;
}

// A floating-point exception already enabled in the FPSCR comes true when MSR[FE0] or [FE1]
// becomes 1: before the next instruction, with ESR[PIE] (Power ISA 2.06 Book III-E, 7.6.8).
void check_fp_exception(Core& core, uint32_t old_msr, uint64_t next_pc) {
    constexpr uint32_t kEnables = core::msr::kFE0 | core::msr::kFE1;
    constexpr uint32_t kFex = 0x40000000;
    if ((old_msr & kEnables) || !(core.state.msr & kEnables) || !(core.state.fpscr & kFex)) return;
    core.raise_program(core::esr::kFP | core::esr::kPIE);
    core.deliver_fault(next_pc);
}

// rfi, rfci, rfdi, rfmci
template <core::InterruptClass kClass>
const Op* return_from(Core& core, const Op*) {
    const uint32_t old_msr = core.state.msr;
    core.return_from_interrupt(kClass);
    check_fp_exception(core, old_msr, core.state.pc);
    return nullptr;
}

template <typename W>
const Op* change_msr(Core& core, const Op* op, uint32_t value) {
    const uint32_t old_msr = core.state.msr;
    advance<W>(core, op);
    core.set_msr(value);
    check_fp_exception(core, old_msr, core.state.pc);
    return nullptr;
}

// mtmsr rS
template <typename W>
const Op* mtmsr(Core& core, const Op* op) {
    return change_msr<W>(core, op, get<uint32_t>(core, op->d));
}
// mfmsr rD
template <typename W>
const Op* mfmsr(Core& core, const Op* op) {
    put<W>(core, op->d, core.state.msr);
    return next(core, op);
}
// wrtee rS
template <typename W>
const Op* wrtee(Core& core, const Op* op) {
    const uint32_t ee = get<uint32_t>(core, op->d) & core::msr::kEE;
    return change_msr<W>(core, op, (core.state.msr & ~core::msr::kEE) | ee);
}
// wrteei E: MSR[EE] is in imm
template <typename W>
const Op* wrteei(Core& core, const Op* op) {
    return change_msr<W>(core, op,
                         (core.state.msr & ~core::msr::kEE) | static_cast<uint32_t>(op->imm));
}

// ---- traps: TO in d ----

bool traps(unsigned to, uint32_t a, uint32_t b) {
    const auto sa = static_cast<int32_t>(a), sb = static_cast<int32_t>(b);
    return ((to & 16) && sa < sb) || ((to & 8) && sa > sb) || ((to & 4) && a == b) ||
           ((to & 2) && a < b) || ((to & 1) && a > b);
}

// tw TO,rA,rB; twi TO,rA,SIMM. The engine counts a trap as completed (ESR[PTR]).
template <bool Immediate>
const Op* trap_word(Core& core, const Op* op) {
    const uint32_t b = Immediate ? immediate<uint32_t>(op) : get<uint32_t>(core, op->b);
    if (traps(op->d, get<uint32_t>(core, op->a), b)) [[unlikely]] {
        core.raise_program(core::esr::kPTR);
        return op;
    }
    return next(core, op);
}

// ---- special purpose registers: the number is in imm ----

// mfspr of a register that depends on totals or the time; last of its block
template <typename W>
const Op* mfspr_timed(Core& core, const Op* op) {
    uint64_t value = 0;
    SprResult result;
    {
        const WithoutThisInstruction exact(core);
        result = core.read_spr(static_cast<unsigned>(op->imm), value);
    }
    if (result == SprResult::Ok) put<W>(core, op->d, static_cast<W>(value));
    return after_move(core, op, result);
}
template <typename W>
const Op* mfspr(Core& core, const Op* op) {
    uint64_t value = 0;
    const SprResult result = core.read_spr(static_cast<unsigned>(op->imm), value);
    if (result == SprResult::Ok) put<W>(core, op->d, static_cast<W>(value));
    return after_move(core, op, result);
}
template <typename W>
const Op* mtspr(Core& core, const Op* op) {
    return after_move(core, op,
                      core.write_spr(static_cast<unsigned>(op->imm), get<W>(core, op->d)));
}

template <typename W>
const Op* mflr(Core& core, const Op* op) {
    put<W>(core, op->d, static_cast<W>(core.state.lr));
    return next(core, op);
}
template <typename W>
const Op* mtlr(Core& core, const Op* op) {
    core.state.lr = get<W>(core, op->d);
    return next(core, op);
}
template <typename W>
const Op* mfctr(Core& core, const Op* op) {
    put<W>(core, op->d, static_cast<W>(core.state.ctr));
    return next(core, op);
}
template <typename W>
const Op* mtctr(Core& core, const Op* op) {
    core.state.ctr = get<W>(core, op->d);
    return next(core, op);
}

// mfpmr rD,PMRN
template <typename W>
const Op* mfpmr(Core& core, const Op* op) {
    uint32_t value = 0;
    SprResult result;
    {
        const WithoutThisInstruction exact(core);
        result = core.read_pmr(static_cast<unsigned>(op->imm), value);
    }
    if (result == SprResult::Ok) put<W>(core, op->d, value);
    return after_move(core, op, result);
}
// mtpmr PMRN,rS: what it writes counts from the next instruction on
template <typename W>
const Op* mtpmr(Core& core, const Op* op) {
    return after_move(core, op,
                      core.write_pmr(static_cast<unsigned>(op->imm), get<uint32_t>(core, op->d)));
}

// ---- TLB management ----

template <typename W>
W effective_address(const Core& core, const Op* op) {
    return (op->a == 0 ? 0 : get<W>(core, op->a)) + get<W>(core, op->b);
}

template <bool (core::Mmu::*F)()>
const Op* tlb_entry(Core& core, const Op* op) {
    if (!(core.mmu().*F)()) return illegal(core, op);
    return next(core, op);
}
template <typename W>
const Op* tlbsx(Core& core, const Op* op) {
    core.mmu().tlbsx(effective_address<W>(core, op));
    return next(core, op);
}
template <typename W>
const Op* tlbivax(Core& core, const Op* op) {
    core.tlbivax(effective_address<W>(core, op));
    return next(core, op);
}
// tlbilx T,rA,rB: T is in imm
template <typename W>
const Op* tlbilx(Core& core, const Op* op) {
    core.mmu().tlbilx(static_cast<unsigned>(op->imm), effective_address<W>(core, op));
    return next(core, op);
}

// ---- ordering, waiting, messages ----

// sync, mbar 0, tlbsync. Of what they order, x86 reorders only a store with a later load.
const Op* fence(Core& core, const Op* op) {
#if defined(__SANITIZE_THREAD__)  // It does not know fences.
    static std::atomic<unsigned> order{0};
    order.fetch_add(1);
#else
    std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
    return next(core, op);
}

// lwsync and mbar 1 (eieio) do not order a store with a later load, and the rest x86 does anyway.
const Op* light_fence(Core& core, const Op* op) {
#if defined(__x86_64__) || defined(__i386__)
    std::atomic_signal_fence(std::memory_order_acq_rel);
    return next(core, op);
#else
    return fence(core, op);
#endif
}

const Op* no_operation(Core& core, const Op* op) {
    return next(core, op);
}

// wait WC: with WC=1 only while a reservation stands (Power ISA 2.06 Book II, 4.4.4)
template <bool ForReservation>
const Op* wait(Core& core, const Op* op) {
    if (!ForReservation || core.state.reserve_size != 0) core.set_halted(true);
    return next(core, op);
}

// msgsnd, msgclr rB
template <typename W>
const Op* msgsnd(Core& core, const Op* op) {
    core.send_doorbell(get<W>(core, op->b));
    return next(core, op);
}
template <typename W>
const Op* msgclr(Core& core, const Op* op) {
    core.clear_doorbell(get<W>(core, op->b));
    return next(core, op);
}

constexpr unsigned kLr = 8, kCtr = 9, kTbl = 268, kTbu = 269;

Handler select_move(Opcode opcode, uint32_t word, Op& op) {
    op.imm = static_cast<int32_t>(isa::spr(word));
    const unsigned number = isa::spr(word);
    switch (opcode) {
        case Opcode::Mfspr:
            if (number == kLr) return mflr<Word>;
            if (number == kCtr) return mfctr<Word>;
            return isa::reads_totals(isa::describe(opcode), word) ? mfspr_timed<Word> : mfspr<Word>;
        case Opcode::Mtspr:
            if (number == kLr) return mtlr<Word>;
            if (number == kCtr) return mtctr<Word>;
            return mtspr<Word>;
        case Opcode::Mftb:
            return number == kTbl || number == kTbu ? mfspr_timed<Word> : illegal;
        case Opcode::Mfpmr:
            return mfpmr<Word>;
        case Opcode::Mtpmr:
            return mtpmr<Word>;
        default:
            return nullptr;
    }
}

}  // namespace

Handler select_system(Opcode opcode, uint32_t word, Op& op) {
    switch (opcode) {
        case Opcode::Sc:
            return sc<Word>;
        case Opcode::Rfi:
            return return_from<core::InterruptClass::Base>;
        case Opcode::Rfci:
            return return_from<core::InterruptClass::Critical>;
        case Opcode::Rfdi:
            return return_from<core::InterruptClass::Debug>;
        case Opcode::Rfmci:
            return return_from<core::InterruptClass::MachineCheck>;
        case Opcode::Mtmsr:
            return mtmsr<Word>;
        case Opcode::Mfmsr:
            return mfmsr<Word>;
        case Opcode::Wrtee:
            return wrtee<Word>;
        case Opcode::Wrteei:
            op.imm = word & 0x8000 ? static_cast<int32_t>(core::msr::kEE) : 0;
            return wrteei<Word>;
        case Opcode::Tw:
            return trap_word<false>;
        case Opcode::Twi:
            return trap_word<true>;
        case Opcode::Tlbwe:
            return tlb_entry<&core::Mmu::tlbwe>;
        case Opcode::Tlbre:
            return tlb_entry<&core::Mmu::tlbre>;
        case Opcode::Tlbsx:
            return tlbsx<Word>;
        case Opcode::Tlbivax:
            return tlbivax<Word>;
        case Opcode::Tlbilx:
            op.imm = static_cast<int32_t>(isa::rd(word) & 3);
            return op.imm == 2 ? illegal : tlbilx<Word>;  // T=2 is reserved
        case Opcode::Sync:
            return (isa::rd(word) & 3) == 1 ? light_fence : fence;
        case Opcode::Mbar:
            return isa::rd(word) == 1 ? light_fence : fence;
        case Opcode::Tlbsync:
            return fence;
        case Opcode::Isync:
            return no_operation;
        case Opcode::Wait:
            return (isa::rd(word) & 3) == 1 ? wait<true> : wait<false>;
        case Opcode::Msgsnd:
            return msgsnd<Word>;
        case Opcode::Msgclr:
            return msgclr<Word>;
        case Opcode::Dnh:  // EDBCR0[DNH_EN] belongs to an external debugger, of which there is none
            return illegal;
        default:
            return select_move(opcode, word, op);
    }
}

}  // namespace perfvisor::engine::interpreter
