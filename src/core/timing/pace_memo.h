// SPDX-License-Identifier: GPL-2.0-or-later
// What the clock's pipeline does with a segment, worked out once and remembered. Some pipelines in
// known shapes are one number.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "core/timing/filters.h"
#include "core/timing/pipeline.h"

namespace perfvisor::core::timing {

class PaceMemo {
  public:
    static constexpr unsigned kRuns = 3;
    using Shapes = std::array<Pipeline::Shape, kRuns>;
    // Below kMostNumbers, never another's; kAwake: none.
    static constexpr uint32_t kMostNumbers = 1u << 29;

    // The number of the present shapes, while they are known.
    uint32_t shape() const { return shape_; }
    bool resting() const { return shape_ != kAwake; }
    const Shapes& shapes() const { return shapes_[shape_ - first_]; }
    void rest_in(uint32_t shape);
    // Gives them a number, if there are numbers left.
    void rest_in(const Shapes& shapes);
    void forget() { shape_ = kAwake; }

    // While they are known: whether it is known where the end of a segment with this number
    // (SegmentEnd::number) leads to. Then it has led there, in `cycles`.
    bool recall(uint32_t end, bool fetches, uint64_t& cycles);
    // From the number `from` it led to the present one.
    void remember(uint32_t from, uint32_t end, bool fetches, uint64_t cycles);

  private:
    static constexpr unsigned kMostShapes = 1u << 16, kMostSteps = 1u << 17;

    // In a hash table.
    struct Step {
        uint32_t from = kAwake, to = 0;  // kAwake: none
        uint32_t end = 0;
        uint16_t cycles = 0;
        bool fetches = false;
    };
    Step& find(uint32_t from, uint32_t end, bool fetches);
    void clear();

    uint32_t first_ = 0;  // the number of the first of shapes_
    uint32_t shape_ = kAwake;
    std::deque<Shapes> shapes_;
    std::vector<uint32_t> shape_table_;  // a hash table, of numbers
    std::vector<Step> steps_;
    unsigned step_count_ = 0;
};

}  // namespace perfvisor::core::timing
