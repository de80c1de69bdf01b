// SPDX-License-Identifier: GPL-2.0-or-later
// Instructions as an engine executes them one behind the other, known once and executed often. The
// engine writes down where an execution left and what addresses it used, and tells the model later
// (Timing::replay).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/timing/instruction.h"

namespace perfvisor::core::timing {

// All in one page. Among its instructions there is no multiple, no string and none that the model
// has to be told of at once, because it changes what the model looks at.
class Segment {
  public:
    static constexpr unsigned kMost = 64;  // instructions

    struct Entry {
        Instruction instruction;
        uint32_t pc;
        // A branch's within the segment, not that of its last instruction.
        bool taken;
        uint32_t target;
        bool fetches;  // it begins a fetch; not that of the first instruction
        // Of the instructions before it.
        uint16_t ops_before, refetches_before, fetches_before;
    };
    // What caches and predictor have to do with an instruction.
    struct Step {
        // Line: a fetch from another line than the one before.
        enum class Kind : uint8_t { Line, Access, Branch } kind;
        uint8_t index;  // of the instruction
        MemoryUse use = MemoryUse::None;
        uint8_t size = 0;  // of an access
    };

    // One more; `taken` and `target` as in Entry. `with_memory`: the caches will be asked.
    void add(const Instruction& in, uint32_t pc, bool taken, uint32_t target, bool with_memory);
    // The last one was none.
    void remove_last();

    const std::vector<Entry>& entries() const { return entries_; }
    const std::vector<Step>& steps() const { return steps_; }
    unsigned accesses() const { return accesses_; }

  private:
    std::vector<Entry> entries_;
    std::vector<Step> steps_;  // in order
    unsigned accesses_ = 0;    // with an address
};

// A way out of a segment.
struct SegmentEnd {
    enum class Way : uint8_t {
        Along,     // before or behind some instruction that is no branch, or not here
        Taken,     // the last instruction is a branch: to `target`
        NotTaken,  // the same, not taken
        Indirect,  // taken; where to was written down
    };
    static constexpr uint32_t kNoEnd = 0;  // no end's number; of one that is not kept
    const Segment* segment;
    uint32_t count;  // instructions executed, 1 or more
    Way way;
    uint32_t target;
    uint32_t number;  // no other end that the model is told of has it
    // Whether what follows begins a fetch, as far as the instructions have a say in it.
    bool next_fetches() const {
        const Segment::Entry& last = segment->entries()[count - 1];
        const bool taken = way == Way::Along ? last.taken : way != Way::NotTaken;
        return taken || last.instruction.refetches;
    }
    // Under the clock's model: from one state of CpuState::pace to another, with what is added to
    // StallCycles. The last that was seen: translated code goes by it.
    struct Known {
        static constexpr uint32_t kNever = 0x7ffffffd;  // no state
        uint32_t from = kNever, to = 0;
        int64_t stalls = 0;
    };
    mutable Known known{};
    // More of them, by `from`.
    static constexpr unsigned kMoreKnown = 8;
    mutable std::array<Known, kMoreKnown> more_known{};
    Known& known_from(uint32_t from) const { return more_known[(from ^ from >> 3) % kMoreKnown]; }
};

}  // namespace perfvisor::core::timing
