// SPDX-License-Identifier: GPL-2.0-or-later
// Decoding a block of guest code for translation, and where it ends.
#include "engine/translator/frontend/guest_block.h"

#include <algorithm>

namespace perfvisor::engine::translator {
namespace {

using isa::Opcode;

bool is_refusal(interpreter::Handler handler) {
    return handler == interpreter::illegal || handler == interpreter::privileged ||
           handler == interpreter::fp_unavailable;
}

// isync has nothing to do here: code that changes is dropped at once, and what changes the context
// ends its block.
bool is_block_end(const GuestInstruction& instruction) {
    if (instruction.refused) return true;
    if (instruction.opcode == Opcode::Isync) return false;
    if (is_side_exit(instruction)) return isa::bd(instruction.word) <= 0;
    return instruction.decoded.ends_block ||
           changes_summary_overflow(instruction.opcode, instruction.word);
}

}  // namespace

bool is_side_exit(const GuestInstruction& instruction) {
    const uint32_t word = instruction.word;
    return instruction.opcode == Opcode::Bc && !isa::lk(word) && !isa::aa(word) &&
           (isa::rd(word) & 20) != 20;
}

bool changes_summary_overflow(Opcode opcode, uint32_t word) {
    constexpr unsigned kXer = 1;
    switch (opcode) {
        case Opcode::Mtspr:
            return isa::spr(word) == kXer;
        case Opcode::Mcrxr:
            return true;
        default:
            return std::strchr(isa::describe(opcode).pattern, 'o') && isa::overflow_form(word);
    }
}

void decode_block(const core::CoreModel& model, uint32_t pc, const uint8_t* host, Mode mode,
                  GuestBlock& block) {
    block.pc = pc;
    block.mode = mode;
    block.instructions.clear();
    Counts counts;
    const uint64_t in_page = (core::kPageSize - (pc & ~core::kPageMask)) / 4;
    const auto longest = std::min<uint64_t>(kMaxBlockInstructions, in_page);
    const interpreter::Mode decode_mode{mode.user, mode.floating_point};
    while (block.instructions.size() < longest) {
        const auto offset = static_cast<uint32_t>(4 * block.instructions.size());
        GuestInstruction next{};
        next.word = core::from_big_endian(core::read_guest<uint32_t>(host + offset));
        next.pc = pc + offset;
        next.opcode = isa::decode(next.word);
        next.decoded = interpreter::decode_op(model, next.word, 0, decode_mode);
        next.refused = is_refusal(next.decoded.op.handler);
        next.before = counts;
        counts.loads += next.decoded.loads;
        counts.stores += next.decoded.stores;
        counts.branches += next.decoded.branch;
        block.instructions.push_back(next);
        if (is_block_end(next)) break;
    }
    block.total = counts;
}

}  // namespace perfvisor::engine::translator
