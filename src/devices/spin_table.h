// SPDX-License-Identifier: GPL-2.0-or-later
// The spin table in which secondary CPUs wait to be released.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>

#include "devices/device.h"

namespace perfvisor::devices {

// ePAPR 1.1, section 5.5.2: for each CPU 32 bytes of entry address (64 bits; bit 0 set: wait), r3
// (64 bits), reserved (32 bits), PIR (32 bits). The CPUs do not really spin: they are stopped until
// a write leaves an entry address without bit 0, and each is released once between its resets.
class SpinTable final : public MmioDevice {
  public:
    static constexpr uint64_t kEntryBytes = 32;
    static constexpr unsigned kMaxCpus = 32;
    static constexpr uint64_t kRegionBytes = kEntryBytes * kMaxCpus;

    struct Release {
        unsigned cpu = 0;
        uint64_t entry = 0;  // Physical address.
        uint64_t r3 = 0;
    };

    // CPU 0 and those from `cpus` on do not wait here: writes to their entries are ignored.
    // `release` is called with the lock held.
    SpinTable(unsigned cpus, std::function<void(const Release&)> release);

    uint64_t read(const MmioAccess& access) override;
    void write(const MmioAccess& access, uint64_t value) override;
    void reset() override;
    // The CPU was reset alone: it waits here again.
    void wait_again(unsigned cpu);

    struct State {
        std::array<uint8_t, kRegionBytes> bytes{};  // As a big-endian guest sees them.
        uint32_t released = 0;                      // Bit n: CPU n.
    };
    State state() const;
    void restore(const State& state);

  private:
    void fill();
    void fill(unsigned cpu);
    uint64_t load(uint64_t offset, unsigned size) const;
    void store(uint64_t offset, unsigned size, uint64_t value);

    mutable std::mutex mutex_;
    const unsigned cpus_;
    const std::function<void(const Release&)> release_;
    State state_;
};

}  // namespace perfvisor::devices
