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
#include "engine/translator/x64/shared_data.h"

namespace perfvisor::engine::translator {

struct Block;

// A jump out of a block that may lead directly to another.
struct Edge {
    Block* from = nullptr;
    Block* to = nullptr;      // null: leads to `unlinked`
    uint8_t* jump = nullptr;  // the instruction's 32-bit displacement, in the view to write
    const uint8_t* unlinked = nullptr;  // the code that leaves, in the view to write
    bool far = false;                   // to another page
    const uint8_t* look_up = nullptr;   // of a far one: the code that asks the jumps
};

struct Block {
    uint64_t physical = 0;  // of the first instruction
    uint32_t pc = 0;
    uint32_t mode = 0;              // Mode::bits
    uint32_t count = 0;             // instructions
    uint64_t first = 0, bytes = 0;  // from which it was translated, physical
    bool is_trace = false;
    uint32_t process = 0;            // bits 32 and up of the jumps' keys where it was translated
    uint8_t* code = nullptr;         // in the view to write
    const uint8_t* entry = nullptr;  // in the view to execute
    std::vector<uint32_t> outgoing, incoming;  // edges
    std::unique_ptr<Block> next;               // in its bucket

    bool overlaps(uint64_t start, uint64_t length) const {
        return first < start + length && start < first + bytes;
    }
};

class BlockCache {
  public:
    explicit BlockCache(x64::SharedData& shared) : shared_(shared) {}

    Block* find(uint64_t physical, uint32_t pc, uint32_t mode) const;
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
    void clear();

    uint32_t new_edge(const Edge& edge);
    // Null if the edge's block has been dropped since.
    Edge* edge(uint32_t number);
    // For an edge to another page it is the caller that knows that wherever the edge's block is
    // executed, the other's address means this block until forget_jumps() says otherwise.
    void link(uint32_t number, Block& to);
    // Makes a far edge ask the jumps each time.
    void link_to_look_up(uint32_t number);

    // The program counters that indirect branches find, and links between pages.
    void enter_jump(uint64_t key, const Block& block);
    const uint8_t* find_jump(uint64_t key) const;
    void forget_jumps(uint64_t ea, uint64_t size);
    void forget_all_jumps();

  private:
    static constexpr unsigned kBuckets = 1u << 16;
    static unsigned bucket_of(uint64_t physical, uint32_t mode) {
        const uint64_t word = physical >> 2;
        return static_cast<unsigned>(word ^ word >> 16 ^ mode << 12) & (kBuckets - 1);
    }
    void set_target(Edge& edge, const uint8_t* target);
    void unlink(Edge& edge);
    void unlink_far(uint32_t page);
    void drop(Block& block);
    // Which words of a page have, or had, a place among the jumps.
    using Words = std::array<uint64_t, core::kPageSize / 4 / 64>;

    x64::SharedData& shared_;
    // Each the first of a list.
    std::vector<std::unique_ptr<Block>> buckets_ = std::vector<std::unique_ptr<Block>>(kBuckets);
    std::unordered_map<uint64_t, std::vector<Block*>> pages_;  // by physical page address
    std::deque<Edge> edges_;
    std::vector<uint32_t> free_edges_;
    std::unordered_map<uint32_t, std::vector<uint32_t>> far_edges_;  // linked, by target page
    std::unordered_map<uint32_t, Words> jump_words_;                 // by effective page
};

}  // namespace perfvisor::engine::translator
