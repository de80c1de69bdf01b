// SPDX-License-Identifier: GPL-2.0-or-later
// A CPU that spins until another one changes memory, while that one waits for its turn.
#pragma once

#include <cstdint>

#include "core/core.h"
#include "engine/engine.h"

namespace perfvisor::kvm {

// Where CPUs take turns, nothing that a spin loop looks at changes before its turn is over: once
// its registers are what they were a few instructions before, and nothing in between wrote memory
// or read a clock or a counter, it goes on like that. Then the rest of the turn is not executed but
// counted: the same totals, the same registers, the same time as if it had been.
class SpinSkipper {
  public:
    // So many instructions without a store are worth a look.
    static constexpr uint64_t kSuspicious = 256;

    // How much of `budget` to execute before asking skip(); all of it where looking has not paid.
    uint64_t first_part(uint64_t budget);
    // The core has executed instructions since it had `before`. Where it spins this executes the
    // loop once and counts whole rounds of it, no more than `budget` instructions (as of
    // Core::instructions_to_deadline) in all.
    void skip(core::Core& core, engine::Engine& engine, const core::Totals& before,
              uint64_t budget);

  private:
    static constexpr unsigned kLongestLoop = 64;  // instructions
    static constexpr unsigned kMostPauses = 64;   // turns

    unsigned pause_ = 0;  // turns to leave out after the next vain look
    unsigned left_out_ = 0;
};

}  // namespace perfvisor::kvm
