// SPDX-License-Identifier: GPL-2.0-or-later
// The directory where running perfvisor processes meet: found by convention, and opened only when
// no other user can play tricks in it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "base/result.h"
#include "base/unique_fd.h"

namespace perfvisor::host {

struct RuntimeDirectoryOptions {
    std::string path;                            // As given by the user; empty: by convention.
    bool create = true;                          // false: look only, leave no trace.
    std::string system_path = "/run/perfvisor";  // Where the convention starts …
    std::string temporary_path = "/tmp";         // … and where it ends.
};

// By convention: the option, else $PERFVISOR_RUNTIME_DIR, else the system-wide /run/perfvisor if
// the user may write there (root makes it; for a group of users the administrator does, with that
// group and mode 2770), else $XDG_RUNTIME_DIR/perfvisor, else /tmp/perfvisor-UID.
//
// The directory itself must not be a symbolic link, must belong to root or the user, and must not
// be writable by everyone. If it is writable by its group, that group is trusted.
class RuntimeDirectory {
  public:
    static Result<RuntimeDirectory> open(const RuntimeDirectoryOptions& options);

    [[nodiscard]] const std::string& path() const { return path_; }
    // For openat() and its relatives (O_PATH); -1 when !exists().
    [[nodiscard]] int fd() const { return fd_.get(); }
    // False only with options.create == false: nothing is there yet.
    [[nodiscard]] bool exists() const { return static_cast<bool>(fd_); }
    [[nodiscard]] uid_t owner() const { return owner_; }
    [[nodiscard]] gid_t group() const { return group_; }
    [[nodiscard]] bool shared_with_group() const { return shared_with_group_; }
    [[nodiscard]] std::string file_path(std::string_view name) const;

  private:
    friend class RuntimeDirectoryFinder;

    std::string path_;
    UniqueFd fd_;
    uid_t owner_ = 0;
    gid_t group_ = 0;
    bool shared_with_group_ = false;
};

struct FileIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;

    friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

// A regular file of the runtime directory, opened safely: no symbolic link, FIFO or hard link to
// elsewhere, owned by somebody the directory trusts, not writable by everyone.
struct RuntimeFile {
    UniqueFd fd;
    FileIdentity identity;
    std::uint64_t size = 0;  // Bytes, when it was opened.
};

struct FileFailure {
    int error_number = 0;  // ENOENT, EACCES …; 0 when the file is there but not to be trusted.
    Error error;
};

// Who may do what with a file that is made: the mode in a directory of one user, and in one that
// is shared with a group.
struct FileModes {
    mode_t own = 0600;
    mode_t shared = 0660;
};

enum class FileAccess { kReadOnly, kReadWrite };

tl::expected<RuntimeFile, FileFailure> open_runtime_file(const RuntimeDirectory& directory,
                                                         std::string_view name, FileAccess access);

// Opens the file for reading and writing, and makes it, empty, if it is missing.
tl::expected<RuntimeFile, FileFailure> open_or_create_runtime_file(
    const RuntimeDirectory& directory, std::string_view name, FileModes modes);

// Sets mode and group of a file just made (or left half-made by a process that was killed).
void settle_modes(const RuntimeDirectory& directory, int fd, FileModes modes);

// Whether the name still leads to the file that was opened.
bool still_named(const RuntimeDirectory& directory, std::string_view name, FileIdentity file);

// Writes all bytes at an offset: 0 or an errno, EFBIG (without the signal) beyond RLIMIT_FSIZE.
int write_all_at(int fd, std::string_view bytes, std::int64_t offset);

}  // namespace perfvisor::host
