// SPDX-License-Identifier: GPL-2.0-or-later
// The real-time clock on the I²C bus: a PT7C4338, which is register-compatible with a DS1338.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "devices/fdt_builder.h"

namespace perfvisor::devices {

// 64 bytes behind an address pointer: seven of BCD time, a control byte, 56 of memory (DS1338 data
// sheet, "RTC and RAM Address Map"). The oscillator cannot be stopped; the guest sets the time by
// an offset to the clock that is handed in. Not locked: only its I²C controller uses it.
class Rtc {
  public:
    static constexpr uint8_t kAddress = 0x68;  // On the bus, 7 bits.
    static constexpr size_t kBytes = 64;

    // `clock` gives seconds since 1970-01-01 UTC; without it, 2000-01-01 for ever.
    explicit Rtc(std::function<int64_t()> clock);

    void start(bool is_read);  // The clock was addressed.
    void send(uint8_t value);  // A byte from the controller.
    uint8_t receive();         // A byte to the controller.
    void stop();               // The transfer is over.
    struct State {
        int64_t offset = 0;  // Seconds that the guest's time is ahead.
        uint8_t weekday_offset = 0;
        std::array<uint8_t, kBytes> bytes{};
        uint8_t pointer = 0;
        bool expects_pointer = false;
        uint8_t written = 0;  // Bit n: time register n, since the transfer began.
    };
    const State& state() const { return state_; }
    void restore(const State& state) { state_ = state; }
    // As after the battery was put in; unlike a reset of the machine, which a clock does not
    // notice.
    void clear() { state_ = State{}; }

    // Writes the node rtc@68.
    static void describe(FdtBuilder& fdt);

  private:
    int64_t now() const;
    void latch_time();
    void advance();

    const std::function<int64_t()> clock_;
    State state_;
};

}  // namespace perfvisor::devices
