// SPDX-License-Identifier: GPL-2.0-or-later
// Caches and first-level MMUs: which of them an access finds its translation and its line in, and
// what moves between them (docs/timing.md, "Memory").
#pragma once

#include <cstdint>

#include "core/timing/cache.h"
#include "core/timing/counts.h"
#include "core/timing/instruction.h"
#include "core/timing/l1_mmu.h"

namespace perfvisor::core::timing {

// Where a line was found.
enum class Level : uint8_t { L1, L2, Memory };

// One access to one line, or to none (inhibited), as the pipeline has to know it.
struct DataPart {
    uint64_t physical = 0;
    Level level = Level::L1;
    bool store = false;
    bool waits = true;  // for the line: loads do, touches do not
    bool inhibited = false;
    bool guarded = false;
    bool write_through = false;
    bool coherent = false;
    bool mmu_miss = false;
    bool second = false;  // of an access that was taken apart
};

struct FetchResult {
    bool new_group = false;  // the instruction begins a fetch
    bool mmu_miss = false;
    Level level = Level::L1;
};

class MemorySystem {
  public:
    // The address context of data accesses or fetches.
    struct Context {
        unsigned as;
        uint32_t pid;
        bool user;
    };
    static constexpr unsigned kMostParts = 64;  // of 32 words, each taken apart

    MemorySystem(const Mmu& mmu, ModelledTotals& counts)
        : counts_(counts), fetch_mmu_(mmu), data_mmu_(mmu) {}

    void invalidate();
    // Core::mirror.
    void mirror(const MemorySystem& from);
    void invalidate_data() { l1_data_.invalidate_all(); }
    void invalidate_instructions() { l1_instructions_.invalidate_all(), last_line_ = kNowhere; }
    void invalidate_l2() { l2_.invalidate_all(); }

    // The instruction at `pc` is executed; `redirected`: it does not follow the one before it.
    FetchResult fetch(uint32_t pc, bool redirected, const Context& context);
    // What an instruction does with memory at `ea`: fills in `parts`, gives their number. `words`
    // of a multiple or string, else 1.
    unsigned access(const Instruction& in, uint32_t ea, unsigned words, const Context& context,
                    DataPart* parts);

  private:
    static constexpr uint64_t kNowhere = ~uint64_t{0};

    bool translate(const Instruction& in, uint32_t ea, const Context& context, DataPart& part);
    void count_translated(const Instruction& in, const DataPart& part);
    Level data_line(uint64_t line, bool dirty);
    void enter_data_line(uint64_t line, bool dirty);
    Level fetch_line(uint64_t line);
    Level l2_read(uint64_t line, bool instruction);
    void l2_enter(uint64_t line, bool dirty, bool instruction);
    void cast_out(uint64_t line);
    void bus_castout();
    void clean_through(uint64_t line);
    void load_or_store(const Instruction& in, DataPart& part);
    void allocate(DataPart& part);
    void clean(uint64_t line);
    void flush(uint64_t line, bool coherent);
    void lock_data(const Instruction& in, uint64_t line);
    void lock_code(const Instruction& in, uint64_t line);
    void lock_l2(uint64_t line, bool instruction);
    void unlock(const Instruction& in, uint64_t line);

    ModelledTotals& counts_;
    Cache l1_instructions_{32}, l1_data_{32}, l2_{128};
    L1Mmu fetch_mmu_, data_mmu_;
    uint64_t last_group_ = kNowhere;  // pc of the last fetch group
    uint64_t last_line_ = kNowhere;   // physical, of the last fetch
};

}  // namespace perfvisor::core::timing
