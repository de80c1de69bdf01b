// SPDX-License-Identifier: GPL-2.0-or-later
// KVM_SET_GUEST_DEBUG: single step, breakpoints and watchpoints from outside the guest. While it is
// on, the run loop executes one instruction at a time and asks here before each, so neither the
// guest's own debug registers nor the engines know of it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/core.h"
#include "kvm/uapi/kvm_powerpc.h"
#include "kvm/uapi/kvm_soft.h"

namespace perfvisor::kvm {

class GuestDebugger {
  public:
    // What KVM_EXIT_DEBUG tells.
    struct Event {
        uint64_t address = 0;
        uint32_t status = KVMPPC_DEBUG_NONE;
    };

    // -EINVAL for unknown kinds of breakpoint.
    int configure(const kvm_guest_debug& debug);

    bool enabled() const { return (control_ & KVM_GUESTDBG_ENABLE) != 0; }
    bool single_step() const { return enabled() && (control_ & KVM_GUESTDBG_SINGLESTEP) != 0; }
    // Asynchronous interrupts wait.
    bool blocks_interrupts() const {
        return single_step() && (control_ & KVM_GUESTDBG_BLOCKIRQ) != 0;
    }

    // The instruction at pc is about to be executed: a breakpoint there, the breakpoint instruction
    // (KVM_REG_PPC_DEBUG_INST), or a watchpoint it would hit. It is then not executed.
    std::optional<Event> before_instruction(core::Core& core) const;

  private:
    struct Breakpoint {
        uint64_t address;
        uint32_t type;  // KVMPPC_DEBUG_
    };
    std::optional<Event> watchpoint(const core::Core& core, uint32_t word) const;

    uint32_t control_ = 0;
    std::vector<Breakpoint> breakpoints_;
    std::vector<Breakpoint> watchpoints_;
};

// The instruction word at pc; nothing where the fetch would fault.
std::optional<uint32_t> instruction_at_pc(core::Core& core);

}  // namespace perfvisor::kvm
