// SPDX-License-Identifier: GPL-2.0-or-later
// The interpreter: the reference engine. It executes blocks of pre-decoded instructions, each of
// which hands over to the next.
#pragma once

#include <memory>
#include <vector>

#include "engine/engine.h"
#include "engine/interpreter/block_cache.h"

namespace perfvisor::engine::interpreter {

class Interpreter final : public Engine,
                          public core::Core::CodeListener,
                          public core::TranslationListener {
  public:
    explicit Interpreter(core::Core& core);
    ~Interpreter() override;
    Interpreter(const Interpreter&) = delete;
    Interpreter& operator=(const Interpreter&) = delete;

    Stop run(uint64_t instructions) override;
    // As run(), but comes back behind one block. No device answer and no debug event is waited for.
    Stop run_block(uint64_t instructions);
    void flush() override;
    const char* name() const override { return "interpreter"; }

    void code_changed(uint64_t physical, uint64_t length) override;
    void breakpoints_changed(const std::vector<uint64_t>&) override { blocks_.clear(); }
    void all_breakpoints_changed() override { blocks_.clear(); }
    void translations_changed(uint64_t ea, uint64_t size) override;
    void all_translations_changed() override;

  private:
    // How the execution of a block ended.
    enum class End : uint8_t {
        Completed,    // at its end
        Interrupted,  // a synchronous interrupt was taken in its middle
        Mmio,         // in its middle, an access waits for an answer
        Stale,        // in its middle, at code that changed
        Breakpoint,   // before its first instruction
    };

    // The block at pc, decoded if need be. Null: the fetch met an exception, which was taken, or
    // at_breakpoint_.
    Block* block_at_pc();
    Block* look_up(uint64_t pc, uint32_t jump_mode);
    Block* decode(uint64_t physical, Mode mode);
    Block* first_instructions(Block& block, unsigned count);
    End execute(Block& block);
    End stopped(Block& block, const Op* op);
    void take_back(Block& block, unsigned index);
    // Executes one instruction, under the debug facilities where those are armed.
    End step();

    core::Core& core_;
    BlockCache blocks_;
    std::vector<Decoded> decoded_;  // the block being decoded
    std::vector<TimedOp> timed_;    // the same, under the timing model
    // A block cut short, when the budget or a single step asks for less than the whole.
    alignas(Block) std::array<std::byte, Block::bytes(kMaxBlockInstructions)> short_block_{};
    bool mmio_asked_ = false;     // the instruction at pc waits for an MMIO answer
    bool at_breakpoint_ = false;  // block_at_pc() found one
};

}  // namespace perfvisor::engine::interpreter
