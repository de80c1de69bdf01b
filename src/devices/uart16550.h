// SPDX-License-Identifier: GPL-2.0-or-later
// The 16550A UART of the CCSR: eight byte-wide registers at stride 1.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>

#include "devices/device.h"
#include "devices/fdt_builder.h"

namespace perfvisor::devices {

// As National's PC16550D data sheet, with time taken out: a written character has left at once, and
// a character below the receive trigger level counts as timed out at once. Input that does not fit
// the FIFO waits outside and enters as the guest reads, so nothing the host sends is lost.
class Uart16550 final : public MmioDevice {
  public:
    static constexpr uint64_t kRegionBytes = 0x100;
    static constexpr size_t kFifoBytes = 16;
    // Input that waits for room in the FIFO; receive() takes no more than fits.
    static constexpr size_t kMaxWaitingBytes = 4096;

    using Sink = std::function<void(std::span<const uint8_t>)>;

    // `output` gets each character as it is sent, `input_ready` is called when receive() would take
    // input again after it had refused some; both with the device's lock held.
    Uart16550(IrqLine irq, Sink output, std::function<void()> input_ready);

    uint64_t read(const MmioAccess& access) override;
    void write(const MmioAccess& access, uint64_t value) override;
    void reset() override;

    // Characters from the host; returns how many were taken.
    size_t receive(std::span<const uint8_t> bytes);

    // Plain state, all there is besides the wiring.
    struct State {
        uint16_t divisor = 0;
        uint8_t ier = 0;
        uint8_t fcr = 0;  // As last written, self-clearing bits cleared.
        uint8_t lcr = 0;
        uint8_t mcr = 0;
        uint8_t scr = 0;
        uint8_t line_errors = 0;    // LSR's error bits that a read of LSR clears.
        uint8_t modem_changes = 0;  // MSR's delta bits that a read of MSR clears.
        bool thre_pending = false;  // The transmitter-empty interrupt was not yet seen in IIR.
        std::deque<uint8_t> fifo;   // Received; holds 1 character while FIFOs are disabled.
        std::deque<uint8_t> waiting;
    };
    State state() const;
    void restore(const State& state);

    // Writes the node serial@OFFSET; `index` is its cell-index, `clock_hz` its input clock.
    static void describe(FdtBuilder& fdt, const SocNode& node, uint32_t index, uint32_t clock_hz);

  private:
    size_t fifo_capacity() const;
    size_t trigger_level() const;
    uint8_t interrupt_id() const;  // IIR without the FIFO bits; 1 for none.
    uint8_t modem_status() const;
    uint8_t read_register(unsigned reg);
    void write_register(unsigned reg, uint8_t value);
    uint8_t read_data();
    void transmit(uint8_t value);
    void write_fcr(uint8_t value);
    void write_mcr(uint8_t value);
    void refill();
    void update_irq();

    mutable std::mutex mutex_;
    const IrqLine irq_;
    const Sink output_;
    const std::function<void()> input_ready_;
    State state_;
    bool refused_input_ = false;  // receive() took less than it was given.
    bool irq_level_ = false;
};

}  // namespace perfvisor::devices
