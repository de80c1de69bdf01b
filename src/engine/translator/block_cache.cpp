// SPDX-License-Identifier: GPL-2.0-or-later
// Translated blocks: lookup, links, invalidation.
#include "engine/translator/block_cache.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

namespace perfvisor::engine::translator {

using core::kPageMask;
using core::kPageSize;

namespace {

constexpr auto kPage32Mask = static_cast<uint32_t>(kPageMask);

void write_word(uint8_t* at, uint32_t value) {
    std::memcpy(at, &value, sizeof value);
}

// `displacement`: of a jump, its last four bytes.
void set_target(uint8_t* displacement, const uint8_t* target) {
    write_word(displacement, static_cast<uint32_t>(target - (displacement + 4)));
}

}  // namespace

BlockCache::BlockCache(x64::CodeBuffer& buffer, FetchMap& fetches)
    : buffer_(buffer),
      fetches_(fetches),
      entries_(reinterpret_cast<uint32_t*>(buffer.data() + x64::kEntriesOffset)) {}

// ---- pages ----

CodePage* BlockCache::find_page(uint64_t physical, uint32_t ea, uint32_t mode) const {
    const auto found = pages_.find(physical & kPageMask);
    if (found == pages_.end()) return nullptr;
    for (const auto& page : found->second)
        if (page->ea == (ea & kPage32Mask) && page->mode == mode) return page.get();
    return nullptr;
}

CodePage& BlockCache::page_for(const Block& block) {
    if (CodePage* page = find_page(block.physical, block.pc, block.mode)) return *page;
    auto page = std::make_unique<CodePage>();
    page->physical = block.physical & kPageMask;
    page->ea = block.pc & kPage32Mask;
    page->mode = block.mode;
    if (free_numbers_.empty()) {
        page->number = std::exchange(next_number_, next_number_ + uint32_t{kPageSize});
    } else {
        page->number = free_numbers_.back();
        free_numbers_.pop_back();
    }
    return *pages_[page->physical].emplace_back(std::move(page));
}

BlockCache::Place BlockCache::find(uint64_t physical, uint32_t pc, uint32_t mode) {
    Recent& found = recent(physical, mode);
    if (found.physical != (physical & kPageMask) || found.ea != (pc & kPage32Mask) ||
        found.mode != mode) {
        const CodePage* page = find_page(physical, pc, mode);
        if (!page) return {};
        found = {page->physical, page->ea, mode, page->number};
    }
    const uint32_t entry = *entry_of(found.number, pc);
    return {entry ? buffer_.code() + entry : nullptr, found.number};
}

Block* BlockCache::block_at(const uint8_t* code) {
    uintptr_t block;
    std::memcpy(&block, code - sizeof block, sizeof block);
    return reinterpret_cast<Block*>(block);
}

bool BlockCache::page_has_blocks(uint64_t physical) const {
    return pages_.contains(physical & kPageMask);
}

const uint8_t* BlockCache::find_entry(uint32_t pc) const {
    const uint32_t offset = fetches_.find(pc) + (pc & ~kPage32Mask);
    const uint32_t entry = entries_[offset / 4];
    return entry ? buffer_.executable(buffer_.code() + entry) : nullptr;
}

Block* BlockCache::add(std::unique_ptr<Block> block) {
    CodePage& page = page_for(*block);
    block->page = &page;
    *entry_of(page.number, block->pc) = static_cast<uint32_t>(block->code - buffer_.code());
    return page.blocks.emplace_back(std::move(block)).get();
}

// Of the code of one physical page. Numbers without blocks have no entries either, and are used
// again.
template <typename Drops>
bool BlockCache::drop_where(std::vector<std::unique_ptr<CodePage>>& pages, Drops drops) {
    bool any = false;
    std::erase_if(pages, [&](const std::unique_ptr<CodePage>& page) {
        std::erase_if(page->blocks, [&](const std::unique_ptr<Block>& block) {
            if (!drops(*block)) return false;
            drop(*block);
            return any = true;
        });
        if (!page->blocks.empty()) return false;
        fetches_.forget_number(page->ea, page->number);
        Recent& found = recent(page->physical, page->mode);
        if (found.number == page->number) found = {};
        free_numbers_.push_back(page->number);
        return true;
    });
    return any;
}

bool BlockCache::invalidate(uint64_t physical, uint64_t length) {
    bool any = false;
    for (uint64_t page = physical & kPageMask; page < physical + length; page += kPageSize) {
        const auto found = pages_.find(page);
        if (found == pages_.end()) continue;
        any |= drop_where(found->second,
                          [&](const Block& block) { return block.overlaps(physical, length); });
        if (found->second.empty()) pages_.erase(found);
    }
    return any;
}

void BlockCache::remove(Block& block) {
    const auto found = pages_.find(block.physical & kPageMask);
    drop_where(found->second, [&](const Block& other) { return &other == &block; });
    if (found->second.empty()) pages_.erase(found);
}

// The code stays where it is until its room is needed, so that a block may drop itself.
void BlockCache::drop(Block& block) {
    while (block.incoming != kNoEdge)
        unlink(block.incoming);
    for (uint32_t number = block.outgoing; number != kNoEdge;) {
        Edge& edge = edges_[number];
        if (edge.to) detach(number);
        free_edges_.push_back(number);
        number = edge.next_out;
        edge = {};
    }
    if (block.model) dropped_models_.push_back(std::move(block.model));
    *entry_of(block.page->number, block.pc) = 0;
}

template <typename Drops>
bool BlockCache::drop_everywhere(Drops drops) {
    bool any = false;
    for (auto page = pages_.begin(); page != pages_.end();) {
        any |= drop_where(page->second, drops);
        page = page->second.empty() ? pages_.erase(page) : std::next(page);
    }
    return any;
}

bool BlockCache::drop_code(const uint8_t* begin, const uint8_t* end) {
    return drop_everywhere(
        [&](const Block& block) { return block.code >= begin && block.code < end; });
}

void BlockCache::drop_page_at(uint32_t ea) {
    drop_everywhere([&](const Block& block) { return block.page->ea == (ea & kPage32Mask); });
}

void BlockCache::clear() {
    drop_code(buffer_.code(), buffer_.code() + buffer_.code_bytes());
    edges_.clear();
    free_edges_.clear();
}

// ---- edges ----

uint32_t BlockCache::new_edge(Block& from, uint8_t* jump, uint8_t* page) {
    uint32_t number;
    if (free_edges_.empty()) {
        number = static_cast<uint32_t>(edges_.size());
        edges_.emplace_back();
    } else {
        number = free_edges_.back();
        free_edges_.pop_back();
    }
    Edge& edge = edges_[number];
    edge.from = &from;
    edge.jump = jump;
    edge.page = page;
    edge.next_out = std::exchange(from.outgoing, number);
    return number;
}

Edge* BlockCache::edge(uint32_t number) {
    if (number >= edges_.size() || !edges_[number].from) return nullptr;
    return &edges_[number];
}

void BlockCache::link(uint32_t number, Block& to) {
    Edge& edge = edges_[number];
    if (edge.to) return;
    set_target(edge.jump, to.code);
    if (edge.far()) write_word(edge.page, to.page->number);
    edge.to = &to;
    edge.previous_in = kNoEdge;
    edge.next_in = std::exchange(to.incoming, number);
    if (edge.next_in != kNoEdge) edges_[edge.next_in].previous_in = number;
}

void BlockCache::lead_stub_to(uint32_t number, const uint8_t* code) {
    if (edges_[number].to) unlink(number);
    set_target(edges_[number].stub + x64::kStubTarget, code);
}

// From the list of those that lead to the same block.
void BlockCache::detach(uint32_t number) {
    const Edge& edge = edges_[number];
    if (edge.previous_in != kNoEdge)
        edges_[edge.previous_in].next_in = edge.next_in;
    else
        edge.to->incoming = edge.next_in;
    if (edge.next_in != kNoEdge) edges_[edge.next_in].previous_in = edge.previous_in;
}

void BlockCache::unlink(uint32_t number) {
    detach(number);
    Edge& edge = edges_[number];
    set_target(edge.jump, edge.stub);
    if (edge.far()) write_word(edge.page, x64::kNoCodePage);
    edge.to = nullptr;
}

}  // namespace perfvisor::engine::translator
