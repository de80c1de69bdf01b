// SPDX-License-Identifier: GPL-2.0-or-later
// Which registers an instruction reads and writes, by its row in the table and its operands.
#pragma once

#include "isa/instruction.h"

namespace perfvisor::isa {

// Of XER[CA] the row's flags tell, of LR, CTR and what else moves with mfspr and mtspr nobody.
struct RegisterUse {
    uint32_t reads = 0, writes = 0;               // general registers, bit n for rn
    uint32_t float_reads = 0, float_writes = 0;   // floating registers, the same
    uint8_t fields_read = 0, fields_written = 0;  // of CR, bit n for CRn; written as a whole
};

// Of a string all registers are named, as its length may not be known.
RegisterUse register_use(const Instruction& instruction, uint32_t word);

}  // namespace perfvisor::isa
