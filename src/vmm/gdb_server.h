// SPDX-License-Identifier: GPL-2.0-or-later
// Where a debugger connects: a TCP port or a Unix socket, one client at a time, on a thread of its
// own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/gdb_session.h"
#include "vmm/guest_debug.h"

namespace perfvisor::vmm {

// What -gdb says.
struct GdbAddress {
    std::string host;  // TCP; an IPv4 or IPv6 address, or a name
    uint16_t port = 0;
    std::string path;  // Unix; otherwise empty
};
// QEMU's spellings: tcp:[HOST]:PORT and unix:PATH, either with ",server=on" and ",wait=off", which
// are so anyway. Without HOST it is the loopback address: who may connect owns the guest.
Result<GdbAddress> parse_gdb_address(const std::string& text);

class GdbServer {
  public:
    // Listens from now on. `target` must outlive it.
    static Result<std::unique_ptr<GdbServer>> start(const GdbAddress& address, GuestDebug& target);
    // Its client, if there is one, sees the connection end.
    ~GdbServer();
    GdbServer(const GdbServer&) = delete;
    GdbServer& operator=(const GdbServer&) = delete;

    // What `target remote` takes: HOST:PORT or PATH.
    const std::string& address() const { return address_; }

    // The guest is over: the client is told so with its exit status.
    void finish(int status);

  private:
    GdbServer(GuestDebug& target, UniqueFd listener, UniqueFd wake)
        : target_(target), listener_(std::move(listener)), wake_(std::move(wake)) {}
    void serve();
    void accept_client();
    void read_client();
    void send_all(std::string_view bytes);
    void drop_client();

    GuestDebug& target_;
    UniqueFd listener_;
    UniqueFd wake_;
    std::string address_;
    std::string path_;  // of our socket, removed at the end
    UniqueFd client_;
    std::optional<GdbSession> session_;
    std::atomic<bool> over_{false};
    std::atomic<int> end_status_{0};
    std::thread thread_;
};

}  // namespace perfvisor::vmm
