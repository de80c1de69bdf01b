// SPDX-License-Identifier: GPL-2.0-or-later
// A file the user named as kernel, initrd or device tree, read in pieces where it is needed.
#include "machine/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace perfvisor::machine {

namespace {

std::string reason(int error) {
    return std::generic_category().message(error);
}

}  // namespace

Result<InputFile> InputFile::open(const std::string& role, const std::filesystem::path& path) {
    std::string label = fmt::format("{} {}", role, path.string());
    // Non-blocking, so that a FIFO without a writer is refused instead of waited for.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        const int error = errno;
        if (error == ENOENT) return fail("{} does not exist", label);
        return fail("{} cannot be opened: {}", label, reason(error));
    }
    InputFile file(std::move(label), descriptor);
    struct stat status {};
    if (fstat(descriptor, &status) != 0) {
        return fail("{} cannot be examined: {}", file.label_, reason(errno));
    }
    if (S_ISDIR(status.st_mode)) return fail("{} is a directory, not a file", file.label_);
    if (!S_ISREG(status.st_mode)) return fail("{} is not a regular file", file.label_);
    if (status.st_size == 0) return fail("{} is empty", file.label_);
    file.size_ = static_cast<uint64_t>(status.st_size);
    return file;
}

InputFile::InputFile(InputFile&& other) noexcept
    : label_(std::move(other.label_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

InputFile::~InputFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

Result<void> InputFile::read(uint64_t offset, std::span<uint8_t> out) const {
    constexpr size_t kAtMost = size_t{1} << 30;  // Linux reads no more than 2 GiB at a time.
    while (!out.empty()) {
        const ssize_t got = ::pread(descriptor_, out.data(), std::min(out.size(), kAtMost),
                                    static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail("{} cannot be read: {}", label_, reason(errno));
        if (got == 0) return fail("{} is truncated: it ends at byte {}", label_, offset);
        offset += static_cast<uint64_t>(got);
        out = out.subspan(static_cast<size_t>(got));
    }
    return {};
}

}  // namespace perfvisor::machine
