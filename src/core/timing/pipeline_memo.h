// SPDX-License-Identifier: GPL-2.0-or-later
// What the pipeline does with a segment depends on the shape it is in when the segment begins, on
// where the segment is left, and on what caches and predictor said. Programs come back to the same
// again and again: it is worked out once and remembered. As long as nothing unusual happens the
// pipeline itself rests, and what is known of it is the number of its shape.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "core/timing/counts.h"
#include "core/timing/pipeline.h"

namespace perfvisor::core::timing {

class PipelineMemo {
  public:
    explicit PipelineMemo(Pipeline& pipeline) : pipeline_(pipeline) {}

    // One execution of a segment in which no access and no fetch missed anything. `unusual` has, in
    // order, whatever else makes it different from other executions with the same end.
    struct Execution {
        uint32_t end;  // SegmentEnd::number
        bool fetches;  // its first instruction begins a fetch
        std::span<const uint16_t> unusual;
    };
    static constexpr unsigned kMostUnusual = 6;

    // The pipeline rests, in a known shape. False: it goes by itself, as something is under way
    // that depends on addresses. `fetches`: the next instruction begins a fetch.
    bool begin(bool fetches);
    bool resting() const { return shape_ != kNone; }
    // A recall() of such an execution will follow, in which probably nothing is unusual.
    void expect(uint32_t end, bool fetches) const {
        __builtin_prefetch(&steps_[hash(shape_, end, fetches) & (steps_.size() - 1)]);
    }
    // What the pipeline does not know while it rests: the doublewords of the last stores that it
    // was told of, the last first. Those of them that may still be in its queue.
    unsigned live_stores() const { return live_stores_[shape_]; }
    // Gives `pipeline` the shape. It goes by itself once that is forgotten here.
    void wake(Pipeline& pipeline, const std::array<uint64_t, Pipeline::kStores>& stores) const {
        pipeline.set_shape(shapes_[shape_], stores);
    }
    void forget() { shape_ = kNone; }

    // While it rests: whether the execution is remembered. Then it is counted, `cycles` is what it
    // takes, and the pipeline has the shape it has afterwards. Otherwise the pipeline is to be
    // woken up, told of each instruction, and remember() called; `fetches` as above.
    bool recall(const Execution& execution, uint64_t& cycles);
    void remember(const Execution& execution, uint64_t cycles, const ModelledTotals& before,
                  bool fetches);

  private:
    static constexpr uint32_t kNone = ~uint32_t{0};
    static constexpr unsigned kMostShapes = 1u << 16, kMostSteps = 1u << 17;
    static constexpr unsigned kFirstCounter = static_cast<unsigned>(Modelled::DecodeStalled);

    // From one shape to another, with what is counted on the way. In a hash table; one cache line.
    struct alignas(64) Step {
        static constexpr unsigned kMostCounts = 10;
        uint32_t from = kNone, to = 0;  // kNone: none
        uint32_t end = 0;
        uint16_t cycles = 0;
        bool fetches = false;
        uint8_t unusual_count = 0, counts = 0;
        std::array<uint8_t, kMostCounts> counters;
        std::array<uint16_t, kMostUnusual> unusual;
        std::array<uint16_t, kMostCounts> more;
    };
    static uint64_t hash(uint32_t from, uint32_t end, bool fetches) {
        return mix(from, uint64_t{end} << 1 | fetches);
    }
    // Where it is in the table, or where there is room for it.
    Step& find(uint32_t from, const Execution& execution);
    uint32_t number_of(const Pipeline::Shape& shape, unsigned live_stores);
    void clear();

    Pipeline& pipeline_;
    uint32_t shape_ = kNone;       // while it rests
    uint32_t remembered_ = kNone;  // the shape from which recall() found nothing
    std::deque<Pipeline::Shape> shapes_;
    std::vector<uint8_t> live_stores_;   // of each
    std::vector<uint32_t> shape_table_;  // a hash table, of numbers
    std::vector<Step> steps_;
    unsigned step_count_ = 0;
    // How often there was nothing to recall, of the last so many times: where programs do not come
    // back to the same, the pipeline goes by itself for a while.
    unsigned recalls_ = 0, failures_ = 0, pause_ = 0;
};

}  // namespace perfvisor::core::timing
