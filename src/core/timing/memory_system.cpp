// SPDX-License-Identifier: GPL-2.0-or-later
// Caches and first-level MMUs. The rules are those of docs/timing.md, "Memory".
#include "core/timing/memory_system.h"

namespace perfvisor::core::timing {
namespace {

// MAS2.
constexpr uint32_t kWriteThrough = 0x10, kInhibited = 0x08, kCoherent = 0x04, kGuarded = 0x02;

constexpr unsigned kFetchBytes = 16;  // four instructions a fetch
constexpr unsigned kPortBytes = 8;    // of the data cache

constexpr uint64_t line_of(uint64_t physical) {
    return physical & ~uint64_t{kLineBytes - 1};
}

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
    last_line_ = from.last_line_;
}

// ---- instructions ----

FetchResult MemorySystem::fetch(uint32_t pc, bool redirected, const Context& context) {
    const uint64_t group = pc / kFetchBytes;
    if (group == last_group_ && !redirected) return {};
    last_group_ = group;
    ++counts_[Modelled::Fetches];
    FetchResult result{.new_group = true};
    const L1Mmu::Result found =
        fetch_mmu_.translate(pc, Access::Fetch, context.as, context.pid, context.user);
    if (found.found == L1Mmu::Found::Nowhere) return result;  // gone while it was executed
    result.mmu_miss = found.found != L1Mmu::Found::Here;
    if (found.found == L1Mmu::Found::ReloadedSmall) ++counts_[Modelled::InstructionTlb4kReloads];
    if (found.found == L1Mmu::Found::ReloadedVariable) ++counts_[Modelled::InstructionVspReloads];
    if (found.attributes & kInhibited) {
        ++counts_[Modelled::BusRequests];
        ++counts_[Modelled::BusInstructionRequests];
        result.level = Level::Memory;
        last_line_ = kNowhere;
        return result;
    }
    const uint64_t line = line_of(found.physical);
    if (line != last_line_) result.level = fetch_line(line);
    last_line_ = line;
    return result;
}

Level MemorySystem::fetch_line(uint64_t line) {
    if (l1_instructions_.use(line)) return Level::L1;
    const Level level = l2_read(line, true);
    Cache::Line victim;
    if (l1_instructions_.enter(line, victim)) ++counts_[Modelled::InstructionReloads];
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
            if (!translate(in, starts[n], context, part)) continue;
            if (n == 0) count_translated(in, part);
            if (n == 0 && (ea & (in.size - 1u))) ++counts_[Modelled::MisalignedTranslated];
            load_or_store(in, part);
            parts[count++] = part;
        }
    }
    return count;
}

bool MemorySystem::translate(const Instruction& in, uint32_t ea, const Context& context,
                             DataPart& part) {
    const Access access = writes(in.use) ? Access::Store : Access::Load;
    const L1Mmu::Result found =
        data_mmu_.translate(ea, access, context.as, context.pid, context.user);
    if (found.found == L1Mmu::Found::Nowhere) return false;
    if (found.found == L1Mmu::Found::ReloadedSmall) ++counts_[Modelled::DataTlb4kReloads];
    if (found.found == L1Mmu::Found::ReloadedVariable) ++counts_[Modelled::DataVspReloads];
    part.mmu_miss = found.found != L1Mmu::Found::Here;
    part.physical = found.physical;
    part.inhibited = found.attributes & kInhibited;
    part.guarded = found.attributes & kGuarded;
    part.write_through = found.attributes & kWriteThrough;
    part.coherent = found.attributes & kCoherent;
    return true;
}

void MemorySystem::count_translated(const Instruction& in, const DataPart& part) {
    ++counts_[Modelled::TotalTranslated];
    if (part.inhibited) ++counts_[Modelled::InhibitedTranslated];
    switch (in.use) {
        case MemoryUse::Load:
            if (!part.inhibited) ++counts_[Modelled::LoadsTranslated];
            if (part.guarded) ++counts_[Modelled::GuardedLoadsTranslated];
            break;
        case MemoryUse::Store:
            if (part.inhibited) break;
            ++counts_[Modelled::StoresTranslated];
            ++counts_[Modelled::StoresCompleted];
            if (part.write_through) ++counts_[Modelled::WriteThroughTranslated];
            break;
        case MemoryUse::Touch:
        case MemoryUse::TouchForStore:
            if (!part.inhibited) ++counts_[Modelled::TouchesTranslated];
            break;
        case MemoryUse::Allocate:
        case MemoryUse::Clean:
        case MemoryUse::Flush:
            ++counts_[Modelled::CacheOpsTranslated];
            break;
        default:
            break;
    }
}

void MemorySystem::load_or_store(const Instruction& in, DataPart& part) {
    const uint64_t line = line_of(part.physical);
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
            if (Cache::Line* found = l1_instructions_.find(line)) *found = {};
            last_line_ = kNowhere;
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
        ++counts_[Modelled::BusRequests];
        ++counts_[Modelled::BusDataRequests];
        part.level = Level::Memory;
        return;
    }
    const bool write_through = part.store && part.write_through;
    part.level = data_line(line, part.store && !write_through);
    if (part.level != Level::L1) {
        ++counts_[Modelled::LineFillBuffers];
        ++counts_[!part.waits  ? Modelled::LineFillBuffersTouches
                  : part.store ? Modelled::LineFillBuffersStores
                               : Modelled::LineFillBuffersLoads];
    }
    if (write_through) clean_through(line);
}

Level MemorySystem::data_line(uint64_t line, bool dirty) {
    if (Cache::Line* found = l1_data_.use(line)) {
        found->dirty |= dirty;
        return Level::L1;
    }
    const Level level = l2_read(line, false);
    enter_data_line(line, dirty);
    ++counts_[Modelled::DataReloads];
    return level;
}

void MemorySystem::enter_data_line(uint64_t line, bool dirty) {
    Cache::Line victim;
    Cache::Line* const entered = l1_data_.enter(line, victim);
    if (!entered) {  // every way is locked: the line is used and not kept
        if (dirty) cast_out(line);
        return;
    }
    entered->dirty = dirty;
    if (!victim.dirty) return;
    ++counts_[Modelled::DataCastouts];
    cast_out(victim.address);
}

// A line that is written as a whole needs no old contents.
void MemorySystem::allocate(DataPart& part) {
    const uint64_t line = line_of(part.physical);
    if (Cache::Line* found = l1_data_.use(line))
        found->dirty = true;
    else
        enter_data_line(line, true);
}

// ---- L2 ----

Level MemorySystem::l2_read(uint64_t line, bool instruction) {
    ++counts_[Modelled::L2Accesses];
    ++counts_[instruction ? Modelled::L2InstructionAccesses : Modelled::L2DataAccesses];
    if (const Cache::Line* found = l2_.use(line)) {
        ++counts_[Modelled::L2Hits];
        ++counts_[instruction ? Modelled::L2InstructionHits : Modelled::L2DataHits];
        if (found->dirty && !instruction) ++counts_[Modelled::L2DirtyDataHits];
        return Level::L2;
    }
    ++counts_[Modelled::L2LineFills];
    ++counts_[Modelled::BusRequests];
    ++counts_[instruction ? Modelled::BusInstructionRequests : Modelled::BusDataRequests];
    l2_enter(line, false, instruction);
    return Level::Memory;
}

void MemorySystem::l2_enter(uint64_t line, bool dirty, bool instruction) {
    Cache::Line victim;
    Cache::Line* const entered = l2_.enter(line, victim);
    if (!entered) {
        if (dirty) bus_castout();
        return;
    }
    entered->dirty = dirty;
    ++counts_[Modelled::L2Allocations];
    ++counts_[instruction ? Modelled::L2InstructionAllocations : Modelled::L2DataAllocations];
    if (dirty) ++counts_[Modelled::L2DirtyAllocations];
    if (victim.address == Cache::kNone) return;
    ++counts_[Modelled::L2Victims];
    if (!victim.dirty) return;
    ++counts_[Modelled::L2Castouts];
    bus_castout();
}

void MemorySystem::bus_castout() {
    ++counts_[Modelled::BusRequests];
    ++counts_[Modelled::BusDataRequests];
    ++counts_[Modelled::BusCastouts];
}

// A modified line leaves the L1.
void MemorySystem::cast_out(uint64_t line) {
    Cache::Line* const found = l2_.use(line);
    if (!found) {
        l2_enter(line, true, false);
        return;
    }
    ++counts_[Modelled::L2Updates];
    ++counts_[Modelled::L2DirtyUpdates];
    if (found->dirty) ++counts_[Modelled::L2DirtyRedundantUpdates];
    found->dirty = true;
}

// What goes to memory passes the L2, whose line is then as memory is.
void MemorySystem::clean_through(uint64_t line) {
    ++counts_[Modelled::BusRequests];
    ++counts_[Modelled::BusDataRequests];
    Cache::Line* const found = l2_.find(line);
    if (!found) return;
    ++counts_[Modelled::L2Updates];
    ++counts_[Modelled::L2CleanUpdates];
    if (!found->dirty) ++counts_[Modelled::L2CleanRedundantUpdates];
    found->dirty = false;
}

void MemorySystem::clean(uint64_t line) {
    Cache::Line* const first = l1_data_.find(line);
    const Cache::Line* const second = l2_.find(line);
    if (!(first && first->dirty) && !(second && second->dirty)) return;
    if (first) first->dirty = false;
    clean_through(line);
}

void MemorySystem::flush(uint64_t line, bool coherent) {
    bool dirty = false;
    if (Cache::Line* found = l1_data_.find(line)) {
        dirty = found->dirty;
        *found = {};
    }
    if (Cache::Line* found = l2_.find(line)) {
        dirty |= found->dirty;
        ++counts_[!found->dirty ? Modelled::L2InvalidatedClean
                  : coherent    ? Modelled::L2InvalidatedCoherent
                                : Modelled::L2InvalidatedIncoherent];
        *found = {};
    }
    if (dirty) bus_castout();
}

// ---- locks ----

void MemorySystem::lock_data(const Instruction& in, uint64_t line) {
    if (in.to_l2) {
        lock_l2(line, false);
        return;
    }
    data_line(line, false);
    if (Cache::Line* found = l1_data_.find(line); found && !found->locked) {
        found->locked = true;
        ++counts_[Modelled::DataLocks];
    }
}

void MemorySystem::lock_code(const Instruction& in, uint64_t line) {
    if (in.to_l2) {
        lock_l2(line, true);
        return;
    }
    fetch_line(line);
    last_line_ = kNowhere;
    if (Cache::Line* found = l1_instructions_.find(line); found && !found->locked) {
        found->locked = true;
        ++counts_[Modelled::InstructionLocks];
    }
}

void MemorySystem::lock_l2(uint64_t line, bool instruction) {
    l2_read(line, instruction);
    if (Cache::Line* found = l2_.find(line); found && !found->locked) {
        found->locked = true;
        ++counts_[Modelled::L2Locks];
    }
}

void MemorySystem::unlock(const Instruction& in, uint64_t line) {
    Cache& cache = in.to_l2 ? l2_ : in.use == MemoryUse::UnlockCode ? l1_instructions_ : l1_data_;
    if (Cache::Line* found = cache.find(line)) found->locked = false;
}

}  // namespace perfvisor::core::timing
