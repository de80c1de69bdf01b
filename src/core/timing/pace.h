// SPDX-License-Identifier: GPL-2.0-or-later
// How long instructions take under --timing=e500mc (docs/timing.md, "The clock"): the pipeline as
// it goes where every access hits and no store is in the way of a load, and what misses cost on
// top. The first depends on nothing but the instructions and their predictions, and programs come
// back to the same again and again.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/timing/branch_predictor.h"
#include "core/timing/instruction.h"
#include "core/timing/memory_system.h"
#include "core/timing/pipeline.h"
#include "core/timing/pipeline_memo.h"
#include "core/timing/segment.h"

namespace perfvisor::core::timing {

class Pace {
  public:
    Pace();
    // Nothing is under way.
    void restart();
    void mirror(const Pace& from);

    // ---- what misses cost, in cycles ----
    uint64_t fetched(const FetchResult& fetch) const;
    // An access by the instruction with this number of all that were executed. It has `words`.
    uint64_t accessed(const Instruction& in, std::span<const DataPart> parts, unsigned words,
                      uint64_t number);

    // ---- the pipeline, one instruction or one segment ahead; gives cycles ----
    uint64_t complete(const Instruction& in, bool fetches, unsigned words, Prediction prediction);
    // `wrong`: its predictions that were not right, if there were any: the number of the branch in
    // it, and that | kPrediction * the Prediction. `fetches`: its first instruction begins a fetch;
    // `next_fetches`: what follows does.
    static constexpr unsigned kMostWrong = PipelineMemo::kMostUnusual;
    static constexpr unsigned kPrediction = Segment::kMost;
    uint64_t advance(const SegmentEnd& end, bool fetches, bool next_fetches,
                     std::span<const uint16_t> wrong);
    void interrupt_taken(bool next_fetches);

    // The number of the pipeline's shape, kAwake if it has none.
    uint32_t shape() const { return memo_.resting() ? memo_.shape() : kAwake; }
    // It went on to another shape.
    void rest_in(uint32_t shape) { memo_.rest_in(shape); }

    // The most that an instruction can take, whatever it misses but for the caches and L1 MMUs.
    static uint64_t most_cycles(const Instruction& in);
    // What is under way before may add.
    static constexpr uint64_t kMostUnderWay = 128;
    // What its fetch and an access of one word may miss in those.
    static constexpr uint64_t kMostMisses =
        3 * (PipelineNumbers::kMemoryLatency + PipelineNumbers::kL2MmuLatency) + 1;

  private:
    void wake();
    uint64_t tell(const SegmentEnd& end, bool fetches, std::span<const uint16_t> wrong);

    ModelledTotals unused_;
    Pipeline pipeline_{unused_};
    PipelineMemo memo_{pipeline_, PipelineMemo::Keeps::Cycles};

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
