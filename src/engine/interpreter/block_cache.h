// SPDX-License-Identifier: GPL-2.0-or-later
// Decoded blocks of guest code, found by physical address and mode, and by program counter.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/interpreter/op.h"

namespace perfvisor::engine::interpreter {

constexpr unsigned kMaxBlockInstructions = 64;

// What the PM counts of one instruction, beside the instruction itself.
struct Micro {
    uint8_t loads, stores;
    bool branch;
};

// Instructions that are executed from the first on until one branches, faults or ends the block.
// They lie in one physical page. In memory: the block, count + 1 ops, count micros; under the
// timing model, count timed ops behind them, which the ops point to.
struct Block {
    uint32_t count;  // instructions, 1 or more
    uint32_t branches, loads, stores;
    uint64_t physical;  // of the first instruction
    Block* next_in_bucket;
    Block* next_in_page;
    uint32_t mode;  // Mode::bits

    Op* ops() { return reinterpret_cast<Op*>(this + 1); }
    Micro* micros() { return reinterpret_cast<Micro*>(ops() + count + 1); }
    bool overlaps(uint64_t start, uint64_t length) const {
        return physical < start + length && start < physical + 4 * uint64_t{count};
    }
    // Makes it stop at whichever op comes next.
    void make_stale() {
        for (unsigned i = 0; i <= count; ++i)
            ops()[i].handler = stale;
    }
    static constexpr size_t bytes(unsigned count) {
        return sizeof(Block) + (count + 1) * sizeof(Op) + count * sizeof(Micro);
    }
};

// All blocks of one core, in a bounded arena. Where that is full everything is dropped at once and
// decoded again as it is needed: a few milliseconds of decoding, spread out.
class BlockCache {
  public:
    BlockCache();

    // The block cached for a program counter, or null. `mode` is what else says which block is
    // meant, below 2^16.
    Block* find_jump(uint64_t pc, uint32_t mode) const {
        const Jump& jump = jumps_[jump_index(pc)];
        return ((jump.tag ^ jump_tag(pc, mode)) & jump.mask) == 0 ? jump.block : nullptr;
    }
    // Enters it, good for every mode that agrees in the bits `mode_mask`.
    void enter_jump(uint64_t pc, uint32_t mode, uint32_t mode_mask, Block* block);
    void forget_jump(uint64_t pc);
    // The program counters of [ea, ea + size) lead nowhere any more.
    void forget_jumps(uint64_t ea, uint64_t size);
    void forget_all_jumps();

    // The block decoded from a physical address, or null.
    Block* find(uint64_t physical, uint32_t mode) const;
    // Whether some block was decoded from the page of `physical` and is still held.
    bool page_has_blocks(uint64_t physical) const;
    // Room for a new block, entered under its address. Earlier blocks may be gone then.
    // `timed` has the instructions under the timing model; empty where the mode has none.
    Block* add(uint64_t physical, uint32_t mode, const std::vector<Decoded>& instructions,
               const std::vector<TimedOp>& timed);
    // Drops the blocks that overlap [physical, physical + length). They stay in memory, stale.
    void invalidate(uint64_t physical, uint64_t length);
    void clear();

    // Fills `block` (room for kMaxBlockInstructions) with the first `count` instructions of
    // `from`, count less than its own.
    static void truncate(Block& block, Block& from, unsigned count);

  private:
    struct Jump {
        uint64_t tag = ~uint64_t{0};
        uint64_t mask = ~uint64_t{0};
        Block* block = nullptr;
    };
    // A page's jumps lie in one group, so that they can be dropped without looking at the rest.
    static constexpr unsigned kGroups = 32, kGroupSize = 1024;
    static constexpr unsigned kPageBits = 1u << 14;
    static constexpr unsigned kBuckets = 1u << 16;
    static constexpr size_t kArenaBytes = size_t{8} << 20;

    static unsigned jump_index(uint64_t pc) {
        const uint64_t page = pc >> 12;
        return static_cast<unsigned>(pc >> 2 ^ page >> 5 ^ page >> 10) & (kGroups * kGroupSize - 1);
    }
    static unsigned page_bit(uint64_t pc) {
        return static_cast<unsigned>(pc >> 12 ^ pc >> 26) & (kPageBits - 1);
    }
    // Program counters have 32 bits (a 64-bit core wants a second word here).
    static uint64_t jump_tag(uint64_t pc, uint32_t mode) { return uint64_t{mode} << 32 | pc; }
    static unsigned bucket_of(uint64_t physical) {
        const uint64_t word = physical >> 2;
        return static_cast<unsigned>(word ^ (word >> 10) ^ (word >> 17)) & (kBuckets - 1);
    }
    void remove_from_bucket(Block* block);

    std::vector<Jump> jumps_;
    // Pages that may have jumps, by page_bit(): most translations that change are of data pages.
    std::bitset<kPageBits> pages_with_jumps_;
    std::vector<Block*> buckets_;
    std::unordered_map<uint64_t, Block*> pages_;  // physical page address to its first block
    std::unique_ptr<std::byte[]> arena_;
    size_t used_ = 0;
};

}  // namespace perfvisor::engine::interpreter
