// SPDX-License-Identifier: GPL-2.0-or-later
// What instructions read and write, by the table and by which of them are translated.
#include "engine/translator/midend/effects.h"

namespace perfvisor::engine::translator {
namespace {

using isa::Opcode;

enum class Kind : uint8_t {
    Unknown,   // the interpreter executes it, which looks at all state
    Plain,     // nothing but its registers
    MayLeave,  // faults, branches, interrupts
};

Kind kind_of(const isa::Instruction& row, uint32_t word) {
    constexpr unsigned kLr = 8, kCtr = 9;
    switch (row.opcode) {
        case Opcode::Isync:
        case Opcode::Dcbt:
        case Opcode::Dcbtst:
        case Opcode::Icbt:
        case Opcode::Dcba:
        case Opcode::Dcbal:
            return Kind::Plain;
        case Opcode::Wrtee:
        case Opcode::Wrteei:
            return Kind::MayLeave;
        case Opcode::Mfspr:
        case Opcode::Mtspr:
            return isa::spr(word) == kLr || isa::spr(word) == kCtr ? Kind::Plain : Kind::Unknown;
        case Opcode::Tw:
        case Opcode::Twi:
        case Opcode::Mcrf:
        case Opcode::Mcrxr:
        case Opcode::Mfcr:
        case Opcode::Mfocrf:
        case Opcode::Mtcrf:
        case Opcode::Mtocrf:
        case Opcode::Mftb:
        case Opcode::Dcbf:
        case Opcode::Dcbst:
        case Opcode::Icbi:
        case Opcode::Fres:
        case Opcode::Frsqrte:
        case Opcode::Mcrfs:
        case Opcode::Mffs:
        case Opcode::Mtfsf:
        case Opcode::Mtfsfi:
        case Opcode::Mtfsb0:
        case Opcode::Mtfsb1:
            return Kind::Unknown;
        default:
            break;
    }
    if (row.category != isa::Category::Base && row.category != isa::Category::FloatingPoint)
        return Kind::Unknown;
    if (row.flags & isa::kBranch) return Kind::MayLeave;
    if (row.flags & (isa::kPrivileged | isa::kEndsBlock | isa::kConditionLogic))
        return Kind::Unknown;
    if (row.flags & (isa::kLoad | isa::kStore)) return Kind::MayLeave;
    if (!(row.flags & isa::kFloat)) return Kind::Plain;
    const bool compares = row.opcode == Opcode::Fcmpu || row.opcode == Opcode::Fcmpo;
    return isa::record(word) && !compares ? Kind::Unknown : Kind::MayLeave;
}

}  // namespace

Effects effects_of(const GuestInstruction& in) {
    const isa::Instruction& row = isa::describe(in.opcode);
    const Kind kind = kind_of(row, in.word);
    if (kind == Kind::Unknown || in.refused || changes_summary_overflow(in.opcode, in.word))
        return Effects::unknown();
    return {isa::register_use(row, in.word), (row.flags & isa::kReadsCarry) != 0,
            (row.flags & isa::kWritesCarry) != 0, kind == Kind::MayLeave};
}

}  // namespace perfvisor::engine::translator
