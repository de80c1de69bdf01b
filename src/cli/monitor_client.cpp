// SPDX-License-Identifier: GPL-2.0-or-later
// A tool's end of a running guest's monitor.
#include "cli/monitor_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "vmm/monitor_protocol.h"

namespace perfvisor::cli {
namespace {

// A monitor answers at once; more only where the host has no time for it.
constexpr std::chrono::seconds kPatience{10};
// More than a monitor ever says in one message.
constexpr size_t kLongestMessage = 1 << 20;

}  // namespace

MonitorClient::MonitorClient(vmm::MonitorConnection connection)
    : socket_(std::move(connection.name)), descriptor_(std::move(connection.descriptor)) {
    ucred peer = {};
    socklen_t size = sizeof peer;
    if (getsockopt(descriptor_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) pid_ = peer.pid;
}

Result<void> MonitorClient::open() {
    const auto greeting = next_message(kPatience);
    if (!greeting || !greeting->contains("QMP"))
        return fail("{}: no guest's monitor answers there", socket_);
    if (auto done = call({{"execute", "qmp_capabilities"}}); !done)
        return tl::unexpected(done.error());
    const auto name = call({{"execute", "query-name"}});
    if (!name) return tl::unexpected(name.error());
    if (name->is_object() && name->contains("name") && (*name)["name"].is_string())
        guest_ = (*name)["name"].get<std::string>();
    return {};
}

bool MonitorClient::receive(std::chrono::milliseconds limit) {
    pollfd event{descriptor_.get(), POLLIN, 0};
    if (poll(&event, 1, static_cast<int>(limit.count())) <= 0) return false;
    std::array<char, 16384> buffer;
    const ssize_t n = recv(descriptor_.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (n <= 0 || received_.size() > kLongestMessage) {
        ended_ = true;
        return false;
    }
    received_.append(buffer.data(), static_cast<size_t>(n));
    return true;
}

std::optional<MonitorClient::Json> MonitorClient::next_message(std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    size_t line = 0;
    while ((line = received_.find('\n')) == std::string::npos) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            end - std::chrono::steady_clock::now());
        if (left.count() < 0 || ended_ || !receive(left)) return std::nullopt;
    }
    Json message = Json::parse(received_.substr(0, line), nullptr, false);
    received_.erase(0, line + 1);
    if (!message.is_object()) return Json::object();
    return message;
}

void MonitorClient::note_event(const Json& message) {
    if (message.value("event", Json()) == vmm::kFinalStatsEvent && message.contains("data"))
        final_stats_ = message["data"].value("stats", Json());
}

Result<MonitorClient::Json> MonitorClient::call(const Json& request) {
    const std::string text = request.dump() + "\n";
    const bool sent = !ended_ && send(descriptor_.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
                                     static_cast<ssize_t>(text.size());
    // A guest that ends has sent its last words even where it took no more of ours.
    if (!sent) take_news();
    while (auto message = next_message(sent ? kPatience : std::chrono::milliseconds(0))) {
        if (message->contains("return")) return (*message)["return"];
        if (message->contains("error") && (*message)["error"].is_object())
            return fail("guest '{}': {}", guest_,
                        (*message)["error"].value("desc", std::string("unknown error")));
        note_event(*message);
    }
    if (ended_ || !sent) return fail("guest '{}' has ended", guest_);
    return fail("guest '{}' does not answer", guest_);
}

void MonitorClient::take_news() {
    while (!ended_ && receive(std::chrono::milliseconds(0))) {
    }
    while (received_.find('\n') != std::string::npos)
        if (const auto message = next_message(std::chrono::milliseconds(0))) note_event(*message);
}

Result<void> MonitorClient::count_events(const std::set<std::string>& names) {
    auto done = call({{"execute", vmm::kCountEventsCommand}, {"arguments", {{"names", names}}}});
    if (!done) return tl::unexpected(done.error());
    return {};
}

Result<MonitorClient::Counts> MonitorClient::counts() {
    if (!final_stats_) {
        auto stats = call({{"execute", "query-stats"}, {"arguments", {{"target", "vcpu"}}}});
        if (stats) return parse_counts(*stats);
        if (!final_stats_) return tl::unexpected(stats.error());
    }
    return parse_counts(*final_stats_);
}

Result<MonitorClient::Counts> MonitorClient::parse_counts(const Json& stats) {
    Counts counts;
    if (!stats.is_array()) return fail("a monitor gave statistics that are none");
    for (const Json& vcpu : stats) {
        auto& values = counts.emplace_back();
        if (!vcpu.is_object()) continue;
        const Json list = vcpu.value("stats", Json::array());
        for (const Json& one : list) {
            if (!one.is_object()) continue;
            const Json name = one.value("name", Json()), value = one.value("value", Json());
            if (name.is_string() && value.is_number_unsigned())
                values[name.get<std::string>()] = value.get<uint64_t>();
        }
    }
    return counts;
}

Result<RunningGuests> running_guests(const host::RuntimeDirectory& directory) {
    auto connections = vmm::connect_monitors(directory);
    if (!connections) return tl::unexpected(connections.error());
    RunningGuests found;
    for (vmm::MonitorConnection& connection : *connections) {
        MonitorClient guest(std::move(connection));
        if (guest.open())
            found.guests.push_back(std::move(guest));
        else if (!guest.ended())  // one that ends at this moment is none that runs
            found.unanswered.push_back({guest.socket(), guest.pid()});
    }
    return found;
}

}  // namespace perfvisor::cli
