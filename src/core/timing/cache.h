// SPDX-License-Identifier: GPL-2.0-or-later
// The tags of one set-associative cache with pseudo-LRU replacement and line locking.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace perfvisor::core::timing {

constexpr unsigned kLineBytes = 64;

// Eight ways. A tree of seven bits a set says which way comes next: each bit points to the half
// that was used longer ago (e500 core family manual 11.5).
class Cache {
  public:
    static constexpr unsigned kWays = 8;

    struct Line {
        uint64_t address = kNone;  // of the line, physical
        bool dirty = false;
        bool locked = false;
    };
    static constexpr uint64_t kNone = ~uint64_t{0};

    explicit Cache(unsigned kibibytes)
        : sets_(kibibytes * 1024 / (kLineBytes * kWays)),
          lines_(size_t{sets_} * kWays),
          trees_(sets_) {}

    void invalidate_all() {
        for (Line& line : lines_)
            line = {};
        for (uint8_t& tree : trees_)
            tree = 0;
    }

    // The line with this address, made the most recently used of its set; null: a miss.
    Line* use(uint64_t address) {
        const unsigned set = set_of(address);
        Line* const ways = &lines_[size_t{set} * kWays];
        for (unsigned way = 0; way < kWays; ++way)
            if (ways[way].address == address) {
                touch(set, way);
                return &ways[way];
            }
        return nullptr;
    }
    // The same without touching the order.
    Line* find(uint64_t address) {
        Line* const ways = &lines_[size_t{set_of(address)} * kWays];
        for (unsigned way = 0; way < kWays; ++way)
            if (ways[way].address == address) return &ways[way];
        return nullptr;
    }
    // Enters a line that is not there: an invalid way first, else the tree's choice, else what is
    // not locked. `victim` is what it replaced. Null: every way of the set is locked.
    Line* enter(uint64_t address, Line& victim);

  private:
    unsigned set_of(uint64_t address) const {
        return static_cast<unsigned>(address / kLineBytes) & (sets_ - 1);
    }
    void touch(unsigned set, unsigned way) {
        // Away from the way, at each of the three levels.
        uint8_t& tree = trees_[set];
        tree = static_cast<uint8_t>((tree | kSet[way]) & ~kClear[way]);
    }
    // Bit 0 the root, bits 1 and 2 its halves, bits 3 to 6 the pairs; 1 points to the upper half.
    static constexpr std::array<uint8_t, kWays> kSet = {0x0b, 0x03, 0x11, 0x01,
                                                        0x24, 0x04, 0x40, 0x00};
    static constexpr std::array<uint8_t, kWays> kClear = {0x00, 0x08, 0x02, 0x12,
                                                          0x01, 0x21, 0x05, 0x45};

    unsigned sets_;
    std::vector<Line> lines_;
    std::vector<uint8_t> trees_;
};

}  // namespace perfvisor::core::timing
