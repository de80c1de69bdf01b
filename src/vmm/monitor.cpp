// SPDX-License-Identifier: GPL-2.0-or-later
// The monitor's sockets and its thread.
#include "vmm/monitor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

namespace perfvisor::vmm {
namespace {

// How long clients have to take the last events of a guest that has ended.
constexpr std::chrono::milliseconds kLastMoment{500};

bool would_block() {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

}  // namespace

Monitor::Monitor(MonitorSocket socket, MonitorTarget& target, UniqueFd wake)
    : target_(target), socket_(std::move(socket)), wake_(std::move(wake)) {}

Result<std::unique_ptr<Monitor>> Monitor::start(MonitorSocket socket, MonitorTarget& target) {
    UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake) return fail("monitor: no event descriptor to be had: too many open files");
    std::unique_ptr<Monitor> monitor(new Monitor(std::move(socket), target, std::move(wake)));
    // Signals are the main thread's.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    monitor->thread_ = std::thread([&served = *monitor] { served.serve(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return monitor;
}

Monitor::~Monitor() {
    stop({});
}

void Monitor::finish(std::vector<Json> events) {
    stop(std::move(events));
}

void Monitor::stop(std::vector<Json> events) {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        for (Json& event : events)
            told_.push_back(std::move(event));
        over_ = true;
    }
    eventfd_write(wake_.get(), 1);
    thread_.join();
}

void Monitor::tell(Json event) {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    told_.push_back(std::move(event));
    eventfd_write(wake_.get(), 1);
}

void Monitor::serve() {
    std::vector<pollfd> waiting;
    while (take_orders()) {
        waiting.clear();
        waiting.push_back({wake_.get(), POLLIN, 0});
        waiting.push_back({clients_.size() < kMostClients ? socket_.descriptor() : -1, POLLIN, 0});
        for (const Connection& client : clients_) {
            const bool listen = client.unread.size() < kMostUnread && !client.closing;
            const int events = (listen ? POLLIN : 0) | (client.unread.empty() ? 0 : POLLOUT);
            waiting.push_back({client.descriptor.get(), static_cast<short>(events), 0});
        }
        if (poll(waiting.data(), waiting.size(), -1) < 0) continue;
        size_t n = 2;
        for (Connection& client : clients_) {
            const short happened = waiting[n++].revents;
            if (happened & POLLOUT) write_to(client);
            if (happened & POLLIN)
                read_from(client);
            else if (happened & (POLLERR | POLLHUP | POLLNVAL))
                client.descriptor.reset();
        }
        if (waiting[1].revents) accept_client();
        drop_finished();
    }
    let_clients_read();
    clients_.clear();
}

bool Monitor::take_orders() {
    eventfd_t count = 0;
    eventfd_read(wake_.get(), &count);
    std::vector<Json> told;
    bool over = false;
    {
        const std::lock_guard lock(mutex_);
        told.swap(told_);
        over = over_;
    }
    send_events(told);
    return !over;
}

void Monitor::accept_client() {
    UniqueFd fd(accept4(socket_.descriptor(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
        // Without descriptors the client stays in the queue: not to be asked again at once.
        if (!would_block()) poll(nullptr, 0, 50);
        return;
    }
    clients_.push_back({std::move(fd), MonitorClient(target_), MonitorClient::greeting(), false});
    write_to(clients_.back());
}

// A few commands at a time, so that one client with many does not keep the others waiting.
void Monitor::read_from(Connection& connection) {
    std::array<char, 4096> buffer;
    const ssize_t n = recv(connection.descriptor.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && would_block()) return;
    if (n <= 0) return connection.descriptor.reset();
    MonitorClient::Answer answer =
        connection.protocol.receive({buffer.data(), static_cast<size_t>(n)});
    connection.unread += answer.text;
    connection.closing = connection.closing || answer.close;
    write_to(connection);
    send_events(answer.events);
}

void Monitor::write_to(Connection& connection) {
    while (connection.descriptor && !connection.unread.empty()) {
        const ssize_t n = send(connection.descriptor.get(), connection.unread.data(),
                               connection.unread.size(), MSG_NOSIGNAL);
        if (n < 0 && would_block()) return;
        if (n <= 0) return connection.descriptor.reset();
        connection.unread.erase(0, static_cast<size_t>(n));
    }
}

void Monitor::send_events(const std::vector<Json>& events) {
    for (const Json& event : events)
        for (Connection& client : clients_)
            if (client.descriptor && client.protocol.listens()) {
                client.unread += monitor_line(event);
                write_to(client);
            }
}

void Monitor::drop_finished() {
    clients_.remove_if([](const Connection& client) {
        return !client.descriptor || (client.closing && client.unread.empty()) ||
               client.unread.size() > 4 * kMostUnread;
    });
}

void Monitor::let_clients_read() {
    const auto end = std::chrono::steady_clock::now() + kLastMoment;
    for (;;) {
        drop_finished();
        std::vector<pollfd> waiting;
        for (Connection& client : clients_)
            if (!client.unread.empty()) waiting.push_back({client.descriptor.get(), POLLOUT, 0});
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                              end - std::chrono::steady_clock::now())
                              .count();
        if (waiting.empty() || left <= 0) return;
        poll(waiting.data(), waiting.size(), static_cast<int>(left));
        for (Connection& client : clients_)
            write_to(client);
    }
}

}  // namespace perfvisor::vmm
