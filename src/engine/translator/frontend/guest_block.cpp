// SPDX-License-Identifier: GPL-2.0-or-later
// Decoding a block of guest code for translation, and where it ends.
#include "engine/translator/frontend/guest_block.h"

#include <algorithm>
#include <cstring>

namespace perfvisor::engine::translator {
namespace {

using isa::Opcode;

bool is_refusal(interpreter::Handler handler) {
    return handler == interpreter::illegal || handler == interpreter::privileged ||
           handler == interpreter::fp_unavailable;
}

// isync has nothing to do here: code that changes is dropped at once, and what changes the context
// ends its block. What changes MSR[EE] alone may go on.
bool is_block_end(const GuestInstruction& instruction) {
    if (instruction.refused) return true;
    if (instruction.opcode == Opcode::Isync || instruction.opcode == Opcode::Wrtee ||
        instruction.opcode == Opcode::Wrteei)
        return false;
    if (is_side_exit(instruction)) return isa::bd(instruction.word) <= 0;
    return instruction.decoded.ends_block ||
           changes_summary_overflow(instruction.opcode, instruction.word);
}

}  // namespace

namespace {

GuestInstruction decode_instruction(const core::CoreModel& model, uint32_t pc, const uint8_t* host,
                                    Mode mode) {
    GuestInstruction next{};
    next.word = core::from_big_endian(core::read_guest<uint32_t>(host));
    next.pc = pc;
    next.opcode = isa::decode(next.word);
    next.decoded = interpreter::decode_op(model, isa::describe(next.opcode), next.word, 0,
                                          {mode.user, mode.floating_point});
    next.refused = is_refusal(next.decoded.op.handler);
    next.next_pc = pc + 4;
    return next;
}

void append(GuestInstruction next, Counts& counts, GuestBlock& block) {
    next.before = counts;
    counts.loads += next.decoded.loads;
    counts.stores += next.decoded.stores;
    counts.branches += next.decoded.branch;
    block.instructions.push_back(next);
}

}  // namespace

bool is_side_exit(const GuestInstruction& instruction) {
    const uint32_t word = instruction.word;
    return instruction.opcode == Opcode::Bc && !isa::lk(word) && !isa::aa(word) &&
           (isa::rd(word) & 20) != 20 && (isa::rd(word) & 20) != 0;
}

bool changes_summary_overflow(Opcode opcode, uint32_t word) {
    constexpr unsigned kXer = 1;
    switch (opcode) {
        case Opcode::Mtspr:
            return isa::spr(word) == kXer;
        case Opcode::Mcrxr:
            return true;
        default:
            return isa::overflow_form(word) && std::strchr(isa::describe(opcode).pattern, 'o');
    }
}

void decode_block(const core::CoreModel& model, const core::Breakpoints& breakpoints, uint32_t pc,
                  const uint8_t* host, Mode mode, GuestBlock& block) {
    block.pc = pc;
    block.mode = mode;
    block.is_trace = false;
    block.instructions.clear();
    Counts counts;
    const uint64_t in_page = (core::kPageSize - (pc & ~core::kPageMask)) / 4;
    const auto longest = std::min<uint64_t>(kMaxBlockInstructions, in_page);
    while (block.instructions.size() < longest) {
        const auto offset = static_cast<uint32_t>(4 * block.instructions.size());
        const GuestInstruction next = decode_instruction(model, pc + offset, host + offset, mode);
        const bool stops = breakpoints.contains(next.pc) || breakpoints.is_word(next.word);
        if (stops && offset > 0) break;
        append(next, counts, block);
        if (is_block_end(next)) break;
    }
    block.total = counts;
}

void decode_trace(const core::CoreModel& model, const std::vector<uint32_t>& path,
                  const uint8_t* page_host, Mode mode, GuestBlock& block) {
    block.pc = path.front();
    block.mode = mode;
    block.is_trace = true;
    block.instructions.clear();
    Counts counts;
    for (size_t n = 0; n < path.size(); ++n) {
        GuestInstruction next =
            decode_instruction(model, path[n], page_host + path[n] % core::kPageSize, mode);
        if (n + 1 < path.size()) next.next_pc = path[n + 1];
        const bool always = next.opcode == Opcode::B || (isa::rd(next.word) & 20) == 20;
        next.follows_taken =
            n + 1 < path.size() && next.decoded.branch && (always || next.next_pc != path[n] + 4);
        append(next, counts, block);
        counts.taken += next.follows_taken;
    }
    block.total = counts;
}

// A conditional branch to the next instruction is no use inside: which way it went is not seen.
bool may_be_inside_trace(const core::CoreModel& model, uint32_t word, Mode mode) {
    uint8_t bytes[4];
    const uint32_t stored = core::from_big_endian(word);
    std::memcpy(bytes, &stored, sizeof stored);
    const GuestInstruction in = decode_instruction(model, 0, bytes, mode);
    const unsigned bo = isa::rd(word);
    switch (in.opcode) {
        case Opcode::Isync:
            return true;
        case Opcode::Wrtee:
        case Opcode::Wrteei:
            return !in.refused;
        case Opcode::B:
            return isa::li(word) != 4;
        case Opcode::Bc:
            // One condition: CTR or a bit.
            return !isa::lk(word) && !isa::aa(word) && isa::bd(word) != 4 && (bo & 20) != 20 &&
                   (bo & 20) != 0;
        case Opcode::Bclr:
            return !isa::lk(word) && (bo & 4);
        default:
            return !in.refused && !in.decoded.ends_block &&
                   !changes_summary_overflow(in.opcode, word);
    }
}

uint32_t GuestBlock::lowest_pc() const {
    uint32_t lowest = pc;
    for (const GuestInstruction& in : instructions)
        lowest = std::min(lowest, in.pc);
    return lowest;
}

uint32_t GuestBlock::highest_pc() const {
    uint32_t highest = pc;
    for (const GuestInstruction& in : instructions)
        highest = std::max(highest, in.pc);
    return highest;
}

}  // namespace perfvisor::engine::translator
