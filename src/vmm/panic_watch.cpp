// SPDX-License-Identifier: GPL-2.0-or-later
// Linux's last words (kernel/panic.c).
#include "vmm/panic_watch.h"

namespace perfvisor::vmm {

void PanicWatch::receive(std::span<const uint8_t> bytes) {
    if (!panic_.empty()) return;
    for (const uint8_t byte : bytes) {
        if (byte == '\n')
            end_line();
        else if (line_.size() < kMost)
            line_.push_back(byte >= ' ' && byte <= '~' ? static_cast<char>(byte) : ' ');
    }
}

// Behind a time stamp, or other words of the line's.
void PanicWatch::end_line() {
    if (const size_t at = line_.find("Kernel panic - "); at != std::string::npos)
        panic_ = line_.substr(at, line_.find_last_not_of(' ') + 1 - at);
    line_.clear();
}

}  // namespace perfvisor::vmm
