// SPDX-License-Identifier: GPL-2.0-or-later
// The interrupt controller: Freescale's MPIC, an OpenPIC 1.2 with message interrupts.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "devices/device.h"
#include "devices/fdt_builder.h"

namespace perfvisor::devices {

// The register block's versions as its BRR1 tells them. 4.2 is what the ppce500 board has; 2.0 is
// what boards before the QorIQ had (critical interrupts chosen in IDR, no external proxy).
enum class MpicVersion { k20, k42 };

// Sources 0–11 are the external inputs (edge or level by their IVPR), 16–255 the on-chip ones
// (always level). Polarity bits are kept but mean nothing here: lines are logical levels.
//
// A CPU's external interrupt output is asserted while a source that is raised for it has a higher
// priority than both its task priority (CTPR) and its innermost interrupt in service. Critical and
// machine-check outputs follow their sources without priority, IACK or EOI, as the MPC8544E and
// P4080 manuals' chapters on the MPIC have it.
class Mpic final : public MmioDevice {
  public:
    static constexpr uint64_t kRegionBytes = 0x40000;
    static constexpr unsigned kMaxCpus = 32;
    static constexpr unsigned kSources = 256;
    static constexpr unsigned kFirstMsiSource = 224;
    // Ticks of a global timer at its fastest clock ratio; the peer's rate.
    static constexpr uint64_t kTimerHz = 25000000;

    // What the MPIC drives. All are called with its lock held: they must not call back.
    struct Outputs {
        std::function<void(unsigned cpu, bool level)> external;
        std::function<void(unsigned cpu, bool level)> critical;
        std::function<void(unsigned cpu, bool level)> machine_check;
        std::function<void(bool enabled)> external_proxy;  // GCR[M] became, or is no longer, 11.
        // run_timers() is to be called when the clock reaches this; nothing: not needed.
        std::function<void(std::optional<uint64_t> nanoseconds)> deadline;
        // A bit of PIR was set; called without the device's lock.
        std::function<void(unsigned cpu)> reset_core;
    };

    // `cpus` is 1 to kMaxCpus. Without a clock the timers stand still.
    Mpic(MpicVersion version, unsigned cpus, Outputs outputs, NanosecondClock clock);

    uint64_t read(const MmioAccess& access) override;
    void write(const MmioAccess& access, uint64_t value) override;
    // Registers as after power-on; the levels of input lines stay, they are the devices'.
    void reset() override;

    // The input line of a source; sources that do not exist give a line to nowhere.
    IrqLine input(unsigned source);
    void set_input(unsigned source, bool level);

    // What reading IACK does: the vector of the highest interrupt that is signalled to the CPU,
    // which is in service from then on; the spurious vector when there is none.
    uint32_t acknowledge(unsigned cpu);
    bool external_proxy() const;
    void run_timers();

    // Writes the nodes pic@OFFSET and msi@OFFSET. The MSI bank is at pic's offset + 0x1600.
    static void describe(FdtBuilder& fdt, uint32_t offset, uint32_t pic_phandle);
    static void describe_msi(FdtBuilder& fdt, uint32_t offset, uint32_t pic_phandle,
                             uint32_t msi_phandle);

    // Inside: external and on-chip sources, then IPIs, then the timers of groups A and B.
    static constexpr unsigned kIpis = 4;
    static constexpr unsigned kTimersPerGroup = 4;
    static constexpr unsigned kFirstIpi = kSources;
    static constexpr unsigned kFirstTimer = kFirstIpi + kIpis;
    static constexpr unsigned kAllSources = kFirstTimer + 2 * kTimersPerGroup;
    enum Output : uint8_t { kExternal, kCritical, kMachineCheck, kOutputs };

    struct Source {
        uint32_t ivpr = 0;
        uint32_t idr = 0;
        uint8_t output = kExternal;
        bool line = false;       // Level of the input.
        bool latched = false;    // An edge that nobody has acknowledged yet.
        uint32_t multicast = 0;  // IPIs and timers: the CPUs that have yet to acknowledge.
    };
    struct InService {
        uint16_t source = 0;
        uint8_t priority = 0;
    };
    struct Cpu {
        uint8_t ctpr = 15;
        uint8_t depth = 0;                  // Interrupts in service.
        std::array<InService, 16> service;  // Innermost last, priorities strictly rising.
        std::array<std::bitset<kAllSources>, kOutputs> raised;
        std::array<bool, kOutputs> level{};  // Of the outputs.
    };
    struct Timer {
        uint32_t base = 0;    // GTBCR, CI included.
        bool toggle = false;  // GTCCR[TOG].
        bool running = false;
        uint32_t count = 0;   // At `origin`, ticks.
        uint64_t origin = 0;  // Nanoseconds.
    };
    struct TimerGroup {
        uint32_t frequency = 0;  // TFRR: a note for software, without effect.
        uint32_t control = 0;    // TCR: only CLKR is implemented.
        std::array<Timer, kTimersPerGroup> timers;
    };
    // Plain state, all there is besides the wiring.
    struct State {
        uint32_t gcr = 0;
        uint32_t pir = 0;
        uint32_t spurious = 0xffff;
        uint32_t error_mask = 0xffffffff;  // EIMR0
        std::array<Source, kAllSources> sources;
        std::array<Cpu, kMaxCpus> cpus;
        std::array<TimerGroup, 2> groups;
        std::array<uint32_t, 8> msir{};
    };
    State state() const;
    void restore(const State& state);

  private:
    bool is_level(unsigned source) const;
    uint32_t targets(unsigned source) const;
    uint32_t requests(unsigned source) const;
    bool in_service(unsigned source) const;
    std::optional<unsigned> best_raised(const Cpu& cpu) const;
    void refresh(unsigned source);
    void update_outputs(unsigned cpu);
    void drive(unsigned cpu, Output output, bool level);
    void change_line(unsigned source, bool level);

    void reset_registers();
    uint32_t acknowledge_locked(unsigned cpu);
    void end_of_interrupt(unsigned cpu);

    uint32_t read_ivpr(unsigned source) const;
    void write_ivpr(unsigned source, uint32_t value);
    void write_idr(unsigned source, uint32_t value);
    void write_ilr(unsigned source, uint32_t value);
    void write_gcr(uint32_t value);
    void write_pir(uint32_t value);

    uint32_t read_global(uint32_t offset, unsigned cpu);
    void write_global(uint32_t offset, uint32_t value, unsigned cpu);
    uint32_t read_source(uint32_t offset) const;
    void write_source(uint32_t offset, uint32_t value);
    uint32_t read_cpu(unsigned cpu, uint32_t reg);
    void write_cpu(unsigned cpu, uint32_t reg, uint32_t value);
    uint32_t read_msi(uint32_t offset);
    void write_msi(uint32_t offset, uint32_t value);

    uint64_t tick_nanoseconds(const TimerGroup& group) const;
    uint64_t now() const { return clock_ ? clock_() : 0; }
    void expire(unsigned index);
    void expire_all();
    std::optional<uint64_t> next_deadline() const;
    void update_deadline();
    uint32_t read_timer(unsigned group, uint32_t offset);
    void write_timer(unsigned group, uint32_t offset, uint32_t value);
    void write_base_count(unsigned index, uint32_t value);
    void write_timer_control(TimerGroup& group, uint32_t value);

    mutable std::mutex mutex_;
    const MpicVersion version_;
    const unsigned cpu_count_;
    const uint32_t cpu_mask_;
    const Outputs outputs_;
    const NanosecondClock clock_;
    State state_;
    std::optional<uint64_t> deadline_;
};

}  // namespace perfvisor::devices
