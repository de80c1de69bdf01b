// SPDX-License-Identifier: GPL-2.0-or-later
// Decoded blocks of guest code: allocation, lookup, invalidation.
#include "engine/interpreter/block_cache.h"

#include <algorithm>
#include <new>

namespace perfvisor::engine::interpreter {
namespace {

void set_micro(Block& block, unsigned index, const Micro& micro) {
    block.micros()[index] = micro;
    block.branches += micro.branch;
    block.loads += micro.loads;
    block.stores += micro.stores;
}

}  // namespace

BlockCache::BlockCache()
    : jumps_(size_t{kGroups} * kGroupSize),
      buckets_(kBuckets),
      arena_(new std::byte[kArenaBytes]) {}

void BlockCache::enter_jump(uint64_t pc, uint32_t mode, uint32_t mode_mask, Block* block) {
    jumps_[jump_index(pc)] = {jump_tag(pc, mode), jump_tag(0xffffffff, mode_mask), block};
    pages_with_jumps_.set(page_bit(pc));
}

void BlockCache::forget_jump(uint64_t pc) {
    jumps_[jump_index(pc)] = {};
}

void BlockCache::forget_jumps(uint64_t ea, uint64_t size) {
    if (size > 16 * core::kPageSize) {
        forget_all_jumps();
        return;
    }
    const uint64_t pages = ((ea & ~core::kPageMask) + size + core::kPageSize - 1) / core::kPageSize;
    for (uint64_t n = 0; n < pages; ++n) {
        const uint64_t page = (ea & core::kPageMask) + n * core::kPageSize;
        if (!pages_with_jumps_.test(page_bit(page))) continue;
        const unsigned group = jump_index(page) & ~(kGroupSize - 1);
        for (unsigned i = group; i < group + kGroupSize; ++i)
            if (((jumps_[i].tag ^ page) & jump_tag(core::kPageMask & 0xffffffff, 0)) == 0)
                jumps_[i] = {};
    }
}

void BlockCache::forget_all_jumps() {
    std::fill(jumps_.begin(), jumps_.end(), Jump{});
    pages_with_jumps_.reset();
}

Block* BlockCache::find(uint64_t physical, uint32_t mode) const {
    for (Block* block = buckets_[bucket_of(physical)]; block; block = block->next_in_bucket)
        if (block->physical == physical && block->mode == mode) return block;
    return nullptr;
}

bool BlockCache::page_has_blocks(uint64_t physical) const {
    return pages_.contains(physical & core::kPageMask);
}

Block* BlockCache::add(uint64_t physical, uint32_t mode, const std::vector<Decoded>& instructions,
                       const std::vector<TimedOp>& timed_ops) {
    const auto count = static_cast<unsigned>(instructions.size());
    static_assert(alignof(TimedOp) <= alignof(Block));
    const auto aligned = [](size_t bytes) {
        return (bytes + alignof(Block) - 1) & ~(alignof(Block) - 1);
    };
    const size_t plain = aligned(Block::bytes(count));
    const size_t size = aligned(plain + timed_ops.size() * sizeof(TimedOp));
    if (used_ + size > kArenaBytes) clear();
    Block* block = new (arena_.get() + used_) Block{};
    used_ += size;
    block->physical = physical;
    block->mode = mode;
    block->count = count;
    for (unsigned i = 0; i < count; ++i) {
        const Decoded& decoded = instructions[i];
        block->ops()[i] = decoded.op;
        set_micro(*block, i, {decoded.loads, decoded.stores, decoded.branch});
    }
    auto* const behind = reinterpret_cast<std::byte*>(block) + plain;
    for (size_t i = 0; i < timed_ops.size(); ++i)
        block->ops()[i] = timed(*new (behind + i * sizeof(TimedOp)) TimedOp(timed_ops[i]));
    block->ops()[count] = fall_through(count);

    Block*& bucket = buckets_[bucket_of(physical)];
    block->next_in_bucket = bucket;
    bucket = block;
    Block*& page = pages_[physical & core::kPageMask];
    block->next_in_page = page;
    page = block;
    return block;
}

void BlockCache::remove_from_bucket(Block* block) {
    Block** link = &buckets_[bucket_of(block->physical)];
    while (*link != block)
        link = &(*link)->next_in_bucket;
    *link = block->next_in_bucket;
}

void BlockCache::invalidate(uint64_t physical, uint64_t length) {
    const uint64_t first = physical & core::kPageMask;
    for (uint64_t page = first; page < physical + length; page += core::kPageSize) {
        const auto found = pages_.find(page);
        if (found == pages_.end()) continue;
        Block** link = &found->second;
        while (Block* block = *link) {
            if (!block->overlaps(physical, length)) {
                link = &block->next_in_page;
                continue;
            }
            *link = block->next_in_page;
            remove_from_bucket(block);
            block->make_stale();
        }
        if (!found->second) pages_.erase(found);
    }
}

void BlockCache::clear() {
    forget_all_jumps();
    std::fill(buckets_.begin(), buckets_.end(), nullptr);
    pages_.clear();
    used_ = 0;
}

void BlockCache::truncate(Block& block, Block& from, unsigned count) {
    block.branches = block.loads = block.stores = 0;
    block.physical = from.physical;
    block.mode = from.mode;
    block.count = count;
    for (unsigned i = 0; i < count; ++i) {
        block.ops()[i] = from.ops()[i];
        set_micro(block, i, from.micros()[i]);
    }
    block.ops()[count] = fall_through(count);
}

}  // namespace perfvisor::engine::interpreter
