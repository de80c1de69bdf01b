// SPDX-License-Identifier: GPL-2.0-or-later
// A guest of two vCPUs for the monitor's tests.
#pragma once

#include <algorithm>
#include <atomic>
#include <list>
#include <memory>
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
        std::vector<kvm::EventTotal> totals{
            {1, 1000 + cpu, {}}, {2, 500 + cpu, {}}, {12, 50 + cpu, {}}};
        for (kvm::EventTotal& total : totals)
            if (!counted.empty()) total.modes = {total.total - 7, 7};
        for (const std::vector<uint32_t>& events : counted)
            if (std::find(events.begin(), events.end(), 15) != events.end())
                totals.push_back({15, 20 + cpu, kvm::EventTotal::Modes{13 + cpu, 7}});
        return totals;
    }
    Result<std::unique_ptr<Counting>> count_events(std::vector<uint32_t> events) override {
        if (!uncounted.empty()) return fail("{}", uncounted);
        counted.push_front(std::move(events));
        most_counted = std::max(most_counted, counted.size());
        return std::make_unique<FakeCounting>(*this, counted.begin());
    }
    void pause() override { is_paused = true; }
    void resume() override { is_paused = false; }
    void reset() override { ++resets; }
    void quit() override { ++quits; }

    std::list<std::vector<uint32_t>> counted;  // what is being counted
    size_t most_counted = 0;
    std::string guest_name = "demo";
    std::string uncounted;
    std::atomic<bool> is_paused{false};
    std::atomic<int> resets{0}, quits{0};

  private:
    class FakeCounting final : public Counting {
      public:
        FakeCounting(FakeMonitorTarget& target, std::list<std::vector<uint32_t>>::iterator events)
            : target_(target), events_(events) {}
        ~FakeCounting() override { target_.counted.erase(events_); }

      private:
        FakeMonitorTarget& target_;
        std::list<std::vector<uint32_t>>::iterator events_;
    };
};

}  // namespace perfvisor::vmm
