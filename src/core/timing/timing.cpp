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

Timing::Timing(CpuState& state, const Mmu& mmu, PerfMon& perfmon)
    : state_(state),
      mmu_(mmu),
      perfmon_(perfmon),
      predictor_(state.modelled),
      memory_(mmu, state.modelled),
      pipeline_(state.modelled) {
    waits_.reserve(2 * kMaxPmcs + 1);
    reset();
}

void Timing::reset() {
    predictor_.invalidate();
    memory_.invalidate();
    pipeline_.restart();
    parts_ = 0;
    redirected_ = true;
    forget_waits();
}

void Timing::mirror(const Timing& from) {
    predictor_.mirror(from.predictor_);
    memory_.mirror(from.memory_);
    pipeline_.mirror(from.pipeline_);
    drives_clock_ = from.drives_clock_;
    parts_ = from.parts_;
    redirected_ = from.redirected_;
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
    state_.model.always = on ? timing_part::kAll : 0;
}

// A part keeps what it holds while it rests. The pipeline does not: nothing is under way in it.
void Timing::start_parts(uint32_t wanted) {
    if (wanted & ~parts_ & timing_part::kPipeline) pipeline_.restart();
    if (parts_ == 0) redirected_ = true;
    parts_ = wanted;
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
    if (waits_.empty() || !come()) [[likely]]
        return false;
    state_.attention.fetch_or(kInterruptCheck, std::memory_order_relaxed);
    return true;
}

[[gnu::flatten]] void Timing::complete(const Instruction& in, uint32_t pc, const Access& access,
                                       bool taken, uint32_t next_pc) {
    const uint32_t wanted = state_.model.parts();
    if (wanted != parts_) [[unlikely]]
        start_parts(wanted);
    ModelledTotals& counts = state_.modelled;
    const unsigned ops = in.ops ? in.ops : std::max(access.words, 1u);
    counts[Modelled::CompletedOps] += ops;
    counts[Modelled::DecodedOps] += ops;
    ++counts[Modelled::InstructionFetches];

    FetchResult fetch;
    // Filled in as far as there are parts: too many to be initialized for every instruction.
    alignas(DataPart) std::array<std::byte, sizeof(DataPart) * timing::MemorySystem::kMostParts>
        storage;
    auto* const parts = reinterpret_cast<DataPart*>(storage.data());
    unsigned part_count = 0;
    if (parts_ & timing_part::kMemory) {
        const timing::MemorySystem::Context context{(access.msr & msr::kIS) ? 1u : 0u, access.pid,
                                                    (access.msr & msr::kPR) != 0};
        fetch = memory_.fetch(pc, redirected_ || pc != next_pc_, context);
        if (in.use != MemoryUse::None)
            part_count =
                memory_.access(in, access.ea, access.words, data_context(in, access), parts);
    }
    Prediction prediction = Prediction::Right;
    if (in.branch && (parts_ & timing_part::kPredictor))
        prediction = predictor_.branch(in, pc, taken, next_pc);
    if ((prediction == Prediction::Wrong || in.refetches) && (parts_ & timing_part::kPredictor))
        ++counts[Modelled::CompletionRedirects];
    redirected_ = taken || in.refetches || prediction != Prediction::Right;
    next_pc_ = pc + 4;

    if (parts_ & timing_part::kPipeline) {
        const uint64_t cycles = pipeline_.complete(
            in, fetch, std::span<const DataPart>(parts, part_count), access.words, prediction);
        cycles_ += cycles;
        if (drives_clock_) state_.totals[Total::StallCycles] += cycles - 1;
        for (const timing::Pipeline::Miss& miss : pipeline_.misses())
            perfmon_.occurred(miss.event, miss.cycles);
    }
}

const uint32_t* Timing::replay(const timing::SegmentEnd& end, const uint32_t* written) {
    using Way = timing::SegmentEnd::Way;
    Access access{.msr = state_.msr, .pid = mmu_.registers().pid};
    for (uint32_t n = 0; n < end.count; ++n) {
        const timing::Segment::Entry& entry = end.segment->entries[n];
        bool taken = entry.taken;
        uint32_t target = entry.target;
        if (entry.instruction.use != MemoryUse::None &&
            (state_.model.parts() & timing_part::kWithAddresses))
            access.ea = *written++;
        if (n + 1 == end.count && end.way != Way::Along) {
            taken = end.way != Way::NotTaken;
            target = end.way == Way::Indirect ? *written++ : end.target;
        }
        complete(entry.instruction, entry.pc, access, taken, target);
    }
    return written;
}

void Timing::count_operations(uint64_t instructions, uint64_t ops) {
    state_.modelled[Modelled::CompletedOps] += ops;
    state_.modelled[Modelled::DecodedOps] += ops;
    state_.modelled[Modelled::InstructionFetches] += instructions;
}

timing::MemorySystem::Context Timing::data_context(const Instruction& in,
                                                   const Access& access) const {
    if (!in.external)
        return {(access.msr & msr::kDS) ? 1u : 0u, access.pid, (access.msr & msr::kPR) != 0};
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
    redirected_ = true;
    if (parts_ & timing_part::kPredictor) ++state_.modelled[Modelled::CompletionRedirects];
    if (parts_ & timing_part::kPipeline) pipeline_.refetch();
}

}  // namespace perfvisor::core
