// SPDX-License-Identifier: GPL-2.0-or-later
// Finds what Linux says when it panics among all that it says on its console.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace perfvisor::vmm {

class PanicWatch {
  public:
    void receive(std::span<const uint8_t> bytes);

    // "Kernel panic - not syncing: ...", the first of them, in printable ASCII; empty if there was
    // none.
    const std::string& panic() const { return panic_; }

  private:
    // Of a longer line the rest is no matter.
    static constexpr size_t kMost = 512;

    void end_line();

    std::string line_;
    std::string panic_;
};

}  // namespace perfvisor::vmm
