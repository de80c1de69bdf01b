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
// counted on a vCPU from outside, saying which. Events of the timing model can be `with_model`,
// where it is made to run for them.
Result<const core::Event*> find_countable_event(std::string_view spelling, bool with_model = false);

// All events that find_countable_event() has without the model.
std::vector<const core::Event*> countable_events();

}  // namespace perfvisor::vmm
