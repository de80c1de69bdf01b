// SPDX-License-Identifier: GPL-2.0-or-later
// KVM_GET_REGS, KVM_GET_SREGS and their counterparts on a core that does not run.
#include "kvm/soft/registers.h"

#include <cerrno>
#include <cstring>

#include "core/spr.h"

namespace perfvisor::kvm {

namespace spr = core::spr;

namespace {

constexpr uint32_t kXerSo = 0x80000000, kXerOv = 0x40000000, kXerCa = 0x20000000, kXerCount = 0x7f;

constexpr __u64 kvm_regs::*kSprgs[] = {&kvm_regs::sprg0, &kvm_regs::sprg1, &kvm_regs::sprg2,
                                       &kvm_regs::sprg3, &kvm_regs::sprg4, &kvm_regs::sprg5,
                                       &kvm_regs::sprg6, &kvm_regs::sprg7};

uint32_t get_spr32(core::Core& core, unsigned number) {
    return static_cast<uint32_t>(get_spr(core, number));
}

uint64_t width_mask(const core::Core& core) {
    return core.model().gpr_bits == 64 ? ~uint64_t{0} : 0xffffffff;
}

}  // namespace

uint64_t get_spr(core::Core& core, unsigned number) {
    uint64_t value = 0;
    return core.get_spr(number, value) ? value : 0;
}

void get_regs(core::Core& core, kvm_regs& regs) {
    const core::CpuState& state = core.state;
    std::memset(&regs, 0, sizeof regs);
    regs.pc = state.pc;
    regs.cr = state.cr.word();
    regs.ctr = state.ctr;
    regs.lr = state.lr;
    regs.xer = (state.xer_so ? kXerSo : 0) | (state.xer_ov ? kXerOv : 0) |
               (state.xer_ca ? kXerCa : 0) | (state.xer_count & kXerCount);
    regs.msr = state.msr;
    regs.srr0 = get_spr(core, spr::kSRR0);
    regs.srr1 = get_spr(core, spr::kSRR1);
    regs.pid = core.mmu().registers().pid;
    for (unsigned n = 0; n < 8; ++n)
        regs.*kSprgs[n] = get_spr(core, spr::kSPRG0 + n);
    for (unsigned n = 0; n < 32; ++n)
        regs.gpr[n] = state.gpr[n];
}

void set_regs(core::Core& core, const kvm_regs& regs) {
    core::CpuState& state = core.state;
    const uint64_t mask = width_mask(core);
    state.pc = regs.pc & mask & ~uint64_t{3};
    state.cr.set_word(static_cast<uint32_t>(regs.cr));
    state.ctr = regs.ctr & mask;
    state.lr = regs.lr & mask;
    state.xer_so = (regs.xer & kXerSo) != 0;
    state.xer_ov = (regs.xer & kXerOv) != 0;
    state.xer_ca = (regs.xer & kXerCa) != 0;
    state.xer_count = regs.xer & kXerCount;
    core.set_msr(static_cast<uint32_t>(regs.msr));
    core.set_spr(spr::kSRR0, regs.srr0);
    core.set_spr(spr::kSRR1, regs.srr1);
    if (regs.pid != core.mmu().registers().pid)
        core.mmu().write_pid(static_cast<uint32_t>(regs.pid));
    for (unsigned n = 0; n < 8; ++n)
        core.set_spr(spr::kSPRG0 + n, regs.*kSprgs[n]);
    for (unsigned n = 0; n < 32; ++n)
        state.gpr[n] = regs.gpr[n] & mask;
}

namespace {

// ---- the sections of kvm_sregs.u.e, in the order of their feature bits ----

void get_base(core::Core& core, kvm_sregs_e& e) {
    core.timers().update();
    e.csrr0 = get_spr(core, spr::kCSRR0);
    e.csrr1 = get_spr32(core, spr::kCSRR1);
    e.mcsr = get_spr(core, spr::kMCSR);
    e.esr = get_spr32(core, spr::kESR);
    e.dear = get_spr(core, spr::kDEAR);
    e.tsr = core.timers().tsr();
    e.tcr = core.timers().tcr();
    e.dec = core.timers().decrementer();
    e.tb = core.timers().time_base();
    e.vrsave = get_spr32(core, spr::kUSPRG0);
}

void set_base(core::Core& core, const kvm_sregs_e& e) {
    core.set_spr(spr::kCSRR0, e.csrr0);
    core.set_spr(spr::kCSRR1, e.csrr1);
    core.set_spr(spr::kESR, e.esr);
    core.set_spr(spr::kDEAR, e.dear);
    core.set_spr(spr::kUSPRG0, e.vrsave);
    core.timers().write_tcr(e.tcr);
    if (e.update_special & KVM_SREGS_E_UPDATE_MCSR) core.set_spr(spr::kMCSR, e.mcsr);
    if (e.update_special & KVM_SREGS_E_UPDATE_DEC) core.timers().write_decrementer(e.dec);
    if (e.update_special & KVM_SREGS_E_UPDATE_TSR) core.set_spr(spr::kTSR, e.tsr);
}

void get_arch206(core::Core& core, kvm_sregs_e& e) {
    e.pir = core.id();
    e.mcsrr0 = get_spr(core, spr::kMCSRR0);
    e.mcsrr1 = get_spr32(core, spr::kMCSRR1);
    e.decar = core.timers().decar();
    e.ivpr = get_spr(core, spr::kIVPR);
}

void set_arch206(core::Core& core, const kvm_sregs_e& e) {
    core.set_spr(spr::kMCSRR0, e.mcsrr0);
    core.set_spr(spr::kMCSRR1, e.mcsrr1);
    core.timers().write_decar(e.decar);
    core.set_spr(spr::kIVPR, e.ivpr);
}

void get_ivors(core::Core& core, kvm_sregs_e& e) {
    for (unsigned n = 0; n < 16; ++n)
        e.ivor_low[n] = get_spr32(core, spr::kIVOR0 + n);
    for (unsigned n = 0; n < 3; ++n)  // IVOR35-37
        e.ivor_high[3 + n] = get_spr32(core, spr::kIVOR35 + n);
}

void set_ivors(core::Core& core, const kvm_sregs_e& e) {
    for (unsigned n = 0; n < 16; ++n)
        core.set_spr(spr::kIVOR0 + n, e.ivor_low[n]);
    if (e.features & KVM_SREGS_E_PM) core.set_spr(spr::kIVOR35, e.ivor_high[3]);
    if (e.features & KVM_SREGS_E_PC) {
        core.set_spr(spr::kIVOR35 + 1, e.ivor_high[4]);
        core.set_spr(spr::kIVOR35 + 2, e.ivor_high[5]);
    }
}

void get_mmu(core::Core& core, kvm_sregs_e& e) {
    const core::Mmu::Registers& r = core.mmu().registers();
    e.mas0 = r.mas0;
    e.mas1 = r.mas1;
    e.mas2 = r.mas2;
    e.mas7_3 = uint64_t{r.mas7} << 32 | r.mas3;
    e.mas4 = r.mas4;
    e.mas6 = r.mas6;
    e.mmucfg = core.mmu().mmucfg();
    e.tlbcfg[0] = core.mmu().tlbcfg(0);
    e.tlbcfg[1] = core.mmu().tlbcfg(1);
}

void set_mmu(core::Core& core, const kvm_sregs_e& e) {
    core.set_spr(spr::kMAS0, e.mas0);
    core.set_spr(spr::kMAS1, e.mas1);
    core.set_spr(spr::kMAS2, e.mas2);
    core.set_spr(spr::kMAS3, e.mas7_3 & 0xffffffff);
    core.set_spr(spr::kMAS7, e.mas7_3 >> 32);
    core.set_spr(spr::kMAS4, e.mas4);
    core.set_spr(spr::kMAS6, e.mas6);
}

void get_debug(core::Core& core, kvm_sregs_e& e) {
    e.dbsr = get_spr32(core, spr::kDBSR);
    for (unsigned n = 0; n < 3; ++n)
        e.dbcr[n] = get_spr32(core, spr::kDBCR0 + n);
    for (unsigned n = 0; n < 2; ++n) {
        e.iac[n] = get_spr32(core, spr::kIAC1 + n);
        e.dac[n] = get_spr32(core, spr::kDAC1 + n);
    }
    e.num_iac = 2;
    e.num_dac = 2;
}

void set_debug(core::Core& core, const kvm_sregs_e& e) {
    for (unsigned n = 0; n < 2; ++n) {
        core.set_spr(spr::kIAC1 + n, e.iac[n]);
        core.set_spr(spr::kDAC1 + n, e.dac[n]);
    }
    core.set_spr(spr::kDBCR1, e.dbcr[1]);
    core.set_spr(spr::kDBCR2, e.dbcr[2]);
    constexpr uint32_t kReset = core::dbcr0::kRST;  // not a state but a request
    core.set_spr(spr::kDBCR0, e.dbcr[0] & ~kReset);
    if (e.update_special & KVM_SREGS_E_UPDATE_DBSR) core.set_spr(spr::kDBSR, e.dbsr);
}

}  // namespace

void get_sregs(core::Core& core, kvm_sregs& sregs) {
    std::memset(&sregs, 0, sizeof sregs);
    kvm_sregs_e& e = sregs.u.e;
    sregs.pvr = core.model().pvr;
    e.features = KVM_SREGS_E_BASE | KVM_SREGS_E_ARCH206 | KVM_SREGS_E_SPRG8 | KVM_SREGS_E_IVOR |
                 KVM_SREGS_E_ARCH206_MMU | KVM_SREGS_E_DEBUG | KVM_SREGS_E_ED | KVM_SREGS_EXP |
                 KVM_SREGS_E_PD | KVM_SREGS_E_PC | KVM_SREGS_E_PM;
    e.impl_id = KVM_SREGS_E_IMPL_FSL;
    e.impl.fsl.svr = get_spr32(core, spr::kSVR);
    e.impl.fsl.mcar = get_spr(core, spr::kMCARU) << 32 | get_spr32(core, spr::kMCAR);
    e.impl.fsl.hid0 = get_spr32(core, spr::kHID0);
    get_base(core, e);
    get_arch206(core, e);
    get_ivors(core, e);
    get_mmu(core, e);
    get_debug(core, e);
    e.sprg8 = get_spr(core, spr::kSPRG8);
    e.sprg9 = get_spr(core, spr::kSPRG9);
    e.dsrr0 = get_spr(core, spr::kDSRR0);
    e.dsrr1 = get_spr32(core, spr::kDSRR1);
    e.epr = get_spr32(core, spr::kEPR);
    e.eplc = core.mmu().registers().eplc;
    e.epsc = core.mmu().registers().epsc;
}

int set_sregs(core::Core& core, const kvm_sregs& sregs) {
    const kvm_sregs_e& e = sregs.u.e;
    if (sregs.pvr != core.model().pvr) return -EINVAL;
    if ((e.features & KVM_SREGS_E_ARCH206) && e.pir != core.id()) return -EINVAL;
    if (e.features & KVM_SREGS_E_BASE) set_base(core, e);
    if (e.features & KVM_SREGS_E_ARCH206) set_arch206(core, e);
    if (e.impl_id == KVM_SREGS_E_IMPL_FSL) {
        core.set_spr(spr::kHID0, e.impl.fsl.hid0);
        core.set_spr(spr::kMCAR, e.impl.fsl.mcar & 0xffffffff);
        core.set_spr(spr::kMCARU, e.impl.fsl.mcar >> 32);
    }
    if (e.features & KVM_SREGS_E_SPRG8) core.set_spr(spr::kSPRG8, e.sprg8);
    if (e.features & KVM_SREGS_E_IVOR) set_ivors(core, e);
    if (e.features & KVM_SREGS_E_ARCH206_MMU) set_mmu(core, e);
    if (e.features & KVM_SREGS_E_DEBUG) set_debug(core, e);
    if (e.features & KVM_SREGS_E_ED) {
        core.set_spr(spr::kSPRG9, e.sprg9);
        core.set_spr(spr::kDSRR0, e.dsrr0);
        core.set_spr(spr::kDSRR1, e.dsrr1);
    }
    if (e.features & KVM_SREGS_E_PD) {
        core.set_spr(spr::kEPLC, e.eplc);
        core.set_spr(spr::kEPSC, e.epsc);
    }
    core.check_interrupts();
    return 0;
}

}  // namespace perfvisor::kvm
