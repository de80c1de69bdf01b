// SPDX-License-Identifier: GPL-2.0-or-later
// Open-file-description locks on byte ranges.
#include "host/file_lock.h"

#include <fcntl.h>

#include <cerrno>

namespace perfvisor::host {
namespace {

static_assert(sizeof(off_t) == 8, "F_OFD_SETLK needs 64-bit offsets (_FILE_OFFSET_BITS=64)");

struct flock to_flock(short type, ByteRange range) {
    struct flock lock {};  // l_pid must be 0 for open-file-description locks.
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = range.start;
    lock.l_len = range.length;
    return lock;
}

short lock_type(LockKind kind) {
    return kind == LockKind::kShared ? F_RDLCK : F_WRLCK;
}

}  // namespace

int try_lock(int fd, LockKind kind, ByteRange range) {
    struct flock lock = to_flock(lock_type(kind), range);
    while (::fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        if (errno == EACCES) return EAGAIN;
        if (errno != EINTR) return errno;
    }
    return 0;
}

void unlock_all(int fd) {
    struct flock lock = to_flock(F_UNLCK, {0, 0});  // Length 0: to the end of all offsets.
    // Cannot fail, as nothing is split; a close() follows in any case.
    ::fcntl(fd, F_OFD_SETLK, &lock);
}

tl::expected<std::optional<FoundLock>, int> find_conflict(int fd, LockKind kind, ByteRange range) {
    struct flock lock = to_flock(lock_type(kind), range);
    while (::fcntl(fd, F_OFD_GETLK, &lock) != 0) {
        if (errno != EINTR) return tl::unexpected(errno);
    }
    if (lock.l_type == F_UNLCK) return std::nullopt;
    const LockKind found = lock.l_type == F_RDLCK ? LockKind::kShared : LockKind::kExclusive;
    const std::int64_t to_the_end = INT64_MAX - lock.l_start;
    const std::int64_t length = lock.l_len == 0 ? to_the_end : lock.l_len;
    return FoundLock{found, ByteRange{lock.l_start, length}};
}

}  // namespace perfvisor::host
