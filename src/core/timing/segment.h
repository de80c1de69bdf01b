// SPDX-License-Identifier: GPL-2.0-or-later
// Instructions as an engine executes them one behind the other, known once and executed often. The
// engine writes down where an execution left and what addresses it used, and tells the model later
// (Timing::replay).
#pragma once

#include <cstdint>
#include <vector>

#include "core/timing/instruction.h"

namespace perfvisor::core::timing {

// Among its instructions there is no multiple, no string and none that the model has to be told of
// at once, because it changes what the model looks at.
struct Segment {
    struct Entry {
        Instruction instruction;
        uint32_t pc;
        // A branch's within the segment, not that of its last instruction.
        bool taken;
        uint32_t target;
    };
    std::vector<Entry> entries;
    unsigned accesses = 0;  // instructions with an address, of all entries
};

// A way out of a segment.
struct SegmentEnd {
    enum class Way : uint8_t {
        Along,     // before or behind some instruction that is no branch, or not here
        Taken,     // the last instruction is a branch: to `target`
        NotTaken,  // the same, not taken
        Indirect,  // taken; where to was written down
    };
    const Segment* segment;
    uint32_t count;  // instructions executed, 1 or more
    Way way;
    uint32_t target;
};

}  // namespace perfvisor::core::timing
