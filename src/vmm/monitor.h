// SPDX-License-Identifier: GPL-2.0-or-later
// The monitor of a running guest: QMP for any number of clients on a Unix socket, on a thread of
// its own, so that no client, slow or hostile, is in the guest's way.
#pragma once

#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/monitor_protocol.h"
#include "vmm/monitor_socket.h"

namespace perfvisor::vmm {

class Monitor {
  public:
    // At once. Others wait in the queue until one goes.
    static constexpr size_t kMostClients = 16;
    // A client that leaves so many bytes of answers unread is not listened to until it has read
    // some, and one that leaves four times as many is dropped.
    static constexpr size_t kMostUnread = 256 * 1024;

    // Serves `target`, which must outlive it, until destroyed.
    static Result<std::unique_ptr<Monitor>> start(MonitorSocket socket, MonitorTarget& target);
    ~Monitor();
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;

    // Tells all clients, in order, soon; from any thread.
    void tell(Json event);

    // The guest has ended: clients get the events and have a moment to read, then the connections
    // end and the socket goes. What is told later goes nowhere.
    void finish(std::vector<Json> events);

  private:
    struct Connection {
        UniqueFd descriptor;
        MonitorClient protocol;
        std::string unread;  // answers and events not yet taken
        bool closing = false;
    };

    Monitor(MonitorSocket socket, MonitorTarget& target, UniqueFd wake);
    void serve();
    bool take_orders();  // false: it is over
    void accept_client();
    void read_from(Connection& connection);
    static void write_to(Connection& connection);
    void send_events(const std::vector<Json>& events);
    void drop_finished();
    void let_clients_read();
    void stop(std::vector<Json> events);

    MonitorTarget& target_;
    MonitorSocket socket_;
    UniqueFd wake_;
    std::list<Connection> clients_;  // of the thread

    std::mutex mutex_;
    std::vector<Json> told_;
    bool over_ = false;
    std::thread thread_;
};

}  // namespace perfvisor::vmm
