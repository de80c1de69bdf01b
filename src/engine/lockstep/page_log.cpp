// SPDX-License-Identifier: GPL-2.0-or-later
// Guest pages that two executions of the same instructions write, one after the other.
#include "engine/lockstep/page_log.h"

#include <cstring>

namespace perfvisor::engine::lockstep {

void PageLog::storing(uint64_t physical, uint8_t* host) {
    const uint64_t offset = physical & ~core::kPageMask;
    host -= offset;
    for (size_t n = 0; n < used_; ++n)
        if (pages_[n].host == host) return;
    if (used_ == pages_.size()) pages_.emplace_back();
    Page& page = pages_[used_++];
    page.physical = physical - offset;
    page.host = host;
    std::memcpy(page.before.data(), host, core::kPageSize);
    // A page that only the second execution writes is one that the first left as it was.
    if (second_) page.after = page.before;
}

void PageLog::rewind() {
    for (size_t n = 0; n < used_; ++n) {
        Page& page = pages_[n];
        std::memcpy(page.after.data(), page.host, core::kPageSize);
        std::memcpy(page.host, page.before.data(), core::kPageSize);
    }
    second_ = true;
}

std::optional<PageLog::Difference> PageLog::difference() const {
    for (size_t n = 0; n < used_; ++n) {
        const Page& page = pages_[n];
        if (std::memcmp(page.host, page.after.data(), core::kPageSize) == 0) continue;
        size_t byte = 0;
        while (page.host[byte] == page.after[byte])
            ++byte;
        return Difference{page.physical + byte, page.after[byte], page.host[byte]};
    }
    return std::nullopt;
}

void PageLog::clear() {
    used_ = 0;
    second_ = false;
}

}  // namespace perfvisor::engine::lockstep
