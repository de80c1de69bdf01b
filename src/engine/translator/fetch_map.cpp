// SPDX-License-Identifier: GPL-2.0-or-later
// Flat tables of code pages for translated code.
#include "engine/translator/fetch_map.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/translator/sparse_memory.h"

namespace perfvisor::engine::translator {
namespace {

uint32_t* reserve(size_t words) {
    return static_cast<uint32_t*>(reserve_sparse(words * sizeof(uint32_t), PROT_READ | PROT_WRITE));
}

}  // namespace

Result<std::unique_ptr<FetchMap>> FetchMap::create() {
    uint32_t* numbers = reserve(kPages * kTables);
    uint32_t* holders = numbers ? reserve(kPages) : nullptr;
    if (!holders) {
        const int error = errno;
        if (numbers) munmap(numbers, kPages * kTables * sizeof(uint32_t));
        return fail("no address space for {} MiB of code tables: {}",
                    kPages * kTables * sizeof(uint32_t) >> 20, std::strerror(error));
    }
    return std::unique_ptr<FetchMap>(new FetchMap(numbers, holders));
}

FetchMap::FetchMap(uint32_t* numbers, uint32_t* holders) : numbers_(numbers), holders_(holders) {
    for (unsigned n = 0; n < kTables; ++n)
        tables_[n].numbers = numbers + kPages * n;
    table_of_.fill(kNone);
}

FetchMap::~FetchMap() {
    munmap(numbers_, kPages * kTables * sizeof(uint32_t));
    munmap(holders_, kPages * sizeof(uint32_t));
}

const uint32_t* FetchMap::select(uint32_t mode) {
    const uint8_t number = table_of_[mode % table_of_.size()];
    selected_ = number != kNone ? number : table_for(mode);
    tables_[selected_].used = ++selections_;
    return tables_[selected_].numbers;
}

// The one not selected for the longest time becomes the mode's.
unsigned FetchMap::table_for(uint32_t mode) {
    const auto oldest =
        std::min_element(tables_.begin(), tables_.end(),
                         [](const Table& a, const Table& b) { return a.used < b.used; });
    const auto number = static_cast<unsigned>(oldest - tables_.begin());
    clear(number);
    if (oldest->mode != kNoMode) table_of_[oldest->mode] = kNone;
    oldest->mode = mode % static_cast<uint32_t>(table_of_.size());
    table_of_[oldest->mode] = static_cast<uint8_t>(number);
    return number;
}

void FetchMap::enter(uint32_t ea, uint32_t number) {
    const uint32_t page = ea >> kPageBits;
    const uint32_t holder = 1u << selected_;
    Table& table = tables_[selected_];
    if (!(holders_[page] & holder)) {
        if (table.entered.size() >= kLongestList) clear(selected_);
        holders_[page] |= holder;
        table.entered.push_back(page);
    }
    table.numbers[page] = number;
}

void FetchMap::clear(unsigned number) {
    Table& table = tables_[number];
    for (const uint32_t page : table.entered) {
        table.numbers[page] = 0;
        holders_[page] &= ~(1u << number);
    }
    table.entered.clear();
}

void FetchMap::forget(uint64_t ea, uint64_t size) {
    constexpr uint64_t kFewPages = 256;
    const uint64_t first = ea >> kPageBits, count = size >> kPageBits;
    const auto forget_page = [this](uint64_t page) {
        for (uint32_t holders = holders_[page]; holders != 0; holders &= holders - 1)
            tables_[static_cast<unsigned>(__builtin_ctz(holders))].numbers[page] = 0;
        holders_[page] = 0;
    };
    if (count <= kFewPages) {
        for (uint64_t n = 0; n < count; ++n)
            forget_page((first + n) % kPages);
        return;
    }
    for (const Table& table : tables_)
        for (const uint32_t page : table.entered)
            if (page - first < count) forget_page(page);
}

void FetchMap::forget_number(uint32_t ea, uint32_t number) {
    const uint32_t page = ea >> kPageBits;
    for (uint32_t holders = holders_[page]; holders != 0; holders &= holders - 1) {
        uint32_t& entered = tables_[static_cast<unsigned>(__builtin_ctz(holders))].numbers[page];
        if (entered == number) entered = 0;
    }
}

void FetchMap::forget_all() {
    for (unsigned n = 0; n < kTables; ++n)
        clear(n);
}

}  // namespace perfvisor::engine::translator
