// SPDX-License-Identifier: GPL-2.0-or-later
// Shapes of the pipeline and the steps between them, in bounded memory.
#include "core/timing/pipeline_memo.h"

#include <algorithm>

namespace perfvisor::core::timing {

void PipelineMemo::clear() {
    shapes_.clear();
    live_stores_.clear();
    shape_table_.assign(2 * kMostShapes, kNone);
    steps_.assign(2 * kMostSteps, Step{});
    step_count_ = 0;
    shape_ = remembered_ = kNone;
}

// Of a new shape where need be.
uint32_t PipelineMemo::number_of(const Pipeline::Shape& shape, unsigned live_stores) {
    const size_t mask = shape_table_.size() - 1;
    size_t at = shape.hash() & mask;
    for (; shape_table_[at] != kNone; at = (at + 1) & mask)
        if (shapes_[shape_table_[at]] == shape) return shape_table_[at];
    shape_table_[at] = static_cast<uint32_t>(shapes_.size());
    shapes_.push_back(shape);
    live_stores_.push_back(static_cast<uint8_t>(live_stores));
    return shape_table_[at];
}

bool PipelineMemo::begin(bool fetches) {
    if (pause_ > 0) {
        --pause_;
        return false;
    }
    Pipeline::Shape shape;
    unsigned live_stores = 0;
    if (!pipeline_.get_shape(shape, live_stores, fetches)) return false;
    if (steps_.empty() || shapes_.size() + 1 >= kMostShapes) clear();
    shape_ = number_of(shape, live_stores);
    return true;
}

PipelineMemo::Step& PipelineMemo::find(uint32_t from, const Execution& execution) {
    uint64_t key = hash(from, execution.end, execution.fetches);
    for (const uint16_t word : execution.unusual)
        key = mix(key, word);
    const auto is = [&](const Step& step) {
        return step.from == from && step.end == execution.end &&
               step.fetches == execution.fetches &&
               step.unusual_count == execution.unusual.size() &&
               std::equal(execution.unusual.begin(), execution.unusual.end(), step.unusual.begin());
    };
    const size_t mask = steps_.size() - 1;
    size_t at = key & mask;
    while (steps_[at].from != kNone && !is(steps_[at]))
        at = (at + 1) & mask;
    return steps_[at];
}

bool PipelineMemo::recall(const Execution& execution, uint64_t& cycles) {
    constexpr unsigned kLookAfter = 4096, kPause = 32768;
    const Step& step = find(shape_, execution);
    if (++recalls_ == kLookAfter) {
        if (failures_ > kLookAfter / 4) pause_ = kPause;
        recalls_ = failures_ = 0;
    }
    if (step.from == kNone) [[unlikely]] {
        ++failures_;
        remembered_ = shape_;
        return false;
    }
    for (unsigned n = 0; n < step.counts; ++n)
        pipeline_.count(static_cast<Modelled>(step.counters[n]), step.more[n]);
    pipeline_.pass(step.cycles);
    shape_ = step.to;
    cycles = step.cycles;
    return true;
}

// The pipeline has been told of all of it, and goes by itself.
void PipelineMemo::remember(const Execution& execution, uint64_t cycles,
                            const ModelledTotals& before, bool fetches) {
    const uint32_t from = remembered_;
    remembered_ = kNone;
    Pipeline::Shape shape;
    unsigned live_stores = 0;
    if (from == kNone || cycles > UINT16_MAX || !pipeline_.get_shape(shape, live_stores, fetches))
        return;
    Step step;
    for (unsigned n = kFirstCounter; n < kModelledCount; ++n) {
        const auto counter = static_cast<Modelled>(n);
        const uint64_t more = pipeline_.counted(counter) - before[counter];
        if (more == 0) continue;
        if (more > UINT16_MAX || step.counts == Step::kMostCounts) return;
        step.counters[step.counts] = static_cast<uint8_t>(n);
        step.more[step.counts++] = static_cast<uint16_t>(more);
    }
    if (shapes_.size() + 1 >= kMostShapes || step_count_ + 1 >= kMostSteps) {
        clear();
        return;
    }
    step.from = from;
    step.to = number_of(shape, live_stores);
    step.end = execution.end;
    step.fetches = execution.fetches;
    step.unusual_count = static_cast<uint8_t>(execution.unusual.size());
    std::copy(execution.unusual.begin(), execution.unusual.end(), step.unusual.begin());
    step.cycles = static_cast<uint16_t>(cycles);
    find(from, execution) = step;
    ++step_count_;
    shape_ = step.to;
}

}  // namespace perfvisor::core::timing
