// SPDX-License-Identifier: GPL-2.0-or-later
// The global utilities block: identification, RSTCR and DEVDISR.
#include "devices/guts.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace perfvisor::devices {

namespace {

constexpr uint64_t kDevdisr = 0x70;
constexpr uint64_t kPvr = 0xa0;
constexpr uint64_t kSvr = 0xa4;
constexpr uint64_t kRstcr = 0xb0;

constexpr uint32_t kRstcrResetRequest = 0x2;
// DEVDISR[TB0] and DEVDISR[TB1]: 1 stops the time base of that core.
constexpr std::array<uint32_t, 2> kDevdisrTimebase = {0x00004000, 0x00001000};

}  // namespace

Guts::Guts(uint32_t pvr, uint32_t svr, Hooks hooks)
    : pvr_(pvr), svr_(svr), hooks_(std::move(hooks)) {}

uint64_t Guts::read(const MmioAccess& access) {
    if (access.size != 4) return 0;
    const std::lock_guard lock(mutex_);
    switch (access.offset) {
        case kDevdisr:
            return state_.devdisr;
        case kPvr:
            return pvr_;
        case kSvr:
            return svr_;
        default:
            return 0;
    }
}

void Guts::write(const MmioAccess& access, uint64_t value) {
    if (access.size != 4) return;
    const std::lock_guard lock(mutex_);
    const auto word = static_cast<uint32_t>(value);
    if (access.offset == kRstcr) {
        if ((word & kRstcrResetRequest) != 0 && hooks_.request_reset) hooks_.request_reset();
    } else if (access.offset == kDevdisr) {
        write_devdisr(word);
    }
}

void Guts::write_devdisr(uint32_t value) {
    const uint32_t changed = state_.devdisr ^ value;
    state_.devdisr = value;
    uint32_t stopped = 0;
    uint32_t running = 0;
    for (unsigned cpu = 0; cpu < kDevdisrTimebase.size(); ++cpu) {
        const uint32_t bit = kDevdisrTimebase[cpu];
        if ((changed & bit) != 0) ((value & bit) != 0 ? stopped : running) |= 1U << cpu;
    }
    if (!hooks_.set_timebases) return;
    if (stopped != 0) hooks_.set_timebases(stopped, false);
    if (running != 0) hooks_.set_timebases(running, true);
}

void Guts::reset() {
    const std::lock_guard lock(mutex_);
    write_devdisr(0);
}

Guts::State Guts::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void Guts::restore(const State& state) {
    const std::lock_guard lock(mutex_);
    write_devdisr(state.devdisr);
}

void Guts::describe(FdtBuilder& fdt, uint32_t offset) {
    fdt.begin_node(fmt::format("global-utilities@{:x}", offset));
    fdt.string("compatible", "fsl,mpc8544-guts");
    fdt.cells("reg", {offset, static_cast<uint32_t>(kRegionBytes)});
    fdt.empty("fsl,has-rstcr");
    fdt.end_node();
}

}  // namespace perfvisor::devices
