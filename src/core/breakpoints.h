// SPDX-License-Identifier: GPL-2.0-or-later
// Where a debugger outside the guest wants execution to stop. The guest sees nothing of it.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/physical_memory.h"

namespace perfvisor::core {

// Effective addresses, in whichever address space and process, and a word that stops wherever it
// is an instruction.
class Breakpoints {
  public:
    Breakpoints() = default;
    explicit Breakpoints(std::vector<uint64_t> addresses, std::optional<uint32_t> word = {})
        : addresses_(std::move(addresses)), word_(word) {
        std::sort(addresses_.begin(), addresses_.end());
        for (const uint64_t ea : addresses_)
            offsets_.set(place_in_page(ea));
    }

    const std::vector<uint64_t>& addresses() const { return addresses_; }  // ascending
    const std::optional<uint32_t>& word() const { return word_; }

    bool contains(uint64_t ea) const {
        return offsets_.test(place_in_page(ea)) &&
               std::binary_search(addresses_.begin(), addresses_.end(), ea);
    }
    // Whether an address at this place of its page may be among them: for who knows of the address
    // only that.
    bool may_contain(uint64_t ea) const { return offsets_.test(place_in_page(ea)); }
    bool is_word(uint32_t word) const { return word_ == word; }

  private:
    static size_t place_in_page(uint64_t ea) { return (ea & ~kPageMask) / 4; }

    std::vector<uint64_t> addresses_;
    std::bitset<kPageSize / 4> offsets_;
    std::optional<uint32_t> word_;
};

}  // namespace perfvisor::core
