// SPDX-License-Identifier: GPL-2.0-or-later
// Replacement: which line a new one takes the place of.
#include "core/timing/cache.h"

namespace perfvisor::core::timing {

Cache::Line* Cache::enter(uint64_t address, Line& victim) {
    const unsigned set = set_of(address);
    Line* const ways = &lines_[size_t{set} * kWays];
    const uint8_t tree = trees_[set];
    const unsigned half = tree & 1, pair = tree >> (1 + half) & 1;
    unsigned way = half << 2 | pair << 1 | (tree >> (3 + 2 * half + pair) & 1);
    const auto take_first = [&](auto accepts) {
        for (unsigned n = 0; n < kWays; ++n)
            if (accepts(ways[n])) {
                way = n;
                return true;
            }
        return false;
    };
    if (!take_first([](const Line& line) { return line.address == kNone; }) && ways[way].locked &&
        !take_first([](const Line& line) { return !line.locked; }))
        return nullptr;
    victim = ways[way];
    ways[way] = {.address = address};
    touch(set, way);
    return &ways[way];
}

}  // namespace perfvisor::core::timing
