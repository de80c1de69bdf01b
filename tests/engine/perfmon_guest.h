// SPDX-License-Identifier: GPL-2.0-or-later
// A bare-metal guest that has the performance monitor, and the assembler text that sets it up.
#pragma once

#include <string>
#include <vector>

#include "core/perfmon.h"
#include "guest_harness.h"
#include "perfmon_fields.h"

namespace perfvisor::test {

// Events (e500mc manual, table 9-47).
constexpr unsigned kInstructions = 2, kBranches = 8, kLoads = 9, kStores = 10, kTaken = 13;

// li32 and mtpmr, three instructions; uses r3.
inline std::string set_pmr(unsigned pmr, uint32_t value) {
    return " li32 r3," + std::to_string(value) + "\n mtpmr " + std::to_string(pmr) + ",r3\n";
}

inline std::string repeat(unsigned times, const std::string& line) {
    std::string text;
    for (unsigned n = 0; n < times; ++n)
        text += line + "\n";
    return text;
}

class PmGuest : public Guest {
  public:
    PmGuest() { core().perfmon().set_available(true); }

    // Set without an instruction.
    void set(unsigned pmr, uint32_t value) { core().perfmon().write(pmr, value); }
    uint32_t get(unsigned pmr) { return core().perfmon().read(pmr).value_or(0xdeadbeef); }
    uint32_t pmc(unsigned n) { return get(kPmc0 + n); }
    uint64_t gpr(unsigned n) { return state().gpr[n]; }

    // Loads `text` and goes round until its `wait`.
    testing::AssertionResult runs(const std::string& text) {
        program(text);
        state().pc = kCode;
        if (run()) return testing::AssertionSuccess();
        return testing::AssertionFailure() << "no end, pc " << std::hex << state().pc;
    }

    // A handler that appends `word` to the list that begins at kList and goes back. It uses r28 to
    // r31, and r28 must be 0 before the first interrupt; `undo` ends the cause.
    static constexpr uint32_t kList = 0x60000;
    void log_interrupts(core::Interrupt kind, const std::string& word, const std::string& undo) {
        handler(kind, word + " li32 r31," + std::to_string(kList) +
                          "\n stwx r30,r31,r28\n addi r28,r28,4\n" + undo + " rfi\n");
    }
    std::vector<uint32_t> logged() {
        std::vector<uint32_t> list;
        for (uint32_t n = 0; n < state().gpr[28]; n += 4)
            list.push_back(read32(kList + n));
        return list;
    }
};

// The number of instructions that `text` assembles to.
inline uint32_t length(const std::string& text) {
    return static_cast<uint32_t>(assemble(text, 0).size());
}

}  // namespace perfvisor::test
