// SPDX-License-Identifier: GPL-2.0-or-later
// The core's totals as events of the catalogue.
#include "kvm/soft/event_totals.h"

#include <cerrno>
#include <cstring>

namespace perfvisor::kvm {

std::optional<uint64_t> total_of(const core::EventSource& source, const Counts& counts,
                                 uint32_t model_parts) {
    switch (source.kind) {
        case core::EventSource::Kind::Total:
            return counts.totals[source.total];
        case core::EventSource::Kind::Cycles:
            return counts.totals.cycles();
        case core::EventSource::Kind::Modelled:
            if ((source.part & ~model_parts) != 0) return std::nullopt;
            return counts.modelled[source.modelled];
        default:
            return std::nullopt;
    }
}

int event_totals(const CountsSnapshot& counts, kvm_soft_event_totals& request) {
    uint32_t count = 0;
    for (const core::Event& event : core::e500mc_events()) {
        const auto of = [&](const Counts& some) {
            return total_of(event.source, some, counts.model_parts);
        };
        const std::optional<uint64_t> total = of(counts.all);
        if (!total) continue;
        kvm_soft_event_total entry{};
        entry.total = *total;
        entry.event = event.code;
        if (counts.modes) {
            entry.user = of(counts.modes->user).value_or(0);
            entry.supervisor = of(counts.modes->supervisor).value_or(0);
            entry.flags = KVM_SOFT_TOTAL_BY_MODE;
        }
        if (count < request.room) {
            if (request.entries == 0) return -EFAULT;
            auto* const to = reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(request.entries));
            std::memcpy(to + size_t{count} * sizeof entry, &entry, sizeof entry);
        }
        ++count;
    }
    request.count = count;
    return count <= request.room ? 0 : -E2BIG;
}

}  // namespace perfvisor::kvm
