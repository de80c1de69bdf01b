// SPDX-License-Identifier: GPL-2.0-or-later
// The branch target buffer: it finds branches as they are fetched, says whether they will be
// taken, and where to (e500 core family manual 4.4.1.2).
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "core/timing/counts.h"
#include "core/timing/filters.h"
#include "core/timing/instruction.h"

namespace perfvisor::core::timing {

// What became of a branch's prediction.
enum class Prediction : uint8_t {
    Right,
    Biffed,  // an unconditional branch that was not found: seen when it was decoded
    Wrong,   // seen when it was executed
};

class BranchPredictor {
  public:
    static constexpr unsigned kEntries = 512, kWays = 4, kSets = kEntries / kWays;

    struct alignas(16) Set {
        std::array<uint32_t, kWays> pc{};
        std::array<uint32_t, kWays> target{};
        std::array<uint8_t, kWays> weakness{};  // Filters::Branch::tag
        std::array<uint8_t, kWays> age{};       // 0 the most recently used
        uint8_t last = 0;                       // that one, if there is any; it is in Filters
    };

    BranchPredictor(ModelledTotals& counts, Filters& filters)
        : counts_(&counts), filters_(filters) {
        invalidate();
    }

    // Where it counts from now on.
    void set_counts(ModelledTotals& counts) { counts_ = &counts; }
    // All entries invalid, as after reset and BUCSR[BBFI].
    void invalidate();
    // A branch at `pc` was executed; `target` is where it went if it was taken.
    [[gnu::always_inline]] Prediction branch(const Instruction& in, uint32_t pc, bool taken,
                                             uint32_t target) {
        Filters::Branch& entry = filters_.last_branches[Filters::branch_set(pc)];
        if (entry.tag - pc > kStrongest) [[unlikely]] {
            Set& set = sets_[Filters::branch_set(pc)];
            const int way = way_of(set, pc);
            if (way < 0) return not_found(in, set, pc, taken, target);
            make_last(set, static_cast<unsigned>(way), entry);
        }
        ++(*counts_)[Modelled::BtbHits];
        uint32_t weakness = entry.tag - pc;
        const bool predicted = weakness <= 1;
        const bool right = predicted == taken && (!taken || entry.target == target);
        if (taken) {
            if (weakness == kStrongest) filters_.not_taken_changes(pc);
            weakness -= uint32_t{weakness > 0};
            entry.target = target;
        } else {
            weakness += uint32_t{weakness < kStrongest};
            if (filters_.kept && weakness == kStrongest)
                filters_.not_taken[Filters::not_taken_place(pc)] = pc;
        }
        entry.tag = pc + weakness;
        if (right) [[likely]]
            return Prediction::Right;
        if (predicted != taken) ++(*counts_)[Modelled::DirectionMispredictions];
        ++(*counts_)[Modelled::Mispredictions];
        return Prediction::Wrong;
    }
    const Set* sets() const { return sets_.data(); }
    // Core::mirror.
    void mirror(const BranchPredictor& from) {
        sets_ = from.sets_;
        empty_ = from.empty_;
        filters_.last_branches = from.filters_.last_branches;
        filters_.not_taken.fill(Filters::kNone);
    }

  private:
    static constexpr uint32_t kStrongest = Filters::Branch::kStrongest;
    static constexpr uint32_t kNone = 1;  // no instruction's address

    static int way_of(const Set& set, uint32_t pc) {
#ifdef __SSE2__
        const __m128i equal =
            _mm_cmpeq_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(set.pc.data())),
                            _mm_set1_epi32(static_cast<int>(pc)));
        const auto found = static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(equal)));
        return found == 0 ? -1 : std::countr_zero(found);
#else
        for (unsigned way = 0; way < kWays; ++way)
            if (set.pc[way] == pc) return static_cast<int>(way);
        return -1;
#endif
    }
    // Another than `entry` is the last used of its set now.
    [[gnu::always_inline]] void make_last(Set& set, unsigned way, Filters::Branch& entry) {
        if (filters_.kept) filters_.not_taken_changes(set.pc[set.last]);
        set.weakness[set.last] = static_cast<uint8_t>(entry.tag & kStrongest);
        set.target[set.last] = entry.target;
        entry = {set.pc[way] + set.weakness[way], set.target[way]};
        set.last = static_cast<uint8_t>(way);
        // Four ages at once: those below this one's grow by 1. There is no branch to be
        // mispredicted.
        static_assert(kWays == 4);
        constexpr uint32_t kOnes = 0x01010101, kTops = 0x80808080;
        auto ages = std::bit_cast<uint32_t>(set.age);
        const uint32_t younger = ~((ages | kTops) - set.age[way] * kOnes) & kTops;
        ages += younger >> 7;
        set.age = std::bit_cast<std::array<uint8_t, kWays>>(ages);
        set.age[way] = 0;
    }
    Prediction not_found(const Instruction& in, Set& set, uint32_t pc, bool taken, uint32_t target);

    ModelledTotals* counts_;
    Filters& filters_;
    std::array<Set, kSets> sets_;
    bool empty_ = false;  // no entry has been made since the last invalidate()
};

}  // namespace perfvisor::core::timing
