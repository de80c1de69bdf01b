// SPDX-License-Identifier: GPL-2.0-or-later
// The tags of one set-associative cache with pseudo-LRU replacement and line locking.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace perfvisor::core::timing {

constexpr unsigned kLineBytes = 64;

// Eight ways. A tree of seven bits a set says which way comes next: each bit points to the half
// that was used longer ago (e500 core family manual 11.6.2.1).
//
// A line is known by its number: its physical address, below 2^38, in lines.
class Cache {
  public:
    static constexpr unsigned kWays = 8;
    static constexpr uint32_t kNone = ~uint32_t{0};

    // Where a line is, until another is entered.
    class Place {
      public:
        constexpr Place() = default;
        explicit operator bool() const { return index_ >= 0; }
        unsigned set() const { return static_cast<unsigned>(index_) / kWays; }
        unsigned way() const { return static_cast<unsigned>(index_) % kWays; }

      private:
        friend Cache;
        explicit constexpr Place(int index) : index_(index) {}
        uint8_t bit() const { return static_cast<uint8_t>(1u << (index_ % kWays)); }
        int index_ = -1;
    };
    // What a new line replaced.
    struct Victim {
        uint32_t line = kNone;
        bool dirty = false;
    };

    struct alignas(16) Set {
        std::array<uint32_t, kWays> lines = [] {
            std::array<uint32_t, kWays> none{};
            none.fill(kNone);
            return none;
        }();
        uint32_t newest = kNone;  // the last used, if it is there
        uint8_t tree = 0, dirty = 0, locked = 0;
    };

    // Using a way: what it sets and clears of the tree, away from it at each of the three levels.
    // Bit 0 the root, bits 1 and 2 its halves, bits 3 to 6 the pairs; 1 points to the upper half.
    static constexpr std::array<uint8_t, kWays> kSet = {0x0b, 0x03, 0x11, 0x01,
                                                        0x24, 0x04, 0x40, 0x00};
    static constexpr std::array<uint8_t, kWays> kClear = {0x00, 0x08, 0x02, 0x12,
                                                          0x01, 0x21, 0x05, 0x45};

    explicit Cache(unsigned kibibytes) : sets_(kibibytes * 1024 / (kLineBytes * kWays)) {}

    void invalidate_all() { sets_.assign(sets_.size(), Set{}); }
    const Set* sets() const { return sets_.data(); }
    // The line is there and the last used of its set: using it again changes nothing.
    bool is_newest(uint32_t line) const { return sets_[set_of(line)].newest == line; }

    // The line, made the most recently used of its set; nowhere: a miss.
    [[gnu::always_inline]] Place use(uint32_t line) {
        const unsigned number = set_of(line);
        Set& set = sets_[number];
        const int way = way_of(set, line);
        if (way < 0) return {};
        touch(set, static_cast<unsigned>(way));
        set.newest = line;
        return Place(static_cast<int>(number * kWays) + way);
    }
    // The same without touching the order.
    Place find(uint32_t line) const {
        const unsigned number = set_of(line);
        const int way = way_of(sets_[number], line);
        return way < 0 ? Place() : Place(static_cast<int>(number * kWays) + way);
    }
    // Enters a line that is not there, clean: an invalid way first, else the tree's choice, else
    // what is not locked. Nowhere: every way of the set is locked.
    Place enter(uint32_t line, Victim& victim);
    void remove(Place place) {
        Set& set = sets_[place.set()];
        uint32_t& line = set.lines[static_cast<unsigned>(place.index_) % kWays];
        if (set.newest == line) set.newest = kNone;
        line = kNone;
        set.dirty &= static_cast<uint8_t>(~place.bit());
        set.locked &= static_cast<uint8_t>(~place.bit());
    }

    bool dirty(Place place) const { return sets_[place.set()].dirty & place.bit(); }
    void set_dirty(Place place, bool dirty) { put(sets_[place.set()].dirty, place, dirty); }
    bool locked(Place place) const { return sets_[place.set()].locked & place.bit(); }
    void set_locked(Place place, bool locked) { put(sets_[place.set()].locked, place, locked); }

  private:
    unsigned set_of(uint32_t line) const {
        return line & (static_cast<unsigned>(sets_.size()) - 1);
    }
    static void put(uint8_t& bits, Place place, bool value) {
        bits = static_cast<uint8_t>(value ? bits | place.bit() : bits & ~place.bit());
    }
    static int way_of(const Set& set, uint32_t line) {
#ifdef __SSE2__
        const __m128i wanted = _mm_set1_epi32(static_cast<int>(line));
        const auto* const lines = reinterpret_cast<const __m128i*>(set.lines.data());
        const __m128i low = _mm_cmpeq_epi32(_mm_load_si128(lines), wanted);
        const __m128i high = _mm_cmpeq_epi32(_mm_load_si128(lines + 1), wanted);
        const auto found = static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi32(low, high)));
        return found == 0 ? -1 : std::countr_zero(found) / 2;
#else
        for (unsigned way = 0; way < kWays; ++way)
            if (set.lines[way] == line) return static_cast<int>(way);
        return -1;
#endif
    }
    static void touch(Set& set, unsigned way) {
        set.tree = static_cast<uint8_t>((set.tree | kSet[way]) & ~kClear[way]);
    }
    std::vector<Set> sets_;
};

}  // namespace perfvisor::core::timing
