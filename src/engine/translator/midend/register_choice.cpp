// SPDX-License-Identifier: GPL-2.0-or-later
// The registers a loop uses most come into host registers, in place of those it uses least.
#include "engine/translator/midend/register_choice.h"

#include <algorithm>
#include <array>

namespace perfvisor::engine::translator {

bool is_loop(const GuestBlock& block) {
    const GuestInstruction& last = block.instructions.back();
    if (!block.is_trace || isa::lk(last.word) || isa::aa(last.word)) return false;
    if (last.opcode == isa::Opcode::B)
        return last.pc + static_cast<uint32_t>(isa::li(last.word)) == block.pc;
    return last.opcode == isa::Opcode::Bc &&
           last.pc + static_cast<uint32_t>(isa::bd(last.word)) == block.pc;
}

std::vector<Exchange> choose_exchanges(const GuestBlock& block, const Liveness& liveness,
                                       uint32_t pinned) {
    if (!is_loop(block)) return {};
    std::array<unsigned, 32> uses{};
    for (size_t n = 0; n < block.instructions.size(); ++n) {
        const Effects& effects = liveness.effects(n);
        if (effects.is_unknown()) return {};
        for (unsigned reg = 0; reg < 32; ++reg)
            uses[reg] += ((effects.reads >> reg) & 1) + ((effects.writes >> reg) & 1);
    }
    std::vector<unsigned> in, out;
    for (unsigned reg = 0; reg < 32; ++reg)
        (pinned & (1u << reg) ? out : in).push_back(reg);
    std::stable_sort(in.begin(), in.end(),
                     [&](unsigned a, unsigned b) { return uses[a] > uses[b]; });
    std::stable_sort(out.begin(), out.end(),
                     [&](unsigned a, unsigned b) { return uses[a] < uses[b]; });
    std::vector<Exchange> exchanges;
    for (size_t n = 0; n < std::min(in.size(), out.size()); ++n) {
        if (uses[in[n]] <= uses[out[n]] + 1) break;
        exchanges.push_back({out[n], in[n]});
    }
    return exchanges;
}

}  // namespace perfvisor::engine::translator
