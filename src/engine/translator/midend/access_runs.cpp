// SPDX-License-Identifier: GPL-2.0-or-later
// Loads or stores behind one another from one base register.
#include "engine/translator/midend/access_runs.h"

#include <algorithm>

namespace perfvisor::engine::translator {

AccessRun access_run_at(const GuestBlock& block, size_t index) {
    constexpr unsigned kWorthIt = 3;
    constexpr int32_t kLongest = 256;  // bytes: longer ones cross the end of a page too often
    using isa::Opcode;
    const GuestInstruction& first = block.instructions[index];
    const bool is_load = first.opcode == Opcode::Lwz;
    const unsigned base = isa::ra(first.word);
    if ((!is_load && first.opcode != Opcode::Stw) || base == 0) return {};
    int32_t lowest = isa::si(first.word), highest = lowest;
    unsigned count = 0;
    for (size_t n = index; n + 1 < block.instructions.size(); ++n) {
        const GuestInstruction& in = block.instructions[n];
        if (in.opcode != first.opcode || isa::ra(in.word) != base) break;
        const int32_t at = isa::si(in.word);
        const int32_t low = std::min(lowest, at), high = std::max(highest, at);
        if (((at ^ lowest) & 3) != 0 || high - low + 4 > kLongest) break;
        lowest = low;
        highest = high;
        ++count;
        if (is_load && isa::rd(in.word) == base) break;
    }
    if (count < kWorthIt) return {};
    return {count, lowest, static_cast<uint32_t>(highest - lowest + 4)};
}

}  // namespace perfvisor::engine::translator
