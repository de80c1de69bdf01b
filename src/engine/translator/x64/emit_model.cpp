// SPDX-License-Identifier: GPL-2.0-or-later
// What blocks write down for the timing model (model_block.h).
#include <bit>
#include <cstddef>

#include "core/timing/filters.h"
#include "core/timing/pace.h"
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

namespace {

using core::timing::Instruction;
using core::timing::SegmentEnd;

using isa::Opcode;

constexpr int kWordBytes = 4;

using core::timing::Filters;
using core::timing::LineFilter;
using core::timing::MemoryUse;

int fetch_filter_offset(uint32_t pc) {
    return filter_offset(offsetof(Filters, fetches) + 4 * size_t{LineFilter::set_of(pc)});
}
int last_branch_offset(uint32_t pc) {
    return filter_offset(offsetof(Filters, last_branches) +
                         sizeof(Filters::Branch) * size_t{Filters::branch_set(pc)});
}
int not_taken_filter_offset(uint32_t pc) {
    return filter_offset(offsetof(Filters, not_taken) + 4 * size_t{Filters::not_taken_place(pc)});
}
constexpr size_t known_offset(size_t offset) {
    return offsetof(SegmentEnd, known) + offset;
}

}  // namespace

void Emitter::begin_model() {
    if (!models()) return;
    block_->model = std::make_unique<ModelBlock>();
    places_.assign(1, {});
    open_segment_ = false;
}

// Of an instruction that has code of its own.
void Emitter::enter_model(const GuestInstruction& in) {
    ModelBlock& model = *block_->model;
    if (!open_segment_) model.segments.emplace_back();
    core::timing::Segment& segment = model.segments.back();
    const Instruction described = core::timing::describe(in.word);
    segment.add(described, in.pc, in.follows_taken, in.next_pc, tells_accesses());
    const auto count = static_cast<uint32_t>(segment.entries().size());
    const Place place{&segment, count, segment.accesses(),
                      places_.back().more_ops + described.ops - 1};
    places_.push_back(place);
    open_segment_ = true;
    size_before_ = getSize();
    cold_before_ = cold_.size();
    if (is_clock() && described.use == MemoryUse::None) look_at_fetch();
}

// The same instruction turned out to be the interpreter's. The model is told of it: it is not among
// those that are counted here.
const ToldOp* Emitter::tell_model(const GuestInstruction& in, const interpreter::Op& behind) {
    ModelBlock& model = *block_->model;
    const int more_ops = places_.back().more_ops;
    places_.push_back({nullptr, 0, 0, more_ops});
    open_segment_ = false;
    ToldOp& told = model.told.emplace_back();
    told.both = {in.decoded.op, behind};
    told.segment.add(core::timing::describe(in.word), in.pc, false, 0, tells_accesses());
    told.end = {&told.segment, 1, SegmentEnd::Way::Along, 0, next_end_++};
    told.rest = block_->count - number_of(in);
    told.most_cycles = most_cycles_;
    return &told;
}

void Emitter::leave_model() {
    setSize(size_before_);
    cold_.resize(cold_before_);
    places_.pop_back();
    core::timing::Segment& segment = block_->model->segments.back();
    segment.remove_last();
    if (segment.entries().empty()) {
        block_->model->segments.pop_back();
        open_segment_ = false;
    }
}

Xbyak::Address Emitter::written_next() {
    return qword[rip + static_cast<const void*>(&shared().written.next)];
}

// The address of the instruction's access is in eax, and stays there. Clobbers rcx.
void Emitter::tell_access() {
    if (is_clock())
        look_at_access();
    else if (writes_addresses())
        write_address();
}

void Emitter::write_address() {
    const unsigned number = places_.back().segment->accesses() - 1;
    mov(rcx, written_next());
    mov(dword[rcx + kWordBytes * static_cast<int>(Written::kWordsOfEnd + number)], eax);
}

// The instructions of the block before the `done`th have been executed. Clobbers rcx, rdx; where
// an indirect branch goes to is in eax, and stays there.
void Emitter::write_end(unsigned done, SegmentEnd::Way way, uint32_t target) {
    if (!models() || done == 0) return;
    const Place& place = places_[done];
    if (guest_->mode.model == ModelKind::Operations) {
        const void* more_ops = &shared().more_ops;
        if (place.more_ops != 0) add(qword[rip + more_ops], place.more_ops);
        return;
    }
    if (!place.segment) return;  // the model was told of the last one
    const SegmentEnd* end = &block_->model->ends.emplace_back(
        SegmentEnd{place.segment, place.count, way, target, next_end_++});
    if (is_clock()) {
        if (way != SegmentEnd::Way::Along)
            look_at_branch(way != SegmentEnd::Way::NotTaken, way == SegmentEnd::Way::Indirect,
                           target, place);
        end_segment(*end);
        return;
    }
    auto words = static_cast<int>(Written::kWordsOfEnd + place.accesses);
    mov(rcx, written_next());
    mov(rdx, reinterpret_cast<uintptr_t>(end));
    mov(qword[rcx], rdx);
    if (way == SegmentEnd::Way::Indirect) mov(dword[rcx + kWordBytes * words++], eax);
    add(rcx, kWordBytes * words);
    mov(written_next(), rcx);
}

// As emit_fallback.
void Emitter::emit_told(const GuestInstruction& in) {
    store_all_pending();
    if (guest_->mode.model != ModelKind::Operations) write_end(index_, SegmentEnd::Way::Along);
    const ToldOp* told = tell_model(in, nothing_behind());
    Label *changed = new_label(), *stopped = new_label();
    restore_registers();
    mov(rax, reinterpret_cast<uintptr_t>(told));
    call(calls().execute_told);
    load_exchanged();
    test(edx, edx);
    jnz(*changed);
    later([this, &in, changed, stopped, index = index_] {
        L(*changed);
        cmp(edx, static_cast<uint32_t>(kStopped));
        je(*stopped);
        leave_behind(in, index, {});
        L(*stopped);
        if (guest_->mode.model == ModelKind::Operations) write_end(index, SegmentEnd::Way::Along);
        leave(Exit::Fault, in.pc, index, in.before);
    });
}

// As emit_last, all but what the two have in common.
void Emitter::emit_last_told(const GuestInstruction& in) {
    write_end(index_, SegmentEnd::Way::Along);
    const ToldOp* told = tell_model(in, interpreter::fall_through(1));
    mov(rax, reinterpret_cast<uintptr_t>(told));
    jump_to(calls().execute_last_told);
}

// ---- where only the clock runs ----

// Goes to `out` where some cycles of the block might be too many. The budget is less already.
void Emitter::look_at_time(Label& out) {
    uint64_t most = core::timing::Pace::kMostUnderWay;
    for (const GuestInstruction& in : guest_->instructions)
        most += core::timing::Pace::most_cycles(core::timing::describe(in.word));
    most_cycles_ = static_cast<uint32_t>(most);
    mov(rcx, qword[kState + kCyclesLeftOffset]);
    add(rcx, kBudget);
    sub(rcx, qword[kState + total_offset(core::Total::StallCycles)]);
    cmp(rcx, static_cast<int>(most));
    jl(out);
}

// The last instruction of the segment begins a line that is fetched, or the segment: what it needs
// of the line may not be there.
bool Emitter::begins_line() const {
    const auto& entries = places_.back().segment->entries();
    if (entries.size() == 1) return true;
    return entries.back().fetches && core::timing::MemorySystem::begins_line(
                                         entries[entries.size() - 2].pc, entries.back().pc);
}

void Emitter::look_at_line(uint32_t pc, Label& asks) {
    cmp(dword[kState + fetch_filter_offset(pc)],
        static_cast<int>(pc & ~(core::timing::kL1LineBytes - 1)));
    jne(asks);
}

// Of an instruction that accesses nothing.
void Emitter::look_at_fetch() {
    if (!begins_line()) return;
    const Place& place = places_.back();
    Label *asks = new_label(), *asked = new_label();
    look_at_line(place.segment->entries().back().pc, *asks);
    L(*asked);
    ask_access_later(asks, asked);
}

// Of one that does: its line, and what it accesses at eax.
void Emitter::look_at_access() {
    const Place& place = places_.back();
    const core::timing::Segment::Entry& entry = place.segment->entries().back();
    const MemoryUse use = entry.instruction.use;
    Label *asks = new_label(), *asked = new_label();
    if (begins_line()) look_at_line(entry.pc, *asks);
    if (use == MemoryUse::Load || use == MemoryUse::Store) {
        constexpr auto kBytes = static_cast<int>(core::timing::kL1LineBytes);
        const size_t filter =
            use == MemoryUse::Load ? offsetof(Filters, loads) : offsetof(Filters, stores);
        mov(ecx, eax);
        shr(ecx, std::countr_zero(core::timing::kL1LineBytes));
        and_(ecx, static_cast<int>(core::timing::kL1Sets - 1));
        mov(ecx, dword[kState + rcx * 4 + filter_offset(filter)]);
        xor_(ecx, eax);
        test(ecx, -kBytes | (entry.instruction.size - 1));  // misaligned ones are asked about
        jne(*asks);
    } else {
        jmp(*asks);
    }
    L(*asked);
    ask_access_later(asks, asked);
}

// The last instruction of the place. The target of an indirect one is in eax.
void Emitter::look_at_branch(bool taken, bool indirect, uint32_t target, const Place& place) {
    const unsigned index = place.count - 1;
    const uint32_t pc = place.segment->entries()[index].pc;
    Label *asks = new_label(), *asked = new_label();
    if (taken) {
        const int offset = last_branch_offset(pc);
        if (indirect) {
            cmp(dword[kState + offset], static_cast<int>(pc));
            jne(*asks);
            cmp(dword[kState + offset + static_cast<int>(offsetof(Filters::Branch, target))], eax);
        } else {
            static_assert(offsetof(Filters::Branch, tag) == 0);
            mov(rcx, uint64_t{target} << 32 | pc);
            cmp(qword[kState + offset], rcx);
        }
        jne(*asks);
    } else {
        cmp(dword[kState + not_taken_filter_offset(pc)], static_cast<int>(pc));
        jne(*asks);
    }
    L(*asked);
    const AskedBranch* op = &block_->model->asked_branches.emplace_back(
        AskedBranch{place.segment, index, pc, taken, indirect, target});
    later([this, asks, asked, op] {
        L(*asks);
        mov(rdx, reinterpret_cast<uintptr_t>(op));
        call(calls().ask_branch[op->taken ? op->indirect ? 2 : 1 : 0]);
        jmp(*asked);
    });
}

// A branch within a trace went where the trace goes on.
void Emitter::look_at_passed_branch(bool taken, uint32_t target) {
    if (!is_clock()) return;
    look_at_branch(taken, false, target, places_.back());
}

// Before the instruction. A deadline may be too near for what it may miss.
void Emitter::ask_access_later(Label* asks, Label* asked) {
    const Place& place = places_.back();
    const core::timing::Segment::Entry& entry = place.segment->entries().back();
    AskedAccess ask{place.segment, place.count - 1, block_->count - index_, most_cycles_};
    ask.pc = entry.pc;
    ask.begins_line = begins_line();
    ask.is_first = place.count == 1;
    ask.use = entry.instruction.use;
    const Opcode opcode = guest_->instructions[index_].opcode;
    ask.may_fault = ask.use == MemoryUse::Load || ask.use == MemoryUse::Store ||
                    opcode == Opcode::Dcbz || opcode == Opcode::Dcbzl;
    if (entry.instruction.size != 0)
        ask.last_byte = static_cast<uint8_t>(entry.instruction.size - 1);
    const AskedAccess* op = &block_->model->asked_accesses.emplace_back(ask);
    Label* stopped = stopped_at(guest_->instructions[index_]);
    later([this, asks, asked, op, stopped] {
        L(*asks);
        mov(rdx, reinterpret_cast<uintptr_t>(op));
        call(calls().ask_access);
        test(edx, edx);
        jz(*asked);
        jmp(*stopped);
    });
}

void Emitter::end_segment(const SegmentEnd& end) {
    using Known = SegmentEnd::Known;
    mov(rdx, reinterpret_cast<uintptr_t>(&end));
    Label *asks = new_label(), *ended = new_label();
    mov(ecx, dword[kState + kPaceOffset]);
    cmp(ecx, dword[rdx + known_offset(offsetof(Known, from))]);
    jne(*asks);
    mov(ecx, dword[rdx + known_offset(offsetof(Known, to))]);
    mov(dword[kState + kPaceOffset], ecx);
    mov(rcx, qword[rdx + known_offset(offsetof(Known, stalls))]);
    add(qword[kState + total_offset(core::Total::StallCycles)], rcx);
    L(*ended);
    later([this, asks, ended] {
        L(*asks);
        call(calls().end_segment);
        jmp(*ended);
    });
}

}  // namespace perfvisor::engine::translator::x64
