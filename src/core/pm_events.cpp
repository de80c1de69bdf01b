// SPDX-License-Identifier: GPL-2.0-or-later
// The event catalogue of the e500mc. Codes and meanings: e500 core family manual 7.7 (Table 7-10)
// and the e500mc's additions; names are those of OProfile's e500mc table.
#include "core/pm_events.h"

#include <algorithm>
#include <array>

namespace perfvisor::core {
namespace {

// The parts of the timing model that count it. The caches need the predictor, which says what is
// fetched, and the pipeline needs them all.
constexpr uint8_t part_of(Modelled m) {
    if (m < Modelled::BiffedBranches) return timing_part::kOperations;
    if (m < Modelled::TotalTranslated) return timing_part::kPredictor;
    if (m < Modelled::DecodeStalled) return timing_part::kMemory | timing_part::kPredictor;
    return timing_part::kAll;
}

constexpr EventSource kNone{};
constexpr EventSource kCycles{EventSource::Kind::Cycles, Total::Count, 0};
constexpr EventSource total(Total t) {
    return {EventSource::Kind::Total, t, 0};
}
constexpr EventSource wraps(uint8_t pmc) {
    return {EventSource::Kind::Wraps, Total::Count, pmc};
}

constexpr EventSource modelled(Modelled m) {
    return {EventSource::Kind::Modelled, Total::Count, 0, m, part_of(m)};
}
constexpr EventSource occurrences(uint32_t parts) {
    return {EventSource::Kind::Occurrences, Total::Count, 0, Modelled::Count,
            static_cast<uint8_t>(parts)};
}

constexpr uint8_t kAll = 0xff;
// Of events that the timing model counts: the model ends the engine's run when they come, so no
// bound is needed.
constexpr uint8_t kOften = 255;
constexpr uint8_t kThreshold = 0x03;  // only PMC0 and PMC1 have a threshold (7.6.2)

// The bounds on one instruction: lmw and stmw of r0-r31 and a string of 127 bytes are 32
// micro-ops; sc can be followed at the same boundary by an interrupt of another class.
constexpr std::array kEvents = std::to_array<Event>({
    {1, "CPU_CLK", EventClass::Modelled, kCycles, 1, kAll,
     "Processor cycles: one for each completed instruction, or the timing model's; none while the "
     "core waits."},
    {2, "COMPLETED_INSNS", EventClass::Exact, total(Total::Instructions), 1, kAll,
     "Instructions completed."},
    {3, "COMPLETED_OPS", EventClass::Modelled, modelled(Modelled::CompletedOps), kOften, kAll,
     "Micro-ops completed; a load or store with update is two."},
    {4, "INSTRUCTION_FETCHES", EventClass::Modelled, modelled(Modelled::InstructionFetches), kOften,
     kAll, "Instructions fetched."},
    {5, "DECODED_OPS", EventClass::Modelled, modelled(Modelled::DecodedOps), kOften, kAll,
     "Micro-ops decoded."},
    {8, "COMPLETED_BRANCHES", EventClass::Exact, total(Total::Branches), 1, kAll,
     "Branch instructions completed, taken or not."},
    {9, "COMPLETED_LOAD_OPS", EventClass::Exact, total(Total::Loads), 32, kAll,
     "Load micro-ops completed; a load multiple or string has one for each word."},
    {10, "COMPLETED_STORE_OPS", EventClass::Exact, total(Total::Stores), 32, kAll,
     "Store micro-ops completed; a store multiple or string has one for each word."},
    {11, "COMPLETION_REDIRECTS", EventClass::Modelled, modelled(Modelled::CompletionRedirects),
     kOften, kAll, "Times the completion buffer redirected instruction fetch."},
    {12, "BRANCHES_FINISHED", EventClass::Exact, total(Total::Branches), 1, kAll,
     "Branches finished; nothing is executed speculatively, so these are the completed ones."},
    {13, "TAKEN_BRANCHES_FINISHED", EventClass::Exact, total(Total::TakenBranches), 1, kAll,
     "Taken branches finished; nothing is executed speculatively, so these are the completed "
     "ones."},
    {14, "BIFFED_BRANCHES_FINISHED", EventClass::Modelled, modelled(Modelled::BiffedBranches),
     kOften, kAll, "Unconditional branches finished that missed in the branch target buffer."},
    {15, "BRANCHES_MISPREDICTED", EventClass::Modelled, modelled(Modelled::Mispredictions), kOften,
     kAll, "Branches mispredicted in direction or target."},
    {16, "BRANCHES_MISPREDICTED_DIRECTION", EventClass::Modelled,
     modelled(Modelled::DirectionMispredictions), kOften, kAll,
     "Branches mispredicted in direction."},
    {17, "BTB_HITS", EventClass::Modelled, modelled(Modelled::BtbHits), kOften, kAll,
     "Branches that hit in the branch target buffer, or missed and were not taken."},
    {18, "DECODE_STALLED", EventClass::Modelled, modelled(Modelled::DecodeStalled), kOften, kAll,
     "Cycles with instructions in the instruction buffer but none decoded."},
    {19, "ISSUE_STALLED", EventClass::Modelled, modelled(Modelled::IssueStalled), kOften, kAll,
     "Cycles with instructions in the issue buffer but none issued."},
    {20, "BRANCH_ISSUE_STALLED", EventClass::Modelled, modelled(Modelled::BranchIssueStalled),
     kOften, kAll, "Cycles with branches in the branch buffer but none issued."},
    {21, "SRS0_SCHEDULE_STALLED", EventClass::Modelled, modelled(Modelled::Simple1Stalled), kOften,
     kAll,
     "Cycles the reservation station of the first simple unit was not empty but scheduled "
     "nothing."},
    {22, "SRS1_SCHEDULE_STALLED", EventClass::Modelled, modelled(Modelled::Simple2Stalled), kOften,
     kAll,
     "Cycles the reservation station of the second simple unit was not empty but scheduled "
     "nothing."},
    {23, "VRS_SCHEDULE_STALLED", EventClass::Modelled, modelled(Modelled::MultipleStalled), kOften,
     kAll,
     "Cycles the reservation station of the multiple-cycle unit was not empty but scheduled "
     "nothing."},
    {24, "LRS_SCHEDULE_STALLED", EventClass::Modelled, modelled(Modelled::LoadStoreStalled), kOften,
     kAll,
     "Cycles the reservation station of the load/store unit was not empty but scheduled nothing."},
    {25, "BRS_SCHEDULE_STALLED", EventClass::Modelled, modelled(Modelled::BranchStalled), kOften,
     kAll,
     "Cycles the reservation station of the branch unit was not empty but scheduled nothing."},
    {26, "TOTAL_TRANSLATED", EventClass::Modelled, modelled(Modelled::TotalTranslated), kOften,
     kAll, "Load and store micro-ops translated."},
    {27, "LOADS_TRANSLATED", EventClass::Modelled, modelled(Modelled::LoadsTranslated), kOften,
     kAll, "Cacheable load micro-ops translated."},
    {28, "STORES_TRANSLATED", EventClass::Modelled, modelled(Modelled::StoresTranslated), kOften,
     kAll, "Cacheable store micro-ops translated."},
    {29, "TOUCHES_TRANSLATED", EventClass::Modelled, modelled(Modelled::TouchesTranslated), kOften,
     kAll, "Cacheable dcbt and dcbtst instructions translated."},
    {30, "CACHEOPS_TRANSLATED", EventClass::Modelled, modelled(Modelled::CacheOpsTranslated),
     kOften, kAll, "dcba, dcbf, dcbst and dcbz instructions translated."},
    {31, "CACHEINHIBITED_ACCESSES_TRANSLATED", EventClass::Modelled,
     modelled(Modelled::InhibitedTranslated), kOften, kAll, "Cache-inhibited accesses translated."},
    {32, "GUARDED_LOADS_TRANSLATED", EventClass::Modelled,
     modelled(Modelled::GuardedLoadsTranslated), kOften, kAll, "Guarded loads translated."},
    {33, "WRITETHROUGH_STORES_TRANSLATED", EventClass::Modelled,
     modelled(Modelled::WriteThroughTranslated), kOften, kAll, "Write-through stores translated."},
    {34, "MISALIGNED_ACCESSES_TRANSLATED", EventClass::Modelled,
     modelled(Modelled::MisalignedTranslated), kOften, kAll,
     "Misaligned load and store accesses translated."},
    {35, "TOTAL_ALLOCATED_DLFB", EventClass::Modelled, modelled(Modelled::LineFillBuffers), kOften,
     kAll, "Allocations of a data line fill buffer."},
    {36, "LOADS_TRANSLATED_ALLOCATED_DLFB", EventClass::Modelled,
     modelled(Modelled::LineFillBuffersLoads), kOften, kAll,
     "Loads that allocated a data line fill buffer."},
    {37, "STORES_COMPLETED_ALLOCATED_DLFB", EventClass::Modelled,
     modelled(Modelled::LineFillBuffersStores), kOften, kAll,
     "Completed stores that allocated a data line fill buffer."},
    {38, "TOUCHES_TRANSLATED_ALLOCATED_DLFB", EventClass::Modelled,
     modelled(Modelled::LineFillBuffersTouches), kOften, kAll,
     "Touches that allocated a data line fill buffer."},
    {39, "STORES_COMPLETED", EventClass::Modelled, modelled(Modelled::StoresCompleted), kOften,
     kAll, "Cacheable store micro-ops completed."},
    {40, "DL1_LOCKS", EventClass::Modelled, modelled(Modelled::DataLocks), kOften, kAll,
     "Lines locked in the L1 data cache."},
    {41, "DL1_RELOADS", EventClass::Modelled, modelled(Modelled::DataReloads), kOften, kAll,
     "Lines loaded into the L1 data cache, for any reason."},
    {42, "DL1_CASTOUTS", EventClass::Modelled, modelled(Modelled::DataCastouts), kOften, kAll,
     "Lines cast out of the L1 data cache, those of dcbf excepted."},
    {43, "DETECTED_REPLAYS", EventClass::Modelled, modelled(Modelled::ReplayBuffersFull), kOften,
     kAll, "Replays because a load missed with all data line fill buffers taken."},
    {44, "LOAD_MISS_QUEUE_FULL_REPLAYS", EventClass::Modelled,
     modelled(Modelled::ReplayLoadQueueFull), kOften, kAll,
     "Replays because a load missed with the load queue full."},
    {45, "LOAD_GUARDED_MISS_NOT_LAST_REPLAYS", EventClass::Modelled,
     modelled(Modelled::ReplayGuarded), kOften, kAll,
     "Replays because a guarded load missed before it was the oldest instruction."},
    {46, "STORE_TRANSLATED_QUEUE_FULL_REPLAYS", EventClass::Modelled,
     modelled(Modelled::ReplayStoreQueueFull), kOften, kAll,
     "Replays because a store was translated with the store queue full."},
    {47, "ADDRESS_COLLISION_REPLAYS", EventClass::Modelled, modelled(Modelled::ReplayCollision),
     kOften, kAll, "Replays because of an address collision."},
    {48, "DMMU_MISS_REPLAYS", EventClass::Modelled, modelled(Modelled::ReplayMmuMiss), kOften, kAll,
     "Replays because of a miss in the data MMU."},
    {49, "DMMU_BUSY_REPLAYS", EventClass::Modelled, modelled(Modelled::ReplayMmuBusy), kOften, kAll,
     "Replays because the data MMU was busy."},
    {50, "SECOND_PART_MISALIGNED_AFTER_MISS_REPLAYS", EventClass::Modelled,
     modelled(Modelled::ReplaySecondPart), kOften, kAll,
     "Replays because the first part of a misaligned access had missed."},
    {51, "LOAD_MISS_DLFB_FULL_CYCLES", EventClass::Modelled,
     modelled(Modelled::ReplayBuffersFullCycles), kOften, kAll,
     "Cycles stalled on a replay because a load missed with all data line fill buffers taken."},
    {52, "LOAD_MISS_QUEUE_FULL_CYCLES", EventClass::Modelled,
     modelled(Modelled::ReplayLoadQueueFullCycles), kOften, kAll,
     "Cycles stalled on a replay because a load missed with the load queue full."},
    {53, "LOAD_GUARDED_MISS_NOT_LAST_CYCLES", EventClass::Modelled,
     modelled(Modelled::ReplayGuardedCycles), kOften, kAll,
     "Cycles stalled on a replay because a guarded load missed before it was the oldest "
     "instruction."},
    {54, "STORE_TRANSLATED_QUEUE_FULL_CYCLES", EventClass::Modelled,
     modelled(Modelled::ReplayStoreQueueFullCycles), kOften, kAll,
     "Cycles stalled on a replay because a store was translated with the store queue full."},
    {55, "ADDRESS_COLLISION_CYCLES", EventClass::Modelled,
     modelled(Modelled::ReplayCollisionCycles), kOften, kAll,
     "Cycles stalled on a replay because of an address collision."},
    {56, "DMMU_MISS_CYCLES", EventClass::Modelled, modelled(Modelled::ReplayMmuMissCycles), kOften,
     kAll, "Cycles stalled on a replay because of a miss in the data MMU."},
    {57, "DMMU_BUSY_CYCLES", EventClass::Modelled, modelled(Modelled::ReplayMmuBusyCycles), kOften,
     kAll, "Cycles stalled on a replay because the data MMU was busy."},
    {58, "SECOND_PART_MISALIGNED_AFTER_MISS_CYCLES", EventClass::Modelled,
     modelled(Modelled::ReplaySecondPartCycles), kOften, kAll,
     "Cycles stalled on a replay because the first part of a misaligned access had missed."},
    {59, "IL1_LOCKS", EventClass::Modelled, modelled(Modelled::InstructionLocks), kOften, kAll,
     "Lines locked in the L1 instruction cache."},
    {60, "IL1_FETCH_RELOADS", EventClass::Modelled, modelled(Modelled::InstructionReloads), kOften,
     kAll, "Lines loaded into the L1 instruction cache by demand fetches."},
    {61, "FETCHES", EventClass::Modelled, modelled(Modelled::Fetches), kOften, kAll,
     "Fetches that put at least one instruction into the instruction buffer."},
    {62, "IMMU_TLB4K_RELOADS", EventClass::Modelled, modelled(Modelled::InstructionTlb4kReloads),
     kOften, kAll, "Reloads of the L1 instruction MMU's 4 KiB array."},
    {63, "IMMU_VSP_RELOADS", EventClass::Modelled, modelled(Modelled::InstructionVspReloads),
     kOften, kAll, "Reloads of the L1 instruction MMU's variable-size array."},
    {64, "DMMU_TLB4K_RELOADS", EventClass::Modelled, modelled(Modelled::DataTlb4kReloads), kOften,
     kAll, "Reloads of the L1 data MMU's 4 KiB array."},
    {65, "DMMU_VSP_RELOADS", EventClass::Modelled, modelled(Modelled::DataVspReloads), kOften, kAll,
     "Reloads of the L1 data MMU's variable-size array."},
    {66, "L2MMU_MISSES", EventClass::Exact, total(Total::TlbMisses), 1, kAll,
     "Instruction and data TLB error interrupts."},
    {67, "BIU_MASTER_REQUESTS", EventClass::Modelled, modelled(Modelled::BusRequests), kOften, kAll,
     "Transactions the core began on the bus."},
    {68, "BIU_MASTER_I_REQUESTS", EventClass::Modelled, modelled(Modelled::BusInstructionRequests),
     kOften, kAll, "Transactions the instruction side began on the bus."},
    {69, "BIU_MASTER_D_REQUESTS", EventClass::Modelled, modelled(Modelled::BusDataRequests), kOften,
     kAll, "Transactions the data side began on the bus."},
    {70, "BIU_MASTER_D_CASTOUT_REQUESTS", EventClass::Modelled, modelled(Modelled::BusCastouts),
     kOften, kAll, "Castouts and snoop pushes of the data side on the bus."},
    {72, "SNOOP_REQUESTS", EventClass::NotModelled, kNone, 0, kAll,
     "Snoop requests from outside the core; nothing is snooped."},
    {73, "SNOOP_HITS", EventClass::NotModelled, kNone, 0, kAll,
     "Snoops that hit on the data side; nothing is snooped."},
    {74, "SNOOP_PUSHES", EventClass::NotModelled, kNone, 0, kAll,
     "Lines pushed by snoops from the data side; nothing is snooped."},
    {76, "DLFB_LOAD_MISS_CYCLES", EventClass::Modelled, occurrences(timing_part::kAll), kOften,
     kThreshold, "Load misses in the data line fill buffer that took longer than the threshold."},
    {77, "ILFB_FETCH_MISS_CYCLES", EventClass::Modelled, occurrences(timing_part::kAll), kOften,
     kThreshold,
     "Fetch misses in the instruction line fill buffer that took longer than the threshold."},
    {78, "EXT_INPUT_INTR_LATENCY_CYCLES", EventClass::Modelled, occurrences(0), 2, kThreshold,
     "External input interrupts whose latency was longer than the threshold."},
    {79, "CRIT_INPUT_INTR_LATENCY_CYCLES", EventClass::Modelled, occurrences(0), 2, kThreshold,
     "Critical input interrupts whose latency was longer than the threshold."},
    {80, "EXT_INPUT_INTR_PENDING_LATENCY_CYCLES", EventClass::Modelled, occurrences(0), 2,
     kThreshold, "External input interrupts that were pending longer than the threshold."},
    {81, "CRIT_INPUT_INTR_PENDING_LATENCY_CYCLES", EventClass::Modelled, occurrences(0), 2,
     kThreshold, "Critical input interrupts that were pending longer than the threshold."},
    {82, "PMC0_OVERFLOW", EventClass::Exact, wraps(0), 1, kAll,
     "Times PMC0 wrapped from 0xffffffff to 0 (chaining)."},
    {83, "PMC1_OVERFLOW", EventClass::Exact, wraps(1), 1, kAll,
     "Times PMC1 wrapped from 0xffffffff to 0 (chaining)."},
    {84, "PMC2_OVERFLOW", EventClass::Exact, wraps(2), 1, kAll,
     "Times PMC2 wrapped from 0xffffffff to 0 (chaining)."},
    {85, "PMC3_OVERFLOW", EventClass::Exact, wraps(3), 1, kAll,
     "Times PMC3 wrapped from 0xffffffff to 0 (chaining)."},
    {86, "INTERRUPTS", EventClass::Exact, total(Total::Interrupts), 2, kAll,
     "Interrupts taken, of every class."},
    {87, "EXTERNAL_INTERRUPTS", EventClass::Exact, total(Total::ExternalInterrupts), 2, kAll,
     "External input interrupts taken."},
    {88, "CRITICAL_INTERRUPTS", EventClass::Exact, total(Total::CriticalInterrupts), 2, kAll,
     "Critical input interrupts taken."},
    {89, "SC_TRAP_INTERRUPTS", EventClass::Exact, total(Total::SystemCallsAndTraps), 1, kAll,
     "System call and trap interrupts taken."},
    {91, "L2_LINEFILL_REQ", EventClass::Modelled, modelled(Modelled::L2LineFills), kOften, kAll,
     "L2 line fill requests."},
    {92, "L2_VICTIM_SELECT", EventClass::Modelled, modelled(Modelled::L2Victims), kOften, kAll,
     "L2 victims selected."},
    {110, "L2_ACCESS", EventClass::Modelled, modelled(Modelled::L2Accesses), kOften, kAll,
     "L2 accesses."},
    {111, "L2_HIT_ACCESS", EventClass::Modelled, modelled(Modelled::L2Hits), kOften, kAll,
     "L2 accesses that hit."},
    {112, "L2_DATA_ACCESS", EventClass::Modelled, modelled(Modelled::L2DataAccesses), kOften, kAll,
     "L2 accesses of the data side."},
    {113, "L2_HIT_DATA_ACCESS", EventClass::Modelled, modelled(Modelled::L2DataHits), kOften, kAll,
     "L2 accesses of the data side that hit."},
    {114, "L2_INST_ACCESS", EventClass::Modelled, modelled(Modelled::L2InstructionAccesses), kOften,
     kAll, "L2 accesses of the instruction side."},
    {115, "L2_HIT_INST_ACCESS", EventClass::Modelled, modelled(Modelled::L2InstructionHits), kOften,
     kAll, "L2 accesses of the instruction side that hit."},
    {116, "L2_ALLOC", EventClass::Modelled, modelled(Modelled::L2Allocations), kOften, kAll,
     "Lines allocated in the L2."},
    {117, "L2_DATA_ALLOC", EventClass::Modelled, modelled(Modelled::L2DataAllocations), kOften,
     kAll, "Data lines allocated in the L2."},
    {118, "L2_DIRTY_DATA_ALLOC", EventClass::Modelled, modelled(Modelled::L2DirtyAllocations),
     kOften, kAll, "Dirty data lines allocated in the L2."},
    {119, "L2_INST_ALLOC", EventClass::Modelled, modelled(Modelled::L2InstructionAllocations),
     kOften, kAll, "Instruction lines allocated in the L2."},
    {120, "L2_UPDATE", EventClass::Modelled, modelled(Modelled::L2Updates), kOften, kAll,
     "Updates of lines in the L2."},
    {121, "L2_CLEAN_UPDATE", EventClass::Modelled, modelled(Modelled::L2CleanUpdates), kOften, kAll,
     "Clean updates of lines in the L2."},
    {122, "L2_DIRTY_UPDATE", EventClass::Modelled, modelled(Modelled::L2DirtyUpdates), kOften, kAll,
     "Dirty updates of lines in the L2."},
    {123, "L2_CLEAN_REDU_UPDATE", EventClass::Modelled, modelled(Modelled::L2CleanRedundantUpdates),
     kOften, kAll, "Clean redundant updates of lines in the L2."},
    {124, "L2_DIRTY_REDU_UPDATE", EventClass::Modelled, modelled(Modelled::L2DirtyRedundantUpdates),
     kOften, kAll, "Dirty redundant updates of lines in the L2."},
    {125, "L2_LOCKS", EventClass::Modelled, modelled(Modelled::L2Locks), kOften, kAll,
     "Lines locked in the L2."},
    {126, "L2_CASTOUT", EventClass::Modelled, modelled(Modelled::L2Castouts), kOften, kAll,
     "Lines cast out of the L2."},
    {127, "L2_HIT_DATA_DIRTY", EventClass::Modelled, modelled(Modelled::L2DirtyDataHits), kOften,
     kAll, "L2 data accesses that hit a dirty line."},
    {130, "L2_INV_CLEAN", EventClass::Modelled, modelled(Modelled::L2InvalidatedClean), kOften,
     kAll, "Clean lines invalidated in the L2."},
    {131, "L2_INV_INCOHER", EventClass::Modelled, modelled(Modelled::L2InvalidatedIncoherent),
     kOften, kAll, "Incoherent lines invalidated in the L2."},
    {132, "L2_INV_COHER", EventClass::Modelled, modelled(Modelled::L2InvalidatedCoherent), kOften,
     kAll, "Coherent lines invalidated in the L2."},
    {148, "DVT0", EventClass::Exact, total(Total::Dvt0), 1, kAll,
     "Writes to DEVENT with DVT0 set."},
    {149, "DVT1", EventClass::Exact, total(Total::Dvt1), 1, kAll,
     "Writes to DEVENT with DVT1 set."},
    {150, "DVT2", EventClass::Exact, total(Total::Dvt2), 1, kAll,
     "Writes to DEVENT with DVT2 set."},
    {151, "DVT3", EventClass::Exact, total(Total::Dvt3), 1, kAll,
     "Writes to DEVENT with DVT3 set."},
    {152, "DVT4", EventClass::Exact, total(Total::Dvt4), 1, kAll,
     "Writes to DEVENT with DVT4 set."},
    {153, "DVT5", EventClass::Exact, total(Total::Dvt5), 1, kAll,
     "Writes to DEVENT with DVT5 set."},
    {154, "DVT6", EventClass::Exact, total(Total::Dvt6), 1, kAll,
     "Writes to DEVENT with DVT6 set."},
    {155, "DVT7", EventClass::Exact, total(Total::Dvt7), 1, kAll,
     "Writes to DEVENT with DVT7 set."},
    {156, "CYCLES_NEXUS_STALLED", EventClass::NotModelled, kNone, 0, kAll,
     "Cycles completion waited for the Nexus trace FIFO; there is no trace port."},
    {176, "DECORATED_LOAD", EventClass::Exact, total(Total::DecoratedLoads), 1, kAll,
     "Decorated loads completed."},
    {177, "DECORATED_STORE", EventClass::Exact, total(Total::DecoratedStores), 1, kAll,
     "Decorated stores completed."},
    {178, "LOAD_RETRY", EventClass::NotModelled, kNone, 0, kAll,
     "Loads that the bus had retried; there is no such bus."},
    {179, "STWCX_SUCCESS", EventClass::Exact, total(Total::StwcxSuccess), 1, kAll,
     "Store conditional instructions that stored."},
    {180, "STWCX_UNSUCCESS", EventClass::Exact, total(Total::StwcxFailure), 1, kAll,
     "Store conditional instructions that did not store."},
});

static_assert(std::is_sorted(kEvents.begin(), kEvents.end(),
                             [](const Event& a, const Event& b) { return a.code < b.code; }));

}  // namespace

const char* to_string(EventClass event_class) {
    switch (event_class) {
        case EventClass::Exact:
            return "exact";
        case EventClass::Modelled:
            return "modelled";
        case EventClass::NotModelled:
            break;
    }
    return "not modelled";
}

std::span<const Event> e500mc_events() {
    return kEvents;
}

const Event* find_event(unsigned code) {
    const auto* row = std::lower_bound(kEvents.begin(), kEvents.end(), code,
                                       [](const Event& e, unsigned c) { return e.code < c; });
    return row != kEvents.end() && row->code == code ? row : nullptr;
}

}  // namespace perfvisor::core
