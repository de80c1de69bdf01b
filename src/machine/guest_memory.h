// SPDX-License-Identifier: GPL-2.0-or-later
// The guest's RAM as the loaders see it, and how its size is spelled on the command line.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace perfvisor::machine {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kMinRamBytes = 16 * kMiB;
constexpr uint64_t kMaxRamBytes = 32 * kGiB;

// A range of physical addresses, bytes; a size of 0 says that there is nothing.
struct Placement {
    uint64_t base = 0;
    uint64_t size = 0;
    uint64_t end() const { return base + size; }
};

// RAM from physical address 0. A view: the memory itself belongs to the VMM.
class GuestMemory {
  public:
    explicit GuestMemory(std::span<uint8_t> ram) : ram_(ram) {}

    uint64_t size() const { return ram_.size(); }
    // Whether all of [address, address + length) is RAM; true for nothing at the very end.
    bool contains(uint64_t address, uint64_t length) const {
        return address <= size() && length <= size() - address;
    }
    // The bytes at a physical address, or an empty span where not all of them are RAM.
    std::span<uint8_t> at(uint64_t address, uint64_t length) const {
        if (!contains(address, length)) return {};
        return ram_.subspan(static_cast<size_t>(address), static_cast<size_t>(length));
    }

  private:
    std::span<uint8_t> ram_;
};

// The RAM size in bytes from QEMU's spellings of -m: "512", "512M", "2G", "0x200", "1.5G",
// "size=1G". A number without a suffix is in MiB. Rounded up to 8 KiB as QEMU does. Fails outside
// 16 MiB … 32 GiB, on hot-plug options (slots, maxmem) and on anything that is not a size.
Result<uint64_t> parse_memory_size(std::string_view text);

}  // namespace perfvisor::machine
