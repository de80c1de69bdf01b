// SPDX-License-Identifier: GPL-2.0-or-later
// The directory where running perfvisor processes meet.
#include "host/runtime_directory.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

namespace perfvisor::host {

std::string RuntimeDirectory::file_path(std::string_view name) const {
    return fmt::format("{}/{}", path_, name);
}

// Tries the places of the convention one after the other.
class RuntimeDirectoryFinder {
  public:
    explicit RuntimeDirectoryFinder(const RuntimeDirectoryOptions& options) : options_(options) {}

    Result<RuntimeDirectory> find() {
        if (!options_.path.empty()) return only(options_.path);
        if (const char* from_environment = ::secure_getenv("PERFVISOR_RUNTIME_DIR");
            from_environment != nullptr && *from_environment != '\0') {
            return only(from_environment);
        }
        for (const Candidate& candidate : candidates()) {
            Attempt attempt = try_open(candidate.path, candidate.mode);
            if (attempt.directory) return std::move(*attempt.directory);
            // Where the user may not, the next place is tried. But a place that somebody else has
            // prepared is reported: to pass it by would split the machine in two unnoticed.
            if (!attempt.forbidden) return tl::unexpected(attempt.error);
            last_error_ = attempt.error;
        }
        return tl::unexpected(last_error_);
    }

  private:
    struct Candidate {
        std::string path;
        mode_t mode;
    };
    struct Attempt {
        std::optional<RuntimeDirectory> directory;
        bool forbidden = false;
        Error error;
    };

    [[nodiscard]] std::vector<Candidate> candidates() const {
        std::vector<Candidate> list;
        const bool is_root = ::geteuid() == 0;
        if (is_root ||
            ::faccessat(AT_FDCWD, options_.system_path.c_str(), W_OK | X_OK, AT_EACCESS) == 0) {
            list.push_back({options_.system_path, 0755});
        }
        const char* xdg = ::secure_getenv("XDG_RUNTIME_DIR");
        if (xdg != nullptr && *xdg == '/') {  // The XDG specification: relative paths are ignored.
            list.push_back({fmt::format("{}/perfvisor", xdg), 0700});
        }
        list.push_back(
            {fmt::format("{}/perfvisor-{}", options_.temporary_path, ::geteuid()), 0700});
        return list;
    }

    [[nodiscard]] Result<RuntimeDirectory> only(const std::string& path) const {
        Attempt attempt = try_open(path, 0700);
        if (attempt.directory) return std::move(*attempt.directory);
        return tl::unexpected(attempt.error);
    }

    static Attempt refused(int error_number, std::string message) {
        const bool forbidden = error_number == EACCES || error_number == EPERM ||
                               error_number == EROFS || error_number == ENOENT;
        return {std::nullopt, forbidden, Error{std::move(message)}};
    }

    [[nodiscard]] Attempt try_open(const std::string& path, mode_t mode) const {
        if (options_.create && ::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) {
            return refused(errno, fmt::format("cannot make the runtime directory {}: {}", path,
                                              std::strerror(errno)));
        }
        RuntimeDirectory directory;
        directory.path_ = path;
        // O_PATH: a directory that others may enter but not list is fine.
        directory.fd_ =
            UniqueFd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!directory.fd_) {
            const int error_number = errno;
            if (error_number == ENOENT && !options_.create) {
                return missing(std::move(directory));
            }
            const bool not_a_directory = error_number == ENOTDIR || error_number == ELOOP;
            return refused(error_number,
                           fmt::format("cannot use the runtime directory {}: {}", path,
                                       not_a_directory ? "it is a symbolic link or not a directory"
                                                       : std::strerror(error_number)));
        }
        return checked(std::move(directory));
    }

    // Nothing there yet, and nothing is to be made: it counts as empty if it could be made.
    static Attempt missing(RuntimeDirectory directory) {
        const std::size_t slash = directory.path_.find_last_of('/');
        const std::string parent = slash == std::string::npos ? "."
                                   : slash == 0               ? "/"
                                                              : directory.path_.substr(0, slash);
        if (::faccessat(AT_FDCWD, parent.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
            return refused(errno, fmt::format("cannot use the runtime directory {}: {}",
                                              directory.path_, std::strerror(errno)));
        }
        return {std::move(directory), false, {}};
    }

    static Attempt checked(RuntimeDirectory directory) {
        struct stat status {};
        if (::fstat(directory.fd(), &status) != 0) {
            return refused(errno, fmt::format("cannot examine the runtime directory {}: {}",
                                              directory.path_, std::strerror(errno)));
        }
        if (status.st_uid != 0 && status.st_uid != ::geteuid()) {
            return refused(0, fmt::format("the runtime directory {} belongs to user {}; it must "
                                          "belong to root or to user {}",
                                          directory.path_, status.st_uid, ::geteuid()));
        }
        if ((status.st_mode & S_IWOTH) != 0) {
            return refused(0, fmt::format("the runtime directory {} is writable by everyone; use "
                                          "one that only its owner or a group may write (chmod "
                                          "o-w)",
                                          directory.path_));
        }
        directory.owner_ = status.st_uid;
        directory.group_ = status.st_gid;
        directory.shared_with_group_ = (status.st_mode & S_IWGRP) != 0;
        return {std::move(directory), false, {}};
    }

    const RuntimeDirectoryOptions& options_;
    Error last_error_;
};

Result<RuntimeDirectory> RuntimeDirectory::open(const RuntimeDirectoryOptions& options) {
    return RuntimeDirectoryFinder(options).find();
}

namespace {

tl::unexpected<FileFailure> file_failure(int error_number, const std::string& path) {
    const char* reason = std::strerror(error_number);
    if (error_number == ELOOP) reason = "it is a symbolic link";
    if (error_number == EISDIR) reason = "it is a directory; remove it";
    return tl::unexpected(
        FileFailure{error_number, Error{fmt::format("cannot open {}: {}", path, reason)}});
}

tl::unexpected<FileFailure> untrusted(const std::string& path, const char* reason) {
    return tl::unexpected(
        FileFailure{0, Error{fmt::format("{} is not to be trusted: {}", path, reason)}});
}

FileIdentity identity_of(const struct stat& status) {
    return {status.st_dev, status.st_ino};
}

tl::expected<RuntimeFile, FileFailure> checked_file(const RuntimeDirectory& directory,
                                                    std::string_view name, UniqueFd fd) {
    const std::string path = directory.file_path(name);
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return file_failure(errno, path);
    if (S_ISDIR(status.st_mode)) return file_failure(EISDIR, path);
    if (!S_ISREG(status.st_mode)) return untrusted(path, "it is not a regular file; remove it");
    // A hard link would let somebody aim our writes at a file elsewhere. (0: just being removed.)
    if (status.st_nlink > 1) return untrusted(path, "it has another hard link; remove it");
    if ((status.st_mode & S_IWOTH) != 0) {
        return untrusted(path, "it is writable by everyone; chmod o-w it");
    }
    const bool by_group = directory.shared_with_group() && status.st_gid == directory.group();
    if (status.st_uid != 0 && status.st_uid != ::geteuid() && status.st_uid != directory.owner() &&
        !by_group) {
        return untrusted(path, "it belongs to another user; remove it");
    }
    return RuntimeFile{std::move(fd), identity_of(status),
                       static_cast<std::uint64_t>(status.st_size)};
}

// O_NONBLOCK: the open of a FIFO must not wait.
constexpr int kSafely = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

}  // namespace

tl::expected<RuntimeFile, FileFailure> open_runtime_file(const RuntimeDirectory& directory,
                                                         std::string_view name, FileAccess access) {
    if (!directory.exists()) return file_failure(ENOENT, directory.path());
    const std::string file(name);
    const int flags = (access == FileAccess::kReadOnly ? O_RDONLY : O_RDWR) | kSafely;
    UniqueFd fd(::openat(directory.fd(), file.c_str(), flags));
    if (!fd) return file_failure(errno, directory.file_path(name));
    return checked_file(directory, name, std::move(fd));
}

tl::expected<RuntimeFile, FileFailure> open_or_create_runtime_file(
    const RuntimeDirectory& directory, std::string_view name, FileModes modes) {
    const std::string file(name);
    for (int attempt = 0; attempt < 16; ++attempt) {
        auto opened = open_runtime_file(directory, name, FileAccess::kReadWrite);
        if (opened || opened.error().error_number != ENOENT) return opened;
        UniqueFd fd(
            ::openat(directory.fd(), file.c_str(), O_RDWR | O_CREAT | O_EXCL | kSafely, modes.own));
        if (fd) {
            settle_modes(directory, fd.get(), modes);
            return checked_file(directory, name, std::move(fd));
        }
        if (errno != EEXIST) {
            return tl::unexpected(FileFailure{
                errno, Error{fmt::format("cannot create {}: {}", directory.file_path(name),
                                         std::strerror(errno))}});
        }
    }
    return tl::unexpected(
        FileFailure{0, Error{fmt::format("{} keeps being removed", directory.file_path(name))}});
}

void settle_modes(const RuntimeDirectory& directory, int fd, FileModes modes) {
    struct stat status {};
    if (::fstat(fd, &status) != 0 || status.st_uid != ::geteuid()) return;
    mode_t mode = modes.own;
    if (directory.shared_with_group()) {
        const bool in_group = status.st_gid == directory.group() ||
                              ::fchown(fd, static_cast<uid_t>(-1), directory.group()) == 0;
        if (in_group) mode = modes.shared;
    }
    // The sticky bit keeps periodic clean-ups away (XDG Base Directory specification).
    ::fchmod(fd, mode | S_ISVTX);
}

bool still_named(const RuntimeDirectory& directory, std::string_view name, FileIdentity file) {
    struct stat status {};
    const std::string path(name);
    return ::fstatat(directory.fd(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           identity_of(status) == file;
}

int write_all_at(int fd, std::string_view bytes, std::int64_t offset) {
    struct rlimit limit {};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < static_cast<rlim_t>(offset) + bytes.size()) {
        return EFBIG;  // The write would raise SIGXFSZ, which kills.
    }
    while (!bytes.empty()) {
        const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), offset);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return written < 0 ? errno : EIO;
        bytes.remove_prefix(static_cast<std::size_t>(written));
        offset += written;
    }
    return 0;
}

}  // namespace perfvisor::host
