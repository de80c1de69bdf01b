// SPDX-License-Identifier: GPL-2.0-or-later
// A tool's end of a running guest's monitor.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "host/runtime_directory.h"
#include "vmm/monitor_socket.h"

namespace perfvisor::cli {

class MonitorClient {
  public:
    explicit MonitorClient(vmm::MonitorConnection connection);
    // Negotiates and asks for the guest's name. Fails where no monitor speaks at the other end.
    Result<void> open();

    const std::string& socket() const { return socket_; }
    const std::string& guest() const { return guest_; }
    pid_t pid() const { return pid_; }  // as the kernel says; 0 if of another PID namespace

    // Asks the guest to count these for this connection, with vmm::ModalEvent::name()s. Fails where
    // its KVM does not, or not these.
    Result<void> count_events(const std::set<std::string>& names);

    // By vCPU, in order, then by such a name: all that is counted in any case, and those.
    using Counts = std::vector<std::map<std::string, uint64_t>>;
    // Where the guest has ended meanwhile: its counts at the end. Fails where it was killed or its
    // KVM does not count.
    Result<Counts> counts();

    // Readable when the guest has something to say, which is then to be taken.
    int descriptor() const { return descriptor_.get(); }
    void take_news();
    bool ended() const { return ended_; }

  private:
    using Json = nlohmann::json;
    Result<Json> call(const Json& request);
    std::optional<Json> next_message(std::chrono::milliseconds limit);
    bool receive(std::chrono::milliseconds limit);
    void note_event(const Json& message);
    static Result<Counts> parse_counts(const Json& stats);

    std::string socket_;
    UniqueFd descriptor_;
    std::string guest_;
    pid_t pid_ = 0;
    std::string received_;
    bool ended_ = false;
    std::optional<Json> final_stats_;
};

// A monitor that takes connections but says nothing, or nothing sensible: its process is stopped,
// or is none of ours.
struct UnansweredMonitor {
    std::string socket;
    pid_t pid = 0;
};
struct RunningGuests {
    std::vector<MonitorClient> guests;
    std::vector<UnansweredMonitor> unanswered;
};
Result<RunningGuests> running_guests(const host::RuntimeDirectory& directory);

}  // namespace perfvisor::cli
