// SPDX-License-Identifier: GPL-2.0-or-later
// From an instruction word to an op: its handler, its operands, and what the PM counts of it.
#include "engine/interpreter/op.h"

namespace perfvisor::engine::interpreter {
namespace {

using core::Core;
using isa::Opcode;

const Op* fall_through_handler(Core& core, const Op* op) {
    advance<uint32_t>(core, op);
    return nullptr;
}

unsigned micro_ops(const isa::Instruction& row, uint32_t word) {
    if (!(row.flags & isa::kMultiple)) return 1;
    switch (row.opcode) {
        case Opcode::Lmw:
        case Opcode::Stmw:
            return 32 - isa::rd(word);
        case Opcode::Lswi:
        case Opcode::Stswi:
            return ((isa::rb(word) ? isa::rb(word) : 32) + 3) / 4;
        default:  // by XER, when it executes
            return 0;
    }
}

Handler select(const isa::Instruction& row, uint32_t word, unsigned index, Op& op) {
    if (row.flags & isa::kFloat) return select_float(row.opcode, word, op);
    if (row.flags & isa::kBranch) return select_branch(row.opcode, word, index, op);
    if (Handler handler = select_integer(row.opcode, word, op)) return handler;
    if (Handler handler = select_memory(row.opcode, word, op)) return handler;
    if (Handler handler = select_cache(row.opcode, word, op)) return handler;
    return select_system(row.opcode, word, op);
}

// The handler for what the instruction meets before it does anything, or null: not there, not
// allowed, no floating point, in the order of their interrupts (EREF 7.10).
Handler refuse(const core::CoreModel& model, const isa::Instruction& row, Mode mode) {
    if (row.opcode == Opcode::Invalid || !model.has(row.category)) return illegal;
    if ((row.flags & isa::kPrivileged) && mode.user) return privileged;
    if ((row.flags & isa::kFloat) && !mode.floating_point) return fp_unavailable;
    return nullptr;
}

}  // namespace

const Op* illegal(Core& core, const Op* op) {
    core.raise_program(core::esr::kPIL);
    return op;
}

const Op* privileged(Core& core, const Op* op) {
    core.raise_program(core::esr::kPPR);
    return op;
}

const Op* fp_unavailable(Core& core, const Op* op) {
    core::Fault fault{core::Interrupt::FpUnavailable};
    fault.sets_esr = false;
    core.raise(fault);
    return op;
}

const Op* stale(Core&, const Op* op) {
    return op;
}

Op fall_through(unsigned count) {
    return {fall_through_handler, 0, 0, 0, 0, static_cast<uint8_t>(count)};
}

Decoded decode_op(const core::CoreModel& model, const isa::Instruction& row, uint32_t word,
                  unsigned index, Mode mode) {
    Decoded decoded{};
    Op& op = decoded.op;
    op.d = static_cast<uint8_t>(isa::rd(word));
    op.a = static_cast<uint8_t>(isa::ra(word));
    op.b = static_cast<uint8_t>(isa::rb(word));
    op.c = static_cast<uint8_t>(isa::rc_field(word));
    op.imm = isa::si(word);
    op.handler = refuse(model, row, mode);
    if (op.handler) {
        decoded.ends_block = true;
        return decoded;
    }
    decoded.ends_block = isa::ends_block(row, word) || isa::reads_totals(row, word);
    if (decoded.ends_block) op.c = static_cast<uint8_t>(index + 1);
    op.handler = select(row, word, index, op);
    if (!op.handler) {
        op.handler = illegal;
        decoded.ends_block = true;
        return decoded;
    }
    decoded.branch = row.flags & isa::kBranch;
    if (row.flags & isa::kLoad) decoded.loads = static_cast<uint8_t>(micro_ops(row, word));
    if (row.flags & isa::kStore) decoded.stores = static_cast<uint8_t>(micro_ops(row, word));
    return decoded;
}

}  // namespace perfvisor::engine::interpreter
