// SPDX-License-Identifier: GPL-2.0-or-later
// Buffered writes.
#include "vmm/output.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace perfvisor::vmm {

constexpr size_t kBufferBytes = 4096;

Output::Output(int descriptor)
    : descriptor_(descriptor),
      at_once_(isatty(descriptor) != 0),
      pending_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Output::~Output() {
    flush();
}

void Output::write(std::span<const uint8_t> bytes) {
    const std::lock_guard lock(mutex_);
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    const bool line_ended = std::find(bytes.begin(), bytes.end(), '\n') != bytes.end();
    if (at_once_ || line_ended || buffer_.size() >= kBufferBytes) {
        write_out();
    } else if (!signalled_) {
        signalled_ = true;
        eventfd_write(pending_.get(), 1);
    }
}

void Output::flush() {
    const std::lock_guard lock(mutex_);
    if (signalled_) {
        eventfd_t count = 0;
        eventfd_read(pending_.get(), &count);
        signalled_ = false;
    }
    write_out();
}

void Output::write_out() {
    std::span<const uint8_t> rest = buffer_;
    while (!rest.empty()) {
        const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
        if (written >= 0) {
            rest = rest.subspan(static_cast<size_t>(written));
        } else if (errno == EAGAIN) {
            pollfd room = {descriptor_, POLLOUT, 0};
            poll(&room, 1, -1);
        } else if (errno != EINTR) {
            if (errno != EPIPE && error_ == 0) error_ = errno;
            break;
        }
    }
    buffer_.clear();
}

}  // namespace perfvisor::vmm
