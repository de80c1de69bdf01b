// SPDX-License-Identifier: GPL-2.0-or-later
// The timing model of the e500mc (docs/timing.md). Engines tell it of each instruction that
// completes, in program order; it counts what the caches, predictors and pipeline of a board would
// have done, and under --timing=e500mc how long it took. It runs only while somebody wants
// something of it (CpuState::model), and never changes what an instruction does.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/mmu.h"
#include "core/perfmon.h"
#include "core/state.h"
#include "core/timing/branch_predictor.h"
#include "core/timing/instruction.h"
#include "core/timing/memory_system.h"
#include "core/timing/pace.h"
#include "core/timing/pipeline.h"
#include "core/timing/pipeline_memo.h"
#include "core/timing/segment.h"

namespace perfvisor::core {

class Timing {
  public:
    Timing(CpuState& state, const Mmu& mmu, PerfMon& perfmon);

    // Everything empty, as after a hard reset.
    void reset();
    // Core::mirror, after all else.
    void mirror(const Timing& from);
    // What passed on the clock.
    uint64_t cycles() const { return cycles_; }

    // --timing=e500mc: cycles are the model's, not one an instruction. From the start of a run.
    void set_drives_clock(bool on);
    bool drives_clock() const { return drives_clock_; }

    // What an instruction is about to do with memory, and in which context, from the registers
    // before it.
    struct Access {
        uint32_t ea = 0;
        unsigned words = 1;
        uint32_t msr = 0, pid = 0;
    };
    Access access_of(const timing::Instruction& in) const;

    // The instruction at `pc` has completed; for a branch: where it went, if it was taken.
    // Sets kInterruptCheck in CpuState::attention, and returns true, where something that is
    // waited for has come: the engine must come back before the next instruction.
    bool completed(const timing::Instruction& in, uint32_t pc, const Access& access, bool taken,
                   uint32_t next_pc);
    // The same for an instruction that is no branch and a segment of its own.
    bool completed(const timing::SegmentEnd& end, const Access& access);
    // The same for instructions that an engine has executed without telling: `written` are the
    // addresses of their accesses, in order, and behind them where the last one went if that is
    // SegmentEnd::Way::Indirect. `context` is that of all of them. Gives what is behind the words
    // it used. Nothing that is waited for may come with them (safe_instructions).
    const uint32_t* replay(const timing::SegmentEnd& end, const uint32_t* written,
                           const Access& context);
    Access context() const { return {.msr = state_.msr, .pid = mmu_.registers().pid}; }
    // ---- translated code that asks only where it has to (Filters, CpuState::pace) ----
    // It goes on from `pc`; no part but timing_part::kPace runs.
    void begin_native(uint32_t pc);
    // It has executed so many instructions since then, or since the last time, and is at `pc`.
    void end_native(uint32_t pc, uint64_t instructions);
    // In between, `number` instructions behind the last time: an instruction of a segment that the
    // filters do not have; where a branch went, or what is accessed at `ea`, if it will happen.
    void native_access(const timing::Segment& segment, unsigned index, uint64_t number,
                       uint32_t ea);
    void native_branch(const timing::Segment& segment, unsigned index, bool taken, uint32_t target);
    // The end of a segment, if SegmentEnd::known does not know it.
    void native_end(const timing::SegmentEnd& end);
    const timing::BranchPredictor::Set* branch_sets() const { return predictor_.sets(); }
    const timing::Cache& l1_data() const { return memory_.l1_data(); }
    const timing::Cache& l1_instructions() const { return memory_.l1_instructions(); }
    // So many cycles may pass without one that is waited for.
    uint64_t safe_cycles() const;

    // The same for the parts that need no more than the numbers of instructions and micro-ops.
    void count_operations(uint64_t instructions, uint64_t ops);
    // So many instructions of segments may be executed without anything coming that is waited for.
    uint64_t safe_instructions() const;

    // An interrupt was taken between two instructions: what follows is fetched anew. (sc is the
    // instruction's own affair.)
    void interrupt_taken();

    // ---- What is waited for ----
    void forget_waits() { waits_.clear(); }
    // Until `count` has grown by `more`.
    void wait_for(const uint64_t* count, uint64_t more);
    // Until so many cycles have passed, where the model drives the clock.
    void wait_for_cycles(uint64_t cycles) { wait_for(&cycles_, cycles); }

    // ---- Flash invalidations (L1CSR0, L1CSR1, L2CSR0, BUCSR) ----
    void invalidate_data_cache() { memory_.invalidate_data(); }
    void invalidate_instruction_cache() { memory_.invalidate_instructions(); }
    void invalidate_l2() { memory_.invalidate_l2(); }
    void invalidate_branch_predictor() { predictor_.invalidate(); }

  private:
    struct Wait {
        const uint64_t* count;
        uint64_t until;
        bool cycles;  // that pass, as opposed to something that happens
    };

    void start_parts(uint32_t wanted);
    void set_parts(uint32_t parts);
    void count_in(ModelledTotals& counts);
    bool paced() const { return (parts_ & timing_part::kPace) != 0; }
    // What caches and predictor said of a segment's instructions, by their numbers.
    struct Replay {
        // A bit for each that begins a fetch that it does not always begin, or that missed.
        uint64_t fetched = 0, missed = 0;
        std::array<timing::Level, timing::Segment::kMost> levels;  // of those
        std::array<timing::Prediction, timing::Segment::kMost> predictions;
        std::array<uint64_t, timing::Segment::kMost> physical;  // of an access that is usual
        std::array<uint8_t, timing::Segment::kMost> part_counts;
        static constexpr uint8_t kUsual = 0xff;
        std::array<timing::DataPart, 2 * timing::Segment::kMost> parts;  // of those that are not
        unsigned part_count = 0;
        // For PipelineMemo::Execution.
        bool usual = true;
        unsigned unusual_count = 0;
        std::array<uint16_t, timing::PipelineMemo::kMostUnusual> unusual;
        void add_unusual(unsigned word) {
            if (unusual_count == unusual.size())
                usual = false;
            else
                unusual[unusual_count++] = static_cast<uint16_t>(word);
        }
    };
    const uint32_t* replay_slowly(const timing::SegmentEnd& end, const uint32_t* written,
                                  const Access& context);
    template <bool kMemory, bool kPipeline>
    const uint32_t* replay_parts(const timing::SegmentEnd& end, const uint32_t* written,
                                 const Access& context);
    void replay_pipeline(const timing::SegmentEnd& end);
    uint64_t tell_pipeline(const timing::SegmentEnd& end);
    void find_collisions(uint64_t doubleword, unsigned stores_before, unsigned index);
    void wake_pipeline() {
        if (!memo_.resting()) return;
        memo_.wake(pipeline_, last_stores());
        memo_.forget();
    }
    std::array<uint64_t, timing::Pipeline::kStores> last_stores() const;
    void tell_misses();
    void count_cycles(uint64_t cycles, uint64_t instructions);
    void complete(const timing::Instruction& in, uint32_t pc, const Access& access, bool taken,
                  uint32_t next_pc, const timing::SegmentEnd* end = nullptr);
    timing::MemorySystem::Context data_context(const timing::Instruction& in,
                                               const Access& access) const;
    static timing::MemorySystem::Context own_data_context(const Access& access) {
        return {(access.msr & msr::kDS) ? 1u : 0u, access.pid, (access.msr & msr::kPR) != 0};
    }
    static timing::MemorySystem::Context fetch_context(const Access& access) {
        return {(access.msr & msr::kIS) ? 1u : 0u, access.pid, (access.msr & msr::kPR) != 0};
    }
    // Of a segment's first instruction, in translated code.
    bool begins_fetch(uint32_t pc) const {
        return (state_.pace & 1) != 0 || timing::MemorySystem::begins_group(pc - 4, pc);
    }
    bool come() const;
    // Asks the engine back where something has come.
    bool look();

    CpuState& state_;
    // Nothing is counted while only the clock's part runs: translated code does not tell all of it.
    ModelledTotals unused_;
    ModelledTotals* counts_;
    const Mmu& mmu_;
    PerfMon& perfmon_;
    timing::BranchPredictor predictor_;
    timing::MemorySystem memory_;
    timing::Pipeline pipeline_;
    timing::PipelineMemo memo_{pipeline_};
    timing::Pace pace_;
    uint64_t executed_ = 0;  // instructions that the clock's model was told of
    uint64_t stalls_ = 0;    // StallCycles at begin_native()
    Replay replay_;
    // The doublewords of the last stores while the pipeline rests, a ring.
    std::array<uint64_t, 128> stores_{};
    unsigned next_store_ = 0;
    bool drives_clock_ = false;
    uint32_t parts_ = 0;           // that run now
    bool redirected_ = true;       // the next instruction begins a fetch
    bool pace_redirected_ = true;  // also if every prediction is right
    uint32_t next_pc_ = 0;
    uint64_t cycles_ = 0;  // the clock's
    std::vector<Wait> waits_;
};

}  // namespace perfvisor::core
