// SPDX-License-Identifier: GPL-2.0-or-later
// KVM_GET_ONE_REG and KVM_SET_ONE_REG on a core that does not run.
#include "kvm/soft/one_reg.h"

#include <cerrno>
#include <optional>

#include "core/spr.h"
#include "kvm/uapi/kvm_perfmon.h"
#include "kvm/uapi/kvm_powerpc.h"

namespace perfvisor::kvm {

namespace spr = core::spr;

namespace {

// What Linux's KVMPPC_INST_SW_BREAKPOINT is; an illegal instruction.
constexpr uint32_t kBreakpointInstruction = 0x00dddd00;
constexpr uint64_t kPmrMask = 0x3ff;
constexpr uint32_t kPmStateBits = core::pm_state::kTimeBase | core::pm_state::kWaiting;
static_assert(core::pm_state::kTimeBase == KVM_PM_STATE_TIME_BASE);

// Registers that are a special purpose register and nothing else.
std::optional<unsigned> plain_spr(uint64_t id) {
    switch (id) {
        case KVM_REG_PPC_IAC1:
            return spr::kIAC1;
        case KVM_REG_PPC_IAC2:
            return spr::kIAC2;
        case KVM_REG_PPC_DAC1:
            return spr::kDAC1;
        case KVM_REG_PPC_DAC2:
            return spr::kDAC2;
        case KVM_REG_PPC_EPR:
            return spr::kEPR;
        case KVM_REG_PPC_DBSR:
            return spr::kDBSR;
        case KVM_REG_PPC_TCR:
            return spr::kTCR;
        case KVM_REG_PPC_TSR:
            return spr::kTSR;
        case KVM_REG_PPC_MAS0:
            return spr::kMAS0;
        case KVM_REG_PPC_MAS1:
            return spr::kMAS1;
        case KVM_REG_PPC_MAS2:
            return spr::kMAS2;
        case KVM_REG_PPC_MAS4:
            return spr::kMAS4;
        case KVM_REG_PPC_MAS6:
            return spr::kMAS6;
        case KVM_REG_PPC_VRSAVE:
            return spr::kUSPRG0;
        case KVM_REG_PPC_SPRG9:
            return spr::kSPRG9;
        default:
            return std::nullopt;
    }
}

// Registers that only say how the core is made.
std::optional<uint32_t> configuration(core::Core& core, uint64_t id) {
    switch (id) {
        case KVM_REG_PPC_MMUCFG:
            return core.mmu().mmucfg();
        case KVM_REG_PPC_TLB0CFG:
            return core.mmu().tlbcfg(0);
        case KVM_REG_PPC_TLB1CFG:
            return core.mmu().tlbcfg(1);
        case KVM_REG_PPC_TLB0PS:
            return core.mmu().tlbps(0);
        case KVM_REG_PPC_TLB1PS:
            return core.mmu().tlbps(1);
        case KVM_REG_PPC_TLB2CFG:
        case KVM_REG_PPC_TLB3CFG:
        case KVM_REG_PPC_TLB2PS:
        case KVM_REG_PPC_TLB3PS:
        case KVM_REG_PPC_EPTCFG:
            return 0;
        default:
            return std::nullopt;
    }
}

std::optional<unsigned> fpr(const core::Core& core, uint64_t id) {
    if (!core.model().has(isa::Category::FloatingPoint)) return std::nullopt;
    if (id < KVM_REG_PPC_FPR0 || id > KVM_REG_PPC_FPR31) return std::nullopt;
    return static_cast<unsigned>(id - KVM_REG_PPC_FPR0);
}

// The supervisor number of a performance monitor register.
std::optional<unsigned> pmr(uint64_t id) {
    if ((id & ~kPmrMask) != KVM_REG_PPC_PMR(0)) return std::nullopt;
    const unsigned number = id & kPmrMask;
    if (!core::PerfMon::is_supervisor(number)) return std::nullopt;
    return number;
}

void set_tsr(core::Core& core, uint32_t clear, uint32_t set) {
    core.timers().clear_tsr(clear);
    core.timers().set_tsr(set);
    core.check_interrupts();
}

}  // namespace

int get_one_reg(core::Core& core, uint64_t id, uint64_t& value) {
    if (const auto n = pmr(id)) {
        core.perfmon().sync();
        const auto read = core.perfmon().read(*n);
        if (!read) return -EINVAL;
        value = *read;
        return 0;
    }
    if (id == KVM_REG_PPC_PM_STATE) {
        core.perfmon().sync();
        value = core.perfmon().hidden_state();
        return 0;
    }
    if (const auto n = fpr(core, id)) {
        value = core.state.fpr[*n];
        return 0;
    }
    if (const auto number = plain_spr(id)) return core.get_spr(*number, value) ? 0 : -EINVAL;
    if (const auto fixed = configuration(core, id)) {
        value = *fixed;
        return 0;
    }
    switch (id) {
        case KVM_REG_PPC_FPSCR:
            value = core.state.fpscr;
            return 0;
        case KVM_REG_PPC_DEBUG_INST:
            value = kBreakpointInstruction;
            return 0;
        case KVM_REG_PPC_MAS7_3:
            value = uint64_t{core.mmu().registers().mas7} << 32 | core.mmu().registers().mas3;
            return 0;
        default:
            return -EINVAL;
    }
}

int set_one_reg(core::Core& core, uint64_t id, uint64_t value) {
    const uint32_t word = static_cast<uint32_t>(value);
    if (const auto n = pmr(id)) {
        if (!core.perfmon().restore(*n, word)) return -EINVAL;
        core.perfmon().sync();
        core.check_interrupts();
        return 0;
    }
    if (id == KVM_REG_PPC_PM_STATE) {
        if (word & ~kPmStateBits) return -EINVAL;
        core.perfmon().restore_hidden_state(word);
        core.check_interrupts();
        return 0;
    }
    if (const auto n = fpr(core, id)) {
        core.state.fpr[*n] = value;
        return 0;
    }
    if (id == KVM_REG_PPC_EPR) {
        core.set_epr(word);
        return 0;
    }
    if (const auto number = plain_spr(id)) return core.set_spr(*number, value) ? 0 : -EINVAL;
    if (const auto fixed = configuration(core, id)) return value == *fixed ? 0 : -EINVAL;
    switch (id) {
        case KVM_REG_PPC_FPSCR:
            core.state.fpscr = word;
            return 0;
        case KVM_REG_PPC_OR_TSR:
            set_tsr(core, 0, word);
            return 0;
        case KVM_REG_PPC_CLEAR_TSR:
            set_tsr(core, word, 0);
            return 0;
        case KVM_REG_PPC_MAS7_3:
            core.set_spr(spr::kMAS3, word);
            core.set_spr(spr::kMAS7, value >> 32);
            return 0;
        default:
            return -EINVAL;
    }
}

}  // namespace perfvisor::kvm
