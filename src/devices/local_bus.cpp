// SPDX-License-Identifier: GPL-2.0-or-later
// The local bus controller: registers that are kept.
#include "devices/local_bus.h"

namespace perfvisor::devices {

namespace {

constexpr uint64_t kLtesr = 0xb0;  // Errors: cleared by writing 1.
constexpr uint64_t kLcrr = 0xd4;
constexpr uint32_t kLcrrReset = 0x80000008;  // DLL bypassed, clock divided by 8.

// Bits that a register keeps; 0: there is none.
constexpr uint32_t register_mask(uint64_t offset) {
    constexpr uint32_t kAll = 0xffffffff;
    // BR0, OR0 … BR7, OR7: a base address has no atomic operations in its bits 26 to 29.
    if (offset < 0x40) return offset % 8 == 0 ? 0xffff9fe1 : kAll;
    switch (offset) {
        case 0x68:  // MAR
        case 0x70:  // MAMR, MBMR, MCMR
        case 0x74:
        case 0x78:
        case 0x88:  // MDR
        case 0x94:  // LSDMR
        case 0xb4:  // LTEDR, LTEIR
        case 0xb8:
        case 0xbc:  // LTEATR, LTEAR
        case 0xc0:
        case 0xd0:  // LBCR
            return kAll;
        case 0x84:  // MRTPR, LURT, LSRT
        case 0xa0:
        case 0xa4:
            return 0xff000000;
        case kLcrr:
            return 0x8000001f | 0x03030000;
        default:
            return 0;
    }
}

bool is_register(const MmioAccess& access) {
    return access.size == 4 && access.offset % 4 == 0 && access.offset < LocalBus::kRegisterBytes;
}

}  // namespace

uint64_t LocalBus::read(const MmioAccess& access) {
    const std::lock_guard lock(mutex_);
    return is_register(access) ? state_.registers[access.offset / 4] : 0;
}

void LocalBus::write(const MmioAccess& access, uint64_t value) {
    if (!is_register(access)) return;
    const std::lock_guard lock(mutex_);
    uint32_t& kept = state_.registers[access.offset / 4];
    const auto word = static_cast<uint32_t>(value);
    kept = access.offset == kLtesr ? kept & ~word : word & register_mask(access.offset);
}

void LocalBus::reset() {
    const std::lock_guard lock(mutex_);
    state_ = State{};
    state_.registers[kLcrr / 4] = kLcrrReset;
}

LocalBus::State LocalBus::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void LocalBus::restore(const State& state) {
    const std::lock_guard lock(mutex_);
    state_ = state;
}

}  // namespace perfvisor::devices
