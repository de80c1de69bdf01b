// SPDX-License-Identifier: GPL-2.0-or-later
// Flat tables of guest pages for translated code.
#include "engine/translator/page_map.h"

#include <asm/prctl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace perfvisor::engine::translator {
namespace {

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

void* reserve(size_t bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return nullptr;
    // A few pages of it are touched, far from each other.
    madvise(at, bytes, MADV_NOHUGEPAGE);
    madvise(at, bytes, MADV_DONTDUMP);
    return at;
}

}  // namespace

Result<std::unique_ptr<PageMap>> PageMap::create() {
    void* memory = reserve(kBytes);
    void* holders = memory ? reserve(kHolderBytes) : nullptr;
    if (!holders) {
        const int error = errno;
        if (memory) munmap(memory, kBytes);
        return fail("no address space for {} GiB of page tables: {}", kBytes >> 30,
                    std::strerror(error));
    }
    return std::unique_ptr<PageMap>(
        new PageMap(static_cast<uint8_t*>(memory), static_cast<uint32_t*>(holders)));
}

PageMap::PageMap(uint8_t* memory, uint32_t* holders) : memory_(memory), holders_(holders) {
    for (unsigned n = 0; n < kTables; ++n) {
        tables_[n].reads = reinterpret_cast<uint64_t*>(memory + 2 * kTableBytes * n);
        tables_[n].writes = tables_[n].reads + kTableBytes / sizeof(uint64_t);
    }
    table_of_.fill(kNone);
}

PageMap::~PageMap() {
    munmap(memory_, kBytes);
    munmap(holders_, kHolderBytes);
}

void PageMap::select(uint32_t context) {
    const uint8_t number = table_of_[context % kContexts];
    selected_ = number != kNone ? number : table_for(context);
    tables_[selected_].used = ++selections_;
    set_gs(tables_[selected_].reads);
}

// The one not selected for the longest time becomes the context's.
unsigned PageMap::table_for(uint32_t context) {
    const auto oldest =
        std::min_element(tables_.begin(), tables_.end(),
                         [](const Table& a, const Table& b) { return a.used < b.used; });
    const auto number = static_cast<unsigned>(oldest - tables_.begin());
    clear(number);
    if (oldest->context != kNoContext) table_of_[oldest->context] = kNone;
    oldest->context = context % kContexts;
    table_of_[oldest->context] = static_cast<uint8_t>(number);
    return number;
}

void PageMap::enter(uint32_t ea, uint64_t addend, uint64_t physical, bool reads, bool writes) {
    const uint32_t page = ea >> kPageBits;
    const uint32_t holder = 1u << selected_;
    Table& table = tables_[selected_];
    if (!(holders_[page] & holder)) {
        if (table.entered.size() >= kLongestList) clear(selected_);
        holders_[page] |= holder;
        table.entered.push_back({page, static_cast<uint32_t>(physical >> kPageBits)});
    }
    if (reads) table.reads[page] = addend;
    if (writes) {
        table.writes[page] = addend;
        written_.set((physical >> kPageBits) % written_.size());
    }
}

void PageMap::clear(unsigned number) {
    Table& table = tables_[number];
    for (const Entered& entered : table.entered) {
        table.reads[entered.page] = table.writes[entered.page] = 0;
        holders_[entered.page] &= ~(1u << number);
    }
    table.entered.clear();
}

void PageMap::forget(uint64_t ea, uint64_t size) {
    constexpr uint64_t kFewPages = 256;
    const uint64_t first = ea >> kPageBits, count = size >> kPageBits;
    const auto forget_page = [this](uint64_t page) {
        for (uint32_t holders = holders_[page]; holders != 0; holders &= holders - 1) {
            const Table& table = tables_[static_cast<unsigned>(__builtin_ctz(holders))];
            table.reads[page] = table.writes[page] = 0;
        }
        holders_[page] = 0;
    };
    if (count <= kFewPages) {
        for (uint64_t n = 0; n < count; ++n)
            forget_page((first + n) & 0xfffff);
        return;
    }
    for (const Table& table : tables_)
        for (const Entered& entered : table.entered)
            if (entered.page - first < count) forget_page(entered.page);
}

void PageMap::forget_writes(uint64_t physical) {
    const auto page = static_cast<uint32_t>(physical >> kPageBits);
    if (!written_[page % written_.size()]) return;
    for (const Table& table : tables_)
        for (const Entered& entered : table.entered)
            if (entered.physical == page) table.writes[entered.page] = 0;
}

void PageMap::forget_all() {
    for (unsigned n = 0; n < kTables; ++n)
        clear(n);
    written_.reset();
}

}  // namespace perfvisor::engine::translator
