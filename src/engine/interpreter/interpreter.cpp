// SPDX-License-Identifier: GPL-2.0-or-later
// The interpreter's run loop: budget, totals, exceptions, self-modifying code.
#include "engine/interpreter/interpreter.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

namespace perfvisor::engine::interpreter {
namespace {

using core::Core;
using core::CpuState;
using core::Total;

// What, beside the program counter, says which block is meant: the address context of fetches
// (with MSR[PR] as its bit 0), MSR[FP] and whether the timing model runs.
uint32_t jump_mode(const CpuState& state) {
    return state.fetch_context << 2 | (state.model.any() ? 2u : 0u) |
           ((state.msr & core::msr::kFP) ? 1u : 0u);
}

// jump_mode() without the part that stands for the PID.
constexpr uint32_t kNoProcess = 15;

Mode mode_of(const CpuState& state) {
    return {(state.msr & core::msr::kPR) != 0, (state.msr & core::msr::kFP) != 0,
            state.model.any()};
}

}  // namespace

Interpreter::Interpreter(Core& core) : core_(core) {
    decoded_.reserve(kMaxBlockInstructions);
    timed_.reserve(kMaxBlockInstructions);
    new (short_block_.data()) Block{};
    core_.set_code_listener(this);
    core_.mmu().set_listener(this);
}

Interpreter::~Interpreter() {
    core_.set_code_listener(nullptr);
    core_.mmu().set_listener(nullptr);
}

[[gnu::always_inline]] inline Block* Interpreter::block_at_pc() {
    const uint64_t pc = core_.state.pc;
    const uint32_t mode = jump_mode(core_.state);
    if (Block* block = blocks_.find_jump(pc, mode)) [[likely]]
        return block;
    return look_up(pc, mode);
}

Block* Interpreter::look_up(uint64_t pc, uint32_t jump_mode) {
    at_breakpoint_ = core_.stops_at(pc);
    if (at_breakpoint_) return nullptr;
    uint64_t physical = 0;
    bool every_process = false;
    if (!core_.translate_fetch(pc, physical, &every_process)) {
        core_.deliver_fault(pc);
        --core_.state.budget;
        return nullptr;
    }
    const Mode mode = mode_of(core_.state);
    Block* block = blocks_.find(physical, mode.bits());
    if (!block) {
        at_breakpoint_ = core_.stops_at_word(physical);
        if (at_breakpoint_) return nullptr;
        block = decode(physical, mode);
    }
    // An instruction that is only finished is not met there again.
    if (core_.breakpoints().contains(pc)) return block;
    blocks_.enter_jump(pc, jump_mode, every_process ? kNoProcess : ~uint32_t{0}, block);
    return block;
}

// A breakpoint is at the beginning of a block, for look_up() to find. The address may be one in
// each page: which it is, is not known.
Block* Interpreter::decode(uint64_t physical, Mode mode) {
    if (!blocks_.page_has_blocks(physical)) core_.protect_code_page(physical);
    const uint8_t* host = core_.memory().host(physical);  // translate_fetch saw that it is there
    const uint64_t page_end = (physical & core::kPageMask) + core::kPageSize;
    const auto longest = std::min<uint64_t>(kMaxBlockInstructions, (page_end - physical) / 4);
    decoded_.clear();
    timed_.clear();
    while (decoded_.size() < longest) {
        const auto index = static_cast<unsigned>(decoded_.size());
        auto word = core::read_guest<uint32_t>(host + size_t{4} * index);
        word = core::from_big_endian(word);
        const core::Breakpoints& breakpoints = core_.breakpoints();
        const uint64_t place = physical + uint64_t{4} * index;
        if (index > 0 && (breakpoints.may_contain(place) || breakpoints.is_word(word))) break;
        const isa::Instruction& row = isa::describe(isa::decode(word));
        decoded_.push_back(decode_op(core_.model(), row, word, index, mode));
        if (mode.timed) timed_.push_back(timed_op(decoded_.back(), word, index));
        if (decoded_.back().ends_block) break;
    }
    return blocks_.add(physical, mode.bits(), decoded_, timed_);
}

Block* Interpreter::first_instructions(Block& block, unsigned count) {
    auto* cut = std::launder(reinterpret_cast<Block*>(short_block_.data()));
    BlockCache::truncate(*cut, block, count);
    return cut;
}

[[gnu::always_inline]] inline Interpreter::End Interpreter::execute(Block& block) {
    CpuState& state = core_.state;
    state.totals[Total::Instructions] += block.count;
    state.totals[Total::Branches] += block.branches;
    state.totals[Total::Loads] += block.loads;
    state.totals[Total::Stores] += block.stores;
    state.budget -= block.count;
    const Op* op = block.ops();
    op = op->handler(core_, op);
    if (op) [[unlikely]]
        return stopped(block, op);
    return End::Completed;
}

// The op was not completed: the totals of it and of those behind it are taken back.
Interpreter::End Interpreter::stopped(Block& block, const Op* op) {
    CpuState& state = core_.state;
    const auto index = static_cast<unsigned>(op - block.ops());
    const auto pc = static_cast<uint32_t>(state.pc + 4 * index);
    if (core_.fault_pending()) {
        // What faults and is not completed uses up budget all the same.
        const bool trap = core_.trap_pending();
        take_back(block, trap ? index + 1 : index);
        if (!trap) --state.budget;
        state.pc = pc;
        core_.deliver_fault(pc);
        return End::Interrupted;
    }
    take_back(block, index);
    state.pc = pc;
    if (core_.mmio_request()) {
        mmio_asked_ = true;
        return End::Mmio;
    }
    if (index == 0) blocks_.forget_jump(pc);
    return End::Stale;
}

void Interpreter::take_back(Block& block, unsigned index) {
    core::Totals& totals = core_.state.totals;
    const uint64_t count = block.count - index;
    totals[Total::Instructions] -= count;
    core_.state.budget += static_cast<int64_t>(count);
    for (unsigned i = index; i < block.count; ++i) {
        const Micro& micro = block.micros()[i];
        totals[Total::Branches] -= micro.branch;
        totals[Total::Loads] -= micro.loads;
        totals[Total::Stores] -= micro.stores;
    }
}

Stop Interpreter::run(uint64_t instructions) {
    CpuState& state = core_.state;
    constexpr auto kLongest = uint64_t{1} << 62;
    state.budget = static_cast<int64_t>(std::min(instructions, kLongest));
    state.pc &= ~uint64_t{3};
    if (mmio_asked_) {
        mmio_asked_ = false;
        if (step() == End::Mmio) return Stop::Mmio;
    }
    for (;;) {
        if (state.attention.load(std::memory_order_relaxed) != 0) return Stop::Attention;
        if (state.budget <= 0) return Stop::Budget;
        if (core_.debug_armed()) [[unlikely]] {
            const End end = step();
            if (end == End::Mmio) return Stop::Mmio;
            if (end == End::Breakpoint) return Stop::Breakpoint;
            continue;
        }
        Block* block = block_at_pc();
        if (!block) [[unlikely]] {
            if (at_breakpoint_) return Stop::Breakpoint;
            continue;
        }
        if (state.budget < block->count) [[unlikely]]
            block = first_instructions(*block, static_cast<unsigned>(state.budget));
        if (execute(*block) == End::Mmio) [[unlikely]]
            return Stop::Mmio;
    }
}

Stop Interpreter::run_block(uint64_t instructions) {
    CpuState& state = core_.state;
    state.budget = static_cast<int64_t>(instructions);
    Block* block = block_at_pc();
    if (!block) return at_breakpoint_ ? Stop::Breakpoint : Stop::Budget;
    if (state.budget < block->count)
        block = first_instructions(*block, static_cast<unsigned>(state.budget));
    return execute(*block) == End::Mmio ? Stop::Mmio : Stop::Budget;
}

Interpreter::End Interpreter::step() {
    if (core_.stops_at(core_.state.pc)) return End::Breakpoint;
    const bool armed = core_.debug_armed();
    if (armed && core_.debug_before()) {
        --core_.state.budget;
        return End::Interrupted;
    }
    const core::Totals& totals = core_.state.totals;
    const uint64_t done = totals[Total::Instructions];
    const uint64_t taken = totals[Total::TakenBranches];
    End end;
    do {  // once more where the block is found stale before its one instruction
        Block* block = block_at_pc();
        if (!block) return at_breakpoint_ ? End::Breakpoint : End::Interrupted;
        if (block->count > 1) block = first_instructions(*block, 1);
        end = execute(*block);
    } while (end == End::Stale && totals[Total::Instructions] == done);
    // Stale behind it: completed.
    if (end != End::Completed && end != End::Stale) return end;
    core_.instruction_finished();
    if (armed) core_.debug_after(totals[Total::TakenBranches] != taken);
    return end;
}

void Interpreter::flush() {
    blocks_.clear();
}

void Interpreter::code_changed(uint64_t physical, uint64_t length) {
    blocks_.invalidate(physical, length);
    auto* cut = std::launder(reinterpret_cast<Block*>(short_block_.data()));
    if (cut->count != 0 && cut->overlaps(physical, length)) cut->make_stale();
}

void Interpreter::translations_changed(uint64_t ea, uint64_t size) {
    blocks_.forget_jumps(ea, size);
}

void Interpreter::all_translations_changed() {
    blocks_.forget_all_jumps();
}

}  // namespace perfvisor::engine::interpreter
