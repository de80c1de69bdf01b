// SPDX-License-Identifier: GPL-2.0-or-later
// Run control and power management: which cores stand still, and whose time base does.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>

#include "devices/device.h"
#include "devices/fdt_builder.h"

namespace perfvisor::devices {

// Registers as in the P4080 manual, chapter "Run Control and Power Management"; 32 bits wide, bit n
// (of value 1 << n) for core n. A core in doze or nap (CDOZCR, CNAPCR) executes nothing until its
// bits are cleared, by software or by an interrupt that the masks CPMIMR, CPMCIMR and CPMMCMR let
// through. The chip itself does not sleep (POWMGTCSR[SLP] reads 0 at once, as after waking up).
class Rcpm final : public MmioDevice {
  public:
    static constexpr uint64_t kRegionBytes = 0x1000;
    static constexpr unsigned kMaxCpus = 32;

    struct Hooks {
        // The time bases of the cores in the mask stop or run again.
        std::function<void(uint32_t cpus, bool running)> set_timebases;
        std::function<void(unsigned cpu, bool napping)> set_napping;
    };
    enum class Interrupt : uint8_t { External, Critical, MachineCheck };

    // The hooks are called with the lock held.
    Rcpm(unsigned cpus, Hooks hooks);

    uint64_t read(const MmioAccess& access) override;
    void write(const MmioAccess& access, uint64_t value) override;
    void reset() override;

    // The level of an interrupt on its way to a core.
    void set_interrupt(unsigned cpu, Interrupt kind, bool level);
    // The core was reset: it neither dozes nor naps.
    void core_reset(unsigned cpu);

    struct State {
        uint32_t doze = 0, nap = 0;            // CDOZCR, CNAPCR
        uint32_t dozed = 0, napped = 0;        // CDOZPSR, CNAPPSR
        uint32_t timebases = 0;                // CTBENR
        std::array<uint32_t, 3> masked{};      // by Interrupt
        std::array<uint32_t, 3> interrupts{};  // levels, by Interrupt
        uint32_t nmi_masked = 0, power_down_exceptions = 0;
    };
    State state() const;
    void restore(const State& state);

    // Writes the node global-utilities@OFFSET.
    static void describe(FdtBuilder& fdt, uint32_t offset);

  private:
    uint32_t* register_at(uint64_t offset);
    void write_timebases(uint32_t value);
    void update();

    mutable std::mutex mutex_;
    const uint32_t cpus_;  // mask
    const Hooks hooks_;
    State state_;
    uint32_t napping_ = 0;  // what the hooks know
};

}  // namespace perfvisor::devices
