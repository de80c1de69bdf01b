// SPDX-License-Identifier: GPL-2.0-or-later
// The global utilities block: who the chip is, its reset, and the switch of the time bases.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

#include "devices/device.h"
#include "devices/fdt_builder.h"

namespace perfvisor::devices {

// Registers as in the MPC8544E manual, chapter "Global Utilities"; 32 bits wide. The power-on
// configuration registers (PORPLLSR …) read 0, as in the peer: there is no board to sample.
class Guts final : public MmioDevice {
  public:
    static constexpr uint64_t kRegionBytes = 0x1000;

    struct Hooks {
        std::function<void()> request_reset;
        // The time bases of the CPUs in the mask (bit n: CPU n; of 0 and 1) stop or run again.
        std::function<void(uint32_t cpus, bool running)> set_timebases;
    };

    Guts(uint32_t pvr, uint32_t svr, Hooks hooks);

    uint64_t read(const MmioAccess& access) override;
    void write(const MmioAccess& access, uint64_t value) override;
    void reset() override;

    struct State {
        uint32_t devdisr = 0;
    };
    State state() const;
    void restore(const State& state);

    // Writes the node global-utilities@OFFSET.
    static void describe(FdtBuilder& fdt, uint32_t offset);

  private:
    void write_devdisr(uint32_t value);

    mutable std::mutex mutex_;
    const uint32_t pvr_;
    const uint32_t svr_;
    const Hooks hooks_;
    State state_;
};

}  // namespace perfvisor::devices
