// SPDX-License-Identifier: GPL-2.0-or-later
// A CPU that spins until another one changes memory, while that one waits for its turn.
#include "kvm/soft/spin.h"

#include <algorithm>
#include <array>

#include "core/spr.h"
#include "isa/instruction.h"
#include "kvm/soft/guest_debugger.h"

namespace perfvisor::kvm {

namespace {

using core::Total;
using isa::Opcode;

// All that instructions which repeats() lets through can read or change, but for memory.
struct Registers {
    std::array<uint64_t, 32> gpr;
    uint64_t pc, lr, ctr;
    uint32_t cr, msr;
    uint8_t xer_so, xer_ov, xer_ca, xer_count;
    uint64_t reserve_address, reserve_value;
    uint32_t reserve_version, reserve_size;

    explicit Registers(const core::CpuState& state)
        : gpr(state.gpr),
          pc(state.pc),
          lr(state.lr),
          ctr(state.ctr),
          cr(state.cr.word()),
          msr(state.msr),
          xer_so(state.xer_so),
          xer_ov(state.xer_ov),
          xer_ca(state.xer_ca),
          xer_count(state.xer_count),
          reserve_address(state.reserve_address),
          reserve_value(state.reserve_value),
          reserve_version(state.reserve_version),
          reserve_size(state.reserve_size) {}
    bool operator==(const Registers&) const = default;
};

// Whether the instruction does the same again in the same registers and memory, and changes only
// registers.
bool repeats(uint32_t word) {
    const Opcode opcode = isa::decode(word);
    if (opcode == Opcode::Invalid || opcode == Opcode::Sc) return false;
    if (opcode >= Opcode::Dcbf && opcode <= Opcode::Icblc) return false;
    if (opcode == Opcode::Mfspr || opcode == Opcode::Mtspr) {
        const unsigned spr = isa::spr(word);
        return spr == core::spr::kXER || spr == core::spr::kLR || spr == core::spr::kCTR;
    }
    constexpr uint32_t kOther = isa::kStore | isa::kPrivileged | isa::kFloat | isa::kReadsTotals;
    const isa::Instruction& instruction = isa::describe(opcode);
    return instruction.category == isa::Category::Base && (instruction.flags & kOther) == 0;
}

core::Totals difference(const core::Totals& now, const core::Totals& before) {
    core::Totals result;
    for (unsigned n = 0; n < core::kTotalCount; ++n)
        result.value[n] = now.value[n] - before.value[n];
    return result;
}

// A round that counts anything else may not count the same the next time.
bool counts_only_the_plain(core::Totals round) {
    for (const Total plain :
         {Total::Instructions, Total::Branches, Total::TakenBranches, Total::Loads})
        round[plain] = 0;
    return round.value == core::Totals{}.value;
}

}  // namespace

uint64_t SpinSkipper::first_part(uint64_t budget) {
    if (budget <= 2 * kSuspicious) return budget;
    if (left_out_ > 0) {
        --left_out_;
        return budget;
    }
    return kSuspicious;
}

void SpinSkipper::skip(core::Core& core, engine::Engine& engine, const core::Totals& before,
                       uint64_t budget) {
    const core::Totals since = difference(core.state.totals, before);
    if (since[Total::Stores] != 0 || since[Total::Interrupts] != 0) return;
    const Registers start(core.state);
    const core::Totals totals = core.state.totals;
    for (unsigned length = 1; length <= kLongestLoop && length < budget; ++length) {
        const auto word = instruction_at_pc(core);
        if (!word || !repeats(*word)) break;
        if (engine.run(1) != engine::Stop::Budget) return;
        if (core.state.pc != start.pc || Registers(core.state) != start) continue;
        const core::Totals round = difference(core.state.totals, totals);
        if (round[Total::Instructions] != length || !counts_only_the_plain(round)) break;
        const uint64_t rounds = (budget - length) / length;
        for (unsigned n = 0; n < core::kTotalCount; ++n)
            core.state.totals.value[n] += rounds * round.value[n];
        pause_ = 0;
        return;
    }
    pause_ = std::clamp(2 * pause_, 1U, kMostPauses);
    left_out_ = pause_;
}

}  // namespace perfvisor::kvm
