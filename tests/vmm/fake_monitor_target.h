// SPDX-License-Identifier: GPL-2.0-or-later
// A guest of two vCPUs for the monitor's tests.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "vmm/monitor_protocol.h"

namespace perfvisor::vmm {

class FakeMonitorTarget final : public MonitorTarget {
  public:
    std::string name() const override { return guest_name; }
    bool paused() const override { return is_paused; }
    std::vector<Cpu> cpus() const override { return {{0, 100}, {1, 101}}; }
    Result<std::vector<kvm::EventTotal>> event_totals(unsigned cpu) const override {
        if (!uncounted.empty()) return fail("{}", uncounted);
        return std::vector<kvm::EventTotal>{{1, 1000 + cpu}, {2, 500 + cpu}, {12, 50 + cpu}};
    }
    void pause() override { is_paused = true; }
    void resume() override { is_paused = false; }
    void reset() override { ++resets; }
    void quit() override { ++quits; }

    std::string guest_name = "demo";
    std::string uncounted;
    std::atomic<bool> is_paused{false};
    std::atomic<int> resets{0}, quits{0};
};

}  // namespace perfvisor::vmm
