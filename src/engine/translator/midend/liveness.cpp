// SPDX-License-Identifier: GPL-2.0-or-later
// Backward over a block: what of CR and XER[CA] is looked at again.
#include "engine/translator/midend/liveness.h"

namespace perfvisor::engine::translator {

void Liveness::analyse(const GuestBlock& block) {
    uint8_t fields = 0xff;
    bool carry = true;
    written_ = 0;
    for (size_t n = block.instructions.size(); n-- > 0;) {
        fields_[n] = fields;
        carry_[n] = carry;
        const Effects& effects = effects_[n] = effects_of(block.instructions[n]);
        written_ |= effects.writes;
        if (effects.may_leave) {
            fields = 0xff;
            carry = true;
            continue;
        }
        fields = static_cast<uint8_t>((fields & ~effects.fields_written) | effects.fields_read);
        carry = (carry && !effects.writes_carry) || effects.reads_carry;
    }
}

}  // namespace perfvisor::engine::translator
