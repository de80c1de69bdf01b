// SPDX-License-Identifier: GPL-2.0-or-later
// The guest as its monitor sees it: one guest over all its boots.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "vmm/guest.h"
#include "vmm/monitor_protocol.h"

namespace perfvisor::vmm {

class GuestControl final : public MonitorTarget {
  public:
    explicit GuestControl(std::string name);

    // ---- for the session, on its thread ----
    // A boot begins: paused from its first instruction where the guest was paused.
    void attach(Guest& guest);
    // The boot is over and its vCPUs have stopped; its counts are kept.
    void detach();
    // Whether a client has asked for a reset since this was last looked at.
    bool take_reset_asked();
    // Readable once a client wants the guest to end.
    int quit_descriptor() const { return quit_.get(); }

    // ---- MonitorTarget ----
    std::string name() const override { return name_; }
    bool paused() const override;
    std::vector<Cpu> cpus() const override;
    Result<std::vector<kvm::EventTotal>> event_totals(unsigned cpu) const override;
    Result<std::unique_ptr<Counting>> count_events(std::vector<uint32_t> events) override;
    void pause() override;
    void resume() override;
    void reset() override;
    void quit() override;

  private:
    class CountingEvents;
    // What somebody counts, and whether this boot does.
    struct Wish {
        std::vector<uint32_t> events;
        bool granted = false;
    };

    Result<std::vector<kvm::EventTotal>> totals_so_far(unsigned cpu) const;
    void stop_counting(std::list<Wish>::iterator wish);

    const std::string name_;
    const UniqueFd quit_;
    mutable std::mutex mutex_;
    Guest* guest_ = nullptr;  // while a boot lasts
    bool paused_ = false;
    bool reset_asked_ = false;
    std::list<Wish> wishes_;
    // By CPU, what the boots before this one have counted, by event, or why they have not.
    std::vector<Result<std::map<uint32_t, kvm::EventTotal>>> earlier_;
};

}  // namespace perfvisor::vmm
