// SPDX-License-Identifier: GPL-2.0-or-later
// What tells one core of the family from another: identity, geometry and categories.
#pragma once

#include <cstdint>
#include <span>

#include "isa/instruction.h"

namespace perfvisor::core {

struct CoreModel {
    const char* name;  // as -cpu spells it
    uint32_t pvr;
    unsigned gpr_bits;       // 32 or 64
    unsigned physical_bits;  // 36
    unsigned tlb0_entries, tlb0_ways;
    unsigned tlb1_entries;
    unsigned pid_bits;         // 8
    unsigned cache_line;       // bytes
    unsigned pmc_count;        // 4, e6500: 6; 0: no performance monitor
    unsigned pmc_event_bits;   // 8
    unsigned reset_pid_count;  // number of PID registers
    uint32_t categories;       // bit per isa::Category
    uint32_t l1cfg0 = 0;       // cache geometry: L1 data,
    uint32_t l1cfg1 = 0;       // L1 instructions,
    uint32_t l2cfg0 = 0;       // back-side L2

    bool has(isa::Category c) const { return categories >> static_cast<unsigned>(c) & 1; }
};

// The models known, e500mc first.
std::span<const CoreModel> core_models();
// Null where the name is unknown.
const CoreModel* find_core_model(const char* name);

}  // namespace perfvisor::core
