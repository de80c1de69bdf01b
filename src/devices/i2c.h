// SPDX-License-Identifier: GPL-2.0-or-later
// The MPC I²C controller, as a master of a bus on which the real-time clock is.
#pragma once

#include <cstdint>
#include <mutex>

#include "devices/device.h"
#include "devices/fdt_builder.h"
#include "devices/rtc.h"

namespace perfvisor::devices {

// Registers I2CADR, I2CFDR, I2CCR, I2CSR, I2CDR, I2CDFSRR as in the MPC8544E manual's chapter on
// the I²C interfaces: bytes, 4 apart. A byte is on the bus for no time at all. There is no other
// master and no addressing as a slave.
class I2c final : public MmioDevice {
  public:
    static constexpr uint64_t kRegionBytes = 0x100;

    // `rtc` must outlive the controller, which alone uses it.
    I2c(IrqLine irq, Rtc& rtc);

    uint64_t read(const MmioAccess& access) override;
    void write(const MmioAccess& access, uint64_t value) override;
    void reset() override;

    struct State {
        uint8_t address = 0;
        uint8_t divider = 0;
        uint8_t control = 0;
        uint8_t status = 0x81;
        uint8_t data = 0;
        uint8_t filter = 0x10;
        bool addressed = false;  // The address byte of this transfer is over …
        bool selected = false;   // … and the clock has answered to it …
        bool receiving = false;  // … which asked to read.
    };
    State state() const;
    void restore(const State& state);

    // Writes the node i2c@OFFSET with the clock in it.
    static void describe(FdtBuilder& fdt, const SocNode& node);

  private:
    void write_control(uint8_t value);
    void write_data(uint8_t value);
    uint8_t read_data();
    void finish_byte(bool acknowledged);
    void end_transfer();
    void update_irq();

    mutable std::mutex mutex_;
    const IrqLine irq_;
    Rtc& rtc_;
    State state_;
    bool irq_level_ = false;
};

}  // namespace perfvisor::devices
