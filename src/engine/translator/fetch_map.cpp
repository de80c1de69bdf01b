// SPDX-License-Identifier: GPL-2.0-or-later
// Flat tables of code pages for translated code.
#include "engine/translator/fetch_map.h"

#include <sys/mman.h>

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

FetchMap::FetchMap(uint32_t* numbers, uint32_t* holders) : PageTables(holders), numbers_(numbers) {
    for (unsigned n = 0; n < kTables; ++n)
        tables_[n].numbers = numbers + kPages * n;
}

FetchMap::~FetchMap() {
    munmap(numbers_, kPages * kTables * sizeof(uint32_t));
    munmap(holders_, kPages * sizeof(uint32_t));
}

void FetchMap::forget_number(uint32_t ea, uint32_t number) {
    const uint32_t page = ea >> kPageBits;
    for_each(holders_[page], [=](FetchTable& table) {
        if (table.numbers[page] == number) table.numbers[page] = 0;
    });
}

}  // namespace perfvisor::engine::translator
