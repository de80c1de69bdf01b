// SPDX-License-Identifier: GPL-2.0-or-later
// Where a debugger connects.
#include "vmm/gdb_server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <system_error>

namespace perfvisor::vmm {
namespace {

// A client that takes nothing for so long is dropped: the guest must not wait for it for ever.
constexpr int kSendMilliseconds = 5000;
constexpr const char* kSpellings = "it takes tcp::PORT, tcp:HOST:PORT or unix:PATH";

std::string errno_text() {
    return std::generic_category().message(errno);
}

struct AddressInfoCloser {
    void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

std::string name_of(int socket) {
    sockaddr_storage bound = {};
    socklen_t size = sizeof bound;
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    auto* const address = reinterpret_cast<sockaddr*>(&bound);
    if (getsockname(socket, address, &size) != 0 ||
        getnameinfo(address, size, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return "?";
    return bound.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host.data(), port.data())
                                       : fmt::format("{}:{}", host.data(), port.data());
}

Result<UniqueFd> listen_tcp(const GdbAddress& address) {
    addrinfo wanted = {};
    wanted.ai_socktype = SOCK_STREAM;
    wanted.ai_flags = AI_NUMERICSERV | AI_PASSIVE;
    const std::string host = address.host.empty() ? "127.0.0.1" : address.host;
    addrinfo* found = nullptr;
    const int error =
        getaddrinfo(host.c_str(), std::to_string(address.port).c_str(), &wanted, &found);
    if (error != 0)
        return fail("-gdb: \"{}\" is no address of this host: {}", host, gai_strerror(error));
    const std::unique_ptr<addrinfo, AddressInfoCloser> list(found);
    UniqueFd fd(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    if (fd) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!fd || bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0 || listen(fd.get(), 1) != 0)
        return fail("-gdb: cannot listen on TCP port {} of {}: {}", address.port, host,
                    errno_text());
    return fd;
}

Result<UniqueFd> listen_unix(const std::string& path) {
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    if (path.size() >= sizeof name.sun_path)
        return fail("-gdb: {} is too long for a socket: at most {} bytes", path,
                    sizeof name.sun_path - 1);
    std::memcpy(name.sun_path, path.c_str(), path.size());
    // As QEMU: a socket that is there is replaced, anything else is not.
    struct stat status = {};
    if (lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) unlink(path.c_str());
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    // Nobody can connect before listen(), so there is no moment with the wrong mode.
    if (!fd || bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
        chmod(path.c_str(), 0600) != 0 || listen(fd.get(), 1) != 0)
        return fail("-gdb: cannot listen at {}: {}", path, errno_text());
    return fd;
}

// Takes the options that QEMU's users write, and that say what is so anyway, off the end.
std::string without_options(std::string text) {
    for (;;) {
        const size_t comma = text.rfind(',');
        if (comma == std::string::npos) return text;
        const std::string option = text.substr(comma + 1);
        if (option != "server" && option != "server=on" && option != "nowait" &&
            option != "wait=off")
            return text;
        text.erase(comma);
    }
}

}  // namespace

Result<GdbAddress> parse_gdb_address(const std::string& typed) {
    std::string text = without_options(typed);
    GdbAddress address;
    if (text.starts_with("unix:")) {
        address.path = text.substr(5);
        if (address.path.empty()) return fail("-gdb: \"{}\" has no path; {}", typed, kSpellings);
        return address;
    }
    const size_t colon = text.rfind(':');
    if (!text.starts_with("tcp:") || colon < 4 || colon == std::string::npos)
        return fail("-gdb: \"{}\" is not known; {}", typed, kSpellings);
    address.host = text.substr(4, colon - 4);
    if (address.host.starts_with('[') && address.host.ends_with(']'))
        address.host = address.host.substr(1, address.host.size() - 2);
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data() + colon + 1, end, address.port);
    if (error != std::errc() || last != end)
        return fail("-gdb: \"{}\" is no port; it takes 0 (any that is free) to 65535",
                    text.substr(colon + 1));
    return address;
}

Result<std::unique_ptr<GdbServer>> GdbServer::start(const GdbAddress& address, GuestDebug& target) {
    auto listener = address.path.empty() ? listen_tcp(address) : listen_unix(address.path);
    if (!listener) return tl::unexpected(listener.error());
    UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake) return fail("-gdb: no event descriptor to be had: too many open files");
    std::unique_ptr<GdbServer> server(new GdbServer(target, std::move(*listener), std::move(wake)));
    server->path_ = address.path;
    server->address_ = address.path.empty() ? name_of(server->listener_.get()) : address.path;
    // Signals are the main thread's.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    server->thread_ = std::thread([&served = *server] { served.serve(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return server;
}

GdbServer::~GdbServer() {
    finish(0);
}

void GdbServer::finish(int status) {
    if (!thread_.joinable()) return;
    end_status_ = status;
    over_ = true;
    eventfd_write(wake_.get(), 1);
    thread_.join();
    if (!path_.empty()) unlink(path_.c_str());
}

void GdbServer::serve() {
    while (!over_) {
        // While a client is there, others wait in the queue.
        std::array<pollfd, 4> waiting = {{{wake_.get(), POLLIN, 0},
                                          {client_ ? -1 : listener_.get(), POLLIN, 0},
                                          {client_ ? client_.get() : -1, POLLIN, 0},
                                          {target_.stop_descriptor(), POLLIN, 0}}};
        if (poll(waiting.data(), waiting.size(), -1) < 0) continue;
        if (waiting[1].revents) accept_client();
        // The stop first: a Ctrl-C that comes with it must find the guest stopped.
        if (waiting[3].revents)
            if (const auto stop = target_.take_stop(); stop && session_ && session_->running())
                send_all(session_->stopped(*stop));
        if (waiting[2].revents) read_client();
    }
    if (session_) send_all(session_->ended(end_status_));
    client_.reset();
}

void GdbServer::accept_client() {
    client_ = UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client_) {
        // Without descriptors the client stays in the queue: not to be asked again at once.
        if (errno != EAGAIN && errno != EINTR) poll(nullptr, 0, 50);
        return;
    }
    // Of no use, and no harm, on a Unix socket.
    const int on = 1;
    setsockopt(client_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    target_.stop();
    session_.emplace(target_);
}

void GdbServer::read_client() {
    std::array<char, 4096> buffer;
    const ssize_t n = recv(client_.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return drop_client();
    const GdbSession::Answer answer = session_->receive({buffer.data(), static_cast<size_t>(n)});
    send_all(answer.bytes);
    if (answer.close && client_) {
        session_.reset();
        client_.reset();
    }
}

void GdbServer::send_all(std::string_view bytes) {
    while (!bytes.empty() && client_) {
        const ssize_t n = send(client_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n > 0) {
            bytes.remove_prefix(static_cast<size_t>(n));
            continue;
        }
        pollfd room = {client_.get(), POLLOUT, 0};
        const bool full = n < 0 && (errno == EAGAIN || errno == EINTR);
        if (!full || poll(&room, 1, kSendMilliseconds) <= 0) return drop_client();
    }
}

// A debugger that ended without a word leaves the guest as one that detached.
void GdbServer::drop_client() {
    client_.reset();
    session_.reset();
    if (!over_) target_.let_go();
}

}  // namespace perfvisor::vmm
