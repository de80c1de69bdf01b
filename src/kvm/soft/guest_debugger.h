// SPDX-License-Identifier: GPL-2.0-or-later
// KVM_SET_GUEST_DEBUG: single step, breakpoints and watchpoints from outside the guest, whose own
// debug registers stay its own. Breakpoints are the engine's, which runs as ever. For the rest the
// run loop executes one instruction at a time and asks here before each.
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

    // Lets the core have the breakpoints, if they are others than it has: before each run.
    void set_breakpoints(core::Core& core);

    bool single_step() const { return (control_ & KVM_GUESTDBG_SINGLESTEP) != 0; }
    // Whether before_instruction() is to be asked before each instruction.
    bool looks_at_each() const { return single_step() || !watchpoints_.empty(); }
    // Asynchronous interrupts wait.
    bool blocks_interrupts() const {
        return single_step() && (control_ & KVM_GUESTDBG_BLOCKIRQ) != 0;
    }

    // The instruction at pc is about to be executed: a breakpoint there, the breakpoint instruction
    // (KVM_REG_PPC_DEBUG_INST), or a watchpoint it would hit. It is then not executed.
    std::optional<Event> before_instruction(core::Core& core) const;

  private:
    struct Watchpoint {
        uint64_t address;
        uint32_t type;  // KVMPPC_DEBUG_
    };
    std::optional<Event> watchpoint(const core::Core& core, uint32_t word) const;

    uint32_t control_ = 0;
    std::vector<uint64_t> breakpoints_;
    std::vector<Watchpoint> watchpoints_;
    bool changed_ = false;  // since set_breakpoints()
};

// The instruction word at pc; nothing where the fetch would fault.
std::optional<uint32_t> instruction_at_pc(core::Core& core);

}  // namespace perfvisor::kvm
