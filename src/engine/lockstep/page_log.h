// SPDX-License-Identifier: GPL-2.0-or-later
// Guest pages that two executions of the same instructions write, one after the other.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

#include "core/core.h"

namespace perfvisor::engine::lockstep {

class PageLog {
  public:
    // A byte that the second execution left otherwise than the first.
    struct Difference {
        uint64_t physical;  // address
        uint8_t first, second;
    };

    // Before the page around `host` is written, in either execution; once more does no harm.
    void storing(uint64_t physical, uint8_t* host);
    // Between the executions: remembers what the first wrote and takes it back.
    void rewind();
    // Behind the second.
    std::optional<Difference> difference() const;
    // Before the next two executions.
    void clear();

  private:
    using Bytes = std::array<uint8_t, core::kPageSize>;
    struct Page {
        uint64_t physical;
        uint8_t* host;
        Bytes before, after;  // of the first execution
    };

    std::deque<Page> pages_;  // the first used_ of them
    size_t used_ = 0;
    bool second_ = false;
};

}  // namespace perfvisor::engine::lockstep
