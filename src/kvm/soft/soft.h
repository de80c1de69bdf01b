// SPDX-License-Identifier: GPL-2.0-or-later
// KVM in user space: the KVM API on top of a core in software, an engine and the host's
// performance monitor reservation.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "kvm/handles.h"

namespace perfvisor::host {
class PmcHardware;
}

namespace perfvisor::kvm {

enum class SoftEngine : uint8_t {
    Interpreter,
    Translator,
    Lockstep,  // both, compared (docs/lockstep.md); with SoftClock::Virtual only
};

// Where guest time comes from.
enum class SoftClock : uint8_t {
    Virtual,  // executed cycles; idle time is skipped: every run is the same
    Host,     // the host's monotonic clock
};

struct SoftOptions {
    SoftEngine engine = SoftEngine::Interpreter;
    SoftClock clock = SoftClock::Host;
    std::string cpu_model = "e500mc";
    std::string guest_name = "guest";    // who holds the performance monitor, for others to see
    uint64_t timebase_hz = 400'000'000;  // ticks of the time base a second
    uint64_t cpu_hz = 400'000'000;       // cycles a second, for the virtual clock
    // The machine's performance monitor; null: the reservation requests give -ENXIO. Must outlive
    // every VM.
    host::PmcHardware* pmc = nullptr;
};

// Why this host has no translator; nothing where it has one.
std::optional<std::string> translator_missing();

// Fails for a CPU model that is not known (the sentence lists those that are), an engine this
// host does not have, or a frequency of 0.
Result<std::unique_ptr<System>> make_soft_kvm(const SoftOptions& options);

}  // namespace perfvisor::kvm
