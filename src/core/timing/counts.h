// SPDX-License-Identifier: GPL-2.0-or-later
// What the timing model counts, and the parts of the model that count it (docs/timing.md).
#pragma once

#include <array>
#include <cstdint>

namespace perfvisor::core {

// Parts of the model, bits. A part runs while a counter selects one of its events; the pipeline
// needs all the others.
namespace timing_part {
constexpr uint32_t kOperations = 1;  // micro-ops and fetches, from the instructions alone
constexpr uint32_t kPredictor = 2;   // branch target buffer and directions
constexpr uint32_t kMemory = 4;      // L1 MMUs, caches, bus
constexpr uint32_t kPipeline = 8;    // issue, latencies, stalls, replays
constexpr uint32_t kAll = 15;
constexpr uint32_t kPace = 16;  // the clock's: it asks predictor and memory, too
// The pipeline for a counter of the guest's own: it begins empty whoever else has it run.
constexpr uint32_t kGuestsPipeline = 32;
// Those that look at addresses of data.
constexpr uint32_t kWithAddresses = kMemory | kPipeline | kPace;
constexpr uint32_t kWithBranches = kPredictor | kWithAddresses;
}  // namespace timing_part

// Each is an event of the catalogue (pm_events.cpp), where its meaning stands.
enum class Modelled : uint8_t {
    // kOperations
    CompletedOps,
    InstructionFetches,
    DecodedOps,
    // kPredictor
    BiffedBranches,
    Mispredictions,
    DirectionMispredictions,
    BtbHits,
    CompletionRedirects,
    // kMemory: translation
    TotalTranslated,
    LoadsTranslated,
    StoresTranslated,
    TouchesTranslated,
    CacheOpsTranslated,
    InhibitedTranslated,
    GuardedLoadsTranslated,
    WriteThroughTranslated,
    MisalignedTranslated,
    StoresCompleted,
    InstructionTlb4kReloads,
    InstructionVspReloads,
    DataTlb4kReloads,
    DataVspReloads,
    // kMemory: L1 caches
    LineFillBuffers,
    LineFillBuffersLoads,
    LineFillBuffersStores,
    LineFillBuffersTouches,
    DataLocks,
    DataReloads,
    DataCastouts,
    InstructionLocks,
    InstructionReloads,
    Fetches,
    // kMemory: L2 cache and bus
    BusRequests,
    BusInstructionRequests,
    BusDataRequests,
    BusCastouts,
    L2LineFills,
    L2Victims,
    L2Accesses,
    L2Hits,
    L2DataAccesses,
    L2DataHits,
    L2InstructionAccesses,
    L2InstructionHits,
    L2Allocations,
    L2DataAllocations,
    L2DirtyAllocations,
    L2InstructionAllocations,
    L2Updates,
    L2CleanUpdates,
    L2DirtyUpdates,
    L2CleanRedundantUpdates,
    L2DirtyRedundantUpdates,
    L2Locks,
    L2Castouts,
    L2DirtyDataHits,
    L2InvalidatedClean,
    L2InvalidatedIncoherent,
    L2InvalidatedCoherent,
    // kPipeline: stalls
    DecodeStalled,
    IssueStalled,
    BranchIssueStalled,
    Simple1Stalled,
    Simple2Stalled,
    MultipleStalled,
    LoadStoreStalled,
    BranchStalled,
    // kPipeline: replays, and the cycles lost by them in the same order
    ReplayBuffersFull,
    ReplayLoadQueueFull,
    ReplayGuarded,
    ReplayStoreQueueFull,
    ReplayCollision,
    ReplayMmuMiss,
    ReplayMmuBusy,
    ReplaySecondPart,
    ReplayBuffersFullCycles,
    ReplayLoadQueueFullCycles,
    ReplayGuardedCycles,
    ReplayStoreQueueFullCycles,
    ReplayCollisionCycles,
    ReplayMmuMissCycles,
    ReplayMmuBusyCycles,
    ReplaySecondPartCycles,
    Count,
};
constexpr unsigned kModelledCount = static_cast<unsigned>(Modelled::Count);

struct ModelledTotals {
    std::array<uint64_t, kModelledCount> value{};

    uint64_t& operator[](Modelled m) { return value[static_cast<unsigned>(m)]; }
    uint64_t operator[](Modelled m) const { return value[static_cast<unsigned>(m)]; }
};

}  // namespace perfvisor::core
