// SPDX-License-Identifier: GPL-2.0-or-later
// Runs a guest from its options to its end, on this process's terminal.
#pragma once

#include "base/result.h"
#include "vmm/run_options.h"

namespace perfvisor::vmm {

// Gives the exit status of the process: 0 when the guest powered off or the user left with
// Ctrl-A X, the command's status with --exec, 128 + n after signal n. Fails, with nothing left
// behind, when the guest cannot start or can go no further.
Result<int> run_guest(const RunOptions& options);

}  // namespace perfvisor::vmm
