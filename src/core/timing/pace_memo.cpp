// SPDX-License-Identifier: GPL-2.0-or-later
// Shapes of the clock's pipeline and the steps between them, in bounded memory.
#include "core/timing/pace_memo.h"

namespace perfvisor::core::timing {
namespace {

constexpr uint32_t kNone = ~uint32_t{0};

uint64_t hash_of(const PaceMemo::Shapes& shapes) {
    uint64_t hash = 0;
    for (const Pipeline::Shape& shape : shapes)
        hash = shape.hash(hash);
    return hash;
}

}  // namespace

void PaceMemo::clear() {
    first_ += static_cast<uint32_t>(shapes_.size());
    shapes_.clear();
    shape_table_.assign(2 * kMostShapes, kNone);
    steps_.assign(2 * kMostSteps, Step{});
    step_count_ = 0;
    shape_ = kAwake;
}

void PaceMemo::rest_in(uint32_t shape) {
    // What was forgotten meanwhile was not gone on to.
    shape_ = shape - first_ < shapes_.size() ? shape : kAwake;
}

void PaceMemo::rest_in(const Shapes& shapes) {
    shape_ = kAwake;
    if (steps_.empty() || shapes_.size() + 1 >= kMostShapes || step_count_ + 1 >= kMostSteps) {
        if (first_ > kMostNumbers - 2 * kMostShapes) return;
        clear();
    }
    const size_t mask = shape_table_.size() - 1;
    size_t at = hash_of(shapes) & mask;
    while (shape_table_[at] != kNone && shapes_[shape_table_[at]] != shapes)
        at = (at + 1) & mask;
    if (shape_table_[at] == kNone) {
        shape_table_[at] = static_cast<uint32_t>(shapes_.size());
        shapes_.push_back(shapes);
    }
    shape_ = first_ + shape_table_[at];
}

PaceMemo::Step& PaceMemo::find(uint32_t from, uint32_t end, bool fetches) {
    const size_t mask = steps_.size() - 1;
    size_t at = mix(from, uint64_t{end} << 1 | uint64_t{fetches}) & mask;
    while (steps_[at].from != kAwake &&
           (steps_[at].from != from || steps_[at].end != end || steps_[at].fetches != fetches))
        at = (at + 1) & mask;
    return steps_[at];
}

bool PaceMemo::recall(uint32_t end, bool fetches, uint64_t& cycles) {
    const Step& step = find(shape_, end, fetches);
    if (step.from == kAwake) return false;
    shape_ = step.to;
    cycles = step.cycles;
    return true;
}

void PaceMemo::remember(uint32_t from, uint32_t end, bool fetches, uint64_t cycles) {
    // Everything may have been forgotten on the way.
    if (!resting() || from - first_ >= shapes_.size() || cycles > UINT16_MAX) return;
    find(from, end, fetches) = {from, shape_, end, static_cast<uint16_t>(cycles), fetches};
    ++step_count_;
}

}  // namespace perfvisor::core::timing
