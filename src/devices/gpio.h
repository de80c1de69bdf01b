// SPDX-License-Identifier: GPL-2.0-or-later
// The QorIQ GPIO controller: 32 pins, pin 0 is the most significant bit of every register.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

#include "devices/device.h"
#include "devices/fdt_builder.h"

namespace perfvisor::devices {

// Registers GPDIR, GPODR, GPDAT, GPIER, GPIMR, GPICR as in the P4080 manual's chapter on the GPIO;
// 32 bits wide. GPODR is kept without effect: nothing here tells an open drain from a push-pull.
class Gpio final : public MmioDevice {
  public:
    static constexpr uint64_t kRegionBytes = 0x1000;
    static constexpr unsigned kPins = 32;

    // `output` is called with the lock held whenever a pin that is an output changes its level;
    // a pin that is no output counts as low.
    Gpio(IrqLine irq, std::function<void(unsigned pin, bool level)> output);

    uint64_t read(const MmioAccess& access) override;
    void write(const MmioAccess& access, uint64_t value) override;
    void reset() override;

    // The level of an input pin from outside; pins beyond 31 do not exist.
    void set_input(unsigned pin, bool level);

    struct State {
        uint32_t direction = 0;  // 1: output.
        uint32_t open_drain = 0;
        uint32_t data = 0;    // What the guest drives on its outputs.
        uint32_t inputs = 0;  // What drives the pins from outside.
        uint32_t event = 0;
        uint32_t mask = 0;
        uint32_t control = 0;  // 1: an event at a falling edge only; 0: at any change.
    };
    State state() const;
    void restore(const State& state);

    // Writes the nodes gpio@OFFSET and power-off (pin 0, "gpio-poweroff").
    static void describe(FdtBuilder& fdt, const SocNode& node, uint32_t gpio_phandle);

  private:
    void write_register(uint64_t offset, uint32_t value);
    void update_outputs();
    void update_irq();

    mutable std::mutex mutex_;
    const IrqLine irq_;
    const std::function<void(unsigned, bool)> output_;
    State state_;
    uint32_t driven_ = 0;  // Output levels as `output_` knows them.
    bool irq_level_ = false;
};

}  // namespace perfvisor::devices
