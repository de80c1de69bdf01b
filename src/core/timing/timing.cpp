// SPDX-License-Identifier: GPL-2.0-or-later
// The timing model as a whole: which of its parts run, and what passes between them.
#include "core/timing/timing.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "core/spr.h"

namespace perfvisor::core {

using timing::DataPart;
using timing::FetchResult;
using timing::Instruction;
using timing::MemoryUse;
using timing::Prediction;
using timing::Segment;
using timing::SegmentEnd;

Timing::Timing(CpuState& state, const Mmu& mmu, PerfMon& perfmon)
    : state_(state),
      counts_(&state.modelled),
      mmu_(mmu),
      perfmon_(perfmon),
      predictor_(state.modelled, state.filters),
      memory_(mmu, state.modelled, state.filters),
      pipeline_(state.modelled) {
    waits_.reserve(2 * kMaxPmcs + 1);
    reset();
}

void Timing::reset() {
    predictor_.invalidate();
    memory_.invalidate();
    memo_.forget();
    pipeline_.restart();
    pace_.restart();
    set_parts(0);
    redirected_ = pace_redirected_ = true;
    forget_waits();
}

void Timing::mirror(const Timing& from) {
    predictor_.mirror(from.predictor_);
    memory_.mirror(from.memory_);
    memo_.forget();
    pipeline_.mirror(from.pipeline_);
    if (from.memo_.resting()) from.memo_.wake(pipeline_, from.last_stores());
    pace_.mirror(from.pace_);
    executed_ = from.executed_;
    drives_clock_ = from.drives_clock_;
    set_parts(from.parts_);
    redirected_ = from.redirected_;
    pace_redirected_ = from.pace_redirected_;
    next_pc_ = from.next_pc_;
    cycles_ = from.cycles_;
    // What is waited for is a member of the same core, this one's at the same distance.
    waits_ = from.waits_;
    const auto distance =
        reinterpret_cast<const char*>(this) - reinterpret_cast<const char*>(&from);
    for (Wait& wait : waits_)
        wait.count =
            reinterpret_cast<const uint64_t*>(reinterpret_cast<const char*>(wait.count) + distance);
}

void Timing::set_drives_clock(bool on) {
    drives_clock_ = on;
    state_.model.always = on ? timing_part::kPace : 0;
    state_.filters.kept = on;
    state_.filters.forget_all();
}

// A part keeps what it holds while it rests. The pipeline does not: nothing is under way in it.
void Timing::start_parts(uint32_t wanted) {
    if (wanted & ~parts_ & (timing_part::kPipeline | timing_part::kGuestsPipeline)) {
        memo_.forget();
        pipeline_.restart();
    }
    // What is counted from now on begins with a fetch.
    if (wanted & ~parts_) redirected_ = true;
    if (parts_ == 0) pace_redirected_ = true;
    set_parts(wanted);
}

void Timing::set_parts(uint32_t parts) {
    parts_ = parts;
    count_in(parts == timing_part::kPace ? unused_ : state_.modelled);
}

void Timing::count_in(ModelledTotals& counts) {
    counts_ = &counts;
    predictor_.set_counts(counts);
    memory_.set_counts(counts);
}

Timing::Access Timing::access_of(const Instruction& in) const {
    // Register kNoRegister of the address reads as 0.
    const auto value = [&](uint8_t reg) {
        return reg == timing::kNoRegister ? 0 : static_cast<uint32_t>(state_.gpr[reg]);
    };
    Access access;
    access.msr = state_.msr;
    access.pid = mmu_.registers().pid;
    access.ea = value(in.base) + value(in.index) + static_cast<uint32_t>(in.displacement);
    if (in.first != timing::kNoRegister)
        access.words = in.ops ? in.ops : (state_.xer_count + 3u) / 4;
    return access;
}

bool Timing::completed(const Instruction& in, uint32_t pc, const Access& access, bool taken,
                       uint32_t next_pc) {
    complete(in, pc, access, taken, next_pc);
    return look();
}

bool Timing::look() {
    if (waits_.empty() || !come()) [[likely]]
        return false;
    state_.attention.fetch_or(kInterruptCheck, std::memory_order_relaxed);
    return true;
}

bool Timing::completed(const SegmentEnd& end, const Access& access) {
    const Segment::Entry& entry = end.segment->entries().front();
    const Instruction& in = entry.instruction;
    // What takes lines from the instruction cache has a say in what is fetched next.
    const bool fetches_on = in.use != MemoryUse::InvalidateCode && in.use != MemoryUse::LockCode;
    const uint32_t parts = state_.model.parts();
    const bool is_string = in.first != timing::kNoRegister && in.ops == 0;
    if (parts == timing_part::kPace && !is_string && !in.branch)
        complete(in, entry.pc, access, false, entry.pc + 4, &end);
    else if ((parts & timing_part::kWithBranches) && !in.external &&
             in.first == timing::kNoRegister && fetches_on)
        replay(end, &access.ea, access);
    else
        complete(in, entry.pc, access, false, entry.pc + 4);
    return look();
}

[[gnu::flatten]] void Timing::complete(const Instruction& in, uint32_t pc, const Access& access,
                                       bool taken, uint32_t next_pc, const SegmentEnd* end) {
    const uint32_t wanted = state_.model.parts();
    if (wanted != parts_) [[unlikely]]
        start_parts(wanted);
    ModelledTotals& counts = *counts_;
    const unsigned ops = in.ops ? in.ops : std::max(access.words, 1u);
    count_operations(1, ops);

    FetchResult fetch;
    const bool in_group = pc == next_pc_ && memory_.in_last_group(pc);
    // Filled in as far as there are parts: too many to be initialized for every instruction.
    alignas(DataPart) std::array<std::byte, sizeof(DataPart) * timing::MemorySystem::kMostParts>
        storage;
    auto* const parts = reinterpret_cast<DataPart*>(storage.data());
    unsigned part_count = 0;
    if (parts_ & timing_part::kWithAddresses) {
        fetch = memory_.fetch(pc, redirected_ || pc != next_pc_, fetch_context(access));
        if (in.use != MemoryUse::None)
            part_count =
                memory_.access(in, access.ea, access.words, data_context(in, access), parts);
    }
    Prediction prediction = Prediction::Right;
    if (in.branch && (parts_ & timing_part::kWithBranches))
        prediction = predictor_.branch(in, pc, taken, next_pc);
    if ((prediction == Prediction::Wrong || in.refetches) && (parts_ & timing_part::kWithBranches))
        ++counts[Modelled::CompletionRedirects];
    const bool redirected = taken || in.refetches;

    const std::span<const DataPart> accessed(parts, part_count);
    if (paced()) {
        const bool begins = pace_redirected_ || !in_group;
        const uint64_t cycles =
            pace_.fetched(fetch) + pace_.accessed(in, accessed, access.words, executed_) +
            timing::Pace::predicted(prediction) +
            (end ? pace_.advance(*end, begins) : pace_.complete(in, begins, access.words));
        count_cycles(cycles, 1);
    }
    if (parts_ & timing_part::kPipeline) {
        wake_pipeline();
        pipeline_.complete(in, fetch, accessed, access.words, prediction);
        tell_misses();
    }
    redirected_ = redirected || prediction != Prediction::Right;
    pace_redirected_ = redirected;
    next_pc_ = pc + 4;
}

// ---- segments ----

const uint32_t* Timing::replay(const SegmentEnd& end, const uint32_t* written,
                               const Access& context) {
    const uint32_t wanted = state_.model.parts();
    if (wanted != parts_) [[unlikely]]
        start_parts(wanted);
    if (parts_ & timing_part::kPipeline) return replay_parts<true, true>(end, written, context);
    if (parts_ & timing_part::kWithAddresses)
        return replay_parts<true, false>(end, written, context);
    return replay_parts<false, false>(end, written, context);
}

// One instruction after the other.
const uint32_t* Timing::replay_slowly(const SegmentEnd& end, const uint32_t* written,
                                      const Access& context) {
    using Way = SegmentEnd::Way;
    Access access = context;
    for (uint32_t n = 0; n < end.count; ++n) {
        const Segment::Entry& entry = end.segment->entries()[n];
        bool taken = entry.taken;
        uint32_t target = entry.target;
        if (entry.instruction.use != MemoryUse::None) access.ea = *written++;
        if (n + 1 == end.count && end.way != Way::Along) {
            taken = end.way != Way::NotTaken;
            target = end.way == Way::Indirect ? *written++ : end.target;
        }
        complete(entry.instruction, entry.pc, access, taken, target);
    }
    return written;
}

// The same, as far as caches and predictor are concerned, from what was found out when the segment
// was made.
template <bool kMemory, bool kPipeline>
[[gnu::flatten]] const uint32_t* Timing::replay_parts(const SegmentEnd& end,
                                                      const uint32_t* written,
                                                      const Access& context) {
    using Kind = Segment::Step::Kind;
    using Way = SegmentEnd::Way;
    const Segment::Entry* const entries = end.segment->entries().data();
    const Segment::Entry& last = entries[end.count - 1];
    const uint32_t first_pc = entries[0].pc;
    [[maybe_unused]] const timing::MemorySystem::Context accessing = own_data_context(context);
    [[maybe_unused]] uint32_t first_line = 0;
    if constexpr (kMemory) {
        if (!memory_.can_fetch_quickly(first_pc, fetch_context(context), first_line)) [[unlikely]]
            return replay_slowly(end, written, context);
    }
    count_operations(end.count, last.ops_before + uint64_t{last.instruction.ops});
    Replay& replay = replay_;
    [[maybe_unused]] unsigned stores = 0;
    if constexpr (kPipeline) {
        replay.usual = true;
        replay.unusual_count = replay.part_count = 0;
        replay.fetched = replay.missed = 0;
        if (!memo_.resting() && memo_.begin(redirected_)) {
            const auto before = pipeline_.stores();
            for (unsigned n = 0; n < before.size(); ++n)
                stores_[(next_store_ - 1 - n) % stores_.size()] = before[n];
        }
    }
    [[maybe_unused]] uint64_t penalty = 0;
    const auto fetch_from = [&](unsigned index) {
        const timing::Level level = memory_.fetch_from(
            first_line + entries[index].pc / timing::kLineBytes - first_pc / timing::kLineBytes);
        if (level == timing::Level::L1) return;
        if (kMemory && paced()) penalty += pace_.fetched({.level = level});
        if constexpr (kPipeline) {
            replay.missed |= uint64_t{1} << index;
            replay.levels[index] = level;
            replay.usual = false;
        }
    };
    [[maybe_unused]] bool pace_begins_fetch = false;
    [[maybe_unused]] uint64_t fetches = last.fetches_before + uint64_t{last.fetches};
    if constexpr (kMemory) {
        if (redirected_ || first_pc != next_pc_ || !memory_.in_last_group(first_pc)) {
            ++fetches;
            pace_begins_fetch =
                pace_redirected_ || first_pc != next_pc_ || !memory_.in_last_group(first_pc);
            replay.fetched = 1;
            fetch_from(0);
        }
    }
    if constexpr (kPipeline)
        if (memo_.resting()) memo_.expect(end.number, (replay.fetched & 1) != 0);
    bool redirected = false;
    uint64_t redirects = last.refetches_before;
    for (const Segment::Step& step : end.segment->steps()) {
        const unsigned index = step.index;
        if (index >= end.count) break;
        const Segment::Entry& entry = entries[index];
        if (step.kind == Kind::Access) {
            if constexpr (kMemory) {
                const uint32_t ea = *written++;
                uint64_t physical = 0;
                if (memory_.access_quickly(step.use, step.size, ea, accessing, physical))
                    [[likely]] {
                    if constexpr (kPipeline) {
                        const uint64_t doubleword = physical & ~uint64_t{7};
                        replay.physical[index] = physical;
                        replay.part_counts[index] = Replay::kUsual;
                        if (step.use != MemoryUse::Load)
                            stores_[(next_store_ + stores++) % stores_.size()] = doubleword;
                        else if (memo_.resting())
                            find_collisions(doubleword, stores, index);
                    }
                } else {
                    DataPart* parts = replay.parts.data() + (kPipeline ? replay.part_count : 0);
                    const unsigned count =
                        memory_.access(entry.instruction, ea, 1, accessing, parts);
                    if (paced())
                        penalty +=
                            pace_.accessed(entry.instruction, {parts, count}, 1, executed_ + index);
                    if constexpr (kPipeline) {
                        replay.part_count += count;
                        replay.part_counts[index] = static_cast<uint8_t>(count);
                        replay.usual = false;
                    }
                }
            }
        } else if (step.kind == Kind::Line) {
            if constexpr (kMemory) fetch_from(index);
        } else {
            bool taken = entry.taken;
            uint32_t target = entry.target;
            if (index + 1 == end.count && end.way != Way::Along) {
                taken = end.way != Way::NotTaken;
                target = end.way == Way::Indirect ? *written++ : end.target;
            }
            const Prediction prediction =
                predictor_.branch(entry.instruction, entry.pc, taken, target);
            const bool right = prediction == Prediction::Right;
            if constexpr (kPipeline) replay.predictions[index] = prediction;
            if (index + 1 == end.count) redirected = taken;
            if (right) [[likely]]
                continue;
            if (prediction == Prediction::Wrong) ++redirects;
            if (kMemory && paced()) penalty += timing::Pace::predicted(prediction);
            if constexpr (kPipeline)
                replay.add_unusual(index | static_cast<unsigned>(prediction) << 6);
            if (index + 1 == end.count) {
                redirected = true;
            } else if (!entries[index + 1].fetches) {  // it is fetched anew, from the same line
                ++fetches;
                replay.fetched |= uint64_t{2} << index;
            }
        }
    }
    redirected_ = redirected || last.instruction.refetches;
    pace_redirected_ = end.next_fetches();
    next_pc_ = last.pc + 4;
    (*counts_)[Modelled::CompletionRedirects] += redirects + last.instruction.refetches;
    if constexpr (kMemory) {
        memory_.fetched(fetches, last.pc);
        if (paced()) {
            const uint64_t cycles = pace_.advance(end, pace_begins_fetch);
            count_cycles(penalty + cycles, end.count);
        }
    }
    if constexpr (kPipeline) {
        replay_pipeline(end);
        next_store_ = (next_store_ + stores) % stores_.size();
    }
    return written;
}

// The stores that may be in the queue and have the doubleword.
void Timing::find_collisions(uint64_t doubleword, unsigned stores_before, unsigned index) {
    const unsigned live = std::min(timing::Pipeline::kStores, memo_.live_stores() + stores_before);
    uint32_t same = 0;
    for (unsigned n = 0; n < live; ++n)
        same |=
            uint32_t{stores_[(next_store_ + stores_before - 1 - n) % stores_.size()] == doubleword}
            << n;
    if (same != 0) replay_.add_unusual(1u << 15 | same << 6 | index);
}

std::array<uint64_t, timing::Pipeline::kStores> Timing::last_stores() const {
    std::array<uint64_t, timing::Pipeline::kStores> last;
    for (unsigned n = 0; n < last.size(); ++n)
        last[n] = stores_[(next_store_ - 1 - n) % stores_.size()];
    return last;
}

void Timing::replay_pipeline(const SegmentEnd& end) {
    const timing::PipelineMemo::Execution execution{
        end.number, (replay_.fetched & 1) != 0, {replay_.unusual.data(), replay_.unusual_count}};
    uint64_t cycles = 0;
    if (!memo_.resting()) {
        tell_pipeline(end);
    } else if (!replay_.usual) {
        wake_pipeline();
        tell_pipeline(end);
    } else if (!memo_.recall(execution, cycles)) {
        const ModelledTotals before = state_.modelled;
        wake_pipeline();
        cycles = tell_pipeline(end);
        memo_.remember(execution, cycles, before, redirected_);
    }
}

uint64_t Timing::tell_pipeline(const SegmentEnd& end) {
    uint64_t cycles = 0;
    const DataPart* next_parts = replay_.parts.data();
    for (unsigned n = 0; n < end.count; ++n) {
        const Segment::Entry& entry = end.segment->entries()[n];
        const Instruction& in = entry.instruction;
        std::span<const DataPart> parts;
        DataPart usual;
        if (in.use != MemoryUse::None) {
            if (replay_.part_counts[n] == Replay::kUsual) {
                usual.physical = replay_.physical[n];
                usual.store = in.use != MemoryUse::Load;
                parts = {&usual, 1};
            } else {
                parts = {next_parts, replay_.part_counts[n]};
                next_parts += parts.size();
            }
        }
        FetchResult fetch;
        fetch.new_group = (replay_.fetched >> n & 1) || (n > 0 && entry.fetches);
        if (replay_.missed >> n & 1) fetch.level = replay_.levels[n];
        const Prediction prediction = in.branch ? replay_.predictions[n] : Prediction::Right;
        cycles += pipeline_.complete(in, fetch, parts, 1, prediction);
        tell_misses();
    }
    return cycles;
}

void Timing::tell_misses() {
    for (const timing::Pipeline::Miss& miss : pipeline_.misses())
        perfmon_.occurred(miss.event, miss.cycles);
}

void Timing::count_cycles(uint64_t cycles, uint64_t instructions) {
    cycles_ += cycles;
    executed_ += instructions;
    state_.totals[Total::StallCycles] += cycles - instructions;
}

// ---- translated code that asks only where it has to ----

void Timing::begin_native(uint32_t pc) {
    // What runs now changes only when an instruction has been executed.
    count_in(unused_);
    stalls_ = state_.totals[Total::StallCycles];
    // In the middle of a group that was fetched before, if nothing has come in between.
    const bool goes_on = parts_ != 0 && pc == next_pc_ && memory_.goes_on_in_group(pc);
    pace_redirected_ = pace_redirected_ || !goes_on;
    state_.pace = pace_.shape() << 1 | uint32_t{pace_redirected_};
    const Access access = context();
    memory_.set_context(fetch_context(access), own_data_context(access));
}

void Timing::end_native(uint32_t pc, uint64_t instructions) {
    cycles_ += instructions + (state_.totals[Total::StallCycles] - stalls_);
    executed_ += instructions;
    redirected_ = pace_redirected_ = (state_.pace & 1) != 0;
    pace_.rest_in(state_.pace >> 1);
    set_parts(instructions != 0 ? timing_part::kPace : parts_);
    next_pc_ = pc;
    memory_.goes_on_at(pc);
}

void Timing::native_access(const Segment& segment, unsigned index, uint64_t number, uint32_t ea) {
    const Segment::Entry& entry = segment.entries()[index];
    const Instruction& in = entry.instruction;
    const Access access = context();
    uint64_t cycles = 0;
    if (index == 0 ? begins_fetch(entry.pc) : entry.fetches)
        cycles += pace_.fetched(memory_.fetch(entry.pc, true, fetch_context(access)));
    if (in.use != MemoryUse::None) {
        const timing::MemorySystem::Context accessing = own_data_context(access);
        uint64_t physical;
        std::array<DataPart, 2> parts;
        if (!memory_.access_quickly(in.use, in.size, ea, accessing, physical)) {
            const unsigned count = memory_.access(in, ea, 1, accessing, parts.data());
            cycles += pace_.accessed(in, {parts.data(), count}, 1, executed_ + number);
        }
    }
    state_.totals[Total::StallCycles] += cycles;
}

void Timing::native_branch(const Segment& segment, unsigned index, bool taken, uint32_t target) {
    const Segment::Entry& entry = segment.entries()[index];
    state_.totals[Total::StallCycles] +=
        timing::Pace::predicted(predictor_.branch(entry.instruction, entry.pc, taken, target));
}

void Timing::native_end(const SegmentEnd& end) {
    const uint32_t from = state_.pace;
    SegmentEnd::Known& known = end.known_from(from);
    SegmentEnd::Known step = known;
    if (known.from != from) {
        pace_.rest_in(from >> 1);
        const uint64_t cycles = pace_.advance(end, begins_fetch(end.segment->entries()[0].pc));
        step = {from, pace_.shape() << 1 | uint32_t{end.next_fetches()},
                static_cast<int64_t>(cycles - end.count)};
    }
    state_.totals[Total::StallCycles] += static_cast<uint64_t>(step.stalls);
    state_.pace = step.to;
    if (from >> 1 != timing::kAwake && step.to >> 1 != timing::kAwake) end.known = known = step;
}

uint64_t Timing::safe_cycles() const {
    uint64_t safe = ~uint64_t{0};
    for (const Wait& wait : waits_)
        safe = std::min(safe, wait.until > *wait.count ? wait.until - *wait.count - 1 : 0);
    return safe;
}

void Timing::count_operations(uint64_t instructions, uint64_t ops) {
    (*counts_)[Modelled::CompletedOps] += ops;
    (*counts_)[Modelled::DecodedOps] += ops;
    (*counts_)[Modelled::InstructionFetches] += instructions;
}

timing::MemorySystem::Context Timing::data_context(const Instruction& in,
                                                   const Access& access) const {
    if (!in.external) return own_data_context(access);
    const bool store = in.use == MemoryUse::Store || in.use == MemoryUse::Allocate;
    const uint32_t epc = store ? mmu_.registers().epsc : mmu_.registers().eplc;
    return {(epc & epc::kEAS) ? 1u : 0u, epc & epc::kEPID & 0xff, (epc & epc::kEPR) != 0};
}

void Timing::wait_for(const uint64_t* count, uint64_t more) {
    if (more > ~uint64_t{0} - *count) return;
    const uint64_t* const stalls =
        &state_.modelled.value[static_cast<size_t>(Modelled::DecodeStalled)];
    const uint64_t* const end = state_.modelled.value.data() + kModelledCount;
    const bool cycles = count == &cycles_ || (count >= stalls && count < end);
    waits_.push_back({count, *count + more, cycles});
}

// What one instruction of a segment can add, generously. Of what happens: lmw's 32 micro-ops, or
// two parts of an access with a line and a castout each, and a fetch. Of cycles: such a fetch and
// such parts from memory, their translations and fills, and a division. What was under way before
// comes on top: full queues that wait for memory.
uint64_t Timing::safe_instructions() const {
    constexpr uint64_t kMost = 32, kMostCycles = 640, kCyclesUnderWay = 2560;
    uint64_t safe = ~uint64_t{0};
    for (const Wait& wait : waits_) {
        const uint64_t left = wait.until > *wait.count ? wait.until - *wait.count - 1 : 0;
        const uint64_t under_way = wait.cycles ? kCyclesUnderWay : 0;
        const uint64_t most = wait.cycles ? kMostCycles : kMost;
        safe = std::min(safe, (left - std::min(left, under_way)) / most);
    }
    return safe;
}

bool Timing::come() const {
    return std::any_of(waits_.begin(), waits_.end(),
                       [](const Wait& wait) { return *wait.count >= wait.until; });
}

void Timing::interrupt_taken() {
    if (parts_ == 0) return;
    redirected_ = pace_redirected_ = true;
    if (parts_ & timing_part::kWithBranches) ++(*counts_)[Modelled::CompletionRedirects];
    if (paced()) pace_.interrupt_taken();
    if (!(parts_ & timing_part::kPipeline)) return;
    constexpr timing::PipelineMemo::Execution kInterrupt{SegmentEnd::kNoEnd, false, {}};
    uint64_t cycles = 0;
    const bool rests = memo_.resting();
    if (rests && memo_.recall(kInterrupt, cycles)) return;
    const ModelledTotals before = state_.modelled;
    wake_pipeline();
    pipeline_.refetch();
    if (rests) memo_.remember(kInterrupt, cycles, before, redirected_);
}

}  // namespace perfvisor::core
