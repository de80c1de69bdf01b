// SPDX-License-Identifier: GPL-2.0-or-later
// Caches and first-level MMUs. The rules are those of docs/timing.md, "Memory".
#include "core/timing/memory_system.h"

#include <utility>

namespace perfvisor::core::timing {
namespace {

bool writes(MemoryUse use) {
    return use == MemoryUse::Store || use == MemoryUse::Allocate;
}

}  // namespace

void MemorySystem::invalidate() {
    invalidate_data();
    invalidate_instructions();
    invalidate_l2();
    fetch_mmu_.invalidate();
    data_mmu_.invalidate();
    last_group_ = kNowhere;
}

void MemorySystem::mirror(const MemorySystem& from) {
    l1_instructions_ = from.l1_instructions_;
    l1_data_ = from.l1_data_;
    l2_ = from.l2_;
    fetch_mmu_.mirror(from.fetch_mmu_);
    data_mmu_.mirror(from.data_mmu_);
    last_group_ = from.last_group_;
    forget_all_fetches();
    forget_all_data();
}

void MemorySystem::set_context(const Context& fetching, const Context& accessing) {
    const auto same = [](const Context& a, const Context& b) {
        return a.as == b.as && a.pid == b.pid;
    };
    if (std::exchange(epoch_, mmu_.epoch()) != mmu_.epoch()) {
        fetch_mmu_.refresh_filters();
        data_mmu_.refresh_filters();
    }
    if (same(fetching, fetching_) && same(accessing, accessing_)) return;
    fetching_ = fetching;
    accessing_ = accessing;
    forget_all_fetches();
    forget_all_data();
}

void MemorySystem::forget_all_fetches() {
    filters_.fetches.forget_all();
    filters_.fetch_hits.forget_all();
}

void MemorySystem::forget_all_data() {
    filters_.loads.forget_all();
    filters_.stores.forget_all();
    filters_.data_hits.forget_all();
}

// ---- instructions ----

FetchResult MemorySystem::fetch_elsewhere(const L1Mmu::Result& found, uint32_t pc,
                                          const Context& context) {
    filters_.fetches.forget_set(LineFilter::set_of(pc));
    FetchResult result{.new_group = true};
    if (found.found == L1Mmu::Found::Nowhere) return result;  // gone while it was executed
    result.mmu_miss = found.found != L1Mmu::Found::Here;
    if (found.found == L1Mmu::Found::ReloadedSmall) ++(*counts_)[Modelled::InstructionTlb4kReloads];
    if (found.found == L1Mmu::Found::ReloadedVariable)
        ++(*counts_)[Modelled::InstructionVspReloads];
    if (found.attributes & kInhibited) {
        ++(*counts_)[Modelled::BusRequests];
        ++(*counts_)[Modelled::BusInstructionRequests];
        result.level = Level::Memory;
        fetch_mmu_.use(found.entry);
        return result;
    }
    const uint32_t line = line_of(found.physical);
    if (!l1_instructions_.is_newest(line)) {
        fetch_mmu_.use(found.entry);
        result.level = fetch_line(line);
    }
    if (l1_instructions_.is_newest(line)) remember_fetch(pc, line, found.entry, context);
    return result;
}

Level MemorySystem::fetch_line(uint32_t line) {
    if (l1_instructions_.use(line)) return Level::L1;
    const Level level = l2_read(line, true);
    Cache::Victim victim;
    if (const Cache::Place entered = l1_instructions_.enter(line, victim)) {
        filters_.fetch_hits.forget_place(entered.set(), entered.way());
        ++(*counts_)[Modelled::InstructionReloads];
    }
    return level;
}

// ---- data ----

unsigned MemorySystem::access(const Instruction& in, uint32_t ea, unsigned words,
                              const Context& context, DataPart* parts) {
    unsigned count = 0;
    for (unsigned word = 0; word < words; ++word, ea += in.size) {
        const uint32_t last = ea + in.size - 1;
        const bool apart = (ea ^ last) & ~uint32_t{kPortBytes - 1};
        const uint32_t starts[2] = {ea, last & ~uint32_t{kPortBytes - 1}};
        for (unsigned n = 0; n < (apart ? 2u : 1u); ++n) {
            DataPart part{.second = n == 1};
            const std::optional<unsigned> entry = translate(in, starts[n], context, part);
            if (!entry) continue;
            const uint32_t line = line_of(part.physical);
            if (part.inhibited || !l1_data_.is_newest(line)) data_mmu_.use(*entry);
            if (n == 0) count_translated(in, part);
            if (n == 0 && (ea & (in.size - 1u))) ++(*counts_)[Modelled::MisalignedTranslated];
            forget_data(LineFilter::set_of(starts[n]));
            load_or_store(in, part);
            if ((in.use == MemoryUse::Load || in.use == MemoryUse::Store) && !apart &&
                !part.inhibited && !part.guarded && !part.write_through)
                remember_data(ea, line, *entry, context);
            parts[count++] = part;
        }
    }
    return count;
}

std::optional<unsigned> MemorySystem::translate(const Instruction& in, uint32_t ea,
                                                const Context& context, DataPart& part) {
    const Access access = writes(in.use) ? Access::Store : Access::Load;
    const L1Mmu::Result found =
        data_mmu_.translate(ea, access, context.as, context.pid, context.user);
    if (found.found == L1Mmu::Found::Nowhere) return std::nullopt;
    if (found.found == L1Mmu::Found::ReloadedSmall) ++(*counts_)[Modelled::DataTlb4kReloads];
    if (found.found == L1Mmu::Found::ReloadedVariable) ++(*counts_)[Modelled::DataVspReloads];
    part.mmu_miss = found.found != L1Mmu::Found::Here;
    part.physical = found.physical;
    part.inhibited = found.attributes & kInhibited;
    part.guarded = found.attributes & kGuarded;
    part.write_through = found.attributes & kWriteThrough;
    part.coherent = found.attributes & kCoherent;
    return found.entry;
}

void MemorySystem::count_translated(const Instruction& in, const DataPart& part) {
    ++(*counts_)[Modelled::TotalTranslated];
    if (part.inhibited) ++(*counts_)[Modelled::InhibitedTranslated];
    switch (in.use) {
        case MemoryUse::Load:
            if (!part.inhibited) ++(*counts_)[Modelled::LoadsTranslated];
            if (part.guarded) ++(*counts_)[Modelled::GuardedLoadsTranslated];
            break;
        case MemoryUse::Store:
            if (part.inhibited) break;
            ++(*counts_)[Modelled::StoresTranslated];
            ++(*counts_)[Modelled::StoresCompleted];
            if (part.write_through) ++(*counts_)[Modelled::WriteThroughTranslated];
            break;
        case MemoryUse::Touch:
        case MemoryUse::TouchForStore:
            if (!part.inhibited) ++(*counts_)[Modelled::TouchesTranslated];
            break;
        case MemoryUse::Allocate:
        case MemoryUse::Clean:
        case MemoryUse::Flush:
            ++(*counts_)[Modelled::CacheOpsTranslated];
            break;
        default:
            break;
    }
}

void MemorySystem::load_or_store(const Instruction& in, DataPart& part) {
    const uint32_t line = line_of(part.physical);
    part.store = writes(in.use);
    switch (in.use) {
        case MemoryUse::Load:
        case MemoryUse::Store:
            break;
        case MemoryUse::Touch:
        case MemoryUse::TouchForStore:
            part.waits = false;
            if (part.inhibited) return;  // a hint that is not followed
            break;
        case MemoryUse::Allocate:
            if (!part.inhibited) allocate(part);
            return;
        case MemoryUse::Clean:
            clean(line);
            return;
        case MemoryUse::Flush:
            flush(line, part.coherent);
            return;
        case MemoryUse::InvalidateCode:
            if (const Cache::Place found = l1_instructions_.find(line)) {
                filters_.fetch_hits.forget_place(found.set(), found.way());
                l1_instructions_.remove(found);
            }
            filters_.fetches.forget_set(line % kL1Sets);
            last_group_ = kNowhere;
            return;
        case MemoryUse::LockData:
            lock_data(in, line);
            return;
        case MemoryUse::LockCode:
            lock_code(in, line);
            return;
        default:
            unlock(in, line);
            return;
    }
    if (part.inhibited) {
        ++(*counts_)[Modelled::BusRequests];
        ++(*counts_)[Modelled::BusDataRequests];
        part.level = Level::Memory;
        return;
    }
    const bool write_through = part.store && part.write_through;
    part.level = data_line(line, part.store && !write_through);
    if (part.level != Level::L1) {
        ++(*counts_)[Modelled::LineFillBuffers];
        ++(*counts_)[!part.waits  ? Modelled::LineFillBuffersTouches
                     : part.store ? Modelled::LineFillBuffersStores
                                  : Modelled::LineFillBuffersLoads];
    }
    if (write_through) clean_through(line);
}

Level MemorySystem::data_line(uint32_t line, bool dirty) {
    if (const Cache::Place found = l1_data_.use(line)) {
        if (dirty) l1_data_.set_dirty(found, true);
        return Level::L1;
    }
    const Level level = l2_read(line, false);
    enter_data_line(line, dirty);
    ++(*counts_)[Modelled::DataReloads];
    return level;
}

void MemorySystem::enter_data_line(uint32_t line, bool dirty) {
    Cache::Victim victim;
    const Cache::Place entered = l1_data_.enter(line, victim);
    if (!entered) {  // every way is locked: the line is used and not kept
        if (dirty) cast_out(line);
        return;
    }
    filters_.data_hits.forget_place(entered.set(), entered.way());
    l1_data_.set_dirty(entered, dirty);
    if (!victim.dirty) return;
    ++(*counts_)[Modelled::DataCastouts];
    cast_out(victim.line);
}

// A line that is written as a whole needs no old contents.
void MemorySystem::allocate(DataPart& part) {
    const uint32_t line = line_of(part.physical);
    if (const Cache::Place found = l1_data_.use(line))
        l1_data_.set_dirty(found, true);
    else
        enter_data_line(line, true);
}

// ---- L2 ----

Level MemorySystem::l2_read(uint32_t line, bool instruction) {
    ++(*counts_)[Modelled::L2Accesses];
    ++(*counts_)[instruction ? Modelled::L2InstructionAccesses : Modelled::L2DataAccesses];
    if (const Cache::Place found = l2_.use(line)) {
        ++(*counts_)[Modelled::L2Hits];
        ++(*counts_)[instruction ? Modelled::L2InstructionHits : Modelled::L2DataHits];
        if (l2_.dirty(found) && !instruction) ++(*counts_)[Modelled::L2DirtyDataHits];
        return Level::L2;
    }
    ++(*counts_)[Modelled::L2LineFills];
    ++(*counts_)[Modelled::BusRequests];
    ++(*counts_)[instruction ? Modelled::BusInstructionRequests : Modelled::BusDataRequests];
    l2_enter(line, false, instruction);
    return Level::Memory;
}

void MemorySystem::l2_enter(uint32_t line, bool dirty, bool instruction) {
    Cache::Victim victim;
    const Cache::Place entered = l2_.enter(line, victim);
    if (!entered) {
        if (dirty) bus_castout();
        return;
    }
    l2_.set_dirty(entered, dirty);
    ++(*counts_)[Modelled::L2Allocations];
    ++(*counts_)[instruction ? Modelled::L2InstructionAllocations : Modelled::L2DataAllocations];
    if (dirty) ++(*counts_)[Modelled::L2DirtyAllocations];
    if (victim.line == Cache::kNone) return;
    ++(*counts_)[Modelled::L2Victims];
    if (!victim.dirty) return;
    ++(*counts_)[Modelled::L2Castouts];
    bus_castout();
}

void MemorySystem::bus_castout() {
    ++(*counts_)[Modelled::BusRequests];
    ++(*counts_)[Modelled::BusDataRequests];
    ++(*counts_)[Modelled::BusCastouts];
}

// A modified line leaves the L1.
void MemorySystem::cast_out(uint32_t line) {
    const Cache::Place found = l2_.use(line);
    if (!found) {
        l2_enter(line, true, false);
        return;
    }
    ++(*counts_)[Modelled::L2Updates];
    ++(*counts_)[Modelled::L2DirtyUpdates];
    if (l2_.dirty(found)) ++(*counts_)[Modelled::L2DirtyRedundantUpdates];
    l2_.set_dirty(found, true);
}

// What goes to memory passes the L2, whose line is then as memory is.
void MemorySystem::clean_through(uint32_t line) {
    ++(*counts_)[Modelled::BusRequests];
    ++(*counts_)[Modelled::BusDataRequests];
    const Cache::Place found = l2_.find(line);
    if (!found) return;
    ++(*counts_)[Modelled::L2Updates];
    ++(*counts_)[Modelled::L2CleanUpdates];
    if (!l2_.dirty(found)) ++(*counts_)[Modelled::L2CleanRedundantUpdates];
    l2_.set_dirty(found, false);
}

void MemorySystem::clean(uint32_t line) {
    const Cache::Place first = l1_data_.find(line), second = l2_.find(line);
    if (!(first && l1_data_.dirty(first)) && !(second && l2_.dirty(second))) return;
    if (first) l1_data_.set_dirty(first, false);
    clean_through(line);
}

void MemorySystem::flush(uint32_t line, bool coherent) {
    bool dirty = false;
    if (const Cache::Place found = l1_data_.find(line)) {
        dirty = l1_data_.dirty(found);
        remove_data(found);
    }
    if (const Cache::Place found = l2_.find(line)) {
        const bool l2_dirty = l2_.dirty(found);
        dirty |= l2_dirty;
        ++(*counts_)[!l2_dirty  ? Modelled::L2InvalidatedClean
                     : coherent ? Modelled::L2InvalidatedCoherent
                                : Modelled::L2InvalidatedIncoherent];
        l2_.remove(found);
    }
    if (dirty) bus_castout();
}

// ---- locks ----

namespace {

// False where it is not there, or was locked before.
bool lock(Cache& cache, uint32_t line) {
    const Cache::Place found = cache.find(line);
    if (!found || cache.locked(found)) return false;
    cache.set_locked(found, true);
    return true;
}

}  // namespace

void MemorySystem::lock_data(const Instruction& in, uint32_t line) {
    if (in.to_l2) {
        lock_l2(line, false);
        return;
    }
    data_line(line, false);
    if (lock(l1_data_, line)) ++(*counts_)[Modelled::DataLocks];
}

void MemorySystem::lock_code(const Instruction& in, uint32_t line) {
    if (in.to_l2) {
        lock_l2(line, true);
        return;
    }
    fetch_line(line);
    filters_.fetches.forget_set(line % kL1Sets);
    last_group_ = kNowhere;
    if (lock(l1_instructions_, line)) ++(*counts_)[Modelled::InstructionLocks];
}

void MemorySystem::lock_l2(uint32_t line, bool instruction) {
    l2_read(line, instruction);
    if (lock(l2_, line)) ++(*counts_)[Modelled::L2Locks];
}

void MemorySystem::unlock(const Instruction& in, uint32_t line) {
    Cache& cache = in.to_l2 ? l2_ : in.use == MemoryUse::UnlockCode ? l1_instructions_ : l1_data_;
    if (const Cache::Place found = cache.find(line)) cache.set_locked(found, false);
}

}  // namespace perfvisor::core::timing
