// SPDX-License-Identifier: GPL-2.0-or-later
// Open-file-description locks on byte ranges (fcntl(2), F_OFD_SETLK): the kernel drops them when
// the last descriptor of the description is closed, so also when the process dies in any way.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <optional>
#include <tl/expected.hpp>
#include <utility>

#include "base/unique_fd.h"

namespace perfvisor::host {

enum class LockKind {
    kShared,     // F_RDLCK; the descriptor must be open for reading.
    kExclusive,  // F_WRLCK; the descriptor must be open for writing.
};

// Bytes start … start + length - 1; they need not exist in the file.
struct ByteRange {
    std::int64_t start = 0;
    std::int64_t length = 1;
};

struct FoundLock {
    LockKind kind = LockKind::kShared;
    ByteRange range;
};

// Takes the lock in one atomic step, without waiting. 0, EAGAIN when another description holds a
// conflicting lock on any of the bytes (then nothing was taken), or another errno.
int try_lock(int fd, LockKind kind, ByteRange range);

// Drops all that this description holds, also where fork() has duplicated its descriptor.
void unlock_all(int fd);

// Some lock of another description that would keep `kind` from being taken, or nothing; an errno
// where the file system cannot tell. Any descriptor will do, also a read-only one.
tl::expected<std::optional<FoundLock>, int> find_conflict(int fd, LockKind kind, ByteRange range);

// A descriptor with the locks of its description. The locks go with the object, even if a child of
// fork() still has the descriptor. In such a child, the object does not take the parent's locks.
class LockedFd {
  public:
    explicit LockedFd(UniqueFd fd) : fd_(std::move(fd)) {}
    LockedFd(LockedFd&&) noexcept = default;
    LockedFd& operator=(LockedFd&& other) noexcept {
        if (this != &other) {
            drop();
            fd_ = std::move(other.fd_);
            locker_ = other.locker_;
        }
        return *this;
    }
    ~LockedFd() { drop(); }

    [[nodiscard]] int get() const { return fd_.get(); }

  private:
    void drop() {
        if (fd_ && ::getpid() == locker_) unlock_all(fd_.get());
        fd_.reset();
    }

    UniqueFd fd_;
    pid_t locker_ = ::getpid();
};

}  // namespace perfvisor::host
