// SPDX-License-Identifier: GPL-2.0-or-later
// KVM's part of the reservation.
#include "kvm/soft/perfmon_guests.h"

#include <cerrno>

namespace perfvisor::kvm {

int PerfmonGuests::add(std::string& why) {
    const std::lock_guard lock(mutex_);
    if (guests_ == 0) {
        // No handler: the interrupt of a core in software is taken by that core.
        if (const auto reserved = hardware_->reserve(nullptr); !reserved) {
            why = reserved.error().error.message;
            return reserved.error().busy() ? -EBUSY : -EIO;
        }
    }
    ++guests_;
    return 0;
}

void PerfmonGuests::remove() {
    const std::lock_guard lock(mutex_);
    if (--guests_ == 0) hardware_->release();
}

}  // namespace perfvisor::kvm
