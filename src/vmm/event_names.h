// SPDX-License-Identifier: GPL-2.0-or-later
// Performance monitor events as people spell them: the catalogue's names, perf's generic names and
// raw codes, as in the guest.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/pm_events.h"

namespace perfvisor::vmm {

// "COMPLETED_INSNS" in any case, "instructions" as Linux's e500 driver maps it (e500-pmu.c), or
// "r2", hexadecimal. Fails for what is not in the catalogue, and for what is in it but cannot be
// counted on a vCPU from outside, saying which.
Result<const core::Event*> find_countable_event(std::string_view spelling);

// An event in the modes that it is counted in: with perf's modifiers ":u", ":k" or ":uk".
struct ModalEvent {
    const core::Event* event = nullptr;
    bool user = true, kernel = true;

    // The same in all spellings: the catalogue's name, with ":u" or ":k" where it is one mode.
    std::string name() const;
};
Result<ModalEvent> find_modal_event(std::string_view spelling);

// All events that are counted whoever asks: those that are not the timing model's.
std::vector<const core::Event*> always_counted_events();
bool always_counted(const core::Event& event);

}  // namespace perfvisor::vmm
