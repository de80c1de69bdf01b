// SPDX-License-Identifier: GPL-2.0-or-later
// Ways out of translated code as data, which C++ carries out.
#pragma once

#include <cstdint>

#include "core/state.h"

namespace perfvisor::engine::translator::x64 {

// A comparison whose field is not in CpuState: it is computed where somebody looks, from its
// operands, which are in their registers still.
struct Pending {
    enum Kind : uint8_t { kNone, kSigned, kUnsigned } kind = kNone;
    bool immediate = false;
    uint8_t a = 0, b = 0;
    int32_t value = 0;
    bool operator==(const Pending&) const = default;
};

// What code leaves to do that calls RuntimeCode::Calls::leave_site, whose call this stands behind:
// most code never gets to most of its ways out, and this is smaller and sooner written than code.
struct ExitSite {
    uint32_t pc;
    uint8_t exit;    // enum Exit
    uint8_t refund;  // of the budget, instructions
    uint8_t branches, taken;
    uint16_t loads, stores;
    // The status says whether the instruction happened (kChanged); it counts this then.
    bool by_status;
    uint8_t own_loads, own_stores;
    uint8_t summary_overflow;  // XER[SO]
    uint8_t pending;           // so many PendingField behind it
    // ModelKind::Clock: instructions of a segment that the model is told of; one less if the
    // instruction did not happen. A pointer to the segment is behind all else.
    uint8_t told;
};
struct PendingField {
    uint8_t field;
    Pending comparison;
};

// Stores the field of a comparison that is pending.
inline void store_pending(core::CpuState& state, unsigned field, const Pending& pending,
                          bool summary_overflow) {
    const auto a = static_cast<uint32_t>(state.gpr[pending.a]);
    const auto b = static_cast<uint32_t>(pending.immediate ? static_cast<uint32_t>(pending.value)
                                                           : state.gpr[pending.b]);
    state.cr.field[field] =
        pending.kind == Pending::kSigned
            ? static_cast<uint64_t>(int64_t{static_cast<int32_t>(a)} - static_cast<int32_t>(b))
            : uint64_t{a} - b;
    state.cr.so[field] = summary_overflow;
}

}  // namespace perfvisor::engine::translator::x64
