// SPDX-License-Identifier: GPL-2.0-or-later
// A runtime directory for one test, and child processes that work in it on command.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "host/perfmon_reservation.h"

namespace perfvisor::host {

// Removed with all that is in it.
class TemporaryDirectory {
  public:
    TemporaryDirectory();
    ~TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
    [[nodiscard]] std::vector<std::string> entries() const;  // Sorted.

  private:
    std::string path_;
};

RuntimeDirectoryOptions at(const std::string& path);

// The registry of a directory; the test fails if there is none.
PerfmonRegistry open_registry(const std::string& path);

HolderInfo named(const std::string& name);

tl::expected<Reservation, ReserveError> reserve(const PerfmonRegistry& registry,
                                                HolderClass holder_class,
                                                const std::string& name = "test");

// The status, without what differs from run to run: "guest a b", the names sorted, or "free".
std::string brief_status(const PerfmonRegistry& registry);

void write_file(const std::string& path, const std::string& content);
std::string read_file(const std::string& path);
int open_descriptors();  // Of this process.

// Runs `body` in a child process; the child's gtest failures, or its death, fail the caller's test.
void run_in_child(const std::function<void()>& body);
// The same as user and group `id` without any other groups than `groups`; needs root.
void run_as_user(uid_t id, const std::function<void()>& body,
                 const std::vector<gid_t>& groups = {});
bool is_root();

enum class Outcome : int { kOk, kBusy, kError };

struct Reply {
    Outcome outcome = Outcome::kError;
    int holders = 0;      // If busy: how many were named …
    pid_t first_pid = 0;  // … and one of them.
    HolderClass first_class = HolderClass::kGuest;
    char message[256] = {};
};

// A child process that reserves and releases on command. Dies with the test.
class Worker {
  public:
    static constexpr int kPlaces = 4;  // Reservations it can have at a time.

    explicit Worker(const std::string& directory);
    ~Worker();
    Worker(Worker&& other) noexcept;
    Worker& operator=(Worker&& other) noexcept;

    Reply reserve(HolderClass holder_class, int place, const std::string& name);
    Reply release(int place);
    // Releases and reserves afresh, as a guest does that is reset.
    Reply reset(HolderClass holder_class, int place, const std::string& name);
    void exit_now();  // By _exit(), with all reservations it has.
    void kill_now();  // By SIGKILL, wherever it is.

    // reserve() in two halves, so that several workers do it at once.
    void post_reserve(HolderClass holder_class, int place, const std::string& name);
    Reply wait_for_reply();

    [[nodiscard]] pid_t pid() const { return pid_; }

  private:
    struct Command;
    void post(const Command& command);
    Reply call(const Command& command);
    void reap();

    pid_t pid_ = -1;
    UniqueFd socket_;
};

}  // namespace perfvisor::host
