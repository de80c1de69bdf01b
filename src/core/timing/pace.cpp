// SPDX-License-Identifier: GPL-2.0-or-later
// The clock's pipeline and its penalties. The rules are those of docs/timing.md, "The clock".
#include "core/timing/pace.h"

#include <algorithm>
#include <cstddef>

namespace perfvisor::core::timing {
namespace {

using N = PipelineNumbers;

// Accesses that hit, by what they do. None has the address of another.
constexpr unsigned kMostWords = 32;
constexpr uint64_t kLoaded = 0x10, kStored = 0x20;
std::array<DataPart, kMostWords> ideal(bool store, bool waits) {
    std::array<DataPart, kMostWords> parts;
    parts.fill({.physical = store ? kStored : kLoaded, .store = store, .waits = waits});
    return parts;
}
const std::array<DataPart, kMostWords> kLoads = ideal(false, true), kStores = ideal(true, true),
                                       kTouches = ideal(false, false);

std::span<const DataPart> parts_of(const Instruction& in, unsigned words) {
    words = std::min(words, kMostWords);
    switch (in.use) {
        case MemoryUse::None:
            return {};
        case MemoryUse::Store:
        case MemoryUse::Allocate:
            return {kStores.data(), words};
        case MemoryUse::Touch:
        case MemoryUse::TouchForStore:
            return {kTouches.data(), words};
        default:
            return {kLoads.data(), words};
    }
}

unsigned words_of(const Instruction& in) {
    return in.first == kNoRegister ? 1 : in.ops;
}

const std::array<uint64_t, Pipeline::kStores> kStoredThere = [] {
    std::array<uint64_t, Pipeline::kStores> same;
    same.fill(kStored);
    return same;
}();

}  // namespace

Pace::Pace() {
    restart();
}

void Pace::restart() {
    memo_.forget();
    told_ = kAwake;
    for (Pipeline& pipeline : pipelines_)
        pipeline.restart();
    loads_ = {};
    store_ = {};
}

void Pace::mirror(const Pace& from) {
    memo_.forget();
    told_ = kAwake;
    first_ = from.first_;
    for (unsigned n = 0; n < pipelines_.size(); ++n)
        pipelines_[n].mirror(from.pipelines_[n]);
    if (from.memo_.resting()) set_shapes(from.memo_.shapes());
    loads_ = from.loads_;
    store_ = from.store_;
}

void Pace::set_shapes(const PaceMemo::Shapes& shapes) {
    for (unsigned n = 0; n < kRuns; ++n)
        knowing(n).set_shape(shapes[n], kStoredThere);
}

void Pace::wake() {
    if (!memo_.resting()) return;
    if (memo_.shape() != told_) set_shapes(memo_.shapes());
    memo_.forget();
}

void Pace::rest(bool fetches) {
    PaceMemo::Shapes shapes;
    unsigned live_stores;
    for (unsigned n = 0; n < kRuns; ++n)
        if (!knowing(n).get_shape(shapes[n], live_stores, fetches)) return;
    memo_.rest_in(shapes);
    told_ = memo_.shape();
}

// ---- what misses and mispredictions cost ----

namespace {

uint64_t latency_of(Level level) {
    return level == Level::L1 ? 0 : level == Level::L2 ? N::kL2Latency : N::kMemoryLatency;
}

}  // namespace

uint64_t Pace::fetched(const FetchResult& fetch) const {
    return latency_of(fetch.level) + (fetch.mmu_miss ? N::kL2MmuLatency : 0);
}

uint64_t Pace::accessed(const Instruction& in, std::span<const DataPart> parts, unsigned words,
                        uint64_t number) {
    uint64_t cycles = parts.size() > words ? parts.size() - words : 0;
    for (const DataPart& part : parts) {
        if (part.mmu_miss) cycles += N::kL2MmuLatency;
        const uint64_t latency = latency_of(part.level);
        if (latency == 0 || !part.waits) continue;
        if (part.store) {
            const uint64_t since = number - store_.number;
            if (since < store_.latency) cycles += store_.latency - since;
            store_ = {number, latency};
            continue;
        }
        const auto loaded = [&](uint8_t reg) {
            return reg < 32 && (loads_.registers >> reg & 1) != 0;
        };
        const bool beside = loads_.count != 0 && loads_.count < N::kLineFillBuffers &&
                            number - loads_.number < N::kCompletionQueue && !part.inhibited &&
                            !loaded(in.base) && !loaded(in.index);
        if (beside) {
            cycles += latency - std::min(latency, loads_.latency);
            loads_.latency = std::max(latency, loads_.latency);
        } else {
            cycles += latency;
            loads_ = {number, latency, 0, 0};
        }
        ++loads_.count;
        for (const uint8_t reg : in.results)
            if (reg < 32 && !(in.ops == 2 && reg == in.base)) loads_.registers |= 1u << reg;
    }
    return cycles;
}

uint64_t Pace::most_cycles(const Instruction& in) {
    const bool restarts = in.branch || in.refetches || in.serializes;
    return std::max(in.latency, in.occupancy) + (restarts ? 8u : 2u) + 2 * words_of(in);
}

// ---- the pipeline ----

uint64_t Pace::complete(const Instruction& in, bool fetches, unsigned words) {
    wake();
    return tell(in, fetches, words);
}

uint64_t Pace::tell(const Instruction& in, bool fetches, unsigned words) {
    told_ = kAwake;
    const FetchResult fetch{.new_group = fetches};
    const auto parts = parts_of(in, words);
    const uint64_t cycles = knowing(0).complete(in, fetch, parts, words, Prediction::Right);
    for (unsigned n = 1; n < kRuns; ++n)
        knowing(n).complete(in, fetch, parts, words, Prediction::Right);
    if (in.branch || in.refetches) {  // the next run
        knowing(0).restart();
        first_ = (first_ + 1) % kRuns;
    }
    return cycles;
}

uint64_t Pace::advance(const SegmentEnd& end, bool fetches) {
    if (!memo_.resting()) rest(fetches);
    uint64_t cycles = 0;
    const bool keeps = end.number != SegmentEnd::kNoEnd;
    if (keeps && memo_.resting() && memo_.recall(end.number, fetches, cycles)) return cycles;
    const uint32_t from = memo_.shape();
    wake();
    for (unsigned n = 0; n < end.count; ++n) {
        const Segment::Entry& entry = end.segment->entries()[n];
        const Instruction& in = entry.instruction;
        cycles += tell(in, n == 0 ? fetches : entry.fetches, words_of(in));
    }
    if (!keeps) return cycles;
    rest(end.next_fetches());
    if (from != kAwake) memo_.remember(from, end.number, fetches, cycles);
    return cycles;
}

void Pace::interrupt_taken() {
    memo_.forget();
    told_ = kAwake;
    for (Pipeline& pipeline : pipelines_)
        pipeline.restart();
    knowing(0).refetch();
}

}  // namespace perfvisor::core::timing
