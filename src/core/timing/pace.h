// SPDX-License-Identifier: GPL-2.0-or-later
// How long instructions take under --timing=e500mc (docs/timing.md, "The clock"): the pipeline as
// it goes where every access hits, every prediction is right and no store is in the way of a load,
// and on top of it what misses and mispredictions cost.
//
// Straight-line code up to a branch is a run. What is under way when a run begins is what the two
// runs before it left, were they the first: the pipeline knows three runs and no more, and so comes
// back to the same few shapes again and again.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/timing/branch_predictor.h"
#include "core/timing/instruction.h"
#include "core/timing/memory_system.h"
#include "core/timing/pace_memo.h"
#include "core/timing/pipeline.h"
#include "core/timing/segment.h"

namespace perfvisor::core::timing {

class Pace {
  public:
    Pace();
    // Nothing is under way.
    void restart();
    void mirror(const Pace& from);

    // ---- what misses and mispredictions cost, in cycles ----
    uint64_t fetched(const FetchResult& fetch) const;
    // An access by the instruction with this number of all that were executed. It has `words`.
    uint64_t accessed(const Instruction& in, std::span<const DataPart> parts, unsigned words,
                      uint64_t number);
    static constexpr uint64_t kBiffed = 1, kMispredicted = 5;
    static constexpr uint64_t predicted(Prediction prediction) {
        return prediction == Prediction::Wrong    ? kMispredicted
               : prediction == Prediction::Biffed ? kBiffed
                                                  : 0;
    }

    // ---- the pipeline, one instruction or one segment ahead; gives cycles ----
    // `fetches`: the (first) instruction begins a fetch.
    uint64_t complete(const Instruction& in, bool fetches, unsigned words);
    uint64_t advance(const SegmentEnd& end, bool fetches);
    void interrupt_taken();

    // The number of what the pipeline knows, kAwake if it has none.
    uint32_t shape() const { return memo_.shape(); }
    // It went on to another.
    void rest_in(uint32_t shape) { memo_.rest_in(shape); }

    // The most that an instruction can take, whatever it misses but for the caches and L1 MMUs.
    static uint64_t most_cycles(const Instruction& in);
    // What is under way before may add.
    static constexpr uint64_t kMostUnderWay = 32;
    // What its fetch and an access of one word may miss in those.
    static constexpr uint64_t kMostMisses =
        3 * (PipelineNumbers::kMemoryLatency + PipelineNumbers::kL2MmuLatency) + 1;

  private:
    void set_shapes(const PaceMemo::Shapes& shapes);
    void wake();
    // `fetches`: the next instruction begins a fetch.
    void rest(bool fetches);
    uint64_t tell(const Instruction& in, bool fetches, unsigned words);

    ModelledTotals unused_;
    // One that was told of all three runs, one of the last two, one of the present one. `first_` is
    // the first of them, a ring.
    static constexpr unsigned kRuns = PaceMemo::kRuns;
    std::array<Pipeline, kRuns> pipelines_{Pipeline(unused_), Pipeline(unused_), Pipeline(unused_)};
    unsigned first_ = 0;
    Pipeline& knowing(unsigned fewer) { return pipelines_[(first_ + fewer) % kRuns]; }
    PaceMemo memo_;
    uint32_t told_ = kAwake;  // the number of the shapes that the pipelines have

    // Loads that missed lately: the first one's number, and how long it took; the registers they
    // load, and how many there are.
    struct {
        uint64_t number = 0, latency = 0;
        uint32_t registers = 0;
        unsigned count = 0;
    } loads_;
    // The last store that missed.
    struct {
        uint64_t number = 0, latency = 0;
    } store_;
};

}  // namespace perfvisor::core::timing
