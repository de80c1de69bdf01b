// SPDX-License-Identifier: GPL-2.0-or-later
// The core's totals as events of the catalogue.
#include "kvm/soft/event_totals.h"

#include <cerrno>
#include <cstring>

namespace perfvisor::kvm {

std::optional<uint64_t> total_of(const core::EventSource& source, const core::Totals& totals,
                                 const core::ModelledTotals* modelled) {
    switch (source.kind) {
        case core::EventSource::Kind::Total:
            return totals[source.total];
        case core::EventSource::Kind::Cycles:
            return totals.cycles();
        case core::EventSource::Kind::Modelled:
            if (!modelled) return std::nullopt;
            return modelled->value[static_cast<unsigned>(source.modelled)];
        default:
            return std::nullopt;
    }
}

int event_totals(const core::Totals& totals, kvm_soft_event_totals& request) {
    uint32_t count = 0;
    for (const core::Event& event : core::e500mc_events()) {
        const std::optional<uint64_t> total = total_of(event.source, totals);
        if (!total) continue;
        kvm_soft_event_total entry{};
        entry.total = *total;
        entry.event = event.code;
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
