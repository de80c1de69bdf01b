// SPDX-License-Identifier: GPL-2.0-or-later
// What translated code leaves for the timing model: while that runs, blocks are of another mode.
// Where something is counted they write down where they left and which addresses they used, and the
// model is told of it all when translated code comes back or something looks at what the model
// counts or changes what it looks at. Where only the clock runs they ask the model as they go, and
// only about what may change something in it (core/timing/filters.h).
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <vector>

#include "core/timing/segment.h"
#include "core/timing/timing.h"
#include "engine/interpreter/op.h"

namespace perfvisor::engine::translator {

// How much of it.
enum class ModelKind : uint8_t {
    None,
    Operations,  // numbers of micro-ops
    Branches,    // what was executed
    Addresses,   // and with which addresses
    Clock,       // nothing is counted
};

constexpr ModelKind model_kind(uint32_t parts) {
    return parts == core::timing_part::kPace           ? ModelKind::Clock
           : parts & core::timing_part::kWithAddresses ? ModelKind::Addresses
           : parts & core::timing_part::kPredictor     ? ModelKind::Branches
           : parts != 0                                ? ModelKind::Operations
                                                       : ModelKind::None;
}

// An instruction for the interpreter, of which the model is told at once.
struct ToldOp {
    std::array<interpreter::Op, 2> both;  // itself, and what is behind it
    core::timing::Segment segment;        // with nothing else
    core::timing::SegmentEnd end;
    uint32_t rest;         // instructions of its block from it on
    uint32_t most_cycles;  // of its block (Pace::most_cycles)
};

// What ModelKind::Clock may have to ask about: a fetch or access of an instruction.
struct AskedAccess {
    const core::timing::Segment* segment;
    uint32_t index;              // in it
    uint32_t rest, most_cycles;  // as above
    uint32_t pc = 0;
    bool begins_line = false;  // of what is fetched, perhaps
    bool is_first = false;     // in its segment
    core::timing::MemoryUse use{};
    uint8_t last_byte = 0;  // of the access: its size less 1
    bool may_fault = false;
};
// How one branched.
struct AskedBranch {
    const core::timing::Segment* segment;
    uint32_t index, pc;
    bool taken, indirect;
    uint32_t target;  // if it is not indirect: the target comes with the question
};

// A block's part that translated code and the model refer to by address. Most blocks have one or
// two of each.
struct ModelBlock {
    std::list<core::timing::Segment> segments;
    std::list<core::timing::SegmentEnd> ends;
    std::list<ToldOp> told;
    std::list<AskedAccess> asked_accesses;
    std::list<AskedBranch> asked_branches;
};

// What is written down between two looks: as 32-bit words, for each segment the address of its
// SegmentEnd (two words), those of its accesses, and where an indirect branch went.
struct Written {
    // Instructions that may be executed before the next look, and the most words that they need.
    static constexpr int64_t kInstructions = 2048;
    static constexpr unsigned kWordsOfEnd = 2;

    uint32_t* next = words.data();
    std::array<uint32_t, (kWordsOfEnd + 2) * (kInstructions + 64)> words;
};

}  // namespace perfvisor::engine::translator
