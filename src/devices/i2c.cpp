// SPDX-License-Identifier: GPL-2.0-or-later
// The MPC I²C controller, as a master of a bus on which the real-time clock is.
#include "devices/i2c.h"

#include <fmt/format.h>

#include <utility>

namespace perfvisor::devices {

namespace {

constexpr uint64_t kAddressRegister = 0x00;
constexpr uint64_t kDividerRegister = 0x04;
constexpr uint64_t kControlRegister = 0x08;
constexpr uint64_t kStatusRegister = 0x0c;
constexpr uint64_t kDataRegister = 0x10;
constexpr uint64_t kFilterRegister = 0x14;

constexpr uint8_t kControlEnable = 0x80;
constexpr uint8_t kControlInterrupt = 0x40;
constexpr uint8_t kControlMaster = 0x20;
constexpr uint8_t kControlTransmit = 0x10;
constexpr uint8_t kControlRepeatedStart = 0x04;
constexpr uint8_t kControlKept = 0xf8;  // RSTA reads 0.

constexpr uint8_t kStatusTransferComplete = 0x80;
constexpr uint8_t kStatusBusBusy = 0x20;
constexpr uint8_t kStatusArbitrationLost = 0x10;
constexpr uint8_t kStatusInterrupt = 0x02;
constexpr uint8_t kStatusNoAcknowledge = 0x01;

}  // namespace

I2c::I2c(IrqLine irq, Rtc& rtc) : irq_(std::move(irq)), rtc_(rtc) {}

void I2c::update_irq() {
    constexpr uint8_t kNeeded = kControlEnable | kControlInterrupt;
    const bool level =
        (state_.control & kNeeded) == kNeeded && (state_.status & kStatusInterrupt) != 0;
    if (level == irq_level_) return;
    irq_level_ = level;
    irq_.set(level);
}

// A byte and its acknowledge bit went over the bus: complete, interrupt.
void I2c::finish_byte(bool acknowledged) {
    state_.status |= kStatusTransferComplete | kStatusInterrupt;
    if (acknowledged) {
        state_.status &= static_cast<uint8_t>(~kStatusNoAcknowledge);
    } else {
        state_.status |= kStatusNoAcknowledge;
    }
}

void I2c::end_transfer() {
    if (state_.selected) rtc_.stop();
    state_.addressed = false;
    state_.selected = false;
    state_.receiving = false;
}

void I2c::write_control(uint8_t value) {
    if ((value & kControlEnable) == 0) {
        // Disabling resets the module; its address and clock settings stay.
        end_transfer();
        state_.control = value & kControlKept & static_cast<uint8_t>(~kControlMaster);
        state_.status = State{}.status;
        return;
    }
    const bool was_master = (state_.control & kControlMaster) != 0;
    const bool is_master = (value & kControlMaster) != 0;
    state_.control = value & kControlKept;
    if (is_master) {
        state_.status |= kStatusBusBusy;
        // START when it becomes the master, and START again when asked to.
        if (!was_master || (value & kControlRepeatedStart) != 0) end_transfer();
    } else {
        state_.status &= static_cast<uint8_t>(~kStatusBusBusy);
        end_transfer();
    }
}

void I2c::write_data(uint8_t value) {
    state_.data = value;
    constexpr uint8_t kNeeded = kControlEnable | kControlMaster | kControlTransmit;
    if ((state_.control & kNeeded) != kNeeded) return;
    if (!state_.addressed) {
        state_.addressed = true;
        state_.selected = value >> 1 == Rtc::kAddress;
        state_.receiving = (value & 1) != 0;
        if (state_.selected) rtc_.start(state_.receiving);
    } else if (state_.selected && !state_.receiving) {
        rtc_.send(value);
    }
    finish_byte(state_.selected);
}

// Reading the data register as a receiving master returns the last byte and fetches the next.
uint8_t I2c::read_data() {
    const uint8_t value = state_.data;
    constexpr uint8_t kNeeded = kControlEnable | kControlMaster;
    const bool receives = (state_.control & (kNeeded | kControlTransmit)) == kNeeded;
    if (receives && state_.addressed) {
        state_.data = state_.selected && state_.receiving ? rtc_.receive() : 0xff;
        finish_byte((state_.status & kStatusNoAcknowledge) == 0);
    }
    return value;
}

uint64_t I2c::read(const MmioAccess& access) {
    const std::lock_guard lock(mutex_);
    switch (access.offset) {
        case kAddressRegister:
            return state_.address;
        case kDividerRegister:
            return state_.divider;
        case kControlRegister:
            return state_.control;
        case kStatusRegister:
            return state_.status;
        case kDataRegister: {
            const uint8_t value = read_data();
            update_irq();
            return value;
        }
        case kFilterRegister:
            return state_.filter;
        default:
            return 0;
    }
}

void I2c::write(const MmioAccess& access, uint64_t value) {
    const std::lock_guard lock(mutex_);
    const auto byte = static_cast<uint8_t>(value);
    switch (access.offset) {
        case kAddressRegister:
            state_.address = byte & 0xfe;
            break;
        case kDividerRegister:
            state_.divider = byte & 0x3f;
            break;
        case kControlRegister:
            write_control(byte);
            break;
        case kStatusRegister: {
            // Software can only clear the interrupt and arbitration-lost flags.
            constexpr uint8_t kClearable = kStatusInterrupt | kStatusArbitrationLost;
            state_.status &= byte | static_cast<uint8_t>(~kClearable);
            break;
        }
        case kDataRegister:
            write_data(byte);
            break;
        case kFilterRegister:
            state_.filter = byte & 0x3f;
            break;
        default:
            break;
    }
    update_irq();
}

void I2c::reset() {
    const std::lock_guard lock(mutex_);
    end_transfer();
    state_ = State{};
    update_irq();
}

I2c::State I2c::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void I2c::restore(const State& state) {
    const std::lock_guard lock(mutex_);
    state_ = state;
    update_irq();
}

void I2c::describe(FdtBuilder& fdt, const SocNode& node) {
    fdt.begin_node(fmt::format("i2c@{:x}", node.offset));
    fdt.string("device_type", "i2c");
    fdt.string("compatible", "fsl-i2c");
    fdt.cells("#address-cells", {1});
    fdt.cells("#size-cells", {0});
    fdt.cells("reg", {node.offset, 0x14});
    fdt.cells("cell-index", {0});
    fdt.interrupt(node);
    Rtc::describe(fdt);
    fdt.end_node();
}

}  // namespace perfvisor::devices
