// SPDX-License-Identifier: GPL-2.0-or-later
// Where the guest's bytes go: a terminal at once, anything else in lines. A reader that went away
// loses the rest, and only that; any other error is kept.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "base/unique_fd.h"

namespace perfvisor::vmm {

// Thread-safe. Bytes that do not end a line wait for flush(), which the main loop calls soon after
// pending() became readable.
class Output {
  public:
    // `descriptor` stays the caller's.
    explicit Output(int descriptor);
    ~Output();
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;

    void write(std::span<const uint8_t> bytes);
    void flush();
    // What kept bytes from being written, as errno has it; 0: nothing, or that nobody reads.
    int error() const { return error_; }
    // Readable while unfinished lines wait; reading it is flush()'s.
    int pending() const { return pending_.get(); }

  private:
    void write_out();

    std::mutex mutex_;
    int descriptor_;
    bool at_once_;
    bool signalled_ = false;
    std::atomic<int> error_{0};
    UniqueFd pending_;
    std::vector<uint8_t> buffer_;
};

}  // namespace perfvisor::vmm
