// SPDX-License-Identifier: GPL-2.0-or-later
// The TLB array that KVM_CAP_SW_TLB shares with the VMM, and KVM_TRANSLATE.
#include "kvm/soft/software_tlb.h"

#include <cerrno>

#include "core/physical_memory.h"

namespace perfvisor::kvm {

namespace {

// MAS1 and MAS2 (EREF 6.5.4). TSIZE as the Power ISA 2.06 has it, log2 of KiB from bit 7 up: for
// the powers of 4 of the e500 the same bits as the EREF's.
constexpr uint32_t kValid = 0x80000000, kIprot = 0x40000000, kTidMask = 0x3fff;
constexpr unsigned kTidShift = 16, kTsShift = 12, kTsizeShift = 7, kTsizeMask = 0x1f;
constexpr uint64_t kMas2Attributes = 0x7f, kMas3Permissions = 0x3ff;
constexpr uint64_t kMas73Address = 0xffffff000;

unsigned log2_kib(uint64_t bytes) {
    unsigned log = 0;
    while (log < 31 && (uint64_t{1024} << log) < bytes)
        ++log;
    return log;
}

template <typename T>
T* pointer(uint64_t address) {
    return reinterpret_cast<T*>(static_cast<uintptr_t>(address));
}

}  // namespace

kvm_book3e_206_tlb_entry to_kvm(const core::TlbEntry& entry) {
    kvm_book3e_206_tlb_entry result{};
    result.mas8 = entry.mas8;
    result.mas1 = (entry.valid ? kValid : 0) | (entry.iprot ? kIprot : 0) |
                  (entry.tid & kTidMask) << kTidShift | uint32_t{entry.ts} << kTsShift |
                  log2_kib(entry.size) << kTsizeShift;
    result.mas2 = entry.ea | (entry.attributes & kMas2Attributes);
    result.mas7_3 = entry.ra | (entry.permissions & kMas3Permissions);
    return result;
}

core::TlbEntry from_kvm(const kvm_book3e_206_tlb_entry& entry, bool tlb0, uint64_t ea_mask) {
    core::TlbEntry result;
    const unsigned tsize = (entry.mas1 >> kTsizeShift) & kTsizeMask;
    // Sizes are powers of 4 from 4 KiB up; a size in between is that below it, as the low TSIZE bit
    // does not exist. TLB0 has 4 KiB pages whatever TSIZE says.
    result.size = tlb0 || tsize < 2 ? core::kPageSize : uint64_t{1024} << (tsize & ~1u);
    result.valid = (entry.mas1 & kValid) != 0;
    result.iprot = !tlb0 && (entry.mas1 & kIprot) != 0;
    result.ts = (entry.mas1 >> kTsShift) & 1;
    result.tid = (entry.mas1 >> kTidShift) & kTidMask;
    result.ea = entry.mas2 & ea_mask & ~(result.size - 1);
    result.ra = entry.mas7_3 & kMas73Address & ~(result.size - 1);
    result.attributes = static_cast<uint32_t>(entry.mas2 & kMas2Attributes);
    result.permissions = static_cast<uint32_t>(entry.mas7_3 & kMas3Permissions);
    result.mas8 = entry.mas8;
    return result;
}

void translate(const core::Mmu& mmu, kvm_translation& translation) {
    const uint64_t ea = translation.linear_address & 0xffffffff;
    const uint32_t pid = (translation.linear_address >> 32) & 0xff;
    const unsigned as = (translation.linear_address >> 40) & 1;
    translation.valid = translation.writeable = translation.usermode = 0;
    translation.physical_address = 0;
    for (const bool user : {false, true})
        for (const core::Access access :
             {core::Access::Load, core::Access::Store, core::Access::Fetch}) {
            const auto found = mmu.translate(ea, access, as, pid, user).translation;
            if (!found) continue;
            translation.valid = 1;
            translation.physical_address = found->physical;
            if (access == core::Access::Store) translation.writeable = 1;
            if (user) translation.usermode = 1;
        }
}

int SoftwareTlb::configure(const kvm_config_tlb& config) {
    if (config.mmu_type != KVM_MMU_FSL_BOOKE_NOHV) return -EINVAL;
    const auto* params = pointer<const kvm_book3e_206_tlb_params>(config.params);
    if (params == nullptr || config.array == 0) return -EFAULT;
    const bool fits =
        params->tlb_sizes[0] == model_.tlb0_entries && params->tlb_ways[0] == model_.tlb0_ways &&
        params->tlb_sizes[1] == model_.tlb1_entries && params->tlb_ways[1] == model_.tlb1_entries &&
        params->tlb_sizes[2] == 0 && params->tlb_sizes[3] == 0 && params->tlb_ways[2] == 0 &&
        params->tlb_ways[3] == 0;
    if (!fits || config.array_len < total() * sizeof(kvm_book3e_206_tlb_entry)) return -EINVAL;
    array_ = pointer<kvm_book3e_206_tlb_entry>(config.array);
    for (unsigned index = 0; index < total(); ++index)
        take_over(index);
    return 0;
}

int SoftwareTlb::dirty(const kvm_dirty_tlb& dirty) {
    if (array_ == nullptr) return -EINVAL;
    const auto* bitmap = pointer<const uint64_t>(dirty.bitmap);
    for (unsigned index = 0; index < total(); ++index)
        if (bitmap == nullptr || (bitmap[index / 64] >> (index % 64) & 1) != 0) take_over(index);
    return 0;
}

void SoftwareTlb::take_over(unsigned index) {
    const uint64_t ea_mask = model_.gpr_bits == 64 ? ~uint64_t{0} : 0xffffffff;
    const unsigned tlb0 = mmu_.entries(0);
    const bool in_tlb0 = index < tlb0;
    mmu_.set_entry(in_tlb0 ? 0 : 1, in_tlb0 ? index : index - tlb0,
                   from_kvm(array_[index], in_tlb0, ea_mask));
}

void SoftwareTlb::publish() {
    if (array_ == nullptr) return;
    mmu_.for_each_written([this](unsigned tlb, unsigned index) {
        array_[(tlb == 0 ? 0 : mmu_.entries(0)) + index] = to_kvm(mmu_.entry(tlb, index));
    });
}

}  // namespace perfvisor::kvm
