// SPDX-License-Identifier: GPL-2.0-or-later
// Translation, address contexts and the inline translation cache.
#include "core/mmu.h"

#include <algorithm>

#include "core/core.h"

namespace perfvisor::core {
namespace {

// MAS2 and MAS3 bits.
constexpr uint32_t kLittleEndian = 0x01;
constexpr uint32_t kUserExecute = 0x20, kSupervisorExecute = 0x10, kUserWrite = 0x08,
                   kSupervisorWrite = 0x04, kUserRead = 0x02, kSupervisorRead = 0x01;

uint32_t permission_needed(Access access, bool user) {
    switch (access) {
        case Access::Load:
            return user ? kUserRead : kSupervisorRead;
        case Access::Store:
            return user ? kUserWrite : kSupervisorWrite;
        default:
            return user ? kUserExecute : kSupervisorExecute;
    }
}

// The fault that an access meets where no entry matches, or where one forbids it.
Fault fault_of(Access access, uint64_t ea, bool missing) {
    if (access == Access::Fetch) {
        // An instruction TLB error leaves ESR alone (EREF chapter 7).
        return {.kind = missing ? Interrupt::InstructionTlbError : Interrupt::InstructionStorage,
                .sets_esr = !missing};
    }
    return {.kind = missing ? Interrupt::DataTlbError : Interrupt::DataStorage,
            .esr = access == Access::Store ? esr::kST : 0,
            .dear = ea,
            .sets_dear = true};
}

uint64_t low_bits(unsigned count) {
    return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

}  // namespace

Mmu::Mmu(const CoreModel& model, CpuState& state)
    : model_(model),
      state_(state),
      ea_mask_(low_bits(model.gpr_bits)),
      pid_mask_(static_cast<uint32_t>(low_bits(model.pid_bits))),
      slots_(size_t{1} << model.pid_bits, kNoSlot) {
    tlb_[0].resize(model.tlb0_entries);
    tlb_[1].resize(model.tlb1_entries);
    generations_.resize(model.tlb0_entries + model.tlb1_entries);
    written_.resize((model.tlb0_entries + model.tlb1_entries + 63) / 64);
    tlb1_valid_.reserve(model.tlb1_entries);
    reset();
}

void Mmu::reset() {
    for (const unsigned tlb : {0u, 1u})
        for (size_t index = 0; index < tlb_[tlb].size(); ++index) {
            tlb_[tlb][index] = {};
            mark_written(tlb, index);
        }
    registers_ = {};
    next_victim_ = 0;
    fast_disabled_ = false;
    list_tlb1();
    forget_all();
}

unsigned Mmu::set_of(uint64_t ea) const {
    return static_cast<unsigned>(ea >> 12) & (model_.tlb0_entries / model_.tlb0_ways - 1);
}

template <typename What>
bool Mmu::any_candidate(uint64_t ea, What what) const {
    const unsigned first = set_of(ea) * model_.tlb0_ways;
    for (unsigned index = first; index < first + model_.tlb0_ways; ++index)
        if (tlb_[0][index].valid && what(Position{0, index}, tlb_[0][index])) return true;
    for (const uint8_t index : tlb1_valid_)
        if (what(Position{1, index}, tlb_[1][index])) return true;
    return false;
}

// An entry matches by address, address space and process; TID 0 is every process's. Where software
// lets several entries match, the first wins: the architecture leaves it open.
std::optional<Mmu::Position> Mmu::find(uint64_t ea, unsigned as, uint32_t pid) const {
    std::optional<Position> found;
    any_candidate(ea, [&](Position position, const TlbEntry& entry) {
        const bool matches =
            ea - entry.ea < entry.size && entry.ts == as && (entry.tid == 0 || entry.tid == pid);
        if (matches) found = position;
        return matches;
    });
    return found;
}

bool Mmu::has_one_entry(uint64_t ea, unsigned as) const {
    ea &= ea_mask_;
    unsigned count = 0;
    any_candidate(ea, [&](Position, const TlbEntry& entry) {
        count += ea - entry.ea < entry.size && entry.ts == as;
        return count > 1;
    });
    return count == 1;
}

Mmu::Lookup Mmu::translate(uint64_t ea, Access access, unsigned as, uint32_t pid, bool user) const {
    ea &= ea_mask_;
    const auto position = find(ea, as, pid);
    if (!position) return {std::nullopt, fault_of(access, ea, true)};
    const TlbEntry& entry = tlb_[position->tlb][position->index];
    if (!(entry.permissions & permission_needed(access, user)))
        return {std::nullopt, fault_of(access, ea, false)};
    return {Translation{.physical = entry.ra + (ea - entry.ea),
                        .page_size = entry.size,
                        .page_ea = entry.ea,
                        .attributes = entry.attributes,
                        .permissions = entry.permissions,
                        .tid = entry.tid,
                        .from_tlb1 = position->tlb == 1,
                        .position = static_cast<uint16_t>(
                            position->index + (position->tlb == 1 ? tlb_[0].size() : 0))},
            {}};
}

void Mmu::list_tlb1() {
    tlb1_valid_.clear();
    for (unsigned index = 0; index < tlb_[1].size(); ++index)
        if (tlb_[1][index].valid) tlb1_valid_.push_back(static_cast<uint8_t>(index));
}

// What a TLB can hold of an entry given from outside or by MAS registers.
TlbEntry Mmu::sanitized(unsigned tlb, TlbEntry entry) const {
    uint64_t size = kPageSize;
    if (tlb == 1)
        while (size < entry.size && size < (uint64_t{1} << 32))
            size *= 4;
    entry.size = size;
    entry.ea &= ea_mask_ & ~(size - 1);
    entry.ra &= low_bits(model_.physical_bits) & ~(size - 1);
    entry.tid &= pid_mask_;
    entry.ts &= 1;
    entry.attributes &= 0x7f;
    entry.permissions &= 0x3ff;
    if (tlb == 0) entry.iprot = false;  // TLB0CFG[IPROT] is 0
    return entry;
}

void Mmu::replace(Position position, const TlbEntry& entry) {
    TlbEntry& old = tlb_[position.tlb][position.index];
    if (old.valid) changed(old.ea, old.size);
    const bool listed = old.valid || entry.valid;
    old = entry;
    mark_written(position.tlb, position.index);
    if (position.tlb == 1 && listed) list_tlb1();
    // A new entry takes nothing from anybody, unless it stands before another for some address.
    if (entry.valid && overlaps_another(position)) changed(entry.ea, entry.size);
}

bool Mmu::overlaps_another(Position position) const {
    if (position.tlb == 1) return true;  // rare enough not to search all of TLB0
    const TlbEntry& entry = tlb_[0][position.index];
    return any_candidate(entry.ea, [&](Position, const TlbEntry& other) {
        return &other != &entry && entry.ea - other.ea < other.size;
    });
}

void Mmu::set_entry(unsigned tlb, unsigned index, const TlbEntry& entry) {
    if (tlb > 1 || index >= entries(tlb)) return;
    TlbEntry clean = sanitized(tlb, entry);
    // An entry of TLB0 can only be found in the set that its address selects.
    if (tlb == 0 && set_of(clean.ea) != index / model_.tlb0_ways) clean.valid = false;
    replace({tlb, index}, clean);
}

void Mmu::mirror(const Mmu& from, bool tlbs) {
    for (const unsigned tlb : {0u, 1u})
        for (unsigned index = 0; tlbs && index < entries(tlb); ++index)
            if (entry(tlb, index) != from.entry(tlb, index))
                replace({tlb, index}, from.entry(tlb, index));
    if (tlbs) generations_ = from.generations_;
    const bool other_pid = registers_.pid != from.registers_.pid;
    registers_ = from.registers_;
    next_victim_ = from.next_victim_;
    if (other_pid) update_contexts();
}

// ---- address contexts ----

uint32_t Mmu::slot_of(uint32_t pid) {
    if (slots_[pid] == kNoSlot) {
        if (next_slot_ == kSlots) forget_all();
        // forget_all() has come back here for the current PID.
        if (slots_[pid] == kNoSlot) slots_[pid] = static_cast<uint16_t>(next_slot_++);
    }
    return slots_[pid];
}

void Mmu::update_contexts() {
    const uint32_t slot = slot_of(registers_.pid);
    const uint32_t data_slot = fast_disabled_ ? kUncachedSlot : slot;
    const uint32_t user = (state_.msr & msr::kPR) ? 1 : 0;
    state_.fetch_context = slot << 2 | ((state_.msr & msr::kIS) ? 2 : 0) | user;
    state_.data_context = data_slot << 2 | ((state_.msr & msr::kDS) ? 2 : 0) | user;
}

void Mmu::write_pid(uint32_t value) {
    registers_.pid = value & pid_mask_;
    update_contexts();
}

void Mmu::set_fast_disabled(bool disabled) {
    fast_disabled_ = disabled;
    update_contexts();
}

void Mmu::flush_pid(uint32_t pid) {
    slots_[pid] = kNoSlot;
    update_contexts();
}

// ---- the inline translation cache ----

void Mmu::enter_fast(uint64_t ea, const Translation& translation, uint8_t* host, bool writable) {
    if (fast_disabled_ || (translation.attributes & kLittleEndian)) return;
    const bool user = state_.msr & msr::kPR;
    const uint64_t page = ea & kPageMask, tag = page | state_.data_context;
    FastTlbEntry& fast = state_.fast_tlb[fast_tlb_index(ea)];
    const bool reads = translation.permissions & permission_needed(Access::Load, user);
    const bool writes = translation.permissions & permission_needed(Access::Store, user);
    fast.read_tag = reads ? tag : FastTlbEntry::kNoTag;
    fast.write_tag = writes && writable ? tag : FastTlbEntry::kNoTag;
    fast.addend = reinterpret_cast<uintptr_t>(host) - page;
    fast.page = translation.physical & kPageMask;
}

void Mmu::changed(uint64_t ea, uint64_t size) {
    forget_fast(ea, size);
    if (listener_) listener_->translations_changed(ea, size);
}

void Mmu::forget_fast(uint64_t ea, uint64_t size) {
    const auto forget = [&](FastTlbEntry& fast) {
        const auto inside = [&](uint64_t tag) {
            return tag != FastTlbEntry::kNoTag && (tag & kPageMask) - ea < size;
        };
        if (inside(fast.read_tag)) fast.read_tag = FastTlbEntry::kNoTag;
        if (inside(fast.write_tag)) fast.write_tag = FastTlbEntry::kNoTag;
    };
    if (size / kPageSize >= kFastTlbEntries) {
        for (FastTlbEntry& fast : state_.fast_tlb)
            forget(fast);
    } else {
        for (uint64_t page = ea; page < ea + size; page += kPageSize)
            forget(state_.fast_tlb[fast_tlb_index(page)]);
    }
}

void Mmu::forget_physical_page(uint64_t physical) {
    for (FastTlbEntry& fast : state_.fast_tlb)
        if (fast.page == (physical & kPageMask)) fast.write_tag = FastTlbEntry::kNoTag;
    if (listener_) listener_->page_protected(physical);
}

void Mmu::forget_all_writes() {
    for (FastTlbEntry& fast : state_.fast_tlb)
        fast.write_tag = FastTlbEntry::kNoTag;
    if (listener_) listener_->all_pages_protected();
}

void Mmu::forget_all() {
    for (FastTlbEntry& fast : state_.fast_tlb)
        fast.read_tag = fast.write_tag = FastTlbEntry::kNoTag;
    std::fill(slots_.begin(), slots_.end(), kNoSlot);
    next_slot_ = 0;
    if (listener_) listener_->all_translations_changed();
    update_contexts();
}

}  // namespace perfvisor::core
