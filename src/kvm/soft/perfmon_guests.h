// SPDX-License-Identifier: GPL-2.0-or-later
// KVM's part of the reservation: it takes the performance monitor from the host once for all its
// guests and counts those guests (docs/kvm-perfmon-api.rst).
#pragma once

#include <mutex>
#include <string>

#include "host/pmc_hardware.h"

namespace perfvisor::kvm {

class PerfmonGuests {
  public:
    // `hardware` may be null: then there is nothing to reserve.
    explicit PerfmonGuests(host::PmcHardware* hardware) : hardware_(hardware) {}

    bool available() const { return hardware_ != nullptr; }

    // One more guest: 0, -EBUSY or, where the host could not tell, -EIO. After a failure `why` is
    // the host's sentence and nothing has changed.
    int add(std::string& why);
    void remove();

  private:
    host::PmcHardware* const hardware_;
    std::mutex mutex_;
    unsigned guests_ = 0;
};

}  // namespace perfvisor::kvm
