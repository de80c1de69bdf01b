// SPDX-License-Identifier: GPL-2.0-or-later
// Which condition fields and carries are looked at again behind an instruction of a block.
#pragma once

#include <array>
#include <cstdint>

#include "engine/translator/frontend/guest_block.h"
#include "engine/translator/midend/effects.h"

namespace perfvisor::engine::translator {

// Where the block may be left, and at its end, all is looked at.
class Liveness {
  public:
    void analyse(const GuestBlock& block);

    const Effects& effects(size_t index) const { return effects_[index]; }
    // Registers that some instruction writes.
    uint32_t written() const { return written_; }
    bool field_lives_behind(size_t index, unsigned field) const {
        return fields_[index] & (1u << field);
    }
    bool carry_lives_behind(size_t index) const { return carry_[index]; }

  private:
    std::array<Effects, kMaxTraceInstructions> effects_;
    std::array<uint8_t, kMaxTraceInstructions> fields_;
    std::array<bool, kMaxTraceInstructions> carry_;
    uint32_t written_ = 0;
};

}  // namespace perfvisor::engine::translator
