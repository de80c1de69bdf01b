// SPDX-License-Identifier: GPL-2.0-or-later
// What blocks write down for the timing model (model_block.h).
#include "engine/translator/x64/emitter.h"

namespace perfvisor::engine::translator::x64 {

namespace {

using core::timing::Instruction;
using core::timing::SegmentEnd;

constexpr int kWordBytes = 4;

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
    segment.add(described, in.pc, in.follows_taken, in.next_pc, writes_addresses());
    const auto count = static_cast<uint32_t>(segment.entries().size());
    const Place place{&segment, count, segment.accesses(),
                      places_.back().more_ops + described.ops - 1};
    places_.push_back(place);
    open_segment_ = true;
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
    told.segment.add(core::timing::describe(in.word), in.pc, false, 0, writes_addresses());
    told.end = {&told.segment, 1, SegmentEnd::Way::Along, 0, next_end_++};
    return &told;
}

void Emitter::leave_model() {
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

// The address is in eax.
void Emitter::write_address() {
    if (!writes_addresses()) return;
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

}  // namespace perfvisor::engine::translator::x64
