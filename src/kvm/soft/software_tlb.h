// SPDX-License-Identifier: GPL-2.0-or-later
// The TLB array that KVM_CAP_SW_TLB shares with the VMM, and KVM_TRANSLATE.
#pragma once

#include <cstdint>

#include "core/mmu.h"
#include "kvm/uapi/kvm_powerpc.h"

namespace perfvisor::kvm {

kvm_book3e_206_tlb_entry to_kvm(const core::TlbEntry& entry);
core::TlbEntry from_kvm(const kvm_book3e_206_tlb_entry& entry, bool tlb0, uint64_t ea_mask);

// KVM_TRANSLATE: address space and PID are in the linear address (uapi/kvm_powerpc.h).
void translate(const core::Mmu& mmu, kvm_translation& translation);

class SoftwareTlb {
  public:
    SoftwareTlb(core::Mmu& mmu, const core::CoreModel& model) : mmu_(mmu), model_(model) {}

    // KVM_ENABLE_CAP(KVM_CAP_SW_TLB): the array is the TLB from now on. -EINVAL unless it has the
    // model's geometry, which is fixed.
    int configure(const kvm_config_tlb& config);
    // KVM_DIRTY_TLB: takes the entries of the bitmap over; all of them without a bitmap.
    // -EINVAL without an array.
    int dirty(const kvm_dirty_tlb& dirty);
    // Brings the array up to date with what the guest did to its TLB.
    void publish();

  private:
    unsigned total() const { return mmu_.entries(0) + mmu_.entries(1); }
    void take_over(unsigned index);

    core::Mmu& mmu_;
    const core::CoreModel& model_;
    kvm_book3e_206_tlb_entry* array_ = nullptr;
};

}  // namespace perfvisor::kvm
