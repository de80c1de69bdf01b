// SPDX-License-Identifier: GPL-2.0-or-later
// The physical address space outside RAM: which device answers at which address.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "devices/device.h"

namespace perfvisor::devices {

// Regions are added while the machine is built, before the first vCPU runs; after that the bus may
// be used from any number of threads. Devices are not owned.
class MmioBus {
  public:
    // Adds [base, base + size) for `device`. Fails when the range is empty, wraps around or
    // overlaps one that is there.
    Result<void> map(uint64_t base, uint64_t size, MmioDevice& device, std::string name);

    // An access of 1 to 8 bytes at a physical address. Where no device is (or only part of the
    // access hits one), a read gives 0 and a write does nothing; such accesses are counted.
    uint64_t read(uint64_t address, unsigned size, unsigned cpu);
    void write(uint64_t address, unsigned size, uint64_t value, unsigned cpu);

    // The same on the bytes as they lie in the memory of a big-endian guest, which is what
    // KVM_EXIT_MMIO's data holds. At most 8 bytes; more are ignored (read as 0).
    void read_bytes(uint64_t address, std::span<uint8_t> data, unsigned cpu);
    void write_bytes(uint64_t address, std::span<const uint8_t> data, unsigned cpu);

    // Resets every device, in the order they were added.
    void reset();

    struct Unmapped {
        uint64_t address;
        unsigned size;
        bool is_write;
    };
    // Called at the first access outside all devices, for one warning in the log; set it before
    // the first vCPU runs.
    void on_first_unmapped(std::function<void(const Unmapped&)> hook);
    uint64_t unmapped_accesses() const { return unmapped_count_.load(std::memory_order_relaxed); }

  private:
    struct Region {
        uint64_t base;
        uint64_t size;
        MmioDevice* device;
        std::string name;
    };

    const Region* find(uint64_t address, unsigned size);
    void note_unmapped(uint64_t address, unsigned size, bool is_write);

    std::deque<Region> regions_;         // In the order added; addresses stay valid.
    std::vector<const Region*> sorted_;  // By base address.
    std::atomic<const Region*> last_hit_{nullptr};
    std::atomic<uint64_t> unmapped_count_{0};
    std::function<void(const Unmapped&)> unmapped_hook_;
};

}  // namespace perfvisor::devices
