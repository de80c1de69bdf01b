// SPDX-License-Identifier: GPL-2.0-or-later
// Who holds the performance monitor, for people to read: one record per holder in a file that
// everyone may read. Records inform, they never decide: the lock file does (perfmon_reservation.h).
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/file_lock.h"
#include "host/runtime_directory.h"

namespace perfvisor::host {

enum class HolderClass { kGuest, kHost };

struct HolderInfo {
    HolderClass holder_class = HolderClass::kGuest;
    pid_t pid = ::getpid();  // As the holder's PID namespace numbers it; information only.
    std::string name;        // The guest's name, or the host user's command; at most 160 bytes.
    std::chrono::sys_seconds since{};  // Set by the reservation.

    friend bool operator==(const HolderInfo&, const HolderInfo&) = default;
};

inline constexpr std::string_view kHoldersFileName = "perfmon.holders";
inline constexpr std::size_t kRecordBytes = 256;
inline constexpr std::size_t kMaxNameBytes = 160;
// Room for so many records; further holders hold without being listed.
inline constexpr int kRecordSlots = 4096;

using RecordBytes = std::array<char, kRecordBytes>;

// One line of text, "checksum class pid since name", padded with NULs: the same for every byte
// order and word size. Control characters in the name become '?', a long name is cut.
RecordBytes encode_record(const HolderInfo& info);
// Nothing if the bytes are not a whole record (garbage, or a write in progress).
std::optional<HolderInfo> decode_record(std::string_view bytes);

// "guest 'demo' (PID 4711) since 2026-01-31 10:20:30", local time.
std::string describe(const HolderInfo& holder);
std::string describe(const std::vector<HolderInfo>& holders);

// This process's entry among the holders; gone with the object or the process.
class HolderRecord {
  public:
    // An error if the record cannot be written. Without a slot() if none is free.
    static tl::expected<HolderRecord, FileFailure> publish(const RuntimeDirectory& directory,
                                                           const HolderInfo& info);
    [[nodiscard]] std::optional<int> slot() const { return slot_; }
    [[nodiscard]] bool still_in(const RuntimeDirectory& directory) const;

  private:
    HolderRecord(RuntimeFile file, std::optional<int> slot)
        : identity_(file.identity), fd_(std::move(file.fd)), slot_(slot) {}

    FileIdentity identity_;
    LockedFd fd_;
    std::optional<int> slot_;
};

// All published records, in no order; a record that cannot be read is left out. Needs no more than
// read access, and disturbs nobody. Missing file: none.
Result<std::vector<HolderInfo>> published_holders(const RuntimeDirectory& directory);

// Whether any record is published, readable or not.
Result<bool> anyone_published(const RuntimeDirectory& directory);

}  // namespace perfvisor::host
