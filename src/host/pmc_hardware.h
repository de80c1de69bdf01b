// SPDX-License-Identifier: GPL-2.0-or-later
// The machine's performance monitor as one owner sees it: Linux's reserve_pmc_hardware(handler) and
// release_pmc_hardware() (arch/powerpc/include/asm/pmc.h) for a guest or a host user.
#pragma once

#include <functional>
#include <optional>

#include "host/perfmon_reservation.h"

namespace perfvisor::host {

// Called for each performance monitor interrupt of the hardware. May be null.
using PmcHandler = std::function<void()>;

// What KVM needs of the host for one guest. Between all owners of the machine the table holds that
// docs/reservation.md shows: the first guest takes the hardware from the host, once, and further
// guests join it; host users share it among themselves.
class PmcHardware {
  public:
    PmcHardware() = default;
    PmcHardware(const PmcHardware&) = delete;
    PmcHardware& operator=(const PmcHardware&) = delete;
    virtual ~PmcHardware() = default;

    // On success `handler` is installed. An owner that has it already keeps its one reservation,
    // and gets the new handler. On failure nothing has changed.
    virtual tl::expected<void, ReserveError> reserve(PmcHandler handler) = 0;
    // Without a reservation: nothing happens. The handler is gone afterwards.
    virtual void release() = 0;
    [[nodiscard]] virtual bool reserved() const = 0;
    // The hardware's interrupt: calls the handler; dropped if there is none.
    virtual void interrupt() = 0;
};

// The one behind which the whole machine stands.
class RegistryPmcHardware final : public PmcHardware {
  public:
    // The owner's class, PID and name are those of `owner`. The registry must outlive this object.
    RegistryPmcHardware(const PerfmonRegistry& registry, HolderInfo owner)
        : registry_(registry), owner_(std::move(owner)) {}

    tl::expected<void, ReserveError> reserve(PmcHandler handler) override;
    void release() override;
    [[nodiscard]] bool reserved() const override { return reservation_.has_value(); }
    void interrupt() override;

  private:
    const PerfmonRegistry& registry_;
    HolderInfo owner_;
    std::optional<Reservation> reservation_;
    PmcHandler handler_;
};

}  // namespace perfvisor::host
