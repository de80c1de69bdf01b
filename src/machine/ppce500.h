// SPDX-License-Identifier: GPL-2.0-or-later
// The ppce500 board: its memory map, its devices and how their lines are wired.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "base/result.h"
#include "devices/bus.h"
#include "machine/loaders.h"
#include "machine/memory_map.h"

namespace perfvisor::machine {

// What the board asks of its surroundings. Unset functions are not called. All may be called from
// any thread, with a device's lock held: they must not call back into the machine and should only
// note, raise a line or wake a thread.
struct MachineHooks {
    // Interrupt inputs of a vCPU, level as the line now is.
    std::function<void(unsigned cpu, bool level)> set_external;
    std::function<void(unsigned cpu, bool level)> set_critical;
    std::function<void(unsigned cpu, bool level)> set_machine_check;
    // The guest chose external proxy mode (MPIC GCR[M]=11): from now on, taking an external
    // interrupt acknowledges it and EPR gets its vector (acknowledge(), KVM_EXIT_EPR).
    std::function<void(bool enabled)> set_external_proxy;
    // The time bases of the CPUs in the mask (bit n: CPU n) stand still (GUTS DEVDISR[TB0, TB1],
    // RCPM CTBENR) or run again, all at the same moment.
    std::function<void(uint32_t cpus, bool running)> set_timebases;
    // A CPU stands still (RCPM: doze, nap) or executes again.
    std::function<void(unsigned cpu, bool napping)> set_napping;
    // A secondary CPU was reset (MPIC PIR) and waits in the spin table again.
    std::function<void(unsigned cpu)> reset_secondary;
    // A secondary CPU was released from the spin table; once per CPU between its resets.
    std::function<void(const CpuStart& start)> start_secondary;
    std::function<void()> request_reset;      // GUTS RSTCR.
    std::function<void()> request_power_off;  // GPIO pin 0.

    // What the guest sends to serial port 0 or 1. May be called for every single byte.
    std::array<std::function<void(std::span<const uint8_t> bytes)>, 2> serial_output;
    // The port has room again for input that send_to_serial() did not accept.
    std::array<std::function<void()>, 2> serial_input_ready;

    // Guest time in nanoseconds for the MPIC's timers; without it they stand still.
    devices::NanosecondClock clock;
    // Seconds since 1970-01-01 UTC for the real-time clock; without it, it shows 2000-01-01.
    std::function<int64_t()> wall_clock;
    // run_timers() wants to be called when `clock` reaches this (nothing: no need any more).
    std::function<void(std::optional<uint64_t> nanoseconds)> set_deadline;

    // The first guest access to where nothing is.
    std::function<void(const devices::MmioBus::Unmapped&)> first_unmapped_access;
};

struct MachineConfig {
    unsigned cpus = 1;          // 1 … kMaxCpus.
    uint32_t pvr = 0x80230020;  // What the global utilities show; e500mc.
    uint32_t svr = 0;
};

// What a secondary CPU starts with when it is released to `entry` (ePAPR 1.1, section 5.5.2): the
// 64 MiB around the entry, at effective address 0.
CpuStart secondary_start(unsigned cpu, uint64_t entry, uint64_t r3);

// Safe to use from any number of threads once created.
class Ppce500 {
  public:
    // Fails when the CPU count is out of range.
    static Result<std::unique_ptr<Ppce500>> create(const MachineConfig& config, MachineHooks hooks);
    ~Ppce500();

    // Everything outside RAM: for KVM_EXIT_MMIO.
    devices::MmioBus& bus();

    // For KVM_EXIT_EPR: acknowledges cpu's highest pending interrupt, returns its vector (the
    // spurious vector when there is none).
    uint32_t acknowledge(unsigned cpu);
    bool external_proxy() const;

    // Input for serial port 0 or 1; returns how many bytes were taken. Keep the rest until
    // hooks.serial_input_ready.
    size_t send_to_serial(unsigned port, std::span<const uint8_t> bytes);

    // Lets timers expire up to the present of hooks.clock; call at the deadline.
    void run_timers();

    // All devices as after power-on. Reload the images afterwards.
    void reset();

  private:
    struct Parts;
    explicit Ppce500(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace perfvisor::machine
