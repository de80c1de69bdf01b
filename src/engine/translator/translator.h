// SPDX-License-Identifier: GPL-2.0-or-later
// The translator: guest code becomes x86-64 code, block by block (docs/architecture.md). What a
// budget or a device answer leaves of a block is the interpreter's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/interpreter/interpreter.h"
#include "engine/translator/block_cache.h"
#include "engine/translator/fetch_map.h"
#include "engine/translator/frontend/guest_block.h"
#include "engine/translator/page_map.h"
#include "engine/translator/x64/code_buffer.h"
#include "engine/translator/x64/emitter.h"
#include "engine/translator/x64/runtime_code.h"

namespace perfvisor::engine::translator {

class Translator final : public Engine,
                         public core::Core::CodeListener,
                         public core::TranslationListener {
  public:
    // Fails where the host's processor lacks AVX, FMA, BMI1, BMI2, LZCNT or MOVBE (before Haswell
    // and Excavator), or allows no executable memory.
    static Result<std::unique_ptr<Translator>> create(core::Core& core, const Tuning& tuning = {});
    // Why create() would fail; nothing where it would not.
    static std::optional<std::string> missing();
    ~Translator() override;
    Translator(const Translator&) = delete;
    Translator& operator=(const Translator&) = delete;

    Stop run(uint64_t instructions) override;
    void flush() override;

    // For whoever compares this engine with another: as run(), but nothing is left to the
    // interpreter because of the budget. Executes about `wanted` instructions, at most `limit`, in
    // whole blocks: at least one where that fits into `limit`, else what run(limit) does. Engine's
    // rule for CpuState::budget holds for `used`.
    struct Piece {
        Stop stop;
        uint64_t used;  // units of budget
    };
    Piece run_whole_blocks(uint64_t wanted, uint64_t limit);

    const char* name() const override { return "translator"; }
    // How often code was given up because its region was needed for new code.
    uint64_t evictions() const { return evictions_; }
    // Stores to the page of `ea` by the current process take the slow road once more.
    void forget_writes(uint64_t ea) { pages_->forget(ea & core::kPageMask, core::kPageSize); }

    void code_changed(uint64_t physical, uint64_t length) override;
    void breakpoints_changed(const std::vector<uint64_t>& addresses) override;
    void all_breakpoints_changed() override { flush(); }
    void translations_changed(uint64_t ea, uint64_t size) override;
    void all_translations_changed() override;
    void page_protected(uint64_t physical) override;
    void all_pages_protected() override { pages_->forget_all(); }

  private:
    Translator(core::Core& core, const Tuning& tuning, x64::CodeBuffer buffer,
               std::unique_ptr<PageMap> pages, std::unique_ptr<FetchMap> fetches);

    // Instructions for which translated code runs before it looks at attention, which bounds how
    // long another thread waits for it.
    static constexpr int64_t kLongestRun = 1 << 15;
    static constexpr unsigned kVisits = 1u << 15;

    Stop run_what_is_left();
    // The code at pc, translated if need be. Null: the fetch met an exception, which was taken.
    const uint8_t* code_at_pc();
    // The block at pc, its page entered into the fetch map; null as above, at_breakpoint_, or where
    // is_cold_ says that there is none and is not to be one yet.
    const uint8_t* look_up();
    bool stays_cold(uint64_t physical);
    Block* translate(uint64_t physical, Mode mode);
    bool execute(const uint8_t* code);  // false: an access waits for an answer
    // Interprets from pc on, where a block has run often, and makes a trace of the way it goes.
    // False as above.
    bool record_trace();
    bool follow_path(Mode mode);
    void unroll_path();
    void translate_path(Block& plain, Mode mode);
    void link(uint32_t edge);
    // Brings the state up to date with what code left to do at an ExitSite.
    x64::Exit carry_out(uint64_t place);
    // An exception or a device access at pc, which is not completed.
    bool stopped();
    // Runs the interpreter for what is left, at most `instructions`.
    Stop interpret(int64_t instructions);
    Stop interpret_block();
    // Makes room for code: what lies in the next region goes.
    void next_region();
    void use_region(unsigned number);
    // Brings totals and left_ up to date with what translated code has counted.
    void synchronize();
    // The same for the timing model, with as many instructions.
    void tell_model(uint64_t instructions);
    // How many of left_ translated code may execute at a time; 0: the interpreter is to.
    int64_t allowed() const;
    // Whether what a C++ function did must be looked at before the next instruction.
    bool model_wants_a_look() const;
    // Enters the pages of an access that the slow road has done, if they are plain memory.
    void enter_pages(uint64_t ea, uint64_t size);
    void enter_page(uint64_t ea);
    // What code for pc depends on at present.
    Mode mode() const { return Mode::of(core_.state, pages_->has_window()); }
    // What the fetch map's tables are told apart by.
    uint32_t fetch_mode() const;
    void select_fetches() { shared_.fetches = fetches_->select(fetch_mode()); }
    void clear();

    // What translated code calls.
    template <typename T>
    static x64::LoadResult load(void* self, uint64_t ea);
    template <typename T>
    static uint64_t store(void* self, uint64_t ea, uint64_t value);
    static x64::LoadResult load_reserve(void* self, uint64_t ea);
    static uint64_t store_conditional(void* self, uint64_t ea, uint64_t value);
    static uint64_t execute_op(void* self, const interpreter::Op* op);
    static uint64_t execute_zero(void* self, const interpreter::Op* op);
    static uint64_t enable_interrupts(void* self);
    static uint64_t execute_last_op(void* self, const interpreter::Op* op);
    static uint64_t execute_told(void* self, const ToldOp* told);
    static uint64_t execute_last_told(void* self, const ToldOp* told);
    static uint64_t ask_access(void* self, const AskedAccess* op, uint64_t ea);
    static uint64_t ask_branch(void* self, const AskedBranch* op, uint64_t target);
    static uint64_t end_segment(void* self, const core::timing::SegmentEnd* end);
    void begin_native(int64_t left, uint32_t pc);
    void end_native(uint32_t pc, uint32_t rest);
    uint64_t native_executed(uint32_t rest) const {
        return static_cast<uint64_t>(native_left_ - core_.state.budget - rest);
    }
    bool next_block_fits();
    bool may_take(uint64_t cycles) const;
    bool will_access(const core::timing::Instruction& in, uint32_t ea) const;
    bool execute_and_tell(const ToldOp& told);
    uint64_t after_last_op(bool completed);
    x64::Callbacks callbacks();

    core::Core& core_;
    interpreter::Interpreter interpreter_;
    x64::CodeBuffer buffer_;
    std::unique_ptr<PageMap> pages_;
    std::unique_ptr<FetchMap> fetches_;
    x64::SharedData& shared_;
    BlockCache blocks_;
    x64::FaultSites sites_;
    x64::RuntimeCode runtime_;
    x64::Emitter emitter_;
    GuestBlock guest_;  // the block being translated

    int64_t left_ = 0;                   // of run()'s instructions, as of the last synchronize()
    int64_t budget_base_ = 0;            // CpuState::budget then
    ModelKind model_ = ModelKind::None;  // of the blocks that are being executed
    bool is_native_ = false;             // core::Timing::begin_native
    int64_t native_left_ = 0;            // of the budget then
    uint64_t told_ = 0;    // instructions among what tell_model() is told of next, told already
    uint64_t clears_ = 0;  // how often everything was dropped, or a region
    uint64_t evictions_ = 0;
    // The code behind what all blocks share, in equal pieces that are filled one after the other.
    unsigned regions_ = 1, region_ = 0;
    size_t region_bytes_ = 0;
    unsigned patience_;
    const int32_t trace_after_;
    std::vector<uint32_t> path_;                    // of the trace being recorded
    bool is_cold_ = false, at_breakpoint_ = false;  // look_up()
    // How often code without a block was looked for, by physical address; several share a place.
    std::vector<uint8_t> visits_ = std::vector<uint8_t>(kVisits);
    bool records_ = false;  // record_trace()
    bool code_changed_ = false;
    bool mmio_asked_ = false;         // the instruction at pc waits for an MMIO answer
    bool whole_blocks_ = false;       // run_whole_blocks()
    bool block_is_too_long_ = false;  // then: the next one, for what is left
};

}  // namespace perfvisor::engine::translator
