// SPDX-License-Identifier: GPL-2.0-or-later
// Both engines on the same guest, compared with each other: the translator executes some blocks,
// their effect on memory is taken back, the interpreter executes the same number of instructions
// on a core of its own, and all state is compared. A developer's tool; docs/lockstep.md.
#pragma once

#include <array>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/interpreter/interpreter.h"
#include "engine/lockstep/page_log.h"
#include "engine/translator/translator.h"

namespace perfvisor::engine::lockstep {

// The time source must depend on cycles alone, and no other core may share the memory: what one
// engine reads, the other reads later.
class Lockstep final : public Engine, public core::Core::CodeListener {
  public:
    // Fails where the translator does.
    static Result<std::unique_ptr<Lockstep>> create(core::Core& core, const Tuning& tuning = {});
    ~Lockstep() override;
    Lockstep(const Lockstep&) = delete;
    Lockstep& operator=(const Lockstep&) = delete;

    Stop run(uint64_t instructions) override;
    void flush() override;
    const char* name() const override { return "lockstep"; }
    std::string failure() const override { return failure_; }

    void code_changed(uint64_t physical, uint64_t length) override;
    // The interpreter stops where the translator did.
    void breakpoints_changed(const std::vector<uint64_t>& addresses) override {
        translator_->breakpoints_changed(addresses);
    }
    void all_breakpoints_changed() override { translator_->all_breakpoints_changed(); }

  private:
    Lockstep(core::Core& core, std::unique_ptr<translator::Translator> translator);

    // Hears of one core's stores and remembers where write translations were entered.
    class Stores final : public core::Core::StoreListener {
      public:
        Stores(core::Core& core, PageLog& log) : core_(core), log_(log) {
            core_.set_store_listener(this);
        }
        void storing(uint64_t ea, uint64_t physical, uint8_t* host) override;
        // Drops those translations, so that the next store to each page is heard of.
        void forget_write_translations();
        const std::vector<uint64_t>& pages() const { return pages_; }

      private:
        core::Core& core_;
        PageLog& log_;
        std::vector<uint64_t> pages_;  // effective addresses in them
    };

    // What the report says of the moment before a piece.
    struct Start {
        uint64_t pc = 0, lr = 0, ctr = 0;
        uint32_t msr = 0, cr = 0, pid = 0;
        std::array<uint64_t, 32> gpr{};
    };

    void forget_write_translations();
    uint64_t next_length();
    void take_over_memory();
    // Executes a piece with both engines. False: they disagree.
    bool run_piece(uint64_t limit, translator::Translator::Piece& done);
    bool follow(const translator::Translator::Piece& done);
    bool tlbs_written();
    bool compare();
    bool disagree(const std::string& what);
    std::string code_at(const Start& start) const;

    core::Core& core_;             // the translator's, which the outside knows
    core::PhysicalMemory memory_;  // the same memory, its code marks the interpreter's own
    std::unique_ptr<core::Core> shadow_;
    std::unique_ptr<translator::Translator> translator_;
    interpreter::Interpreter interpreter_;
    PageLog log_;
    Stores stores_, shadow_stores_;
    Start start_;
    std::minstd_rand lengths_;
    uint64_t tlb_writes_ = 0, shadow_tlb_writes_ = 0;  // tlbs_written()
    bool executing_ = false;
    std::string failure_;
};

}  // namespace perfvisor::engine::lockstep
