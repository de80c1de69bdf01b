// SPDX-License-Identifier: GPL-2.0-or-later
// KVM_GET_REGS, KVM_GET_SREGS and their counterparts on a core that does not run.
#pragma once

#include "core/core.h"
#include "kvm/uapi/kvm_powerpc.h"

namespace perfvisor::kvm {

void get_regs(core::Core& core, kvm_regs& regs);
// What does not fit the core (upper halves, low bits of pc) is dropped.
void set_regs(core::Core& core, const kvm_regs& regs);

// Every section the e500mc has: Linux's, and SPRG8, debug, enhanced debug and external PID, so that
// all of a core's state can be saved.
void get_sregs(core::Core& core, kvm_sregs& sregs);
// Only sections with their feature bit; registers that change by themselves only as update_special
// says. -EINVAL for another PVR or PIR.
int set_sregs(core::Core& core, const kvm_sregs& sregs);

// A special purpose register by number; 0 where the core has none.
uint64_t get_spr(core::Core& core, unsigned number);

}  // namespace perfvisor::kvm
