// SPDX-License-Identifier: GPL-2.0-or-later
// What the performance monitor's tests share: a core model, PMR numbers and a core that executes
// nothing but counts.
#pragma once

#include <gtest/gtest.h>

#include "core/perfmon.h"
#include "perfmon_fields.h"

namespace perfvisor::core {

constexpr CoreModel kTestModel{.name = "test",
                               .pvr = 0x80230020,
                               .gpr_bits = 32,
                               .physical_bits = 36,
                               .tlb0_entries = 512,
                               .tlb0_ways = 4,
                               .tlb1_entries = 64,
                               .pid_bits = 8,
                               .cache_line = 64,
                               .pmc_count = 4,
                               .pmc_event_bits = 8,
                               .reset_pid_count = 1,
                               .categories = 0};

using test::kPmc0, test::kPmlca0, test::kPmlcb0, test::kPmgc0;
using test::off, test::on, test::pmp, test::selects;

constexpr unsigned kUserPmc0 = 0, kUserPmlca0 = 128, kUserPmlcb0 = 256, kUserPmgc0 = 384;

constexpr uint64_t kNever = UINT64_MAX;
constexpr uint32_t kInstructions = selects(2);

// A CpuState and its PerfMon, seen as an engine that honours the contract of perfmon.h sees them.
struct Machine {
    explicit Machine(const CoreModel& model = kTestModel) : pm(model, state) {
        pm.reset();
        pm.set_available(true);
    }

    // mtpmr: the instruction completes, then takes effect.
    bool mtpmr(unsigned pmr, uint32_t value) {
        execute(1);
        return pm.write(pmr, value);
    }
    // mfpmr: reads what was completed before it.
    uint32_t mfpmr(unsigned pmr) {
        const uint32_t value = pm.read(pmr).value_or(0xdeadbeef);
        execute(1);
        return value;
    }
    // Sets a register without an instruction.
    void set(unsigned pmr, uint32_t value) { pm.write(pmr, value); }
    uint32_t get(unsigned pmr) { return pm.read(pmr).value_or(0xdeadbeef); }

    void execute(uint64_t instructions) { state.totals[Total::Instructions] += instructions; }
    void add(Total total, uint64_t n) { state.totals[total] += n; }
    void set_msr(uint32_t value) {
        pm.msr_changes(state.msr, value);
        state.msr = value;
    }
    bool check_requested() { return state.attention.exchange(0) & kInterruptCheck; }
    bool pending() {
        pm.sync();
        return pm.interrupt_pending();
    }

    CpuState state;
    PerfMon pm;
};

class PerfMonRule : public testing::Test {
  protected:
    Machine m;
};

}  // namespace perfvisor::core
