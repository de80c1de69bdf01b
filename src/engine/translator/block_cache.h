// SPDX-License-Identifier: GPL-2.0-or-later
// Translated blocks: found by address and mode, linked to each other, dropped with their page.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/physical_memory.h"
#include "engine/translator/fetch_map.h"
#include "engine/translator/model_block.h"
#include "engine/translator/x64/code_buffer.h"
#include "engine/translator/x64/shared_data.h"

namespace perfvisor::engine::translator {

struct Block;
struct CodePage;

constexpr uint32_t kNoEdge = ~uint32_t{0};

// A jump out of a block that may lead directly to another.
struct Edge {
    Block* from = nullptr;
    Block* to = nullptr;  // null: leads to `stub`
    // All in the view to write: the jump's displacement, the code that leaves, and of a jump to
    // another page what the page is compared with.
    uint8_t* jump = nullptr;
    uint8_t* stub = nullptr;
    uint8_t* page = nullptr;
    uint32_t next_out = kNoEdge;                        // of the same block
    uint32_t next_in = kNoEdge, previous_in = kNoEdge;  // to the same block
    bool far() const { return page != nullptr; }
};

struct Block {
    uint64_t physical = 0;  // of the first instruction
    uint32_t pc = 0;
    uint32_t mode = 0;              // Mode::bits
    uint32_t count = 0;             // instructions
    uint64_t first = 0, bytes = 0;  // from which it was translated, physical
    bool is_trace = false;
    uint8_t* code = nullptr;  // in the view to write; before it, the block's address
    CodePage* page = nullptr;
    uint32_t outgoing = kNoEdge, incoming = kNoEdge;  // the first of each
    std::unique_ptr<ModelBlock> model;                // where the mode has one

    bool overlaps(uint64_t start, uint64_t length) const {
        return first < start + length && start < first + bytes;
    }
};

// The blocks that begin in a physical page, at one effective address, in one mode.
struct CodePage {
    uint64_t physical = 0;
    uint32_t ea = 0;
    uint32_t mode = 0;
    uint32_t number = 0;  // where its entries are, bytes behind the first page's
    std::vector<std::unique_ptr<Block>> blocks;
};

class BlockCache {
  public:
    BlockCache(x64::CodeBuffer& buffer, FetchMap& fetches);

    // Whether a block may be added without dropping others first.
    bool has_room() const { return !free_numbers_.empty() || next_number_ < kEnd; }
    // Null code: there is no block. The block itself, which is far from all else, is not touched.
    struct Place {
        const uint8_t* code = nullptr;  // in the view to write
        uint32_t page = 0;              // CodePage::number
    };
    Place find(uint64_t physical, uint32_t pc, uint32_t mode);
    static Block* block_at(const uint8_t* code);
    bool page_has_blocks(uint64_t physical) const;
    // Enters a block; its edges have been made with new_edge() and name it.
    Block* add(std::unique_ptr<Block> block);
    // Drops one block.
    void remove(Block& block);
    // Drops the blocks that overlap [physical, physical + length); false if there were none.
    bool invalidate(uint64_t physical, uint64_t length);
    // Drops the blocks whose code lies in [begin, end), in the view to write; false if there were
    // none.
    bool drop_code(const uint8_t* begin, const uint8_t* end);
    // Drops the blocks of the page at effective address `ea`, wherever it lies.
    void drop_page_at(uint32_t ea);
    void clear();
    // What dropped blocks had for the timing model stays until nothing refers to it any more.
    void forget_dropped_models() { dropped_models_.clear(); }

    uint32_t new_edge(Block& from, uint8_t* jump, uint8_t* page);
    void set_stub(uint32_t number, uint8_t* stub) { edges_[number].stub = stub; }
    // Null if the edge's block has been dropped since.
    Edge* edge(uint32_t number);
    void link(uint32_t number, Block& to);
    // Makes the stub of an edge that is not linked, or no more, go to `code` instead.
    void lead_stub_to(uint32_t number, const uint8_t* code);

    // The code for a program counter in the mode that the fetch map has selected, in the view to
    // execute; null: not known.
    const uint8_t* find_entry(uint32_t pc) const;
    // Lets that mode find the page's code at the page of `pc`.
    void enter_fetch(uint32_t pc, uint32_t page) { fetches_.enter(pc, page); }

  private:
    static constexpr uint32_t kEnd = x64::kCodePages * uint32_t{core::kPageSize};

    // What pages_ would give, for pages that were looked for lately.
    struct Recent {
        uint64_t physical = ~uint64_t{0};
        uint32_t ea = 0, mode = 0, number = 0;
    };
    static constexpr unsigned kRecent = 4096;
    Recent& recent(uint64_t physical, uint32_t mode) {
        const uint64_t page = physical / core::kPageSize;
        return recent_[(page ^ page >> 12 ^ mode << 8) % kRecent];
    }
    uint32_t* entry_of(uint32_t page, uint32_t pc) const {
        return entries_ + (page + (pc & static_cast<uint32_t>(~core::kPageMask))) / 4;
    }
    CodePage* find_page(uint64_t physical, uint32_t ea, uint32_t mode) const;
    CodePage& page_for(const Block& block);
    void detach(uint32_t number);
    void unlink(uint32_t number);
    void drop(Block& block);
    template <typename Drops>
    bool drop_where(std::vector<std::unique_ptr<CodePage>>& pages, Drops drops);
    template <typename Drops>
    bool drop_everywhere(Drops drops);

    x64::CodeBuffer& buffer_;
    FetchMap& fetches_;
    uint32_t* entries_;                       // in the view of data that code sees
    uint32_t next_number_ = core::kPageSize;  // the first page has no code, ever
    std::vector<uint32_t> free_numbers_;
    std::vector<Recent> recent_ = std::vector<Recent>(kRecent);
    std::unordered_map<uint64_t, std::vector<std::unique_ptr<CodePage>>>
        pages_;  // by physical page
    std::vector<std::unique_ptr<ModelBlock>> dropped_models_;
    std::deque<Edge> edges_;
    std::vector<uint32_t> free_edges_;
};

}  // namespace perfvisor::engine::translator
