// SPDX-License-Identifier: GPL-2.0-or-later
// The QorIQ GPIO controller.
#include "devices/gpio.h"

#include <fmt/format.h>

#include <utility>

namespace perfvisor::devices {

namespace {

constexpr uint64_t kDirection = 0x00;
constexpr uint64_t kOpenDrain = 0x04;
constexpr uint64_t kData = 0x08;
constexpr uint64_t kEvent = 0x0c;
constexpr uint64_t kMask = 0x10;
constexpr uint64_t kControl = 0x14;

constexpr uint32_t pin_mask(unsigned pin) {
    return 0x80000000U >> pin;
}

}  // namespace

Gpio::Gpio(IrqLine irq, std::function<void(unsigned, bool)> output)
    : irq_(std::move(irq)), output_(std::move(output)) {}

void Gpio::update_irq() {
    const bool level = (state_.event & state_.mask) != 0;
    if (level == irq_level_) return;
    irq_level_ = level;
    irq_.set(level);
}

void Gpio::update_outputs() {
    const uint32_t levels = state_.direction & state_.data;
    const uint32_t changed = levels ^ driven_;
    driven_ = levels;
    if (changed == 0 || !output_) return;
    for (unsigned pin = 0; pin < kPins; ++pin) {
        if ((changed & pin_mask(pin)) != 0) output_(pin, (levels & pin_mask(pin)) != 0);
    }
}

uint64_t Gpio::read(const MmioAccess& access) {
    if (access.size != 4) return 0;
    const std::lock_guard lock(mutex_);
    switch (access.offset) {
        case kDirection:
            return state_.direction;
        case kOpenDrain:
            return state_.open_drain;
        case kData:
            return (state_.data & state_.direction) | (state_.inputs & ~state_.direction);
        case kEvent:
            return state_.event;
        case kMask:
            return state_.mask;
        case kControl:
            return state_.control;
        default:
            return 0;
    }
}

void Gpio::write_register(uint64_t offset, uint32_t value) {
    switch (offset) {
        case kDirection:
            state_.direction = value;
            break;
        case kOpenDrain:
            state_.open_drain = value;
            break;
        case kData:
            state_.data = value;
            break;
        case kEvent:  // Write 1 to clear.
            state_.event &= ~value;
            break;
        case kMask:
            state_.mask = value;
            break;
        case kControl:
            state_.control = value;
            break;
        default:
            break;
    }
}

void Gpio::write(const MmioAccess& access, uint64_t value) {
    if (access.size != 4) return;
    const std::lock_guard lock(mutex_);
    write_register(access.offset, static_cast<uint32_t>(value));
    update_outputs();
    update_irq();
}

void Gpio::set_input(unsigned pin, bool level) {
    if (pin >= kPins) return;
    const std::lock_guard lock(mutex_);
    const uint32_t bit = pin_mask(pin);
    if (((state_.inputs & bit) != 0) == level) return;
    state_.inputs ^= bit;
    const bool falling_only = (state_.control & bit) != 0;
    if ((state_.direction & bit) == 0 && (!falling_only || !level)) state_.event |= bit;
    update_irq();
}

void Gpio::reset() {
    const std::lock_guard lock(mutex_);
    const uint32_t inputs = state_.inputs;  // Driven from outside, whatever happens here.
    state_ = State{};
    state_.inputs = inputs;
    update_outputs();
    update_irq();
}

Gpio::State Gpio::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void Gpio::restore(const State& state) {
    const std::lock_guard lock(mutex_);
    state_ = state;
    update_outputs();
    update_irq();
}

void Gpio::describe(FdtBuilder& fdt, const SocNode& node, uint32_t gpio_phandle) {
    fdt.begin_node(fmt::format("gpio@{:x}", node.offset));
    fdt.string("compatible", "fsl,qoriq-gpio");
    fdt.cells("reg", {node.offset, static_cast<uint32_t>(kRegionBytes)});
    fdt.interrupt(node);
    fdt.cells("#gpio-cells", {2});
    fdt.empty("gpio-controller");
    fdt.phandle(gpio_phandle);
    fdt.end_node();

    fdt.begin_node("power-off");
    fdt.string("compatible", "gpio-poweroff");
    fdt.cells("gpios", {gpio_phandle, 0, 0});
    fdt.end_node();
}

}  // namespace perfvisor::devices
