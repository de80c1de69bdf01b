// SPDX-License-Identifier: GPL-2.0-or-later
// When each instruction is fetched, decoded, issued, executed and completed. Instructions come one
// by one, in order; each takes its place behind those before it (docs/timing.md, "Pipeline").
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <tuple>

#include "core/timing/branch_predictor.h"
#include "core/timing/counts.h"
#include "core/timing/instruction.h"
#include "core/timing/memory_system.h"

namespace perfvisor::core::timing {

// In cycles, or entries. docs/timing.md gives the source of each.
struct PipelineNumbers {
    static constexpr uint64_t kFetchStages = 2;
    static constexpr unsigned kInstructionQueue = 12, kGeneralIssueQueue = 4, kBranchIssueQueue = 2,
                              kCompletionQueue = 14, kWidth = 2;
    static constexpr unsigned kLoadMissQueue = 9, kLineFillBuffers = 5, kStoreQueue = 7;
    static constexpr uint64_t kL2MmuLatency = 7, kL2Latency = 9, kMemoryLatency = 100;
};

// The times at which the last so many of something happened.
template <unsigned kEntries>
class History {
  public:
    void clear() { times_.fill(0); }
    // Of the one that is `kEntries` before the next.
    uint64_t oldest() const { return times_[next_]; }
    // Of the one that is kEntries - n before the next.
    uint64_t operator[](unsigned n) const { return times_[(next_ + n) % kEntries]; }
    void push(uint64_t time) {
        times_[next_] = time;
        next_ = next_ + 1 == kEntries ? 0 : next_ + 1;
    }

  private:
    std::array<uint64_t, kEntries> times_{};
    unsigned next_ = 0;
};

// One more value in the key of a hash table.
inline uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15;
    return hash ^ hash >> 29;
}

class Pipeline {
    using N = PipelineNumbers;

  public:
    // The duration of a threshold event (pm_events.cpp), once for each time it happens.
    struct Miss {
        unsigned event;
        uint64_t cycles;
    };
    static constexpr unsigned kLoadMiss = 76, kFetchMiss = 77;

    explicit Pipeline(ModelledTotals& counts) : counts_(counts) {}

    // Nothing is under way, every register is there; time goes on.
    void restart();
    // Core::mirror.
    void mirror(const Pipeline& from);
    // One more instruction. `words` of a multiple, else 1. Gives the cycles by which its
    // completion is later than that of the one before it.
    uint64_t complete(const Instruction& in, const FetchResult& fetch,
                      std::span<const DataPart> parts, unsigned words, Prediction prediction);
    static constexpr unsigned kStores = N::kStoreQueue;
    // All that the time of what comes next depends on, but for the addresses of stores: times
    // before and after the last completion. Times so early that nothing can tell them apart are the
    // same.
    struct Shape {
        static constexpr unsigned kTimes = 136;
        std::array<uint64_t, kTimes / 8> words{};  // eight of 8 bits each
        bool operator==(const Shape&) const = default;
        uint64_t hash(uint64_t before = 0) const {
            for (const uint64_t word : words)
                before = mix(before, word);
            return before;
        }
    };
    // False: a line is being filled or a translation under way, or some time is too far away.
    // `live_stores`: of the last stores, those that may still be in the queue.
    // `fetches`: the next instruction begins a fetch.
    bool get_shape(Shape& shape, unsigned& live_stores, bool fetches) const;
    // `stores`: their doublewords, the last first.
    void set_shape(const Shape& shape, const std::array<uint64_t, kStores>& stores);
    std::array<uint64_t, kStores> stores() const;
    // What happened in between, where the pipeline was not told of it.
    void pass(uint64_t cycles) { completed_ += cycles; }
    void count(Modelled counter, uint64_t more) { counts_[counter] += more; }
    uint64_t counted(Modelled counter) const { return counts_[counter]; }

    // What follows is fetched when all that was executed is completed (interrupts).
    void refetch() { next_fetch_ = completed_ + PipelineNumbers::kFetchStages; }

    // Those of the last instruction.
    std::span<const Miss> misses() const { return {misses_.data(), miss_count_}; }

  private:
    struct Filling {
        uint64_t line = ~uint64_t{0};
        uint64_t until = 0;
    };
    enum Station : uint8_t {
        kBranch,
        kSimple1,
        kSimple2,
        kMultiple,
        kLoadStore,
        kFloat,
        kStations
    };

    // As many as fit a cycle happen in it; gives the cycle of one that could happen at `time`.
    struct Slots {
        uint64_t cycle = 0;
        unsigned used = 0;
        uint64_t take(uint64_t time) {
            if (time > cycle) {
                cycle = time;
                used = 1;
            } else if (used == N::kWidth) {
                ++cycle;
                used = 1;
            } else {
                ++used;
            }
            return cycle;
        }
    };

    template <typename T>
    static auto fields(T& of) {
        return std::tie(of.fetch_, of.next_fetch_, of.decode_, of.issue_, of.complete_,
                        of.branch_issue_, of.completed_, of.decoded_, of.issued_,
                        of.branches_issued_, of.completions_, of.started_, of.free_,
                        of.divider_free_, of.ready_, of.cr_ready_, of.mmu_free_, of.stored_,
                        of.filling_, of.missing_, of.storing_, of.next_store_);
    }
    void fetch_group(const FetchResult& fetch);
    uint64_t decode(const Instruction& in);
    Station station_of(const Instruction& in) const;
    uint64_t issue(Station station, uint64_t decoded);
    uint64_t sources_ready(const Instruction& in, unsigned words) const;
    void results_at(const Instruction& in, unsigned words, uint64_t finished);
    uint64_t execute_memory(std::span<const DataPart> parts, uint64_t& start, uint64_t latency);
    uint64_t load(const DataPart& part, uint64_t& start, uint64_t latency);
    uint64_t store(const DataPart& part, uint64_t& start, uint64_t latency);
    static uint64_t fill_time(const DataPart& part, uint64_t start);
    // The buffer that waits for the line at `time`, or null.
    const Filling* filling(uint64_t line, uint64_t time) const;
    Filling& first_free_buffer();
    Filling* free_buffer(uint64_t time);
    void store_completed(const DataPart& part, uint64_t completed);
    void replay(Modelled which, uint64_t& start, uint64_t until);
    void stalled(Modelled which, uint64_t from, uint64_t to) {
        if (to > from) counts_[which] += to - from;
    }

    ModelledTotals& counts_;
    uint64_t fetch_ = 0;       // when the present fetch group can be decoded
    uint64_t next_fetch_ = 0;  // the earliest for the next
    Slots decode_, issue_, complete_;
    uint64_t branch_issue_ = 0;
    uint64_t completed_ = 0;  // of the last instruction
    History<N::kInstructionQueue> decoded_;
    History<N::kGeneralIssueQueue> issued_;
    History<N::kBranchIssueQueue> branches_issued_;
    History<N::kCompletionQueue> completions_;
    std::array<uint64_t, kStations> started_{};  // when the last left its reservation station
    std::array<uint64_t, kStations> free_{};     // when the unit takes the next
    uint64_t divider_free_ = 0;
    std::array<uint64_t, kRegisters> ready_{};
    std::array<uint64_t, 8> cr_ready_{};
    uint64_t mmu_free_ = 0;
    uint64_t stored_ = 0;  // when the last store left its queue

    std::array<Filling, N::kLineFillBuffers> filling_{};
    std::array<uint64_t, N::kLoadMissQueue> missing_{};  // until when
    struct Storing {
        uint64_t address = ~uint64_t{0};  // a doubleword's
        uint64_t until = 0;
    };
    std::array<Storing, N::kStoreQueue> storing_{};
    unsigned next_store_ = 0;

    std::array<Miss, 8> misses_{};
    unsigned miss_count_ = 0;
};

}  // namespace perfvisor::core::timing
