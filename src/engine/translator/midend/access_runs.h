// SPDX-License-Identifier: GPL-2.0-or-later
// Loads or stores behind one another from one base register: prologues, epilogues, saved contexts,
// copies. One look at the page map is enough for all of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/translator/frontend/guest_block.h"

namespace perfvisor::engine::translator {

// `count` words at `lowest` and above from the base register, `span` bytes in all. 0: none worth
// it.
struct AccessRun {
    unsigned count = 0;
    int32_t lowest = 0;
    uint32_t span = 0;
};

// The run that begins at the instruction: lwz or stw, nothing between, none but its last changes
// the base. The block's last instruction is not part of it.
AccessRun access_run_at(const GuestBlock& block, size_t index);

}  // namespace perfvisor::engine::translator
