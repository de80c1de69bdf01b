// SPDX-License-Identifier: GPL-2.0-or-later
// The registers that gdb sees, by its numbers, and where KVM has them.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "kvm/api.h"

namespace perfvisor::vmm {

// gdb's numbers for 32-bit Power: 0-31 GPRs, 32-63 FPRs, 64 pc, 65 msr, 66 cr, 67 lr, 68 ctr, 69
// xer, 70 fpscr. From 71 on system registers, which only the target description knows.
constexpr unsigned kGdbPc = 64;
// Those of the `g` packet.
constexpr unsigned kGdbCoreRegisters = 71;
unsigned gdb_register_count();
// 32 or 64; `number` is below gdb_register_count().
unsigned gdb_register_bits(unsigned number);

// target.xml: the features org.gnu.gdb.power.core and .fpu, and the system registers, those of the
// performance monitor among them.
std::string gdb_target_description();

// The vCPU must be at rest. Fails where this KVM does not have the register.
Result<uint64_t> read_gdb_register(kvm::Vcpu& vcpu, unsigned number);
// Fails for those that can only be read, too.
Result<void> write_gdb_register(kvm::Vcpu& vcpu, unsigned number, uint64_t value);

}  // namespace perfvisor::vmm
