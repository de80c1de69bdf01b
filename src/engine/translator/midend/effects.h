// SPDX-License-Identifier: GPL-2.0-or-later
// What an instruction reads and writes, as far as the passes ask.
#pragma once

#include <cstdint>

#include "engine/translator/frontend/guest_block.h"
#include "isa/register_use.h"

namespace perfvisor::engine::translator {

// Each a superset of what happens.
struct Effects : isa::RegisterUse {
    bool reads_carry = false, writes_carry = false;  // XER[CA]
    // The block may be left here, or before it happened: all state must then be exact.
    bool may_leave = false;

    // Everything: what the interpreter executes.
    bool is_unknown() const { return reads == ~0u && writes == ~0u; }
    static Effects unknown() { return {{~0u, ~0u, ~0u, ~0u, 0xff, 0}, true, false, true}; }
};

Effects effects_of(const GuestInstruction& in);

}  // namespace perfvisor::engine::translator
