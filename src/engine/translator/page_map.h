// SPDX-License-Identifier: GPL-2.0-or-later
// Where guest pages are in host memory, as translated code asks for it: flat tables, which a load
// or store answers its address from with one memory access.
#pragma once

#include <sys/types.h>

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"

namespace perfvisor::engine::translator {

// A pair of tables, for reads and for writes, an address context (CpuState::data_context); some
// contexts at a time have one. A table has a 64-bit entry an effective page (4 KiB): 0, or what to
// add to the effective address to get the host address. It is a cache of the guest's TLBs: whoever
// owns the map fills it with what CpuState::fast_tlb has found and forgets what ends.
//
// Behind the entries of the 2^20 pages there are zeros: code takes an aligned access's page number
// as the address rotated by its size and shifted, which for a misaligned one gives a number of 2^20
// and more.
class PageMap {
  public:
    // Fails where the host has no address space for it.
    static Result<std::unique_ptr<PageMap>> create();
    ~PageMap();
    PageMap(const PageMap&) = delete;
    PageMap& operator=(const PageMap&) = delete;

    // Log2 of the largest access that is answered, and the distance from reads to writes in bytes.
    static constexpr unsigned kLargestLog2 = 3;
    static constexpr size_t kTableBytes = size_t{8} << (20 + kLargestLog2);

    // The context whose tables the accesses of this thread's translated code use, relative to the
    // host's GS segment, from here on.
    void select(uint32_t context);

    // Enters a page of the selected context. `addend` is not 0; `physical` is the guest's page.
    void enter(uint32_t ea, uint64_t addend, uint64_t physical, bool reads, bool writes);
    // The pages in [ea, ea + size) of every context.
    void forget(uint64_t ea, uint64_t size);
    // Where the physical page is entered for writes.
    void forget_writes(uint64_t physical);
    void forget_all();

    // What is entered for the page in the selected context; 0: nothing.
    uint64_t read_addend(uint32_t ea) const { return tables_[selected_].reads[ea >> kPageBits]; }
    uint64_t write_addend(uint32_t ea) const { return tables_[selected_].writes[ea >> kPageBits]; }

  private:
    static constexpr unsigned kPageBits = 12;
    static constexpr unsigned kTables = 32;
    static constexpr size_t kLongestList = 8192;
    static constexpr uint32_t kNoContext = ~uint32_t{0};
    static constexpr unsigned kContexts = 4096;
    static constexpr uint8_t kNone = 0xff;

    struct Entered {
        uint32_t page;      // effective
        uint32_t physical;  // page number
    };
    struct Table {
        uint64_t* reads = nullptr;
        uint64_t* writes = nullptr;
        uint32_t context = kNoContext;
        uint64_t used = 0;             // when it was selected last
        std::vector<Entered> entered;  // whatever was since it was empty; some may be gone again
    };

    PageMap(uint8_t* memory, uint32_t* holders);
    unsigned table_for(uint32_t context);
    void clear(unsigned number);

    static constexpr size_t kBytes = 2 * kTableBytes * kTables;
    static constexpr size_t kHolderBytes = sizeof(uint32_t) << 20;
    uint8_t* memory_;
    uint32_t* holders_;  // by effective page: a bit for each table that has it
    std::array<Table, kTables> tables_;
    std::array<uint8_t, kContexts> table_of_;  // by context
    unsigned selected_ = 0;
    uint64_t selections_ = 0;
    // By the low bits of the physical page number: whether it may be entered for writes.
    std::bitset<1u << 16> written_;
};

}  // namespace perfvisor::engine::translator
