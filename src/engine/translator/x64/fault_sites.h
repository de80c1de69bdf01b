// SPDX-License-Identifier: GPL-2.0-or-later
// Accesses of translated code to a window (page_map.h) that may fault in the host, and where they
// go on then.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace perfvisor::engine::translator::x64 {

// The sites of one translator. Code is emitted from low to high addresses within the hot and within
// the cold part of each region of the code buffer, so a part's sites are in order by themselves.
class FaultSites {
  public:
    // Regions of `region_bytes` from `begin` on, in the view to execute, each of them `hot_bytes`
    // of hot code and the rest cold code.
    void set_up(const uint8_t* begin, size_t region_bytes, size_t hot_bytes, unsigned regions);
    // The code of a region is no more.
    void clear(unsigned region);

    // The instruction that begins at `at`, behind all that were added to its part. Gives a number,
    // by which the caller says where in the region's cold code the access goes on. Sites added one
    // behind the other to one part have numbers one behind the other.
    unsigned add(const uint8_t* at);
    void leads_to(unsigned number, const uint8_t* slow);

    // Where the instruction at `pc` goes on; null where it is none of these. May be called from a
    // signal handler.
    const uint8_t* find(const uint8_t* pc) const;

    // The faults of this thread go where `sites` says, from here to the end of the object's life.
    class Use {
      public:
        explicit Use(const FaultSites& sites);
        ~Use();
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
    };

  private:
    struct Site {
        const uint8_t* at;
        const uint8_t* slow;
    };
    static constexpr unsigned kCold = 1u << 31;  // of a number
    size_t region_of(const uint8_t* at) const {
        return static_cast<size_t>(at - begin_) / region_bytes_;
    }
    bool is_cold(const uint8_t* at) const {
        return static_cast<size_t>(at - begin_) % region_bytes_ >= hot_bytes_;
    }

    const uint8_t* begin_ = nullptr;
    size_t region_bytes_ = 1, hot_bytes_ = 0;
    std::vector<std::array<std::vector<Site>, 2>> sites_;  // by region: hot, cold
};

}  // namespace perfvisor::engine::translator::x64
