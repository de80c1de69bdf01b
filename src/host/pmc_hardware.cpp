// SPDX-License-Identifier: GPL-2.0-or-later
// The machine's performance monitor as one owner sees it.
#include "host/pmc_hardware.h"

#include <utility>

namespace perfvisor::host {

tl::expected<void, ReserveError> RegistryPmcHardware::reserve(PmcHandler handler) {
    if (!reservation_) {
        auto reservation = owner_.holder_class == HolderClass::kGuest
                               ? registry_.reserve_for_guest(owner_)
                               : registry_.reserve_for_host(owner_);
        if (!reservation) return tl::unexpected(std::move(reservation.error()));
        reservation_.emplace(std::move(*reservation));
    }
    handler_ = std::move(handler);
    return {};
}

void RegistryPmcHardware::release() {
    handler_ = nullptr;
    reservation_.reset();
}

void RegistryPmcHardware::interrupt() {
    if (handler_) handler_();
}

}  // namespace perfvisor::host
