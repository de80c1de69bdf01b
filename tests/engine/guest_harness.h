// SPDX-License-Identifier: GPL-2.0-or-later
// A bare-metal guest for tests: one core with an engine, some memory, one identity mapping, and
// the run loop of a vCPU.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "assembler.h"
#include "core/core.h"
#include "core/spr.h"
#include "engine/engine.h"

// The engine that the tests of the engine contract are built for.
#ifndef PERFVISOR_TEST_ENGINE
#define PERFVISOR_TEST_ENGINE Interpreter
#endif

namespace perfvisor::test {

// Time that follows cycles, a tick each: every run is the same.
class VirtualTime final : public core::TimeSource {
  public:
    uint64_t ticks(uint64_t cycles) const override { return cycles; }
    uint64_t cycles_until(uint64_t tick, uint64_t cycles) const override {
        return tick > cycles ? tick - cycles : 0;
    }
};

// Zeros that the translator can map a second time.
class SharedMemory {
  public:
    explicit SharedMemory(size_t bytes)
        : data_(static_cast<uint8_t*>(
              mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))),
          bytes_(bytes) {
        if (data_ == MAP_FAILED) throw std::bad_alloc();
    }
    ~SharedMemory() { munmap(data_, bytes_); }
    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;
    uint8_t* data() { return data_; }
    uint8_t& at(size_t n) const {
        if (n >= bytes_) throw std::out_of_range("no such guest memory");
        return data_[n];
    }

  private:
    uint8_t* data_;
    size_t bytes_;
};

// After construction: supervisor mode, MSR[ME], [FP] set; memory from physical and effective
// address 0, mapped one to one for everybody by TLB1 entry 0 (256 MiB, more than there is memory:
// what lies behind is MMIO); interrupt vectors at kVectors, 256 bytes apart, holding `wait` until
// a test writes a handler. The guest program ends itself with `wait`.
class Guest {
  public:
    static constexpr uint32_t kCode = 0x1000;
    static constexpr uint32_t kVectors = 0x20000;
    static constexpr uint32_t kData = 0x40000;

    // Translates what is executed at once: most tests execute it once.
    static constexpr engine::Tuning kImpatient = {
        .patience = 0, .trace_after = 2, .window_after = 0};

    explicit Guest(engine::EngineKind kind = engine::EngineKind::PERFVISOR_TEST_ENGINE,
                   const core::CoreModel* model = core::find_core_model("e500mc"),
                   size_t memory_bytes = 0x200000, const core::TimeSource* time = nullptr,
                   const engine::Tuning& tuning = kImpatient)
        : bytes_(memory_bytes) {
        core::MemorySlot slot;
        slot.size = memory_bytes;
        slot.host = bytes_.data();
        memory_.set_slot(slot);
        core::Core::Config config;
        config.model = model;
        config.memory = &memory_;
        config.time = time ? time : &time_;
        core_ = std::make_unique<core::Core>(config);
        engine_ = std::move(engine::make_engine(kind, *core_, tuning).value());
        reset();
    }

    void reset() {
        core_->reset();
        engine_->flush();
        map(0, 0, 0, 256u << 20, kAllPermissions);
        core_->set_msr(core::msr::kME | core::msr::kFP);
        core_->set_spr(core::spr::kIVPR, kVectors);
        for (unsigned n = 0; n < static_cast<unsigned>(core::Interrupt::Count); ++n) {
            const unsigned number = n < 16   ? core::spr::kIVOR0 + n
                                    : n < 32 ? 0
                                    : n < 38 ? core::spr::kIVOR32 + (n - 32)
                                             : 432 + (n - 38);
            if (number) core_->set_spr(number, n << 8);
            write32(kVectors + (n << 8), kWait);
        }
        state().pc = kCode;
    }

    core::Core& core() { return *core_; }
    core::CpuState& state() { return core_->state; }
    engine::Engine& engine() { return *engine_; }
    core::PhysicalMemory& memory() { return memory_; }
    uint64_t total(core::Total which) const { return core_->state.totals[which]; }

    // MAS3 permissions.
    static constexpr uint32_t kUX = 0x20, kSX = 0x10, kUW = 8, kSW = 4, kUR = 2, kSR = 1;
    static constexpr uint32_t kAllPermissions = 0x3f;

    // Writes TLB1 entry `index`: `size` bytes (a power of 4 KiB by 4), both address spaces' PID 0.
    void map(unsigned index, uint32_t ea, uint64_t ra, uint64_t size, uint32_t permissions,
             uint32_t attributes = 0) {
        core::TlbEntry entry;
        entry.valid = true;
        entry.iprot = true;
        entry.ea = ea;
        entry.ra = ra;
        entry.size = size;
        entry.attributes = attributes;
        entry.permissions = permissions;
        core_->mmu().set_entry(1, index, entry);
    }

    // Guest memory by physical address.
    uint32_t read32(uint32_t address) const {
        uint32_t value;
        std::memcpy(&value, &bytes_.at(address), sizeof value);
        return core::from_big_endian(value);
    }
    void write32(uint32_t address, uint32_t value) {
        value = core::from_big_endian(value);
        std::memcpy(&bytes_.at(address), &value, sizeof value);
    }
    uint8_t* bytes(uint32_t address) { return &bytes_.at(address); }

    void load(uint32_t address, const std::vector<uint32_t>& words) {
        for (uint32_t word : words) {
            write32(address, word);
            address += 4;
        }
        engine_->flush();
    }
    void program(const std::string& text, uint32_t address = kCode) {
        load(address, assemble(text, address));
    }
    void handler(core::Interrupt kind, const std::string& text) { program(text, vector(kind)); }
    static uint32_t vector(core::Interrupt kind) {
        return kVectors + (static_cast<uint32_t>(kind) << 8);
    }

    // Answers MMIO; loads give what it leaves in `data`.
    std::function<void(core::MmioAccess&)> on_mmio = [](core::MmioAccess&) {};

    // Runs as a vCPU does until the guest executes `wait`: true; false after `limit` instructions.
    bool run(uint64_t limit = 1'000'000) {
        core_->set_halted(false);
        const uint64_t end = total(core::Total::Instructions) + limit;
        for (uint64_t rounds = 0; rounds < limit + 1000; ++rounds) {
            core_->deliver_pending_interrupt();
            state().attention.fetch_and(~uint32_t{core::kKick});
            if (core_->halted()) return true;
            const uint64_t done = total(core::Total::Instructions);
            if (done >= end) return false;
            const auto stop = engine_->run(core_->instructions_to_deadline(end - done));
            if (stop == engine::Stop::Failed) {
                ADD_FAILURE() << engine_->failure();
                return false;
            }
            if (stop != engine::Stop::Mmio) continue;
            core::MmioAccess access = *core_->mmio_request();
            on_mmio(access);
            core_->complete_mmio(access.data);
        }
        return false;
    }

    static constexpr uint32_t kWait = 0x7c00007c;

  private:
    SharedMemory bytes_;
    core::PhysicalMemory memory_;
    VirtualTime time_;
    std::unique_ptr<core::Core> core_;
    std::unique_ptr<engine::Engine> engine_;
};

}  // namespace perfvisor::test
