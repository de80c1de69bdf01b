// SPDX-License-Identifier: GPL-2.0-or-later
// Branch prediction (e500 core family manual 4.4.1.2, 4.4.1.3).
#include "core/timing/branch_predictor.h"

#include <algorithm>

namespace perfvisor::core::timing {

// Linux does this at each entry from user mode, whether the model runs or not.
void BranchPredictor::invalidate() {
    if (empty_) return;
    empty_ = true;
    for (unsigned n = 0; n < kEntries; ++n) {
        entries_[n] = {};
        entries_[n].age = static_cast<uint8_t>(n % kWays);
    }
}

void BranchPredictor::make_youngest(Entry* set, Entry& entry) {
    for (unsigned way = 0; way < kWays; ++way)
        if (set[way].age < entry.age) ++set[way].age;
    entry.age = 0;
}

// A branch that is not found is predicted as not taken; if it is taken all the same, it is entered
// as strongly taken.
Prediction BranchPredictor::branch(const Instruction& in, uint32_t pc, bool taken,
                                   uint32_t target) {
    Entry* const set = &entries_[size_t{pc >> 2 & (kSets - 1)} * kWays];
    Entry* const end = set + kWays;
    Entry* entry = std::find_if(set, end, [&](const Entry& e) { return e.pc == pc; });
    if (entry == end) {
        if (!taken) {
            ++counts_[Modelled::BtbHits];
            return Prediction::Right;
        }
        entry = std::find_if(set, end, [](const Entry& e) { return e.age == kWays - 1; });
        empty_ = false;
        entry->pc = pc;
        entry->target = target;
        entry->history = 3;
        make_youngest(set, *entry);
        if (!in.conditional) {
            ++counts_[Modelled::BiffedBranches];
            // Its decoder knows the target, unless that is in a register.
            if (!in.indirect) return Prediction::Biffed;
        } else {
            ++counts_[Modelled::DirectionMispredictions];
        }
        ++counts_[Modelled::Mispredictions];
        return Prediction::Wrong;
    }
    ++counts_[Modelled::BtbHits];
    make_youngest(set, *entry);
    const bool predicted = entry->history >= 2;
    const bool right = predicted == taken && (!taken || entry->target == target);
    if (predicted != taken) ++counts_[Modelled::DirectionMispredictions];
    if (taken) {
        if (entry->history < 3) ++entry->history;
        entry->target = target;
    } else if (entry->history > 0) {
        --entry->history;
    }
    if (right) return Prediction::Right;
    ++counts_[Modelled::Mispredictions];
    return Prediction::Wrong;
}

}  // namespace perfvisor::core::timing
