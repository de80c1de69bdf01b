// SPDX-License-Identifier: GPL-2.0-or-later
// The branch target buffer: it finds branches as they are fetched, says whether they will be
// taken, and where to (e500 core family manual 4.4.1.2).
#pragma once

#include <array>
#include <cstdint>

#include "core/timing/counts.h"
#include "core/timing/instruction.h"

namespace perfvisor::core::timing {

// What became of a branch's prediction.
enum class Prediction : uint8_t {
    Right,
    Biffed,  // an unconditional branch that was not found: seen when it was decoded
    Wrong,   // seen when it was executed
};

class BranchPredictor {
  public:
    static constexpr unsigned kEntries = 512, kWays = 4, kSets = kEntries / kWays;

    explicit BranchPredictor(ModelledTotals& counts) : counts_(counts) { invalidate(); }

    // All entries invalid, as after reset and BUCSR[BBFI].
    void invalidate();
    // A branch at `pc` was executed; `target` is where it went if it was taken.
    Prediction branch(const Instruction& in, uint32_t pc, bool taken, uint32_t target);
    // Core::mirror.
    void mirror(const BranchPredictor& from) {
        entries_ = from.entries_;
        empty_ = from.empty_;
    }

  private:
    struct Entry {
        uint32_t pc = kNone;
        uint32_t target = 0;
        uint8_t history = 0;  // 0 strongly not taken to 3 strongly taken
        uint8_t age = 0;      // 0 the most recently used of its set
    };
    static constexpr uint32_t kNone = 1;  // no instruction's address

    void make_youngest(Entry* set, Entry& entry);

    ModelledTotals& counts_;
    std::array<Entry, kEntries> entries_;
    bool empty_ = false;  // no entry has been made since the last invalidate()
};

}  // namespace perfvisor::core::timing
