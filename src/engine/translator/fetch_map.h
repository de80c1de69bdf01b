// SPDX-License-Identifier: GPL-2.0-or-later
// Which translated code an effective page holds, as translated code asks for it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"

namespace perfvisor::engine::translator {

// A table a mode (fetches' address context, MSR[FP], XER[SO], ModelKind, window or not, plain
// floating point or not); some modes
// at a time have one. It has a 32-bit entry an effective page (4 KiB): 0, or the number that
// whoever owns the map gives to the code of the page. It is a cache of the guest's TLBs: branches
// to other pages ask it, and the owner forgets what ends. A process that begins has to enter its
// pages, not each of their targets.
class FetchMap {
  public:
    static constexpr unsigned kModeBits = 18;

    // Fails where the host has no address space for it.
    static Result<std::unique_ptr<FetchMap>> create();
    ~FetchMap();
    FetchMap(const FetchMap&) = delete;
    FetchMap& operator=(const FetchMap&) = delete;

    // The table of a mode, below 2^kModeBits, which is looked at and entered into from here on.
    const uint32_t* select(uint32_t mode);

    // Enters a page of the selected mode; `number` is not 0.
    void enter(uint32_t ea, uint32_t number);
    // 0: nothing.
    uint32_t find(uint32_t ea) const { return tables_[selected_].numbers[ea >> kPageBits]; }

    // The pages in [ea, ea + size) of every mode.
    void forget(uint64_t ea, uint64_t size);
    // The page where it is entered as `number`.
    void forget_number(uint32_t ea, uint32_t number);
    void forget_all();

  private:
    static constexpr unsigned kPageBits = 12;
    static constexpr unsigned kTables = 32;
    static constexpr size_t kLongestList = 8192;
    static constexpr uint32_t kNoMode = ~uint32_t{0};
    static constexpr uint8_t kNone = 0xff;

    struct Table {
        uint32_t* numbers = nullptr;
        uint32_t mode = kNoMode;
        uint64_t used = 0;              // when it was selected last
        std::vector<uint32_t> entered;  // pages since it was empty; some may be gone again
    };

    FetchMap(uint32_t* numbers, uint32_t* holders);
    unsigned table_for(uint32_t mode);
    void clear(unsigned number);

    static constexpr size_t kPages = size_t{1} << (32 - kPageBits);
    uint32_t* numbers_;
    uint32_t* holders_;  // by effective page: a bit for each table that has it
    std::array<Table, kTables> tables_;
    std::array<uint8_t, 1u << kModeBits> table_of_;  // by mode
    unsigned selected_ = 0;
    uint64_t selections_ = 0;
};

}  // namespace perfvisor::engine::translator
