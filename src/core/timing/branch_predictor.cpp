// SPDX-License-Identifier: GPL-2.0-or-later
// Branch prediction (e500 core family manual 4.4.1.2, 4.4.1.3).
#include "core/timing/branch_predictor.h"

#include <algorithm>

namespace perfvisor::core::timing {

// Linux does this at each entry from user mode, whether the model runs or not.
void BranchPredictor::invalidate() {
    if (empty_) return;
    empty_ = true;
    Set none;
    none.pc.fill(kNone);
    for (unsigned way = 0; way < kWays; ++way)
        none.age[way] = static_cast<uint8_t>(way);
    sets_.fill(none);
    // What is not there is predicted as not taken, too.
    filters_.forget_branches();
}

// A branch that is not found is predicted as not taken; if it is taken all the same, it is entered
// as strongly taken, in place of the one that was not used for the longest time.
Prediction BranchPredictor::not_found(const Instruction& in, Set& set, uint32_t pc, bool taken,
                                      uint32_t target) {
    if (!taken) {
        if (filters_.kept) filters_.not_taken[Filters::not_taken_place(pc)] = pc;
        ++(*counts_)[Modelled::BtbHits];
        return Prediction::Right;
    }
    empty_ = false;
    const auto oldest = std::find(set.age.begin(), set.age.end(), uint8_t{kWays - 1});
    const auto way = static_cast<unsigned>(oldest - set.age.begin());
    filters_.not_taken_changes(pc);
    set.pc[way] = pc;
    set.target[way] = target;
    set.weakness[way] = 0;
    make_last(set, way, filters_.last_branches[Filters::branch_set(pc)]);
    if (!in.conditional) {
        ++(*counts_)[Modelled::BiffedBranches];
        // Its decoder knows the target, unless that is in a register.
        if (!in.indirect) return Prediction::Biffed;
    } else {
        ++(*counts_)[Modelled::DirectionMispredictions];
    }
    ++(*counts_)[Modelled::Mispredictions];
    return Prediction::Wrong;
}

}  // namespace perfvisor::core::timing
