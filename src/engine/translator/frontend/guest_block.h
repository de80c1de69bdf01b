// SPDX-License-Identifier: GPL-2.0-or-later
// A piece of guest code about to be translated: decoded instructions with one entry.
#pragma once

#include <cstdint>
#include <vector>

#include "core/core.h"
#include "core/fpu/fpscr.h"
#include "engine/interpreter/op.h"
#include "engine/translator/model_block.h"
#include "isa/instruction.h"

namespace perfvisor::engine::translator {

// What translated code depends on beside the words and their addresses. A change of any of these
// ends the block that makes it.
struct Mode {
    static constexpr uint32_t kFloatControl = core::fpu::kVe | core::fpu::kOe | core::fpu::kUe |
                                              core::fpu::kZe | core::fpu::kXe | core::fpu::kRn;
    bool user = false;              // MSR[PR]
    bool floating_point = false;    // MSR[FP]
    bool summary_overflow = false;  // XER[SO]
    bool space = false;             // MSR[IS]
    ModelKind model = ModelKind::None;
    bool window = false;       // loads and stores have PageMap's window
    bool plain_float = false;  // MSR[FP], and FPSCR enables nothing and rounds to nearest
    uint32_t bits() const {
        return uint32_t{user} | uint32_t{floating_point} << 1 | uint32_t{summary_overflow} << 2 |
               uint32_t{space} << 3 | static_cast<uint32_t>(model) << 4 | uint32_t{window} << 7 |
               uint32_t{plain_float} << 8;
    }
    static bool is_plain_float(const core::CpuState& state) {
        return (state.msr & core::msr::kFP) != 0 && (state.fpscr & kFloatControl) == 0;
    }
    static Mode of(const core::CpuState& state, bool window) {
        return {.user = (state.msr & core::msr::kPR) != 0,
                .floating_point = (state.msr & core::msr::kFP) != 0,
                .summary_overflow = state.xer_so != 0,
                .space = (state.msr & core::msr::kIS) != 0,
                .model = model_kind(state.model.parts()),
                .window = window,
                .plain_float = is_plain_float(state)};
    }
};

// What the running totals count of some instructions.
struct Counts {
    uint32_t loads = 0, stores = 0, branches = 0, taken = 0;

    bool operator==(const Counts&) const = default;
};

struct GuestInstruction {
    uint32_t word;
    uint32_t pc;
    isa::Opcode opcode;
    interpreter::Decoded decoded;  // alone in its block: offsets are relative to pc
    bool refused;   // not there, privileged or without MSR[FP]: all it does is its interrupt
    Counts before;  // of the instructions before it
    // A branch within a trace: where the block goes on, and whether that is where it is taken to.
    uint32_t next_pc = 0;
    bool follows_taken = false;
};

// One entry, one way to its end; exits at each branch, the last of them its end. All in one page.
// A plain block goes straight on; a trace goes the way that execution went once.
struct GuestBlock {
    uint32_t pc = 0;
    Mode mode;
    bool is_trace = false;
    std::vector<GuestInstruction> instructions;  // 1 or more
    Counts total;                                // of all of them; the last one's TakenBranches not

    uint32_t lowest_pc() const;
    uint32_t highest_pc() const;
};

constexpr unsigned kMaxBlockInstructions = 32;
constexpr unsigned kMaxTraceInstructions = 64;
static_assert(kMaxTraceInstructions <= core::timing::Segment::kMost);

// Decodes the block at `pc`, whose instructions are at `host` in host memory, as far as its page
// and its next breakpoint. None is at its first instruction.
void decode_block(const core::CoreModel& model, const core::Breakpoints& breakpoints, uint32_t pc,
                  const uint8_t* host, Mode mode, GuestBlock& block);

// The same for a trace: the instructions at the addresses `path`, at most kMaxTraceInstructions of
// the page that begins at `page_host`, of which none but the last need end a block by itself, other
// than by branching.
void decode_trace(const core::CoreModel& model, const std::vector<uint32_t>& path,
                  const uint8_t* page_host, Mode mode, GuestBlock& block);
// Whether a trace may go on behind the instruction, some way or other.
bool may_be_inside_trace(const core::CoreModel& model, uint32_t word, Mode mode);

// A branch by a condition or by CTR, without link, within whose fall-through a block may go on.
bool is_side_exit(const GuestInstruction& instruction);
// Whether the instruction may change XER[SO].
bool changes_summary_overflow(isa::Opcode opcode, uint32_t word);

}  // namespace perfvisor::engine::translator
