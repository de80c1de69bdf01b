// SPDX-License-Identifier: GPL-2.0-or-later
// Instructions under the timing model: each is executed as ever, and the model is told of it when
// it has completed. Blocks of such instructions are there only while the model runs.
#include <cstring>

#include "engine/interpreter/op.h"

namespace perfvisor::engine::interpreter {
namespace {

using core::Core;
using core::Total;

// What is behind an instruction that does not end its block.
const Op* completed(Core&, const Op*) {
    return nullptr;
}

// The pointer is where a plain op has its operands.
constexpr size_t kPointer = offsetof(Op, imm);
static_assert(sizeof(Op) - kPointer >= sizeof(void*));

Op op_of(Handler handler, const TimedOp& timed) {
    Op op{};
    op.handler = handler;
    const TimedOp* pointer = &timed;
    std::memcpy(reinterpret_cast<char*>(&op) + kPointer, &pointer, sizeof pointer);
    return op;
}

const TimedOp& timed_of(const Op* op) {
    const TimedOp* pointer;
    std::memcpy(&pointer, reinterpret_cast<const char*>(op) + kPointer, sizeof pointer);
    return *pointer;
}

enum class Outcome : uint8_t { Stopped, Completed, Come };

Outcome execute(Core& core, const TimedOp& timed) {
    const auto pc = static_cast<uint32_t>(core.state.pc + timed.offset);
    const core::Timing::Access access = core.timing().access_of(timed.instruction);
    const uint64_t taken = core.state.totals[Total::TakenBranches];
    if (timed.both[0].handler(core, timed.both)) {
        if (core.trap_pending())
            core.timing().completed(timed.instruction, pc, access, false, pc + 4);
        return Outcome::Stopped;
    }
    const bool branched = core.state.totals[Total::TakenBranches] != taken;
    return core.timing().completed(timed.instruction, pc, access, branched,
                                   static_cast<uint32_t>(core.state.pc))
               ? Outcome::Come
               : Outcome::Completed;
}

const Op* timed_handler(Core& core, const Op* op) {
    const TimedOp& timed = timed_of(op);
    switch (execute(core, timed)) {
        case Outcome::Stopped:
            return op;
        case Outcome::Come:
            return timed.ends_block ? nullptr : op + 1;
        default:
            return timed.ends_block ? nullptr : next(core, op);
    }
}

const Op* timed_alone_handler(Core& core, const Op* op) {
    return execute(core, timed_of(op)) == Outcome::Stopped ? op : nullptr;
}

}  // namespace

TimedOp timed_op(const Decoded& decoded, uint32_t word, unsigned index) {
    TimedOp timed{};
    timed.both[0] = decoded.op;
    timed.both[1] = decoded.ends_block ? fall_through(index + 1) : Op{completed, 0, 0, 0, 0, 0};
    timed.instruction = core::timing::describe(word);
    timed.offset = 4 * index;
    timed.ends_block = decoded.ends_block;
    return timed;
}

Op timed(const TimedOp& timed) {
    return op_of(timed_handler, timed);
}

Op timed_alone(const TimedOp& timed) {
    return op_of(timed_alone_handler, timed);
}

}  // namespace perfvisor::engine::interpreter
