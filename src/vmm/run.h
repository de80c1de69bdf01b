// SPDX-License-Identifier: GPL-2.0-or-later
// Runs a guest from its options to its end, on this process's terminal.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "kvm/api.h"
#include "vmm/run_options.h"

namespace perfvisor::vmm {

// What --exec's command did, from its exec to its end, on all vCPUs (docs/host-tools.md).
struct CommandCounts {
    uint64_t nanoseconds = 0;  // of guest time
    std::vector<kvm::WindowCount> events;
};

// Gives the exit status of the process: 0 when the guest powered off or the user left with
// Ctrl-A X, the command's status with --exec, 128 + n after signal n. Fails, with nothing left
// behind, when the guest cannot start or can go no further; or, with options.count_command, when
// the command was not run and counted to its end. `counts` is filled in with that option only.
Result<int> run_guest(const RunOptions& options, CommandCounts* counts = nullptr);

}  // namespace perfvisor::vmm
