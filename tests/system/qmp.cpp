// SPDX-License-Identifier: GPL-2.0-or-later
// A client of a running guest's monitor.
#include "qmp.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <thread>

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;
constexpr std::chrono::seconds kPatience{30};

int connect_to(const fs::path& path) {
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    if (connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return socket;
    close(socket);
    return -1;
}

}  // namespace

Qmp::Qmp(const fs::path& runtime_directory) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (socket_ < 0 && std::chrono::steady_clock::now() < end) {
        std::error_code none;
        for (const auto& entry : fs::directory_iterator(runtime_directory, none))
            if (entry.path().extension() == ".qmp" && socket_ < 0)
                socket_ = connect_to(entry.path());
        if (socket_ < 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (!execute("qmp_capabilities").contains("return") && socket_ >= 0) {
        close(socket_);
        socket_ = -1;
    }
}

Qmp::~Qmp() {
    if (socket_ >= 0) close(socket_);
}

nlohmann::json Qmp::execute(const std::string& command, const nlohmann::json& arguments) {
    const std::string line =
        nlohmann::json({{"execute", command}, {"arguments", arguments}}).dump() + "\n";
    if (socket_ < 0 ||
        send(socket_, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
        return {};
    return next(true);
}

nlohmann::json Qmp::event(const std::string& name) {
    for (nlohmann::json message = next(false); !message.is_null(); message = next(false))
        if (message.value("event", "") == name) return message;
    return {};
}

nlohmann::json Qmp::next(bool answer) {
    if (!answer && !events_.empty()) {
        nlohmann::json event = std::move(events_.front());
        events_.pop_front();
        return event;
    }
    for (;;) {
        size_t end = 0;
        while ((end = heard_.find('\n')) == std::string::npos) {
            pollfd readable = {socket_, POLLIN, 0};
            std::array<char, 65536> buffer;
            const auto limit = std::chrono::milliseconds(kPatience).count();
            if (poll(&readable, 1, static_cast<int>(limit)) <= 0) return {};
            const ssize_t n = read(socket_, buffer.data(), buffer.size());
            if (n <= 0) return {};
            heard_.append(buffer.data(), static_cast<size_t>(n));
        }
        auto message = nlohmann::json::parse(heard_.substr(0, end), nullptr, false);
        heard_.erase(0, end + 1);
        const bool is_answer = message.contains("return") || message.contains("error");
        if (is_answer == answer) return message;
        if (message.contains("event")) events_.push_back(std::move(message));
    }
}

}  // namespace perfvisor::test
