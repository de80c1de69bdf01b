// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel's KVM behind the same handles: /dev/kvm of a Power host.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "kvm/handles.h"

namespace perfvisor::kvm {

// Opens `path`. Fails with one sentence where the file cannot be opened, does not speak KVM, or
// is the KVM of a host that is not Power.
Result<std::unique_ptr<System>> open_linux_kvm(const std::string& path = "/dev/kvm");

}  // namespace perfvisor::kvm
