// SPDX-License-Identifier: GPL-2.0-or-later
// Which translated code an effective page holds, as translated code asks for it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "engine/translator/page_tables.h"

namespace perfvisor::engine::translator {

struct FetchEntry {
    uint32_t page;
};
struct FetchTable : PageTable<FetchEntry> {
    uint32_t* numbers = nullptr;
};
constexpr unsigned kFetchModeBits = 19;

// A table a mode (fetches' address context, MSR[FP], XER[SO], ModelKind, window or not, plain
// floating point or not); some modes at a time have one. It has a 32-bit entry an effective page
// (4 KiB): 0, or the number that whoever owns the map gives to the code of the page. It is a cache
// of the guest's TLBs: branches to other pages ask it, and the owner forgets what ends. A process
// that begins has to enter its pages, not each of their targets.
class FetchMap : PageTables<FetchMap, FetchTable, 1u << kFetchModeBits> {
  public:
    // Fails where the host has no address space for it.
    static Result<std::unique_ptr<FetchMap>> create();
    ~FetchMap();
    FetchMap(const FetchMap&) = delete;
    FetchMap& operator=(const FetchMap&) = delete;

    // The table of a mode, below 2^kFetchModeBits, which is looked at and entered into from here
    // on.
    const uint32_t* select(uint32_t mode) {
        select_table(mode);
        return selected().numbers;
    }

    // Enters a page of the selected mode; `number` is not 0.
    void enter(uint32_t ea, uint32_t number) {
        note(FetchEntry{ea >> kPageBits});
        selected().numbers[ea >> kPageBits] = number;
    }
    // 0: nothing.
    uint32_t find(uint32_t ea) const { return selected().numbers[ea >> kPageBits]; }

    // The pages in [ea, ea + size) of every mode.
    void forget(uint64_t ea, uint64_t size) { forget_pages(ea, size); }
    // The page where it is entered as `number`.
    void forget_number(uint32_t ea, uint32_t number);
    void forget_all() { clear_all(); }

  private:
    friend PageTables;

    FetchMap(uint32_t* numbers, uint32_t* holders);
    static void remove(FetchTable& table, uint32_t page) { table.numbers[page] = 0; }

    uint32_t* numbers_;
};

}  // namespace perfvisor::engine::translator
