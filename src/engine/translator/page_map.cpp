// SPDX-License-Identifier: GPL-2.0-or-later
// Flat tables of guest pages for translated code.
#include "engine/translator/page_map.h"

#include <asm/prctl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/translator/sparse_memory.h"

namespace perfvisor::engine::translator {
namespace {

// A page that is to go from a window must go: the guest would reach what is not its own any more.
// The host refuses where it has no memory left for its own tables.
void must(bool done) {
    if (done) return;
    std::perror("perfvisor: the host does not take a page of the guest's away");
    std::abort();
}

void protect(uint8_t* at, size_t bytes, int protection) {
    must(mprotect(at, bytes, protection) == 0);
}

// Nothing but translated code uses GS in user space.
void set_gs(const void* base) {
    constexpr unsigned long kFsGsBase =
        2;  // in AT_HWCAP2: Linux lets user space use the instruction
    static const bool direct = (getauxval(AT_HWCAP2) & kFsGsBase) != 0;
    static thread_local const void* current = nullptr;
    if (current == base) return;
    current = base;
    if (direct)
        asm volatile("wrgsbase %0" : : "r"(base));
    else
        syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}

// Pages that are or were mapped in the windows of all maps of this process.
std::atomic<uint32_t> mapped_of_all{0};

}  // namespace

Result<std::unique_ptr<PageMap>> PageMap::create(uint64_t window_after) {
    bool windows = window_after != kNever;
    size_t bytes = (kTablesBytes + kWindowBytes) * kTables;
    void* memory = windows ? reserve_sparse(bytes, PROT_NONE) : nullptr;
    if (!memory) {
        windows = false;
        bytes = kTablesBytes * kTables;
        memory = reserve_sparse(bytes, PROT_NONE);
    }
    constexpr int kReadWrite = PROT_READ | PROT_WRITE;
    void* holders = memory ? reserve_sparse(2 * kHolderBytes, kReadWrite) : nullptr;
    if (!holders) {
        const int error = errno;
        if (memory) munmap(memory, bytes);
        return fail("no address space for {} GiB of page tables: {}", bytes >> 30,
                    std::strerror(error));
    }
    return std::unique_ptr<PageMap>(new PageMap(static_cast<uint8_t*>(memory), windows,
                                                static_cast<uint32_t*>(holders), window_after));
}

PageMap::PageMap(uint8_t* memory, bool windows, uint32_t* holders, uint64_t window_after)
    : PageTables(holders),
      memory_(memory),
      stride_(kTablesBytes + (windows ? kWindowBytes : 0)),
      windows_(windows),
      mapped_(holders + kHolderBytes / sizeof(uint32_t)),
      window_after_(window_after) {
    for (unsigned n = 0; n < kTables; ++n) {
        tables_[n].window = memory + stride_ * n + kTablesBytes;
        tables_[n].reads = reinterpret_cast<uint64_t*>(memory + stride_ * n);
        tables_[n].writes = tables_[n].reads + kTableBytes / sizeof(uint64_t);
    }
}

PageMap::~PageMap() {
    for (const PagePair& table : tables_)
        mapped_of_all -= table.mapped;
    munmap(memory_, stride_ * kTables);
    munmap(holders_, 2 * kHolderBytes);
}

void PageMap::select(uint32_t context) {
    select_table(context);
    set_gs(selected().window);
}

void PageMap::begin(PagePair& table, bool first) {
    if (first) mprotect(table.reads, kTablesBytes, PROT_READ | PROT_WRITE);
    table.has_window = table.closed = false;
    table.until_window = table.window_after = window_after_;
}

void PageMap::enter(uint32_t ea, uint64_t addend, uint64_t physical, bool reads, bool writes) {
    const uint32_t page = ea >> kPageBits;
    PagePair& table = selected();
    note(PageEntry{page, static_cast<uint32_t>(physical >> kPageBits)});
    if (reads) table.reads[page] = addend;
    if (writes) {
        table.writes[page] = addend;
        written_.set((physical >> kPageBits) % written_.size());
    }
    if (table.has_window && reads) map(table, page, addend, writes);
}

void PageMap::clear(PagePair& table) {
    empty_window(table);
    PageTables::clear(table);
}

void PageMap::forget_page(uint32_t page) {
    PageTables::forget_page(page);
    for_each(mapped_[page], [page](PagePair& table) {
        protect(table.window + (size_t{page} << kPageBits), kPageBytes, PROT_NONE);
    });
    mapped_[page] = 0;
}

void PageMap::forget_writes(uint64_t physical) {
    const auto page = static_cast<uint32_t>(physical >> kPageBits);
    if (!written_[page % written_.size()]) return;
    for (PagePair& table : tables_)
        for (const PageEntry& entered : table.entered) {
            if (entered.physical != page) continue;
            table.writes[entered.page] = 0;
            if (mapped_[entered.page] & bit_of(table))
                protect(table.window + (size_t{entered.page} << kPageBits), kPageBytes, PROT_READ);
        }
}

void PageMap::forget_all() {
    clear_all();
    written_.reset();
}

// ---- windows ----

// What runs for the kernel is soon another process's: only the processes themselves get one.
void PageMap::ran(uint64_t instructions) {
    PagePair& table = selected();
    if (table.has_window) {
        table.credit = std::min(table.credit + static_cast<int64_t>(instructions), kMostCredit);
        if (table.credit < 0 || !windows_) close_window(table);
        return;
    }
    const bool user = table.key & 1;
    if (!windows_ || !user) return;
    table.until_window -= std::min(table.until_window, instructions);
    if (table.until_window == 0) open_window(table);
}

void PageMap::open_window(PagePair& table) {
    table.has_window = true;
    table.credit = table.closed ? kLaterCredit : kFirstCredit;
}

void PageMap::close_window(PagePair& table) {
    table.has_window = false;
    table.closed = true;
    table.until_window = table.window_after *= 2;
}

void PageMap::empty_window(PagePair& table) {
    if (table.mapped == 0) return;
    must(mmap(table.window, kWindowBytes, PROT_NONE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED);
    madvise(table.window, kWindowBytes, MADV_DONTDUMP);
    const uint32_t bit = bit_of(table);
    for (const PageEntry& entered : table.entered)
        mapped_[entered.page] &= ~bit;
    mapped_of_all -= table.mapped;
    table.mapped = 0;
}

// Where the host has no more mappings for us the page is left to the slow road; where guest RAM is
// private to the process, which says EINVAL, there are no windows.
void PageMap::map(PagePair& table, uint32_t page, uint64_t addend, bool writes) {
    if (table.mapped >= kMostMapped) empty_window(table);
    if (mapped_of_all >= kMostMappedOfAll) return;
    uint8_t* there = table.window + (size_t{page} << kPageBits);
    auto* ram = reinterpret_cast<void*>(addend + (uint64_t{page} << kPageBits));
    if (mremap(ram, 0, kPageBytes, MREMAP_MAYMOVE | MREMAP_FIXED, there) == MAP_FAILED) {
        if (errno == EINVAL) windows_ = false;
        return;
    }
    if (!writes) protect(there, kPageBytes, PROT_READ);
    const uint32_t bit = bit_of(table);
    if (mapped_[page] & bit) return;
    mapped_[page] |= bit;
    ++table.mapped;
    ++mapped_of_all;
}

}  // namespace perfvisor::engine::translator
