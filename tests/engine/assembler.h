// SPDX-License-Identifier: GPL-2.0-or-later
// A small assembler for the guests of the tests, made from the instruction table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace perfvisor::test {

// Assembles lines of "label: mnemonic operands # comment" for the address `base`. Mnemonics are
// those of the table (raw forms, with ".", "o", "l" and "a"), `.long value`, `li32 rD,value` (two
// instructions), and the usual simplified ones: li lis mr nop b<cond> bdnz bdz blr bctr cmpw[i]
// cmplw[i] slwi srwi clrlwi sub subi mtlr mflr mtctr mfctr mtxer mfxer. A line that makes no sense
// is a test failure and assembles to 0.
std::vector<uint32_t> assemble(const std::string& text, uint32_t base);

}  // namespace perfvisor::test
