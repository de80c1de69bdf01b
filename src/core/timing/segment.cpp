// SPDX-License-Identifier: GPL-2.0-or-later
// Segments, as they are made.
#include "core/timing/segment.h"

#include "core/timing/memory_system.h"

namespace perfvisor::core::timing {

void Segment::add(const Instruction& in, uint32_t pc, bool taken, uint32_t target,
                  bool with_memory) {
    const auto index = static_cast<uint8_t>(entries_.size());
    Entry entry{in, pc, taken, target, false, 0, 0, 0};
    if (index > 0) {
        const Entry& last = entries_.back();
        entry.ops_before = static_cast<uint16_t>(last.ops_before + last.instruction.ops);
        entry.refetches_before =
            static_cast<uint16_t>(last.refetches_before + last.instruction.refetches);
        const bool redirected = last.taken || last.instruction.refetches;
        entry.fetches_before = static_cast<uint16_t>(last.fetches_before + last.fetches);
        entry.fetches = with_memory && (redirected || MemorySystem::begins_group(last.pc, pc));
        if (entry.fetches && MemorySystem::begins_line(last.pc, pc))
            steps_.push_back({.kind = Step::Kind::Line, .index = index});
    }
    if (with_memory && in.use != MemoryUse::None) {
        steps_.push_back(
            {.kind = Step::Kind::Access, .index = index, .use = in.use, .size = in.size});
        ++accesses_;
    }
    if (in.branch) steps_.push_back({.kind = Step::Kind::Branch, .index = index});
    entries_.push_back(entry);
}

void Segment::remove_last() {
    entries_.pop_back();
    while (!steps_.empty() && steps_.back().index == entries_.size()) {
        if (steps_.back().kind == Step::Kind::Access) --accesses_;
        steps_.pop_back();
    }
}

}  // namespace perfvisor::core::timing
