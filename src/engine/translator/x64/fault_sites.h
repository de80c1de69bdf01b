// SPDX-License-Identifier: GPL-2.0-or-later
// Accesses of translated code to a window (page_map.h) that may fault in the host, and where they
// go on then.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace perfvisor::engine::translator::x64 {

// The sites of one translator. Code is emitted from low to high addresses within each region of the
// code buffer, so a region's sites are in order by themselves.
class FaultSites {
  public:
    // Regions of `region_bytes` from `begin` on, in the view to execute.
    void set_up(const uint8_t* begin, size_t region_bytes, unsigned regions);
    // The code of a region is no more.
    void clear(unsigned region) { sites_[region].clear(); }

    // The instruction that begins at `at`, behind all that were added to its region. Gives a
    // number, by which the caller says where the access goes on.
    unsigned add(const uint8_t* at);
    void leads_to(const uint8_t* at, unsigned number, const uint8_t* slow);

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
    size_t region_of(const uint8_t* at) const {
        return static_cast<size_t>(at - begin_) / region_bytes_;
    }

    const uint8_t* begin_ = nullptr;
    size_t region_bytes_ = 1;
    std::vector<std::vector<Site>> sites_;  // by region
};

}  // namespace perfvisor::engine::translator::x64
