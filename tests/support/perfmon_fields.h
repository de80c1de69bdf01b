// SPDX-License-Identifier: GPL-2.0-or-later
// Registers and fields of the performance monitor, as tests of every layer write them.
#pragma once

#include <cstdint>

namespace perfvisor::test {

// Supervisor PMR numbers; of PMC, PMLCa and PMLCb n it is n more.
constexpr unsigned kPmc0 = 16, kPmlca0 = 144, kPmlcb0 = 272, kPmgc0 = 400;

// PMLCa: the event.
constexpr uint32_t selects(unsigned event) {
    return event << 16;
}

// PMLCb: the triggers that start and stop a counter, and the period of its own.
constexpr uint32_t on(uint32_t by) {
    return by << 28;
}
constexpr uint32_t off(uint32_t by) {
    return by << 24;
}
constexpr uint32_t pmp(uint32_t period) {
    return period << 13;
}

}  // namespace perfvisor::test
