// SPDX-License-Identifier: GPL-2.0-or-later
// The architected state of one e500 hardware thread as the engines see it: plain data with fixed
// offsets, so that translated code can address it. Registers are 64 bits wide from the start; a
// 32-bit core keeps the upper half of each GPR, LR, CTR and pc zero.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "core/reservation_table.h"
#include "core/timing/counts.h"
#include "core/timing/filters.h"

namespace perfvisor::core {

// MSR bits (EREF 4.5; the 32-bit register's masks).
namespace msr {
constexpr uint32_t kCM = 0x80000000;  // 64-bit computation mode (e5500 and later)
constexpr uint32_t kGS = 0x10000000;  // guest state (E.HV)
constexpr uint32_t kUCLE = 0x04000000;
constexpr uint32_t kSPV = 0x02000000;
constexpr uint32_t kWE = 0x00040000;
constexpr uint32_t kCE = 0x00020000;
constexpr uint32_t kEE = 0x00008000;
constexpr uint32_t kPR = 0x00004000;
constexpr uint32_t kFP = 0x00002000;
constexpr uint32_t kME = 0x00001000;
constexpr uint32_t kFE0 = 0x00000800;
constexpr uint32_t kDE = 0x00000200;
constexpr uint32_t kFE1 = 0x00000100;
constexpr uint32_t kIS = 0x00000020;
constexpr uint32_t kDS = 0x00000010;
constexpr uint32_t kPMM = 0x00000004;
constexpr uint32_t kRI = 0x00000002;
}  // namespace msr

// A condition register whose fields are kept as differences: setting one costs a store, testing
// one a compare with zero. Of a field's 64-bit value v: LT is bit 62, GT is (int64)v > 0, EQ is
// "the low 32 bits are 0". A signed or unsigned 32-bit comparison a ? b is then v = a - b in 64
// bits. SO is apart because the difference has no room for it.
struct ConditionRegister {
    std::array<uint64_t, 8> field{};
    std::array<uint8_t, 8> so{};

    static constexpr unsigned kLT = 8, kGT = 4, kEQ = 2, kSO = 1;

    // Field n (0-7) as the nibble LT GT EQ SO.
    unsigned get(unsigned n) const {
        const uint64_t v = field[n];
        return ((v >> 62) & 1) << 3 | unsigned{static_cast<int64_t>(v) > 0} << 2 |
               unsigned{static_cast<uint32_t>(v) == 0} << 1 | so[n];
    }
    void set(unsigned n, unsigned nibble) {
        field[n] = encode(nibble);
        so[n] = nibble & kSO;
    }
    // Any of the eight combinations of LT, GT and EQ, those no comparison gives included.
    static constexpr uint64_t encode(unsigned nibble) {
        return (nibble & kGT ? 0 : uint64_t{1} << 63) | (nibble & kLT ? uint64_t{1} << 62 : 0) |
               (nibble & kEQ ? 0 : 1) | uint64_t{1} << 32;
    }
    // `difference` is a - b computed in 64 bits from sign- or zero-extended 32-bit operands.
    void set_difference(unsigned n, int64_t difference, uint8_t summary_overflow) {
        field[n] = static_cast<uint64_t>(difference);
        so[n] = summary_overflow;
    }
    // CR bit 0-31.
    bool bit(unsigned n) const {
        const uint64_t v = field[n / 4];
        switch (n % 4) {
            case 0:
                return (v >> 62) & 1;
            case 1:
                return static_cast<int64_t>(v) > 0;
            case 2:
                return static_cast<uint32_t>(v) == 0;
            default:
                return so[n / 4];
        }
    }
    void set_bit(unsigned n, bool value) {
        const unsigned mask = 8u >> (n % 4);
        set(n / 4, value ? get(n / 4) | mask : get(n / 4) & ~mask);
    }
    uint32_t word() const {
        uint32_t cr = 0;
        for (unsigned n = 0; n < 8; ++n)
            cr = cr << 4 | get(n);
        return cr;
    }
    void set_word(uint32_t cr) {
        for (unsigned n = 0; n < 8; ++n)
            set(n, (cr >> (28 - 4 * n)) & 15);
    }
};

// Running totals that the performance monitor derives its counters from (docs/architecture.md,
// "Counting"). The engine adds a block's constant share on entry and takes back what an exception
// in the middle did not complete, so at every instruction boundary that is visible to the guest
// they are exact.
enum class Total : uint8_t {
    Instructions,  // completed instructions
    Branches,      // completed branch instructions, taken or not
    TakenBranches,
    Loads,        // completed load micro-ops
    Stores,       // completed store micro-ops
    StallCycles,  // cycles beyond one an instruction (0 under --timing=simple)
    Interrupts,   // interrupts taken, all classes
    ExternalInterrupts,
    CriticalInterrupts,  // critical inputs, not all of the critical class
    SystemCallsAndTraps,
    StwcxSuccess,
    StwcxFailure,
    DecoratedLoads,
    DecoratedStores,
    TlbMisses,  // instruction and data TLB error interrupts taken
    Dvt0,       // writes to DEVENT with DVT0 set, and so on
    Dvt1,
    Dvt2,
    Dvt3,
    Dvt4,
    Dvt5,
    Dvt6,
    Dvt7,
    Count,
};
constexpr unsigned kTotalCount = static_cast<unsigned>(Total::Count);

struct Totals {
    std::array<uint64_t, kTotalCount> value{};

    uint64_t& operator[](Total t) { return value[static_cast<unsigned>(t)]; }
    uint64_t operator[](Total t) const { return value[static_cast<unsigned>(t)]; }
    // The documented simple model: one cycle an instruction, none while waiting.
    uint64_t cycles() const { return (*this)[Total::Instructions] + (*this)[Total::StallCycles]; }
};

// One entry of the inline translation cache ("fast TLB"). A tag is the effective page address
// (4 KiB) with the address context (CpuState::data_context, below 4096) in its low 12 bits;
// kNoTag never matches. Only plain RAM pages, big-endian, are entered; pages that hold
// translated code are entered without a write tag.
struct FastTlbEntry {
    static constexpr uint64_t kNoTag = ~uint64_t{0};
    uint64_t read_tag = kNoTag;
    uint64_t write_tag = kNoTag;
    uint64_t addend = 0;  // host address = addend + effective address (modulo 2^64)
    uint64_t page = 0;    // physical page address
};
constexpr unsigned kFastTlbEntries = 1024;  // direct mapped by effective address bits 12 and up

// Why an engine came back, or what must be looked at before the next instruction. Bits of
// CpuState::attention; other threads may set kKick at any time.
enum Attention : uint32_t {
    kKick = 1,            // another thread wants the vCPU back (interrupt line, request)
    kInterruptCheck = 2,  // MSR, a timer, the PM or a pending bit changed: look for interrupts
    kHalted = 4,          // wait, nap or doze executed
};

struct CpuState {
    std::array<uint64_t, 32> gpr{};
    uint64_t pc = 0;  // effective address of the next instruction
    uint64_t lr = 0;
    uint64_t ctr = 0;
    ConditionRegister cr;
    uint8_t xer_so = 0, xer_ov = 0, xer_ca = 0;  // each 0 or 1
    uint8_t xer_count = 0;                       // byte count of lswx/stswx, 0-127
    uint32_t msr = 0;                            // write through Core::set_msr only
    uint32_t fpscr = 0;
    std::array<uint64_t, 32> fpr{};

    // Reservation of lwarx/ldarx. Valid while reserve_size is not 0.
    uint64_t reserve_address = 0;  // of the host
    uint64_t reserve_value = 0;    // what was loaded: the host's integer as it stands in memory
    uint32_t reserve_version = 0;  // of the entry in ReservationTable, before
    uint32_t reserve_size = 0;     // 1, 2, 4, 8 bytes; 0: none
    // How long to wait after the next lost race. Not the core's state: it changes nothing but time.
    uint32_t reserve_pauses = ReservationTable::kFewestPauses;

    // Address contexts (0-4095): bit 0 MSR[PR], bit 1 the address space (DS or IS), the rest a
    // slot that stands for the PID and is changed when the PID's translations are flushed.
    uint32_t data_context = 0;
    uint32_t fetch_context = 0;

    std::atomic<uint32_t> attention{0};
    int64_t budget = 0;  // instructions the engine may still execute in this run
    Totals totals;
    // The same of the timing model, which counts while it runs.
    ModelledTotals modelled;
    // Its parts that should run (namespace timing_part): for counters, for the clock, and for who
    // counts from outside, who sets kInterruptCheck with it. While one is set, engines tell
    // core::Timing of each instruction.
    struct {
        uint32_t wanted = 0;
        uint32_t always = 0;
        uint32_t outside = 0;
        uint32_t parts() const {
            constexpr uint32_t kPipeline = timing_part::kPipeline;
            const uint32_t own = (wanted & kPipeline) != 0 ? timing_part::kGuestsPipeline : 0;
            return wanted | always | outside | own;
        }
        bool any() const { return parts() != 0; }
    } model;

    // What translated code looks at instead of asking the timing model.
    timing::Filters filters;
    uint32_t pace = timing::kAwake;  // Timing::begin_native
    // It returns before so many cycles have passed, give or take: cycles that are left, less the
    // budget, and StallCycles, at the same time.
    int64_t cycles_left = 0;

    std::array<FastTlbEntry, kFastTlbEntries> fast_tlb{};
};

}  // namespace perfvisor::core
