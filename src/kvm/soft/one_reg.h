// SPDX-License-Identifier: GPL-2.0-or-later
// KVM_GET_ONE_REG and KVM_SET_ONE_REG on a core that does not run.
#pragma once

#include <cstdint>

#include "core/core.h"

namespace perfvisor::kvm {

// The register of a KVM_REG_PPC_ id, in the low bits. -EINVAL: no such register on this core.
// Performance monitor registers are as the guest sees them: 0 while it has none reserved.
int get_one_reg(core::Core& core, uint64_t id, uint64_t& value);
// -EINVAL also for a read-only register's other value.
int set_one_reg(core::Core& core, uint64_t id, uint64_t value);

}  // namespace perfvisor::kvm
