// SPDX-License-Identifier: GPL-2.0-or-later
// The machine's performance monitor belongs to the guests or to host users, never to both.
//
// What decides is one lock on the bytes 0 … kHostBytes-1 of the lock file, taken in one atomic
// step: a guest takes all of them shared, a host user takes one of them exclusively. So guests
// share, host users share, and the two classes exclude each other, without any counting.
#include "host/perfmon_reservation.h"

#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <tuple>

namespace perfvisor::host {
namespace {

constexpr std::string_view kLockFileName = "perfmon.lock";
// Not readable by others: whoever can read a file can put shared locks on it.
constexpr FileModes kLockFileModes{0600, 0660};
// At least one byte for each host user.
constexpr int kHostBytes = 65536;
constexpr ByteRange kThePerfmon{0, kHostBytes};
// Only files being made, removed or replaced under our hands cause another attempt.
constexpr int kAttempts = 50;

tl::unexpected<ReserveError> environment_error(Error error) {
    return tl::unexpected(ReserveError{ReserveError::Kind::kEnvironment, std::move(error), {}});
}

tl::unexpected<ReserveError> lock_error(const RuntimeDirectory& directory, int error_number) {
    return environment_error(Error{fmt::format(
        "cannot lock {}: {}", directory.file_path(kLockFileName), std::strerror(error_number))});
}

void wait_a_moment() {
    const timespec moment{0, 1'000'000};
    ::nanosleep(&moment, nullptr);
}

// The whole content of a lock file. With its inode number in it, a file that was copied or moved
// to this place from elsewhere is not taken for the one that running holders have locked.
std::string lock_file_stamp(const RuntimeFile& file) {
    return fmt::format("perfvisor performance monitor lock 1, inode {}\n", file.identity.inode);
}

enum class Stamp { kValid, kUnfinished, kForeign };

Stamp check_stamp(const RuntimeFile& file) {
    const std::string expected = lock_file_stamp(file);
    std::string content(expected.size() + 1, '\0');
    const ssize_t length = ::pread(file.fd.get(), content.data(), content.size(), 0);
    if (length < 0) return Stamp::kForeign;
    content.resize(static_cast<std::size_t>(length));
    if (content == expected) return Stamp::kValid;
    return expected.starts_with(content) ? Stamp::kUnfinished : Stamp::kForeign;
}

Error foreign_lock_file(const RuntimeDirectory& directory) {
    return Error{fmt::format(
        "{} is damaged or was copied here: it is not the lock file that perfvisor made; remove it",
        directory.file_path(kLockFileName))};
}

// Makes a new lock file valid. Whoever finds it unfinished does this, and all write the same.
//
// It must not become valid while a holder's lock is on another file that had this name before.
// Such a holder is on the list, because it published before it last looked what the name leads to.
// False: there is one (or a process that was quicker to finish this file, and holds already).
tl::expected<bool, ReserveError> finish_lock_file(const RuntimeDirectory& directory,
                                                  const RuntimeFile& file) {
    const auto holder = anyone_published(directory);
    if (!holder) return environment_error(holder.error());
    if (*holder) return false;
    settle_modes(directory, file.fd.get(), kLockFileModes);
    const int error = write_all_at(file.fd.get(), lock_file_stamp(file), 0);
    if (error != 0) {
        return environment_error(Error{fmt::format(
            "cannot write {}: {}", directory.file_path(kLockFileName), std::strerror(error))});
    }
    return true;
}

ReserveError removed_under_holders(const RuntimeDirectory& directory) {
    const auto holders = published_holders(directory);
    const std::string who = holders ? describe(*holders) : "somebody";
    return {ReserveError::Kind::kEnvironment,
            Error{fmt::format("{} was removed or replaced while {} held the performance monitor; "
                              "it can be reserved again when no such holder is left",
                              directory.file_path(kLockFileName), who)},
            {}};
}

// A valid lock file.
tl::expected<RuntimeFile, ReserveError> open_lock_file(const RuntimeDirectory& directory) {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        if (attempt > 0) wait_a_moment();
        auto file = open_or_create_runtime_file(directory, kLockFileName, kLockFileModes);
        if (!file) {
            // A member of the group may be about to give the group access to a file just made.
            const bool may_come = file.error().error_number == EACCES &&
                                  directory.shared_with_group() && attempt + 1 < kAttempts;
            if (may_come) continue;
            return environment_error(file.error().error);
        }
        switch (check_stamp(*file)) {
            case Stamp::kValid:
                return std::move(*file);
            case Stamp::kForeign:
                return environment_error(foreign_lock_file(directory));
            case Stamp::kUnfinished: {
                const auto finished = finish_lock_file(directory, *file);
                if (!finished) return tl::unexpected(finished.error());
                if (*finished) return std::move(*file);
            }
        }
    }
    return tl::unexpected(removed_under_holders(directory));
}

// One of the bytes, exclusively: 0, EAGAIN if guests hold them, or another errno. The search starts
// at the slot of the user's record, a byte that nobody else uses as long as all have records.
int lock_for_host(int fd, int first) {
    for (int tried = 0; tried < kHostBytes;) {
        const ByteRange byte{(first + tried) % kHostBytes, 1};
        const int error = try_lock(fd, LockKind::kExclusive, byte);
        if (error != EAGAIN) return error;
        const auto found = find_conflict(fd, LockKind::kExclusive, byte);
        if (!found) return found.error();
        if (!found->has_value()) continue;  // Just released.
        if ((*found)->kind == LockKind::kShared) return EAGAIN;
        ++tried;  // Another host user's.
    }
    return ENOLCK;
}

int lock_for(HolderClass holder_class, int fd, const HolderRecord& record) {
    if (holder_class == HolderClass::kGuest) return try_lock(fd, LockKind::kShared, kThePerfmon);
    return lock_for_host(fd, record.slot().value_or(0));
}

std::vector<HolderInfo> only(HolderClass holder_class, std::vector<HolderInfo> holders) {
    std::erase_if(holders,
                  [&](const HolderInfo& info) { return info.holder_class != holder_class; });
    std::sort(holders.begin(), holders.end(), [](const HolderInfo& a, const HolderInfo& b) {
        return std::tie(a.since, a.pid, a.name) < std::tie(b.since, b.pid, b.name);
    });
    return holders;
}

// Those of the other class: records of our own class may be of processes that are still trying.
tl::unexpected<ReserveError> busy_error(const RuntimeDirectory& directory, HolderClass wanted_for) {
    const HolderClass other =
        wanted_for == HolderClass::kGuest ? HolderClass::kHost : HolderClass::kGuest;
    std::vector<HolderInfo> holders =
        only(other, published_holders(directory).value_or(std::vector<HolderInfo>{}));
    Error error{fmt::format("the performance monitor is held by {}", describe(holders))};
    return tl::unexpected(
        ReserveError{ReserveError::Kind::kBusy, std::move(error), std::move(holders)});
}

// Nothing where the lock file cannot tell: no access to it, or the one that holders have locked was
// removed.
Result<std::optional<PerfmonState>> state_by_lock(const RuntimeDirectory& directory) {
    const auto file = open_runtime_file(directory, kLockFileName, FileAccess::kReadOnly);
    if (!file) {
        const int error = file.error().error_number;
        if (error == ENOENT || error == EACCES) return std::nullopt;
        return tl::unexpected(file.error().error);
    }
    switch (check_stamp(*file)) {
        case Stamp::kForeign:
            return tl::unexpected(foreign_lock_file(directory));
        case Stamp::kUnfinished:
            return std::nullopt;
        case Stamp::kValid:
            break;
    }
    const auto found = find_conflict(file->fd.get(), LockKind::kExclusive, kThePerfmon);
    if (!found) return tl::unexpected(lock_error(directory, found.error()).value().error);
    if (!found->has_value()) return PerfmonState::kFree;
    return (*found)->kind == LockKind::kShared ? PerfmonState::kGuest : PerfmonState::kHost;
}

PerfmonState state_by_list(const std::vector<HolderInfo>& listed) {
    if (listed.empty()) return PerfmonState::kFree;
    const bool guest = listed.front().holder_class == HolderClass::kGuest;
    return guest ? PerfmonState::kGuest : PerfmonState::kHost;
}

}  // namespace

Result<PerfmonRegistry> PerfmonRegistry::open(const RuntimeDirectoryOptions& options) {
    auto directory = RuntimeDirectory::open(options);
    if (!directory) return tl::unexpected(directory.error());
    return PerfmonRegistry(std::move(*directory));
}

tl::expected<Reservation, ReserveError> PerfmonRegistry::reserve_for_guest(HolderInfo guest) const {
    guest.holder_class = HolderClass::kGuest;
    return reserve(std::move(guest));
}

tl::expected<Reservation, ReserveError> PerfmonRegistry::reserve_for_host(HolderInfo user) const {
    user.holder_class = HolderClass::kHost;
    return reserve(std::move(user));
}

// Published first and locked second, so that everyone who holds is always on the list. (Who is on
// the list but is refused is there for a moment only, and is told apart by its class.)
tl::expected<Reservation, ReserveError> PerfmonRegistry::reserve(HolderInfo holder) const {
    holder.since = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        auto lock = open_lock_file(directory_);
        if (!lock) return tl::unexpected(lock.error());
        auto record = HolderRecord::publish(directory_, holder);
        if (!record) return environment_error(record.error().error);

        const int error = lock_for(holder.holder_class, lock->fd.get(), *record);
        // What was locked counts only if everybody else, too, is led to it.
        if (!still_named(directory_, kLockFileName, lock->identity) ||
            !record->still_in(directory_)) {
            continue;
        }
        if (error == EAGAIN) return busy_error(directory_, holder.holder_class);
        if (error != 0) return lock_error(directory_, error);
        return Reservation(std::move(holder), std::move(*record), std::move(*lock));
    }
    return environment_error(
        Error{fmt::format("the files of {} keep being removed or replaced", directory_.path())});
}

Result<PerfmonStatus> PerfmonRegistry::status() const {
    PerfmonStatus status;
    // Whoever holds is on the list; if nobody is, the holder went away between the two looks.
    for (int attempt = 0; attempt < 3 && status.holders.empty(); ++attempt) {
        const auto state = state_by_lock(directory_);
        if (!state) return tl::unexpected(state.error());
        auto listed = published_holders(directory_);
        if (!listed) return tl::unexpected(listed.error());
        status.state = state->has_value() ? **state : state_by_list(*listed);
        if (status.state == PerfmonState::kFree) break;
        const bool guests = status.state == PerfmonState::kGuest;
        status.holders =
            only(guests ? HolderClass::kGuest : HolderClass::kHost, std::move(*listed));
    }
    return status;
}

}  // namespace perfvisor::host
