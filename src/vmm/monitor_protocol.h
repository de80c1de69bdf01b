// SPDX-License-Identifier: GPL-2.0-or-later
// QMP, the QEMU Machine Protocol, as one client speaks it with a running guest: JSON objects, one a
// line. Command names and answers are QEMU's (its docs/interop/qmp-spec). No sockets here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kvm/api.h"

namespace perfvisor::vmm {

using Json = nlohmann::ordered_json;

// The guest behind the monitor. Called on the monitor's thread.
class MonitorTarget {
  public:
    struct Cpu {
        unsigned index = 0;
        int thread_id = 0;  // of the host
    };
    virtual ~MonitorTarget() = default;
    virtual std::string name() const = 0;
    virtual bool paused() const = 0;
    virtual std::vector<Cpu> cpus() const = 0;
    // Counts of all boots since the process started.
    virtual Result<std::vector<kvm::EventTotal>> event_totals(unsigned cpu) const = 0;
    // While one of these exists, event_totals() has the two modes apart and its events of the
    // timing model.
    class Counting {
      public:
        Counting() = default;
        Counting(const Counting&) = delete;
        Counting& operator=(const Counting&) = delete;
        virtual ~Counting() = default;
    };
    // Not to outlive the target.
    virtual Result<std::unique_ptr<Counting>> count_events(std::vector<uint32_t> events) = 0;
    virtual void pause() = 0;
    virtual void resume() = 0;
    virtual void reset() = 0;
    virtual void quit() = 0;
};

// Makes the monitor count, for this connection, what it does not count in any case: `names` are
// events of the timing model, or of one mode ("COMPLETED_INSNS:u"). query-stats has them from then
// on, until the next such command or the connection's end.
inline constexpr const char* kCountEventsCommand = "__org.perfvisor_count-events";
// Told at a guest's end: what query-stats would say of all events that are counted, by the
// catalogue's names, with ":u" and ":k" where modes are counted apart.
inline constexpr const char* kFinalStatsEvent = "__org.perfvisor_FINAL_STATS";

// A message of its own accord, with the time.
Json monitor_event(const char* name, Json data = Json::object());
// The counts of all vCPUs as query-stats gives them. Fails where the KVM does not count.
Result<Json> monitor_stats(const MonitorTarget& target);
// One line of output for a message, its end included.
std::string monitor_line(const Json& message);

// What a connection has asked the target to count.
struct MonitorCounted {
    std::vector<std::string> names;
    std::vector<uint32_t> events;
    std::unique_ptr<MonitorTarget::Counting> counting;
};

class MonitorClient {
  public:
    // A longer line, or a deeper nesting of its JSON, is refused.
    static constexpr size_t kLongestLine = 64 * 1024;
    static constexpr unsigned kDeepest = 32;

    explicit MonitorClient(MonitorTarget& target) : target_(target) {}

    static std::string greeting();

    struct Answer {
        std::string text;          // for this client; may be empty
        std::vector<Json> events;  // for all clients that listen
        bool close = false;        // after the text: nothing sensible can follow
    };
    // Takes bytes as they come.
    Answer receive(std::string_view bytes);

    // Whether it has finished its negotiation and so gets events.
    bool listens() const { return negotiated_; }

  private:
    Json answer_line(std::string_view line, std::vector<Json>& events);
    Json execute(const std::string& name, const Json& arguments, std::vector<Json>& events);

    MonitorTarget& target_;
    MonitorCounted counted_;
    std::string line_;
    bool negotiated_ = false;
};

}  // namespace perfvisor::vmm
