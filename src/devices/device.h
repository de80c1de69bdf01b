// SPDX-License-Identifier: GPL-2.0-or-later
// What a memory-mapped device is to the bus, and what an interrupt line is to a device.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

namespace perfvisor::devices {

// One load or store that reached a device.
struct MmioAccess {
    uint64_t offset = 0;  // Bytes from the start of the device's region.
    unsigned size = 4;    // Bytes: 1 to 8; a device ignores the sizes it does not have.
    unsigned cpu = 0;     // Index of the vCPU that made the access (MPIC's per-CPU alias).
};

// A device behind a range of physical addresses. `value` is the number the guest loaded or stored,
// right-aligned in 64 bits, whatever the byte order of host and guest. All three functions may be
// called from any thread at any time: a device locks itself. Whatever the guest does, an access
// returns: registers and sizes that do not exist read 0 (or what the manual says) and ignore
// writes.
class MmioDevice {
  public:
    MmioDevice() = default;
    MmioDevice(const MmioDevice&) = delete;
    MmioDevice& operator=(const MmioDevice&) = delete;
    virtual ~MmioDevice() = default;

    virtual uint64_t read(const MmioAccess& access) = 0;
    virtual void write(const MmioAccess& access, uint64_t value) = 0;
    // Back to the state after power-on; lowers the device's interrupt lines.
    virtual void reset() = 0;
};

// One interrupt line. Levels are logical: true is asserted, whatever the polarity of the pin.
// Called with the device's lock held, so what is behind it must not call back into the device.
class IrqLine {
  public:
    IrqLine() = default;
    explicit IrqLine(std::function<void(bool)> set) : set_(std::move(set)) {}

    void set(bool level) const {
        if (set_) set_(level);
    }

  private:
    std::function<void(bool)> set_;
};

// Nanoseconds of guest time since some fixed point; never goes backwards.
using NanosecondClock = std::function<uint64_t()>;

}  // namespace perfvisor::devices
