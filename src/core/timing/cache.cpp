// SPDX-License-Identifier: GPL-2.0-or-later
// Replacement: which line a new one takes the place of.
#include "core/timing/cache.h"

namespace perfvisor::core::timing {

Cache::Place Cache::enter(uint32_t line, Victim& victim) {
    const unsigned number = set_of(line);
    Set& set = sets_[number];
    const unsigned half = set.tree & 1, pair = set.tree >> (1 + half) & 1;
    unsigned way = half << 2 | pair << 1 | (set.tree >> (3 + 2 * half + pair) & 1);
    if (const int invalid = way_of(set, kNone); invalid >= 0) {
        way = static_cast<unsigned>(invalid);
    } else if (set.locked >> way & 1) {
        if (set.locked == 0xff) return {};
        way = static_cast<unsigned>(std::countr_one(set.locked));
    }
    const Place place(static_cast<int>(number * kWays + way));
    victim = {set.lines[way], dirty(place)};
    remove(place);
    set.lines[way] = line;
    touch(set, way);
    set.newest = line;
    return place;
}

}  // namespace perfvisor::core::timing
