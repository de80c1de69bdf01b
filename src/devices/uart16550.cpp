// SPDX-License-Identifier: GPL-2.0-or-later
// The 16550A UART of the CCSR: registers, interrupt priorities, FIFO and loopback.
#include "devices/uart16550.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace perfvisor::devices {

namespace {

// PC16550D data sheet, table "Summary of Registers".
constexpr uint8_t kIerReceive = 0x01;
constexpr uint8_t kIerTransmit = 0x02;
constexpr uint8_t kIerLineStatus = 0x04;
constexpr uint8_t kIerModemStatus = 0x08;
constexpr uint8_t kIerMask = 0x0f;

constexpr uint8_t kIirNone = 0x01;
constexpr uint8_t kIirModemStatus = 0x00;
constexpr uint8_t kIirTransmit = 0x02;
constexpr uint8_t kIirReceive = 0x04;
constexpr uint8_t kIirLineStatus = 0x06;
constexpr uint8_t kIirTimeout = 0x0c;
constexpr uint8_t kIirFifosEnabled = 0xc0;

constexpr uint8_t kFcrEnable = 0x01;
constexpr uint8_t kFcrClearReceive = 0x02;
constexpr uint8_t kFcrKept = 0xc9;  // Trigger level, DMA mode, enable.

constexpr uint8_t kLcrDivisorLatch = 0x80;

constexpr uint8_t kMcrDtr = 0x01;
constexpr uint8_t kMcrRts = 0x02;
constexpr uint8_t kMcrOut1 = 0x04;
constexpr uint8_t kMcrOut2 = 0x08;
constexpr uint8_t kMcrLoop = 0x10;
constexpr uint8_t kMcrMask = 0x1f;

constexpr uint8_t kLsrDataReady = 0x01;
constexpr uint8_t kLsrOverrun = 0x02;
constexpr uint8_t kLsrTransmitterEmpty = 0x60;  // THRE and TEMT: characters leave at once.

constexpr uint8_t kMsrDeltaCts = 0x01;
constexpr uint8_t kMsrDeltaDsr = 0x02;
constexpr uint8_t kMsrTrailingRing = 0x04;
constexpr uint8_t kMsrDeltaDcd = 0x08;
constexpr uint8_t kMsrCts = 0x10;
constexpr uint8_t kMsrDsr = 0x20;
constexpr uint8_t kMsrRing = 0x40;
constexpr uint8_t kMsrDcd = 0x80;

}  // namespace

Uart16550::Uart16550(IrqLine irq, Sink output, std::function<void()> input_ready)
    : irq_(std::move(irq)), output_(std::move(output)), input_ready_(std::move(input_ready)) {}

size_t Uart16550::fifo_capacity() const {
    return (state_.fcr & kFcrEnable) != 0 ? kFifoBytes : 1;
}

size_t Uart16550::trigger_level() const {
    static constexpr std::array<size_t, 4> kLevels = {1, 4, 8, 14};
    return (state_.fcr & kFcrEnable) != 0 ? kLevels[state_.fcr >> 6] : 1;
}

uint8_t Uart16550::interrupt_id() const {
    if ((state_.ier & kIerLineStatus) != 0 && state_.line_errors != 0) return kIirLineStatus;
    if ((state_.ier & kIerReceive) != 0 && !state_.fifo.empty()) {
        return state_.fifo.size() >= trigger_level() ? kIirReceive : kIirTimeout;
    }
    if ((state_.ier & kIerTransmit) != 0 && state_.thre_pending) return kIirTransmit;
    if ((state_.ier & kIerModemStatus) != 0 && state_.modem_changes != 0) return kIirModemStatus;
    return kIirNone;
}

// Without loopback, a terminal that is always there: carrier, data set ready, clear to send.
uint8_t Uart16550::modem_status() const {
    if ((state_.mcr & kMcrLoop) == 0) return kMsrDcd | kMsrDsr | kMsrCts;
    uint8_t lines = 0;
    if ((state_.mcr & kMcrRts) != 0) lines |= kMsrCts;
    if ((state_.mcr & kMcrDtr) != 0) lines |= kMsrDsr;
    if ((state_.mcr & kMcrOut1) != 0) lines |= kMsrRing;
    if ((state_.mcr & kMcrOut2) != 0) lines |= kMsrDcd;
    return lines;
}

void Uart16550::update_irq() {
    const bool level = interrupt_id() != kIirNone;
    if (level == irq_level_) return;
    irq_level_ = level;
    irq_.set(level);
}

// Moves waiting input into the FIFO, but never while the receiver is looped back to the
// transmitter.
void Uart16550::refill() {
    if ((state_.mcr & kMcrLoop) != 0) return;
    while (!state_.waiting.empty() && state_.fifo.size() < fifo_capacity()) {
        state_.fifo.push_back(state_.waiting.front());
        state_.waiting.pop_front();
    }
    if (refused_input_ && state_.waiting.size() <= kMaxWaitingBytes / 2) {
        refused_input_ = false;
        if (input_ready_) input_ready_();
    }
}

uint8_t Uart16550::read_data() {
    if (state_.fifo.empty()) return 0;
    const uint8_t value = state_.fifo.front();
    state_.fifo.pop_front();
    refill();
    return value;
}

void Uart16550::transmit(uint8_t value) {
    state_.thre_pending = true;  // Empty again as soon as it was filled.
    if ((state_.mcr & kMcrLoop) == 0) {
        if (output_) output_({&value, 1});
        return;
    }
    if (state_.fifo.size() < fifo_capacity()) {
        state_.fifo.push_back(value);
        return;
    }
    state_.line_errors |= kLsrOverrun;
    // Without FIFOs the new character overwrites the old one; a full FIFO keeps its content.
    if ((state_.fcr & kFcrEnable) == 0) state_.fifo.back() = value;
}

void Uart16550::write_fcr(uint8_t value) {
    const bool toggles_fifos = ((value ^ state_.fcr) & kFcrEnable) != 0;
    if (toggles_fifos || (value & kFcrClearReceive) != 0) state_.fifo.clear();
    // The other bits are not programmed unless the enable bit is set.
    state_.fcr = (value & kFcrEnable) != 0 ? value & kFcrKept : 0;
    refill();
}

void Uart16550::write_mcr(uint8_t value) {
    const uint8_t before = modem_status();
    state_.mcr = value & kMcrMask;
    const uint8_t after = modem_status();
    const uint8_t changed = before ^ after;
    if ((changed & kMsrCts) != 0) state_.modem_changes |= kMsrDeltaCts;
    if ((changed & kMsrDsr) != 0) state_.modem_changes |= kMsrDeltaDsr;
    if ((changed & before & kMsrRing) != 0) state_.modem_changes |= kMsrTrailingRing;
    if ((changed & kMsrDcd) != 0) state_.modem_changes |= kMsrDeltaDcd;
    refill();
}

uint8_t Uart16550::read_register(unsigned reg) {
    const bool latch = (state_.lcr & kLcrDivisorLatch) != 0;
    switch (reg) {
        case 0:
            return latch ? static_cast<uint8_t>(state_.divisor) : read_data();
        case 1:
            return latch ? static_cast<uint8_t>(state_.divisor >> 8) : state_.ier;
        case 2: {
            const uint8_t id = interrupt_id();
            // Reading IIR as the source of the interrupt is what clears this one.
            if (id == kIirTransmit) state_.thre_pending = false;
            return (state_.fcr & kFcrEnable) != 0 ? id | kIirFifosEnabled : id;
        }
        case 3:
            return state_.lcr;
        case 4:
            return state_.mcr;
        case 5: {
            const uint8_t status = kLsrTransmitterEmpty | state_.line_errors |
                                   (state_.fifo.empty() ? 0 : kLsrDataReady);
            state_.line_errors = 0;
            return status;
        }
        case 6: {
            const uint8_t status = modem_status() | state_.modem_changes;
            state_.modem_changes = 0;
            return status;
        }
        case 7:
            return state_.scr;
        default:
            return 0;
    }
}

void Uart16550::write_register(unsigned reg, uint8_t value) {
    const bool latch = (state_.lcr & kLcrDivisorLatch) != 0;
    switch (reg) {
        case 0:
            if (latch) {
                state_.divisor = (state_.divisor & 0xff00) | value;
            } else {
                transmit(value);
            }
            break;
        case 1:
            if (latch) {
                state_.divisor = static_cast<uint16_t>((state_.divisor & 0xff) | value << 8);
            } else {
                // Enabling it while the transmitter is empty raises the interrupt (it always is).
                if ((value & ~state_.ier & kIerTransmit) != 0) state_.thre_pending = true;
                state_.ier = value & kIerMask;
            }
            break;
        case 2:
            write_fcr(value);
            break;
        case 3:
            state_.lcr = value;
            break;
        case 4:
            write_mcr(value);
            break;
        case 7:
            state_.scr = value;
            break;
        default:  // LSR and MSR are read-only outside factory tests.
            break;
    }
}

// Registers are bytes; a wider access reaches the one it is addressed to, as in the peer.
uint64_t Uart16550::read(const MmioAccess& access) {
    const std::lock_guard lock(mutex_);
    if (access.offset > 7) return 0;
    const uint8_t value = read_register(static_cast<unsigned>(access.offset));
    update_irq();
    return value;
}

void Uart16550::write(const MmioAccess& access, uint64_t value) {
    const std::lock_guard lock(mutex_);
    if (access.offset > 7) return;
    write_register(static_cast<unsigned>(access.offset), static_cast<uint8_t>(value));
    update_irq();
}

void Uart16550::reset() {
    const std::lock_guard lock(mutex_);
    // What the user typed ahead is not the guest's to lose.
    std::deque<uint8_t> waiting = std::move(state_.waiting);
    state_ = State{};
    state_.waiting = std::move(waiting);
    refill();
    update_irq();
}

size_t Uart16550::receive(std::span<const uint8_t> bytes) {
    const std::lock_guard lock(mutex_);
    const size_t taken = std::min(bytes.size(), kMaxWaitingBytes - state_.waiting.size());
    state_.waiting.insert(state_.waiting.end(), bytes.begin(),
                          bytes.begin() + static_cast<std::ptrdiff_t>(taken));
    refused_input_ = taken < bytes.size();
    refill();
    update_irq();
    return taken;
}

Uart16550::State Uart16550::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void Uart16550::restore(const State& state) {
    const std::lock_guard lock(mutex_);
    state_ = state;
    update_irq();
}

void Uart16550::describe(FdtBuilder& fdt, const SocNode& node, uint32_t index, uint32_t clock_hz) {
    fdt.begin_node(fmt::format("serial@{:x}", node.offset));
    fdt.string("device_type", "serial");
    fdt.string("compatible", "ns16550");
    fdt.cells("reg", {node.offset, 0x100});
    fdt.cells("cell-index", {index});
    fdt.cells("clock-frequency", {clock_hz});
    fdt.interrupt(node);
    fdt.end_node();
}

}  // namespace perfvisor::devices
