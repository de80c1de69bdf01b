// SPDX-License-Identifier: GPL-2.0-or-later
// One case of the engine fuzzer: a random program, its handlers, its TLBs, and a random outside
// world, executed by the lockstep engine. A seed and a kind make the same case each time.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "guest_harness.h"

namespace perfvisor::test {

// What a program has most of; each has some of everything.
enum class FuzzKind : uint8_t {
    Anything,      // every row of the table, and words that are no instruction
    User,          // what user programs have, in user mode
    Memory,        // accesses of every size and alignment, across pages, to devices
    SelfChanging,  // programs that rewrite themselves, with and without icbi
    Paging,        // 4 KiB pages by a TLB miss handler, PIDs, TLB instructions
    Modes,         // MSR[PR], [FP], [FE0], [FE1], [IS], [DS], [DE], XER[SO]
    Float,         // floating point with every rounding mode and enable bit
    Debug,         // single step, branch, instruction and data address events
    Measured,      // timers and counters that interrupt all the time
    Modelled,      // counters of the timing model's events, and its cycles as the clock
    Timed,         // the timing model's cycles as the clock, mostly nothing else of it
    Count,
};
constexpr unsigned kFuzzKinds = static_cast<unsigned>(FuzzKind::Count);
const char* fuzz_kind_name(FuzzKind kind);
std::optional<FuzzKind> find_fuzz_kind(const std::string& name);

class Fuzzer {
  public:
    explicit Fuzzer(const engine::Tuning& tuning = Guest::kImpatient)
        : guest_(engine::EngineKind::Lockstep, core::find_core_model("e500mc"), kMemory, nullptr,
                 tuning) {}

    // A cache that is too small, and code that is interpreted at first.
    static constexpr engine::Tuning kTiny = {.code_bytes = 1, .patience = 1, .trace_after = 1};

    struct Result {
        std::string failure;  // empty: the engines agree
        uint64_t instructions = 0;
        uint64_t interrupts = 0;
    };
    // About `units` of budget.
    Result run(FuzzKind kind, uint32_t seed, uint64_t units = 3000);

  private:
    static constexpr uint32_t kMemory = 0x80000;
    static constexpr uint32_t kCodeBytes = 0x3000;
    static constexpr uint32_t kTables = 0x30000;  // handlers' own data

    uint32_t random() { return static_cast<uint32_t>(random_()); }
    unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
    bool one_in(unsigned n) { return below(n) == 0; }
    FuzzKind kind_of_the_next();

    // fuzz_case.cpp: the world
    void prepare();
    void prepare_registers();
    void prepare_handlers();
    std::string handler(core::Interrupt kind);
    void prepare_tlbs();
    void prepare_counters();
    void prepare_debug();
    void outside_event();
    std::string execute(uint64_t units);

    // fuzz_program.cpp: the program
    void make_program();
    void add(uint32_t word) { words_.push_back(word); }
    void add_li32(unsigned reg, uint32_t value);
    void add_spr(unsigned spr, unsigned reg);
    void add_snippet(FuzzKind kind);
    void add_any();
    void add_ordinary();
    void add_memory();
    void add_self_change();
    void add_tlb();
    void add_mode_change();
    void add_float();
    void add_debug();
    void add_counter();
    void add_loop();
    void add_branch();
    void add_reservation();
    uint32_t row_word(isa::Opcode opcode);
    uint32_t data_address();
    uint32_t code_address();
    uint32_t plausible_msr();
    uint32_t value();
    uint64_t real();

    Guest guest_;
    std::mt19937 random_;
    FuzzKind kind_ = FuzzKind::Anything;
    std::vector<uint32_t> words_;
};

}  // namespace perfvisor::test
