// SPDX-License-Identifier: GPL-2.0-or-later
// What the core's tests share: a core with a little memory, a clock that stands still until told,
// and short names for TLB entries.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "core/core.h"
#include "core/spr.h"

namespace perfvisor::core {

// Ticks and cycles are the same; `extra` moves time without executing.
class TestTime : public TimeSource {
  public:
    uint64_t extra = 0;
    uint64_t ticks(uint64_t cycles) const override { return cycles + extra; }
    uint64_t cycles_until(uint64_t tick, uint64_t cycles) const override {
        return tick > cycles + extra ? tick - cycles - extra : 0;
    }
};

// MAS bits the tests name.
constexpr uint32_t kAllAccess = 0x3f;  // UX SX UW SW UR SR
constexpr uint32_t kUX = 0x20, kSX = 0x10, kUW = 0x08, kSW = 0x04, kUR = 0x02, kSR = 0x01;
constexpr uint32_t kLittle = 0x01;  // MAS2[E]
constexpr uint64_t kMiB = uint64_t{1} << 20;

struct CoreTest : ::testing::Test {
    static constexpr uint64_t kRamSize = kMiB;
    static constexpr uint64_t kRomBase = 0xf00000000, kRomSize = 0x10000;
    static constexpr uint64_t kDevice = 0xfe0000000;  // where no memory is

    CoreTest() : ram(kRamSize), rom(kRomSize) {
        memory.set_slot({.id = 0, .base = 0, .size = kRamSize, .host = ram.data()});
        memory.set_slot(
            {.id = 1, .base = kRomBase, .size = kRomSize, .host = rom.data(), .readonly = true});
    }

    std::vector<uint8_t> ram, rom;
    PhysicalMemory memory;
    TestTime time;
    Core core{{.model = find_core_model("e500mc"), .id = 3, .memory = &memory, .time = &time}};
    CpuState& state = core.state;
    Mmu& mmu = core.mmu();

    // An entry of TLB1 as start-up code would set it.
    void map(unsigned index, uint64_t ea, uint64_t ra, uint64_t size,
             uint32_t permissions = kAllAccess, uint32_t attributes = 0, uint32_t tid = 0,
             unsigned ts = 0) {
        mmu.set_entry(1, index,
                      {.valid = true,
                       .iprot = true,
                       .ts = static_cast<uint8_t>(ts),
                       .tid = tid,
                       .ea = ea,
                       .ra = ra,
                       .size = size,
                       .attributes = attributes,
                       .permissions = permissions});
    }
    // RAM at its own address, for both privileges.
    void map_ram() { map(0, 0, 0, kMiB); }
    void map_device() { map(1, 0xe0000000, kDevice, kMiB); }

    uint64_t spr(unsigned number) {
        uint64_t value = 0;
        EXPECT_TRUE(core.get_spr(number, value)) << "SPR " << number;
        return value;
    }
    void set_spr(unsigned number, uint64_t value) {
        EXPECT_EQ(core.write_spr(number, value), SprResult::Ok) << "SPR " << number;
    }
    void execute(uint64_t instructions) { state.totals[Total::Instructions] += instructions; }

    // The value in memory at a physical address of RAM, as the guest sees it.
    uint32_t word_at(uint64_t physical) const {
        uint32_t raw;
        std::memcpy(&raw, &ram[physical], 4);
        return from_big_endian(raw);
    }
    void put_word(uint64_t physical, uint32_t value) {
        const uint32_t raw = from_big_endian(value);
        std::memcpy(&ram[physical], &raw, 4);
    }

    // The fault of an access that must fail.
    template <typename T>
    Fault load_fault(uint64_t ea) {
        T value;
        EXPECT_FALSE(core.load<T>(ea, value));
        EXPECT_TRUE(core.fault_pending());
        return core.fault();
    }
    template <typename T>
    Fault store_fault(uint64_t ea) {
        EXPECT_FALSE(core.store<T>(ea, T{0}));
        EXPECT_TRUE(core.fault_pending());
        return core.fault();
    }
    uint32_t load32(uint64_t ea) {
        uint32_t value = 0;
        EXPECT_TRUE(core.load<uint32_t>(ea, value)) << "no load from " << std::hex << ea;
        return value;
    }

    // Vectors apart: IVPR 0x40000 and IVORn at n * 0x100.
    static constexpr uint64_t kVectors = 0x40000;
    void set_vectors() {
        set_spr(spr::kIVPR, kVectors);
        for (unsigned n = 0; n < 16; ++n)
            set_spr(spr::kIVOR0 + n, n * 0x100);
        for (unsigned n = 35; n < 38; ++n)
            set_spr(spr::kIVOR32 + n - 32, n * 0x100);
    }
    static uint64_t vector(Interrupt kind) {
        return kVectors + static_cast<unsigned>(kind) * 0x100;
    }
};

// A small generator whose sequence is the same everywhere.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
    uint32_t next() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<uint32_t>(state_ >> 33) ^ static_cast<uint32_t>(state_ >> 11);
    }
    uint32_t below(uint32_t limit) { return next() % limit; }
    bool one_in(uint32_t n) { return below(n) == 0; }

  private:
    uint64_t state_;
};

}  // namespace perfvisor::core
