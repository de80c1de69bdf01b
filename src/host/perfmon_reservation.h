// SPDX-License-Identifier: GPL-2.0-or-later
// The machine's performance monitor belongs to the guests or to host users, never to both: the
// kernel's reserve_pmc_hardware() / release_pmc_hardware() for all processes that share a runtime
// directory. The protocol is in docs/reservation.md.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "base/result.h"
#include "host/file_lock.h"
#include "host/holder_records.h"
#include "host/runtime_directory.h"

namespace perfvisor::host {

enum class PerfmonState {
    kFree,
    kHost,   // One or more host users share it.
    kGuest,  // One or more guests share it.
};

struct PerfmonStatus {
    PerfmonState state = PerfmonState::kFree;
    std::vector<HolderInfo> holders;  // All of the class that `state` names, the oldest first.
};

struct ReserveError {
    enum class Kind {
        kBusy,         // The other class holds it: −EBUSY. Nothing has changed.
        kEnvironment,  // Directory, file or lock could not be used: says nothing about holders.
    };
    Kind kind = Kind::kEnvironment;
    Error error;                      // One sentence; if busy, it names who holds it.
    std::vector<HolderInfo> holders;  // If busy: who held it when that was found out.

    [[nodiscard]] bool busy() const { return kind == Kind::kBusy; }
};

// Holds the performance monitor while it lives. The kernel lets go of it when the process dies, in
// whatever way. Its descriptors are closed by exec(). A child of fork() that does not exec keeps
// the reservation alive if its parent dies without destroying it, and cannot end it otherwise.
class Reservation {
  public:
    [[nodiscard]] const HolderInfo& holder() const { return holder_; }

  private:
    friend class PerfmonRegistry;
    Reservation(HolderInfo holder, HolderRecord record, RuntimeFile lock)
        : holder_(std::move(holder)), record_(std::move(record)), lock_(std::move(lock.fd)) {}

    HolderInfo holder_;
    HolderRecord record_;
    LockedFd lock_;  // Last, to go first: who holds is on the list.
};

// Where reservations are made: a runtime directory. Stateless, so safe to use from several threads;
// reservations outlive it.
class PerfmonRegistry {
  public:
    // With options.create == false nothing is made in the file system, for status() alone.
    static Result<PerfmonRegistry> open(const RuntimeDirectoryOptions& options = {});

    // free → guest(1), guest(N) → guest(N+1), host → busy. Neither waits for a holder.
    tl::expected<Reservation, ReserveError> reserve_for_guest(HolderInfo guest) const;
    // free → host, host → host (host users share), guest(N) → busy.
    tl::expected<Reservation, ReserveError> reserve_for_host(HolderInfo user) const;

    // Needs no more than to enter the directory and read the list of holders. Then, without access
    // to the lock file, the state is that of the holders listed.
    [[nodiscard]] Result<PerfmonStatus> status() const;

    [[nodiscard]] const RuntimeDirectory& directory() const { return directory_; }

  private:
    explicit PerfmonRegistry(RuntimeDirectory directory) : directory_(std::move(directory)) {}

    tl::expected<Reservation, ReserveError> reserve(HolderInfo holder) const;

    RuntimeDirectory directory_;
};

}  // namespace perfvisor::host
