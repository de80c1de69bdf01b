// SPDX-License-Identifier: GPL-2.0-or-later
// Pre-decoded instructions: what a block of guest code becomes before it is executed.
#pragma once

#include <cstdint>

#include "core/core.h"
#include "isa/instruction.h"

namespace perfvisor::engine::interpreter {

struct Op;

// Executes `op` and those after it. Null: the block ended and state.pc is set. Else the op that
// was not completed: it met a fault or MMIO (Core::fault_pending(), mmio_request()), or, with
// neither, the block was found stale there. Until the block ends state.pc is its first address.
using Handler = const Op* (*)(core::Core& core, const Op* op);

// Small enough that four stand in a cache line. Offsets are relative to the block's first
// instruction, so a block is good for every effective address its page is mapped at.
struct Op {
    Handler handler;
    int32_t imm;         // immediate, mask, displacement or branch offset
    uint8_t d, a, b, c;  // register numbers and other small fields; c of an op that ends a
                         // block: instructions up to and including it
};

// Executes what follows `op`. Handlers end with it, so that the compiler makes it a jump. (Without
// optimisation it is a call; blocks are short enough for that.)
[[gnu::always_inline]] inline const Op* next(core::Core& core, const Op* op) {
    ++op;
    return op->handler(core, op);
}

// Registers as the core's words; a 32-bit core keeps the upper halves zero.
template <typename Word>
[[gnu::always_inline]] inline Word get(const core::Core& core, unsigned reg) {
    return static_cast<Word>(core.state.gpr[reg]);
}
template <typename Word>
[[gnu::always_inline]] inline void put(core::Core& core, unsigned reg, Word value) {
    core.state.gpr[reg] = value;
}
template <typename Word>
[[gnu::always_inline]] inline Word immediate(const Op* op) {
    return static_cast<Word>(static_cast<int64_t>(op->imm));
}

// The record form's CR0.
template <typename Word>
[[gnu::always_inline]] inline void record_cr0(core::Core& core, Word result) {
    static_assert(sizeof(Word) == 4, "ConditionRegister's EQ looks at 32 bits");
    core.state.cr.set_difference(0, static_cast<int32_t>(result), core.state.xer_so);
}

// The end of a block that does not branch: goes on at the address behind it.
template <typename Word>
[[gnu::always_inline]] inline void advance(core::Core& core, const Op* op) {
    core.state.pc = static_cast<Word>(core.state.pc + 4u * op->c);
}

// What a block's code depends on beside the bytes it was decoded from.
struct Mode {
    bool user = false;            // MSR[PR]
    bool floating_point = false;  // MSR[FP]
    bool timed = false;           // the timing model is told of each instruction
    unsigned bits() const {
        return unsigned{user} | unsigned{floating_point} << 1 | unsigned{timed} << 2;
    }
};

// One decoded instruction and what the block needs to know of it.
struct Decoded {
    Op op;
    bool ends_block;  // op is the last of its block and sets state.pc itself
    bool branch;
    uint8_t loads, stores;  // micro-ops the PM counts; lswx and stswx add theirs when they execute
};

// Decodes `word`, which `row` describes, the instruction `index` (0-254) of its block.
Decoded decode_op(const core::CoreModel& model, const isa::Instruction& row, uint32_t word,
                  unsigned index, Mode mode);
// The op behind the last instruction of a block of `count` that ends without a branch.
Op fall_through(unsigned count);

// ---- under the timing model (timed.cpp) ----

// An instruction as the model is told of it: its own op, and the one behind it.
struct TimedOp {
    Op both[2];
    core::timing::Instruction instruction;
    uint32_t offset;  // of the instruction, from state.pc: 4 times its index in its block
    bool ends_block;
};
// `decoded` as a TimedOp; `index` as for decode_op, 0 where state.pc is the instruction's.
TimedOp timed_op(const Decoded& decoded, uint32_t word, unsigned index);
// An op that executes `timed`, tells the model and goes on with the next, or stops there when the
// model says that something has come. `timed` must outlive it.
Op timed(const TimedOp& timed);
// The same for an op that stands alone: it gives null when the instruction is completed.
Op timed_alone(const TimedOp& timed);

// What every op of a block becomes when the code behind it has changed: it stops there.
const Op* stale(core::Core& core, const Op* op);

// The handlers by kind of instruction. Each gives null for what is not its own, else the handler;
// `op` has its common fields (d, a, b, imm by the pattern) and may be changed.
Handler select_integer(isa::Opcode opcode, uint32_t word, Op& op);
Handler select_memory(isa::Opcode opcode, uint32_t word, Op& op);
Handler select_branch(isa::Opcode opcode, uint32_t word, unsigned index, Op& op);
Handler select_float(isa::Opcode opcode, uint32_t word, Op& op);
Handler select_system(isa::Opcode opcode, uint32_t word, Op& op);
Handler select_cache(isa::Opcode opcode, uint32_t word, Op& op);

const Op* illegal(core::Core& core, const Op* op);
const Op* privileged(core::Core& core, const Op* op);
const Op* fp_unavailable(core::Core& core, const Op* op);

}  // namespace perfvisor::engine::interpreter
