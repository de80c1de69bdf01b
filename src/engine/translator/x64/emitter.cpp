// SPDX-License-Identifier: GPL-2.0-or-later
// The frame of a block: its budget, its exits, its counts, and calls of the interpreter for what
// has no code of its own.
#include "engine/translator/x64/emitter.h"

#include <algorithm>
#include <cstring>

namespace perfvisor::engine::translator::x64 {

namespace {

// Generous bounds for one instruction, and for its cold code.
constexpr size_t kInstructionBytes = 256;
constexpr size_t kColdBytes = 384;
constexpr size_t kEntryAlignment = 16;

const interpreter::Op* stop(core::Core&, const interpreter::Op*) {
    return nullptr;
}

using Way = core::timing::SegmentEnd::Way;

}  // namespace

Emitter::Emitter(CodeBuffer& buffer, const RuntimeCode& runtime, BlockCache& blocks,
                 FaultSites& sites, const core::Core& core)
    : CodeGenerator(buffer.code_bytes(), buffer.code()),
      buffer_(buffer),
      runtime_(runtime),
      blocks_(blocks),
      sites_(sites),
      core_(core) {
    setDefaultJmpNEAR(true);
}

bool Emitter::has_room() const {
    return getCurr() + kInstructionBytes * (kMaxTraceInstructions + 1) < end_ &&
           cold_here_ + kColdBytes * (kMaxTraceInstructions + 1) < cold_end_;
}

void Emitter::use(const uint8_t* begin, const uint8_t* end) {
    move_to(begin);
    cold_end_ = end;
    end_ = cold_here_ = begin + hot_bytes(static_cast<size_t>(end - begin));
}

void Emitter::emit(const GuestBlock& guest, Block& block) {
    guest_ = &guest;
    block_ = &block;
    liveness_.analyse(guest);
    pending_ = {};
    const auto misplaced =
        reinterpret_cast<uintptr_t>(getCurr() + sizeof(uintptr_t)) % kEntryAlignment;
    if (misplaced != 0) setSize(getSize() + kEntryAlignment - misplaced);
    dq(reinterpret_cast<uintptr_t>(&block));
    block.code = const_cast<uint8_t*>(getCurr());
    block.count = static_cast<uint32_t>(guest.instructions.size());
    const uint32_t lowest = guest.lowest_pc();
    block.first = block.physical - (guest.pc - lowest);
    block.bytes = uint64_t{guest.highest_pc()} - lowest + 4;
    block.is_trace = guest.is_trace;

    begin_model();
    choose_registers();
    Label* out = new_label();
    sub(kBudget, static_cast<int>(block.count));
    js(*out);
    if (is_clock()) look_at_time(*out);
    later([this, out] {
        L(*out);
        leave(Exit::Budget, guest_->pc, 0, {});
    });
    if (!guest.is_trace) count_heat();
    for (index_ = 0; index_ < guest.instructions.size(); ++index_) {
        const AccessRun run =
            tells_accesses() || in_window() ? AccessRun{} : access_run_at(guest, index_);
        if (run.count != 0) {
            for (unsigned n = 0; models() && n < run.count; ++n)
                enter_model(guest.instructions[index_ + n]);
            emit_run(run);
            index_ += run.count - 1;
        } else {
            emit_instruction(guest.instructions[index_]);
        }
    }
    emit_cold();
}

void Emitter::choose_registers() {
    uint32_t pinned = 0;
    hosts_.fill(-1);
    for (const Pinned& pin : kPinned) {
        hosts_[pin.guest] = static_cast<int8_t>(pin.host);
        pinned |= 1u << pin.guest;
    }
    exchanges_ = choose_exchanges(*guest_, liveness_, pinned);
    again_ = nullptr;
    if (exchanges_.empty()) return;
    exchange_registers();
    again_ = new_label();
    L(*again_);
}

void Emitter::exchange_registers() {
    for (const Exchange& exchange : exchanges_) {
        mov(memory32(exchange.out), host32(exchange.out));
        hosts_[exchange.in] = hosts_[exchange.out];
        hosts_[exchange.out] = -1;
    }
    load_exchanged();
}

void Emitter::load_exchanged() {
    for (const Exchange& exchange : exchanges_)
        mov(host32(exchange.in), memory32(exchange.in));
}

void Emitter::restore_registers() {
    for (const Exchange& exchange : exchanges_) {
        if (liveness_.written() & (1u << exchange.in))
            mov(memory32(exchange.in), host32(exchange.in));
        mov(host32(exchange.in), memory32(exchange.out));
    }
}

void Emitter::emit_cold() {
    const uint8_t* hot = getCurr();
    move_to(cold_here_);
    for (size_t i = 0; i < cold_.size(); ++i)  // cold code may have colder code
        cold_[i].emit(cold_[i].closure);
    cold_here_ = getCurr();
    move_to(hot);
    cold_.clear();
    remembered_.clear();
    for_block_.release();
}

void Emitter::count_heat() {
    Label* hot = new_label();
    sub(dword[rip + static_cast<const void*>(&shared().heat[heat_index(block_->physical)])], 1);
    js(*hot);
    later([this, hot] {
        L(*hot);
        leave(Exit::Hot, guest_->pc, 0, {});
    });
}

void Emitter::emit_instruction(const GuestInstruction& in) {
    if (in.refused) {
        emit_last(in);
        return;
    }
    const Effects& effects = liveness_.effects(index_);
    if (!in.decoded.branch) store_pending_of(effects.writes, effects.fields_read);
    if (models()) enter_model(in);
    if (!emit_native(in)) {
        if (models()) leave_model();
        if (in.decoded.ends_block) {
            emit_last(in);
            return;
        }
        emit_fallback(in);
        if (changes_float_control(in.opcode)) check_float_control(in);
    }
    if (!is_last() || (in.decoded.branch && !is_side_exit(in))) return;
    // The end of a block that does not branch, or does not always.
    if (changes_summary_overflow(in.opcode, in.word)) {
        write_end(index_ + 1, Way::Along);
        leave(Exit::Return, in.pc + 4, block_->count, guest_->total);
        return;
    }
    store_all_pending();
    add_counts(guest_->total);
    write_end(index_ + 1, is_side_exit(in) ? Way::NotTaken : Way::Along);
    go_to(in.pc + 4);
}

bool Emitter::emit_native(const GuestInstruction& in) {
    switch (in.opcode) {
        case isa::Opcode::Dcbt:
        case isa::Opcode::Dcbtst:
        case isa::Opcode::Dcba:
        case isa::Opcode::Dcbal:
            if (tells_accesses()) address(in, {0, true, false});
            tell_access();
            return true;
        case isa::Opcode::Isync:
        case isa::Opcode::Icbt:
            return true;         // x86 keeps the order of all but a store and a later load
        case isa::Opcode::Sync:  // all but lwsync
            if ((isa::rd(in.word) & 3) != 1) lock(), or_(dword[rsp], 0);
            return true;
        case isa::Opcode::Mbar:  // all but mbar 1, which is eieio
            if (isa::rd(in.word) != 1) lock(), or_(dword[rsp], 0);
            return true;
        default:
            break;
    }
    if (changes_summary_overflow(in.opcode, in.word)) return false;
    return emit_arithmetic(in) || emit_carrying(in) || emit_multiply(in) || emit_logic(in) ||
           emit_logic_immediate(in) || emit_extension(in) || emit_shift(in) || emit_compare(in) ||
           emit_isel(in) || emit_condition_move(in) || emit_branch(in) || emit_memory(in) ||
           emit_reservation(in) || emit_float(in) || emit_system(in);
}

// ---- counts, budget, exits ----

void Emitter::add_counts(const Counts& counts) {
    if (counts == Counts{}) return;
    if (Steps::holds(counts.loads, counts.stores, counts.branches, counts.taken)) {
        paddd(kCounts, datum(&shared().steps.get(counts.loads, counts.stores, counts.branches,
                                                 counts.taken)));
        return;
    }
    Label* step = new_label();
    for (const int code : {0x66, 0x44, 0x0f, 0xfe, 0x3d})  // paddd xmm15, [step]
        db(code);
    refer(*step);
    later([this, step, counts] {
        align(16);
        L(*step);
        for (const uint32_t count : {counts.loads, counts.stores, counts.branches, counts.taken})
            dd(count);
    });
}

void Emitter::refund(unsigned done) {
    const auto rest = static_cast<int>(block_->count - done);
    if (rest != 0) lea(kBudget, ptr[kBudget + rest]);  // flags stay
}

void Emitter::leave(Exit exit, uint32_t pc, unsigned done, const Counts& counts,
                    const GuestInstruction* stopped, const PendingFields* pending,
                    const Place* place) {
    ExitSite site{};
    site.pc = pc;
    site.exit = static_cast<uint8_t>(exit);
    site.refund = static_cast<uint8_t>(block_->count - done);
    site.loads = static_cast<uint16_t>(counts.loads);
    site.stores = static_cast<uint16_t>(counts.stores);
    site.branches = static_cast<uint8_t>(counts.branches);
    site.taken = static_cast<uint8_t>(counts.taken);
    if (stopped) {
        site.by_status = true;
        site.own_loads = stopped->decoded.loads;
        site.own_stores = stopped->decoded.stores;
    }
    site.summary_overflow = guest_->mode.summary_overflow;
    std::array<PendingField, 8> fields{};
    for (unsigned field = 0; pending && field < 8; ++field)
        if ((*pending)[field].kind != Pending::kNone)
            fields[site.pending++] = {static_cast<uint8_t>(field), (*pending)[field]};
    if (place && place->segment) site.told = static_cast<uint8_t>(place->count);
    restore_registers();
    call(calls().leave_site);
    append(&site, sizeof site);
    append(fields.data(), site.pending * sizeof fields[0]);
    if (site.told == 0) return;
    const auto segment = reinterpret_cast<uintptr_t>(place->segment);
    append(&segment, sizeof segment);
}

Label* Emitter::stopped_at(const GuestInstruction& in) {
    Label* label = new_label();
    later([this, &in, label, index = index_, remembered = remember_pending()] {
        L(*label);
        leave_stopped(in, index, remembered_[remembered]);
    });
    return label;
}

void Emitter::leave_stopped(const GuestInstruction& in, unsigned index,
                            const PendingFields& pending) {
    if (!models() || is_clock()) {
        leave(Exit::Fault, in.pc, index, in.before, &in, &pending,
              is_clock() ? &places_[index + 1] : nullptr);
        return;
    }
    Label* changed = new_label();
    cmp(edx, static_cast<uint32_t>(kStopped));
    jne(*changed);
    write_end(index, Way::Along);
    leave(Exit::Fault, in.pc, index, in.before, nullptr, &pending);
    L(*changed);
    leave_behind(in, index, pending);
}

void Emitter::leave_behind(const GuestInstruction& in, unsigned index,
                           const PendingFields& pending) {
    Counts counts = in.before;
    counts.loads += in.decoded.loads;
    counts.stores += in.decoded.stores;
    if (!is_clock()) write_end(index + 1, Way::Along);
    leave(Exit::Return, in.pc + 4, index + 1, counts, nullptr, &pending,
          is_clock() ? &places_[index + 1] : nullptr);
}

void Emitter::append(const void* bytes, size_t size) {
    std::memcpy(const_cast<uint8_t*>(getCurr()), bytes, size);
    setSize(getSize() + size);
}

void Emitter::go_to(uint32_t target) {
    if (again_ && target == guest_->pc) {
        jmp(*again_);
        return;
    }
    restore_registers();
    const bool far = ((target ^ guest_->pc) & static_cast<uint32_t>(core::kPageMask)) != 0;
    Label* stub = new_label();
    uint8_t* page = nullptr;
    if (far) {  // what is there may be another page by now, or for another process
        mov(rcx, datum(&shared().fetches));
        cmp(dword[rcx + static_cast<int>(target >> 12) * 4], kNoCodePage);
        page = const_cast<uint8_t*>(getCurr()) - 4;
        jne(*stub);
    }
    jmp(*stub);
    const uint32_t number = blocks_.new_edge(*block_, const_cast<uint8_t*>(getCurr()) - 4, page);
    later([this, stub, target, number] {
        L(*stub);
        blocks_.set_stub(number, const_cast<uint8_t*>(getCurr()));
        call(runtime_.link_edge[guest_->mode.floating_point ? 1 : 0]);
        dd(target);
        dd(number << kExitBits | static_cast<uint32_t>(Exit::Link));
    });
}

// ---- the interpreter's instructions ----

void Emitter::emit_fallback(const GuestInstruction& in) {
    if (models()) {
        emit_told(in);
        return;
    }
    Label* ops = new_label();
    store_all_pending();
    Label* stopped = stopped_at(in);
    restore_registers();
    lea_label(rax, *ops);
    call(calls().execute);
    load_exchanged();
    test(edx, edx);
    jnz(*stopped);
    later([this, &in, ops] { emit_ops(*ops, in, nothing_behind()); });
}

interpreter::Op Emitter::nothing_behind() {
    return {stop, 0, 0, 0, 0, 0};
}

void Emitter::call_handler(const GuestInstruction& in, Label* stopped, Label* done,
                           const uint8_t* execute) {
    Label* ops = new_label();
    restore_registers();
    lea_label(rax, *ops);
    call(execute);
    load_exchanged();
    test(edx, edx);
    jz(*done);
    jmp(*stopped);
    emit_ops(*ops, in, nothing_behind());
}

// The instruction for the interpreter, as data, and what comes behind it.
void Emitter::emit_ops(Label& label, const GuestInstruction& in, const interpreter::Op& behind) {
    align(8);
    L(label);
    const interpreter::Op both[2] = {in.decoded.op, behind};
    append(both, sizeof both);
}

void Emitter::emit_last(const GuestInstruction& in) {
    store_all_pending();
    add_counts(guest_->total);
    mov(eax, in.pc);
    mov(qword[kState + kPcOffset], rax);
    if (models()) {
        emit_last_told(in);
        return;
    }
    Label* ops = new_label();
    lea_label(rax, *ops);
    jump_to(calls().execute_last);
    later([this, &in, ops] { emit_ops(*ops, in, interpreter::fall_through(1)); });
}

// ---- registers ----

Emitter::Reg32 Emitter::use(unsigned reg, const Reg32& scratch) {
    if (is_pinned(reg)) return host32(reg);
    mov(scratch, memory32(reg));
    return scratch;
}

void Emitter::fetch(const Reg32& to, unsigned reg) {
    if (!is_pinned(reg))
        mov(to, memory32(reg));
    else if (host32(reg).getIdx() != to.getIdx())
        mov(to, host32(reg));
}

void Emitter::put(unsigned reg, const Reg32& value) {
    if (!is_pinned(reg))
        mov(memory32(reg), value);
    else if (host32(reg).getIdx() != value.getIdx())
        mov(host32(reg), value);
}

// ---- labels ----

void Emitter::L(Label& label) {
    label.place = getCurr();
    while (uint8_t* at = label.waiting) {
        uint32_t to_next;
        std::memcpy(&to_next, at, sizeof to_next);
        const auto displacement = static_cast<int32_t>(label.place - (at + 4));
        std::memcpy(at, &displacement, sizeof displacement);
        label.waiting = to_next ? at - to_next : nullptr;
    }
}

// Emits the displacement, the last four bytes of an instruction.
void Emitter::refer(Label& label) {
    auto* here = const_cast<uint8_t*>(getCurr());
    if (label.place) {
        dd(static_cast<uint32_t>(label.place - (here + 4)));
        return;
    }
    dd(label.waiting ? static_cast<uint32_t>(here - label.waiting) : 0);
    label.waiting = here;
}

void Emitter::jump_if(unsigned condition, Label& label) {
    db(0x0f);
    db(static_cast<int>(0x80 | condition));
    refer(label);
}

void Emitter::jmp(Label& label, LabelType) {
    db(0xe9);
    refer(label);
}

void Emitter::lea_label(const Reg64& to, Label& label) {
    db(to.getIdx() >= 8 ? 0x4c : 0x48);
    db(0x8d);
    db((to.getIdx() & 7) << 3 | 5);
    refer(label);
}

}  // namespace perfvisor::engine::translator::x64
