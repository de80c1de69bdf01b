// SPDX-License-Identifier: GPL-2.0-or-later
// A client of a running guest's monitor.
#pragma once

#include <deque>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace perfvisor::test {

class Qmp {
  public:
    // Connects to the monitor of a guest in this runtime directory once there is one, and
    // negotiates; waits for some seconds.
    explicit Qmp(const std::filesystem::path& runtime_directory);
    ~Qmp();
    Qmp(const Qmp&) = delete;
    Qmp& operator=(const Qmp&) = delete;

    bool connected() const { return socket_ >= 0; }
    // The answer, an error too; null where the guest is gone.
    nlohmann::json execute(const std::string& command,
                           const nlohmann::json& arguments = nlohmann::json::object());

    // Waits until the guest says this of its own accord; null where it has gone without.
    nlohmann::json event(const std::string& name);

  private:
    // The next message that is one of the two kinds: an answer, or an event.
    nlohmann::json next(bool answer);

    int socket_ = -1;
    std::string heard_;
    std::deque<nlohmann::json> events_;  // not yet asked for
};

}  // namespace perfvisor::test
