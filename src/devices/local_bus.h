// SPDX-License-Identifier: GPL-2.0-or-later
// The local bus controller with nothing on its bus.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "devices/device.h"

namespace perfvisor::devices {

// Registers as in the MPC8544E manual, chapter "Local Bus Controller"; 32 bits wide. U-Boot looks
// through the chip selects (BRn, ORn) for its flash and finds none valid. What is written is kept
// without effect.
class LocalBus final : public MmioDevice {
  public:
    static constexpr uint64_t kRegionBytes = 0x1000;
    static constexpr uint64_t kRegisterBytes = 0xe0;

    LocalBus() { reset(); }

    uint64_t read(const MmioAccess& access) override;
    void write(const MmioAccess& access, uint64_t value) override;
    void reset() override;

    struct State {
        std::array<uint32_t, kRegisterBytes / 4> registers = {};  // by offset / 4
    };
    State state() const;
    void restore(const State& state);

  private:
    mutable std::mutex mutex_;
    State state_;
};

}  // namespace perfvisor::devices
