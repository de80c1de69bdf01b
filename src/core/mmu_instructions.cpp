// SPDX-License-Identifier: GPL-2.0-or-later
// The MMU assist registers, the TLB instructions and the configuration registers.
#include <bit>

#include "core/mmu.h"
#include "core/physical_memory.h"

namespace perfvisor::core {
namespace {

// MAS0
constexpr unsigned kTlbselShift = 28, kEselShift = 16;
constexpr uint32_t kTlbselMask = 3, kEselMask = 0xfff, kNvMask = 0xfff;
// MAS1
constexpr uint32_t kValid = 0x80000000, kIprot = 0x40000000;
constexpr unsigned kTidShift = 16, kTsShift = 12, kTsizeShift = 8;
constexpr uint32_t kTidMask = 0x3fff, kTsizeMask = 15;
constexpr uint32_t kLargestTsize = 11;  // 4 GiB
// MAS2, MAS3
constexpr uint32_t kAttributes = 0x7f, kPermissions = 0x3ff;
constexpr uint64_t kRpnLow = 0xfffff000;
// MAS4: defaults, where the fields are that they stand for
constexpr uint32_t kDefaultTsize = 0x00000f00, kDefaultAttributes = 0x0000007f;
// MAS6
constexpr unsigned kSpidShift = 16;
constexpr uint32_t kSas = 1;
// MMUCSR0
constexpr uint32_t kTlb1FlashInvalidate = 0x2, kTlb0FlashInvalidate = 0x4;
// tlbivax's effective address
constexpr uint64_t kInvalidateAll = 0x4, kInvalidateTlb1 = 0x8;

// Page sizes are 4^TSIZE KiB.
uint32_t tsize_of(uint64_t bytes) {
    return static_cast<uint32_t>(std::countr_zero(bytes) - 10) / 2;
}

}  // namespace

std::optional<Mmu::Position> Mmu::selected() const {
    const unsigned tlb = registers_.mas0 >> kTlbselShift & kTlbselMask;
    const unsigned esel = registers_.mas0 >> kEselShift & kEselMask;
    if (tlb == 0)
        return Position{0, set_of(registers_.mas2) * model_.tlb0_ways + esel % model_.tlb0_ways};
    if (tlb == 1) return Position{1, esel % model_.tlb1_entries};
    return std::nullopt;
}

TlbEntry Mmu::entry_from_mas(unsigned tlb) const {
    const Registers& r = registers_;
    // TSIZE values that name no page size are reserved; the nearest size stands for them.
    uint32_t tsize = r.mas1 >> kTsizeShift & kTsizeMask;
    if (tsize == 0) tsize = 1;
    if (tsize > kLargestTsize) tsize = kLargestTsize;
    return sanitized(tlb, {.valid = (r.mas1 & kValid) != 0,
                           .iprot = (r.mas1 & kIprot) != 0,
                           .ts = static_cast<uint8_t>(r.mas1 >> kTsShift & 1),
                           .tid = r.mas1 >> kTidShift & kTidMask,
                           .ea = r.mas2 & kPageMask,
                           .ra = uint64_t{r.mas7} << 32 | (r.mas3 & kRpnLow),
                           .size = uint64_t{1024} << (2 * tsize),
                           .attributes = static_cast<uint32_t>(r.mas2) & kAttributes,
                           .permissions = r.mas3 & kPermissions,
                           .mas8 = r.mas8});
}

void Mmu::mas_from_entry(Position position) {
    const TlbEntry& entry = tlb_[position.tlb][position.index];
    Registers& r = registers_;
    const unsigned esel = position.tlb == 0 ? position.index % model_.tlb0_ways : position.index;
    r.mas0 = position.tlb << kTlbselShift | esel << kEselShift | next_victim_;
    r.mas1 = (entry.valid ? kValid : 0) | (entry.iprot ? kIprot : 0) | entry.tid << kTidShift |
             uint32_t{entry.ts} << kTsShift |
             (entry.size ? tsize_of(entry.size) << kTsizeShift : 0);
    r.mas2 = entry.ea | entry.attributes;
    r.mas3 = static_cast<uint32_t>(entry.ra & kRpnLow) | entry.permissions;
    r.mas7 = static_cast<uint32_t>(entry.ra >> 32);
    r.mas8 = entry.mas8;
}

// The default TLB, and the way of TLB0 to replace: the next victim, which moves on when tlbwe
// writes MAS0[NV] back (e500 core family
// manual 12.3.2.2).
void Mmu::take_replacement_hint() {
    const uint32_t tlb = registers_.mas4 >> kTlbselShift & kTlbselMask;
    uint32_t esel = 0, nv = next_victim_;
    if (tlb == 0) {
        esel = next_victim_;
        nv = (next_victim_ + 1) % model_.tlb0_ways;
    }
    registers_.mas0 = tlb << kTlbselShift | esel << kEselShift | nv;
}

// The fields that a TLB error and an unsuccessful tlbsx set alike (e500 core family manual 12.7.2).
void Mmu::mas_defaults() {
    Registers& r = registers_;
    take_replacement_hint();
    r.mas2 = (r.mas2 & kPageMask) | (r.mas4 & kDefaultAttributes);
    r.mas3 = 0;
    r.mas7 = 0;
}

void Mmu::set_mas_for_miss(uint64_t ea, unsigned as, uint32_t pid) {
    Registers& r = registers_;
    mas_defaults();
    r.mas1 = kValid | pid << kTidShift | as << kTsShift | (r.mas4 & kDefaultTsize);
    r.mas2 = (ea & ea_mask_ & kPageMask) | (r.mas4 & kDefaultAttributes);
    r.mas6 = pid << kSpidShift | as;
}

bool Mmu::tlbwe() {
    const auto position = selected();
    if (!position) return false;
    if (position->tlb == 0) next_victim_ = (registers_.mas0 & kNvMask) % model_.tlb0_ways;
    replace(*position, entry_from_mas(position->tlb));
    return true;
}

bool Mmu::tlbre() {
    const auto position = selected();
    if (!position) return false;
    const uint64_t epn = registers_.mas2 & kPageMask;
    mas_from_entry(*position);
    // An entry of TLB0 never written still lies in the set it was read from.
    if (position->tlb == 0 && tlb_[0][position->index].size == 0) registers_.mas2 |= epn;
    return true;
}

void Mmu::tlbsx(uint64_t ea) {
    Registers& r = registers_;
    const uint32_t pid = r.mas6 >> kSpidShift & kTidMask, as = r.mas6 & kSas;
    if (const auto position = find(ea & ea_mask_, as, pid & pid_mask_)) {
        mas_from_entry(*position);
        return;
    }
    mas_defaults();
    r.mas1 = pid << kTidShift | as << kTsShift | (r.mas4 & kDefaultTsize);
}

template <typename Matches>
unsigned Mmu::invalidate_if(unsigned tlb, Matches matches) {
    unsigned count = 0;
    for (size_t index = 0; index < tlb_[tlb].size(); ++index) {
        TlbEntry& entry = tlb_[tlb][index];
        if (!entry.valid || entry.iprot || !matches(entry)) continue;
        entry.valid = false;
        mark_written(tlb, index);
        ++count;
    }
    if (tlb == 1 && count > 0) list_tlb1();
    return count;
}

// TLB0 holds a page only in the set that its address selects.
template <typename Matches>
void Mmu::invalidate_page(unsigned tlb, uint64_t page, Matches matches) {
    const size_t first = tlb == 0 ? set_of(page) * model_.tlb0_ways : 0;
    const size_t end = tlb == 0 ? first + model_.tlb0_ways : tlb_[1].size();
    bool any = false;
    for (size_t index = first; index < end; ++index) {
        TlbEntry& entry = tlb_[tlb][index];
        if (!entry.valid || entry.iprot || page - entry.ea >= entry.size || !matches(entry))
            continue;
        entry.valid = false;
        mark_written(tlb, index);
        any = true;
        changed(entry.ea, entry.size);
    }
    if (tlb == 1 && any) list_tlb1();
}

// The address is compared, the process and address space are not (EREF, tlbivax).
void Mmu::tlbivax(uint64_t ea) {
    const unsigned tlb = (ea & kInvalidateTlb1) ? 1 : 0;
    const uint64_t page = ea & ea_mask_ & kPageMask;
    if (ea & kInvalidateAll) {
        if (invalidate_if(tlb, [](const TlbEntry&) { return true; }) > 0) forget_all();
        return;
    }
    invalidate_page(tlb, page, [](const TlbEntry&) { return true; });
}

// T = 3 takes the entries that an access of the process in MAS6 could use, global ones included.
void Mmu::tlbilx(unsigned t, uint64_t ea) {
    const uint32_t pid = registers_.mas6 >> kSpidShift & kTidMask & pid_mask_;
    const uint64_t page = ea & ea_mask_ & kPageMask;
    unsigned count = 0;
    for (unsigned tlb = 0; tlb < 2; ++tlb) {
        if (t == 0)
            count += invalidate_if(tlb, [](const TlbEntry&) { return true; });
        else if (t == 1)
            count += invalidate_if(tlb, [&](const TlbEntry& e) { return e.tid == pid; });
        else if (t == 3)
            invalidate_page(tlb, page,
                            [&](const TlbEntry& e) { return e.tid == 0 || e.tid == pid; });
    }
    if (count == 0) return;
    if (t == 1 && pid != 0)
        flush_pid(pid);
    else
        forget_all();
}

// Both bits read 0 again at once: an invalidation takes no time (e500 core family
// manual 2.12.2).
void Mmu::write_mmucsr0(uint32_t value) {
    const auto any = [](const TlbEntry&) { return true; };
    unsigned count = 0;
    if (value & kTlb0FlashInvalidate) count += invalidate_if(0, any);
    if (value & kTlb1FlashInvalidate) count += invalidate_if(1, any);
    if (count > 0) forget_all();
}

// TLBnCFG: ASSOC, MINSIZE, MAXSIZE, IPROT, AVAIL, NENTRY (EREF, TLBnCFG).
uint32_t Mmu::tlbcfg(unsigned tlb) const {
    if (tlb == 0) return model_.tlb0_ways << 24 | 1u << 20 | 1u << 16 | model_.tlb0_entries;
    if (tlb == 1)
        return model_.tlb1_entries << 24 | 1u << 20 | kLargestTsize << 16 | 0x8000 | 0x4000 |
               model_.tlb1_entries;
    return 0;
}

// TLBnPS belongs to MMU architecture version 2; version 1 has its sizes in TLBnCFG.
uint32_t Mmu::tlbps(unsigned tlb) const {
    (void)tlb;
    return 0;
}

// MMUCFG: LPIDSIZE 0 (no E.HV), RASIZE, NPIDS, PIDSIZE, NTLBS 2, version 1.0 (EREF, MMUCFG).
uint32_t Mmu::mmucfg() const {
    return model_.physical_bits << 17 | model_.reset_pid_count << 11 | (model_.pid_bits - 1) << 6 |
           1u << 2;
}

}  // namespace perfvisor::core
