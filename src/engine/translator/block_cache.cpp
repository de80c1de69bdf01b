// SPDX-License-Identifier: GPL-2.0-or-later
// Translated blocks: lookup, links, invalidation.
#include "engine/translator/block_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include "core/physical_memory.h"

namespace perfvisor::engine::translator {

using core::kPageMask;
using core::kPageSize;
using x64::Jump;

namespace {

constexpr auto kPage32Mask = static_cast<uint32_t>(kPageMask);

}  // namespace

Block* BlockCache::find(uint64_t physical, uint32_t pc, uint32_t mode) const {
    Block* block = buckets_[bucket_of(physical, mode)].get();
    while (block && !(block->physical == physical && block->pc == pc && block->mode == mode))
        block = block->next.get();
    return block;
}

bool BlockCache::page_has_blocks(uint64_t physical) const {
    return pages_.contains(physical & kPageMask);
}

Block* BlockCache::add(std::unique_ptr<Block> block) {
    Block* added = block.get();
    pages_[added->physical & kPageMask].push_back(added);
    std::unique_ptr<Block>& first = buckets_[bucket_of(added->physical, added->mode)];
    block->next = std::move(first);
    first = std::move(block);
    return added;
}

bool BlockCache::invalidate(uint64_t physical, uint64_t length) {
    bool any = false;
    for (uint64_t page = physical & kPageMask; page < physical + length; page += kPageSize) {
        const auto found = pages_.find(page);
        if (found == pages_.end()) continue;
        std::vector<Block*>& blocks = found->second;
        for (size_t i = 0; i < blocks.size();) {
            Block* block = blocks[i];
            if (!block->overlaps(physical, length)) {
                ++i;
                continue;
            }
            blocks[i] = blocks.back();
            blocks.pop_back();
            drop(*block);
            any = true;
        }
        if (blocks.empty()) pages_.erase(found);
    }
    return any;
}

void BlockCache::remove(Block& block) {
    const auto found = pages_.find(block.physical & kPageMask);
    std::erase(found->second, &block);
    drop(block);
    if (found->second.empty()) pages_.erase(found);
}

// The code stays where it is until the whole cache is cleared, so that a block may drop itself.
void BlockCache::drop(Block& block) {
    for (uint32_t number : block.incoming)
        unlink(edges_[number]);
    for (uint32_t number : block.outgoing) {
        Edge& edge = edges_[number];
        if (edge.to) std::erase(edge.to->incoming, number);
        edge = {};
        free_edges_.push_back(number);
    }
    Jump& jump = shared_.jumps[x64::jump_index(block.pc)];
    if (jump.code == block.entry) jump = {};
    std::unique_ptr<Block>* place = &buckets_[bucket_of(block.physical, block.mode)];
    while (place->get() != &block)
        place = &(*place)->next;
    std::unique_ptr<Block> behind = std::move(block.next);
    *place = std::move(behind);
}

bool BlockCache::drop_code(const uint8_t* begin, const uint8_t* end) {
    bool any = false;
    for (auto page = pages_.begin(); page != pages_.end();) {
        std::vector<Block*>& blocks = page->second;
        std::erase_if(blocks, [&](Block* block) {
            if (block->code < begin || block->code >= end) return false;
            drop(*block);
            return any = true;
        });
        page = blocks.empty() ? pages_.erase(page) : std::next(page);
    }
    return any;
}

void BlockCache::clear() {
    far_edges_.clear();
    edges_.clear();
    free_edges_.clear();
    for (std::unique_ptr<Block>& first : buckets_) {
        while (first) {
            std::unique_ptr<Block> behind = std::move(first->next);
            first = std::move(behind);
        }
    }
    pages_.clear();
    forget_all_jumps();
}

// ---- edges ----

uint32_t BlockCache::new_edge(const Edge& edge) {
    if (free_edges_.empty()) {
        edges_.push_back(edge);
        return static_cast<uint32_t>(edges_.size() - 1);
    }
    const uint32_t number = free_edges_.back();
    free_edges_.pop_back();
    edges_[number] = edge;
    return number;
}

Edge* BlockCache::edge(uint32_t number) {
    if (number >= edges_.size() || !edges_[number].from) return nullptr;
    return &edges_[number];
}

void BlockCache::set_target(Edge& edge, const uint8_t* target) {
    const auto displacement = static_cast<int32_t>(target - (edge.jump + 4));
    std::memcpy(edge.jump, &displacement, sizeof displacement);
}

void BlockCache::link(uint32_t number, Block& to) {
    Edge& edge = edges_[number];
    if (edge.to) return;
    set_target(edge, to.code);
    edge.to = &to;
    to.incoming.push_back(number);
    if (edge.far) far_edges_[to.pc & kPage32Mask].push_back(number);
}

void BlockCache::link_to_look_up(uint32_t number) {
    Edge& edge = edges_[number];
    if (!edge.to && edge.far) set_target(edge, edge.look_up);
}

void BlockCache::unlink(Edge& edge) {
    set_target(edge, edge.unlinked);
    edge.to = nullptr;
}

void BlockCache::unlink_far(uint32_t page) {
    const auto found = far_edges_.find(page);
    if (found == far_edges_.end()) return;
    for (uint32_t number : found->second) {
        // The number may be another edge's by now.
        Edge& edge = edges_[number];
        if (!edge.far || !edge.to || (edge.to->pc & kPage32Mask) != page) continue;
        std::erase(edge.to->incoming, number);
        unlink(edge);
    }
    far_edges_.erase(found);
}

// ---- indirect branches ----

void BlockCache::enter_jump(uint64_t key, const Block& block) {
    shared_.jumps[x64::jump_index(block.pc)] = {key, block.entry};
    const uint32_t word = (block.pc & ~kPage32Mask) / 4;
    jump_words_[block.pc & kPage32Mask][word / 64] |= uint64_t{1} << (word % 64);
}

const uint8_t* BlockCache::find_jump(uint64_t key) const {
    const Jump& jump = shared_.jumps[x64::jump_index(key)];
    return jump.key == key ? jump.code : nullptr;
}

void BlockCache::forget_jumps(uint64_t ea, uint64_t size) {
    if (size > 16 * kPageSize) {
        forget_all_jumps();
        return;
    }
    for (uint64_t page = ea & kPageMask; page < ea + size; page += kPageSize) {
        unlink_far(static_cast<uint32_t>(page));
        const auto found = jump_words_.find(static_cast<uint32_t>(page));
        if (found == jump_words_.end()) continue;
        for (size_t n = 0; n < found->second.size(); ++n)
            for (uint64_t bits = found->second[n]; bits != 0; bits &= bits - 1) {
                const uint64_t pc =
                    page + 4 * (64 * n + static_cast<size_t>(std::countr_zero(bits)));
                Jump& jump = shared_.jumps[x64::jump_index(pc)];
                if (static_cast<uint32_t>(jump.key) == static_cast<uint32_t>(pc)) jump = {};
            }
        jump_words_.erase(found);
    }
}

void BlockCache::forget_all_jumps() {
    while (!far_edges_.empty())
        unlink_far(far_edges_.begin()->first);
    shared_.jumps.fill({});
    jump_words_.clear();
}

}  // namespace perfvisor::engine::translator
