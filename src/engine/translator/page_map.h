// SPDX-License-Identifier: GPL-2.0-or-later
// Where guest pages are in host memory, as translated code asks for it: flat tables, which a load
// or store answers its address from with one memory access; and for the processes that run long a
// window, in which guest pages lie at their effective addresses, so that an access is one
// instruction of the host.
#pragma once

#include <sys/types.h>

#include <bitset>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "engine/translator/page_tables.h"

namespace perfvisor::engine::translator {

struct PageEntry {
    uint32_t page;      // effective
    uint32_t physical;  // page number
};
struct PagePair : PageTable<PageEntry> {
    uint64_t* reads = nullptr;
    uint64_t* writes = nullptr;
    uint8_t* window = nullptr;
    bool has_window = false;
    bool closed = false;        // had one before; what is mapped there stays
    uint64_t until_window = 0;  // instructions until it gets one
    uint64_t window_after = 0;  // what that was from the beginning
    int64_t credit = 0;         // instructions whose time the faults may take
    uint32_t mapped = 0;        // pages of the window that are or were mapped
};
constexpr unsigned kAddressContexts = 4096;

// A pair of tables, for reads and for writes, an address context (CpuState::data_context); some
// contexts at a time have one. A table has a 64-bit entry an effective page (4 KiB): 0, or what to
// add to the effective address to get the host address. It is a cache of the guest's TLBs: whoever
// owns the map fills it with what CpuState::fast_tlb has found and forgets what ends.
//
// Behind the entries of the 2^20 pages there are zeros: code takes an aligned access's page number
// as the address rotated by its size and shifted, which for a misaligned one gives a number of 2^20
// and more.
//
// A window is 4 GiB of host addresses, of which only those pages can be reached that have been
// entered since it was opened: any other access is a fault of the host's, which leads to the slow
// road (x64/fault_sites.h) and from there to enter(). Fault, mapping and unmapping cost some 10 us
// a page. So a context gets its window when it has run for a while, and loses it for twice as long
// if it needs new pages too often. Guest RAM must be memory that the host can map twice
// (MAP_SHARED); where it is not there are no windows.
class PageMap : PageTables<PageMap, PagePair, kAddressContexts> {
  public:
    static constexpr uint64_t kNever = ~uint64_t{0};
    // `window_after`: instructions that a context runs before it gets a window. Fails where the
    // host has no address space for the tables; where it has none for the windows there are none.
    static Result<std::unique_ptr<PageMap>> create(uint64_t window_after = kNever);
    ~PageMap();
    PageMap(const PageMap&) = delete;
    PageMap& operator=(const PageMap&) = delete;

    // Log2 of the largest access that is answered, and the distance from reads to writes in bytes.
    static constexpr unsigned kLargestLog2 = 3;
    static constexpr size_t kTableBytes = size_t{8} << (20 + kLargestLog2);

    // The context whose tables the accesses of this thread's translated code use, relative to the
    // host's GS segment, from here on.
    void select(uint32_t context);

    // Whether the selected context has a window. It may get one or lose it in ran() and select().
    bool has_window() const { return selected().has_window; }
    // So many instructions of translated code were executed in the selected context.
    void ran(uint64_t instructions);
    // Translated code has met a page that is not in the window of the selected context.
    void faulted() {
        if (has_window()) selected().credit -= kFaultCost;
    }

    // Enters a page of the selected context. `addend` is not 0; `physical` is the guest's page.
    void enter(uint32_t ea, uint64_t addend, uint64_t physical, bool reads, bool writes);
    // The pages in [ea, ea + size) of every context.
    void forget(uint64_t ea, uint64_t size) { forget_pages(ea, size); }
    // Where the physical page is entered for writes.
    void forget_writes(uint64_t physical);
    void forget_all();

    // The window of the selected context; what translated code addresses lies from it on.
    uint8_t* window() const { return selected().window; }
    // What is entered for the page in the selected context; 0: nothing.
    uint64_t read_addend(uint32_t ea) const { return selected().reads[ea >> kPageBits]; }
    uint64_t write_addend(uint32_t ea) const { return selected().writes[ea >> kPageBits]; }

  private:
    friend PageTables;

    static constexpr size_t kPageBytes = size_t{1} << kPageBits;
    // What a fault may cost is a twentieth of what runs meanwhile, and a few hundred at first.
    static constexpr int64_t kFaultCost = 500'000;
    static constexpr int64_t kFirstCredit = 256 * kFaultCost, kLaterCredit = 64 * kFaultCost;
    static constexpr int64_t kMostCredit = 1024 * kFaultCost;
    // The host allows a process some 65,000 mappings.
    static constexpr uint32_t kMostMapped = 4096, kMostMappedOfAll = 24576;

    PageMap(uint8_t* memory, bool windows, uint32_t* holders, uint64_t window_after);
    void begin(PagePair& table, bool first);
    void clear(PagePair& table);
    void forget_page(uint32_t page);
    static void remove(PagePair& table, uint32_t page) {
        table.reads[page] = table.writes[page] = 0;
    }
    void open_window(PagePair& table);
    void close_window(PagePair& table);
    void empty_window(PagePair& table);
    void map(PagePair& table, uint32_t page, uint64_t addend, bool writes);

    // A context's: both tables and, if there are windows, the window, with a page behind it that is
    // never there.
    static constexpr size_t kTablesBytes = 2 * kTableBytes;
    static constexpr size_t kWindowBytes = (size_t{1} << 32) + (size_t{1} << kPageBits);

    static constexpr size_t kHolderBytes = sizeof(uint32_t) << 20;
    uint8_t* memory_;
    const size_t stride_;  // from a context's to the next
    bool windows_;         // whether there is room for them, and guest RAM can be mapped
    uint32_t* mapped_;     // by effective page: the tables whose windows have it
    const uint64_t window_after_;
    // By the low bits of the physical page number: whether it may be entered for writes.
    std::bitset<1u << 16> written_;
};

}  // namespace perfvisor::engine::translator
