// SPDX-License-Identifier: GPL-2.0-or-later
// Monitor sockets in the runtime directory.
#include "vmm/monitor_socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <system_error>

namespace perfvisor::vmm {
namespace {

constexpr std::string_view kPrefix = "guest-", kSuffix = ".qmp";
constexpr int kBacklog = 16;
constexpr timeval kPatience{5, 0};

std::string errno_text(int error = errno) {
    return std::generic_category().message(error);
}

// By way of the directory's descriptor: no path is too long for sockaddr_un, and nothing that was
// moved or replaced since the directory was checked is followed.
sockaddr_un address_of(const host::RuntimeDirectory& directory, const std::string& name) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory.fd(),
                  name.c_str());
    return address;
}

std::optional<host::FileIdentity> identity_of(const host::RuntimeDirectory& directory,
                                              const std::string& name) {
    struct stat status = {};
    if (fstatat(directory.fd(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISSOCK(status.st_mode))
        return std::nullopt;
    return host::FileIdentity{status.st_dev, status.st_ino};
}

std::vector<std::string> socket_names(const host::RuntimeDirectory& directory) {
    std::vector<std::string> names;
    const int list = openat(directory.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (list < 0) return names;
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(fdopendir(list), closedir);
    if (!entries) {
        close(list);
        return names;
    }
    while (const dirent* entry = readdir(entries.get())) {
        const std::string_view name = entry->d_name;
        if (name.size() <= 64 && name.starts_with(kPrefix) && name.ends_with(kSuffix))
            names.emplace_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

// A connection, or the errno: ECONNREFUSED where nobody listens any more, EAGAIN where the queue is
// full and stays so for as long as `patience`.
UniqueFd connect_to(const host::RuntimeDirectory& directory, const std::string& name,
                    timeval patience, int& error) {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = address_of(directory, name);
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    error = 0;
    if (!fd ||
        connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        error = errno;
        fd.reset();
    } else {
        fcntl(fd.get(), F_SETFL, O_NONBLOCK);
    }
    return fd;
}

// A socket is named only once it listens, so one that refuses is dead. Its name may be a new one's
// by now (of a process with the same PID); that one has another inode.
void remove_leftovers(const host::RuntimeDirectory& directory) {
    for (const std::string& name : socket_names(directory)) {
        const auto before = identity_of(directory, name);
        int error = 0;
        connect_to(directory, name, {0, 1000}, error);
        if (before && error == ECONNREFUSED && identity_of(directory, name) == before)
            unlinkat(directory.fd(), name.c_str(), 0);
    }
}

// Gives the socket the first free name. PIDs may be the same in two containers.
Result<std::string> name_socket(const host::RuntimeDirectory& directory,
                                const std::string& temporary) {
    constexpr int kTries = 100;
    for (int n = 1; n <= kTries; ++n) {
        const std::string name = n == 1 ? fmt::format("{}{}{}", kPrefix, getpid(), kSuffix)
                                        : fmt::format("{}{}-{}{}", kPrefix, getpid(), n, kSuffix);
        if (renameat2(directory.fd(), temporary.c_str(), directory.fd(), name.c_str(),
                      RENAME_NOREPLACE) == 0)
            return name;
        if (errno != EEXIST)
            return fail("monitor: {} cannot be made: {}", directory.file_path(name), errno_text());
    }
    return fail("monitor: {} names for a socket in {} are taken", kTries, directory.path());
}

}  // namespace

Result<MonitorSocket> MonitorSocket::listen(const host::RuntimeDirectory& directory) {
    remove_leftovers(directory);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail("monitor: no socket to be had: {}", errno_text());
    const std::string temporary =
        fmt::format(".monitor-{}-{:08x}", getpid(), std::random_device{}());
    const sockaddr_un address = address_of(directory, temporary);
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return fail("monitor: no socket can be made in {}: {}", directory.path(), errno_text());
    // Nobody can connect before listen(), so there is no moment with the wrong mode.
    const mode_t mode = directory.shared_with_group() ? 0660 : 0600;
    const bool ready = (!directory.shared_with_group() ||
                        fchownat(directory.fd(), temporary.c_str(), static_cast<uid_t>(-1),
                                 directory.group(), AT_SYMLINK_NOFOLLOW) == 0) &&
                       fchmodat(directory.fd(), temporary.c_str(), mode, 0) == 0 &&
                       ::listen(fd.get(), kBacklog) == 0;
    const int error = errno;
    const auto identity = identity_of(directory, temporary);
    auto name = ready && identity
                    ? name_socket(directory, temporary)
                    : Result<std::string>(fail("monitor: the socket in {} cannot be set up: {}",
                                               directory.path(), errno_text(error)));
    if (name) return MonitorSocket(directory, std::move(fd), *name, *identity);
    unlinkat(directory.fd(), temporary.c_str(), 0);
    return tl::unexpected(name.error());
}

MonitorSocket::~MonitorSocket() {
    if (!descriptor_) return;  // moved from
    if (identity_of(*directory_, name_) == identity_) unlinkat(directory_->fd(), name_.c_str(), 0);
}

Result<std::vector<MonitorConnection>> connect_monitors(const host::RuntimeDirectory& directory) {
    std::vector<MonitorConnection> connections;
    if (!directory.exists()) return connections;
    for (std::string& name : socket_names(directory)) {
        int error = 0;
        UniqueFd fd = connect_to(directory, name, kPatience, error);
        if (fd)
            connections.push_back({std::move(name), std::move(fd)});
        else if (error != ECONNREFUSED && error != ENOENT)
            return fail("{}: {}", directory.file_path(name), errno_text(error));
    }
    return connections;
}

}  // namespace perfvisor::vmm
