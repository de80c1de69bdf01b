// SPDX-License-Identifier: GPL-2.0-or-later
// Which general registers a trace wants in host registers.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/translator/frontend/guest_block.h"
#include "engine/translator/midend/liveness.h"

namespace perfvisor::engine::translator {

// A register that every block has in a host register, and one that takes its place in a trace.
struct Exchange {
    unsigned out, in;
};

// Whether the block's last instruction leads to its first: what it costs to begin is shared by many
// turns.
bool is_loop(const GuestBlock& block);

// For a loop of which every instruction is known; nothing for any other block. `pinned` has the
// bits of the registers that are in host registers otherwise.
std::vector<Exchange> choose_exchanges(const GuestBlock& block, const Liveness& liveness,
                                       uint32_t pinned);

}  // namespace perfvisor::engine::translator
