// SPDX-License-Identifier: GPL-2.0-or-later
// Flat tables by effective page, one for each of some keys at a time: what FetchMap and PageMap
// have in common.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace perfvisor::engine::translator {

// What a table's own data comes on top of. `Entry`, what is kept of a page that is entered, has
// `uint32_t page`, its number.
template <class Entry>
struct PageTable {
    static constexpr uint32_t kNoKey = ~uint32_t{0};
    uint32_t key = kNoKey;
    uint64_t used = 0;           // when it was selected last
    std::vector<Entry> entered;  // since it was empty; some may be gone again
};

// `Map` derives from this and has `remove(table, page)`, which takes a page out of a table's data;
// it may have a begin(), clear() and forget_page() of its own. Keys are below kKeys. `holders`, by
// page, are zeros at first.
template <class Map, class Table, unsigned kKeys>
class PageTables {
  protected:
    static constexpr unsigned kPageBits = 12;
    static constexpr size_t kPages = size_t{1} << (32 - kPageBits);
    static constexpr unsigned kTables = 32;

    explicit PageTables(uint32_t* holders) : holders_(holders) { table_of_.fill(kNone); }

    // A table for whichever key it becomes; the first time that it is used at all, or empty.
    void begin(Table& /*table*/, bool /*first*/) {}

    Table& selected() { return tables_[selected_]; }
    const Table& selected() const { return tables_[selected_]; }
    void select_table(uint32_t key) {
        key %= kKeys;
        if (table_of_[key] == kNone) give_oldest_to(key);
        selected_ = table_of_[key];
        selected().used = ++selections_;
    }

    // The selected table has the page from here on.
    template <class Entry>
    void note(const Entry& entry) {
        Table& table = selected();
        if (holders_[entry.page] & bit_of(table)) return;
        if (table.entered.size() >= kLongestList) self().clear(table);
        holders_[entry.page] |= bit_of(table);
        table.entered.push_back(entry);
    }

    void clear(Table& table) {
        for (const auto& entry : table.entered) {
            self().remove(table, entry.page);
            holders_[entry.page] &= ~bit_of(table);
        }
        table.entered.clear();
    }
    void clear_all() {
        for (Table& table : tables_)
            self().clear(table);
    }

    void forget_page(uint32_t page) {
        for_each(holders_[page], [&](Table& table) { self().remove(table, page); });
        holders_[page] = 0;
    }
    // The pages in [ea, ea + size) of every table.
    void forget_pages(uint64_t ea, uint64_t size) {
        constexpr uint64_t kFewPages = 256;
        const uint64_t first = ea >> kPageBits, count = size >> kPageBits;
        if (count <= kFewPages) {
            for (uint64_t n = 0; n < count; ++n)
                self().forget_page(static_cast<uint32_t>((first + n) % kPages));
            return;
        }
        for (const Table& table : tables_)
            for (const auto& entry : table.entered)
                if (entry.page - first < count) self().forget_page(entry.page);
    }

    // Tables as sets: a bit each.
    uint32_t bit_of(const Table& table) const { return 1u << (&table - tables_.data()); }
    template <class Do>
    void for_each(uint32_t bits, const Do& act) {
        for (; bits != 0; bits &= bits - 1)
            act(tables_[static_cast<unsigned>(__builtin_ctz(bits))]);
    }

    uint32_t* const holders_;  // by page: the tables that have it
    std::array<Table, kTables> tables_;

  private:
    static constexpr size_t kLongestList = 8192;
    static constexpr uint8_t kNone = 0xff;

    Map& self() { return static_cast<Map&>(*this); }

    // The one not selected for the longest time becomes the key's.
    void give_oldest_to(uint32_t key) {
        Table& oldest =
            *std::min_element(tables_.begin(), tables_.end(),
                              [](const Table& a, const Table& b) { return a.used < b.used; });
        const bool first = oldest.key == Table::kNoKey;
        if (!first) {
            self().clear(oldest);
            table_of_[oldest.key] = kNone;
        }
        oldest.key = key;
        table_of_[key] = static_cast<uint8_t>(&oldest - tables_.data());
        self().begin(oldest, first);
    }

    std::array<uint8_t, kKeys> table_of_;  // by key
    unsigned selected_ = 0;
    uint64_t selections_ = 0;
};

}  // namespace perfvisor::engine::translator
