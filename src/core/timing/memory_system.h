// SPDX-License-Identifier: GPL-2.0-or-later
// Caches and first-level MMUs: which of them an access finds its translation and its line in, and
// what moves between them (docs/timing.md, "Memory").
#pragma once

#include <cstdint>
#include <optional>

#include "core/timing/cache.h"
#include "core/timing/counts.h"
#include "core/timing/instruction.h"
#include "core/timing/l1_mmu.h"

namespace perfvisor::core::timing {

// Where a line was found.
enum class Level : uint8_t { L1, L2, Memory };

// One access to one line, or to none (inhibited), as the pipeline has to know it.
struct DataPart {
    uint64_t physical = 0;
    Level level = Level::L1;
    bool store = false;
    bool waits = true;  // for the line: loads do, touches do not
    bool inhibited = false;
    bool guarded = false;
    bool write_through = false;
    bool coherent = false;
    bool mmu_miss = false;
    bool second = false;  // of an access that was taken apart
};

struct FetchResult {
    bool new_group = false;  // the instruction begins a fetch
    bool mmu_miss = false;
    Level level = Level::L1;
};

class MemorySystem {
  public:
    // The address context of data accesses or fetches.
    struct Context {
        unsigned as;
        uint32_t pid;
        bool user;
    };
    static constexpr unsigned kMostParts = 64;  // of 32 words, each taken apart

    MemorySystem(const Mmu& mmu, ModelledTotals& counts, Filters& filters)
        : mmu_(mmu),
          counts_(&counts),
          filters_(filters),
          fetch_mmu_(mmu, {&filters.fetches}, filters.fetch_hits),
          data_mmu_(mmu, {&filters.loads, &filters.stores}, filters.data_hits) {}

    // Where it counts from now on.
    void set_counts(ModelledTotals& counts) { counts_ = &counts; }
    void invalidate();
    // Core::mirror.
    void mirror(const MemorySystem& from);
    void invalidate_data() {
        l1_data_.invalidate_all();
        forget_all_data();
    }
    void invalidate_instructions() {
        l1_instructions_.invalidate_all();
        forget_all_fetches();
    }
    const Cache& l1_data() const { return l1_data_; }
    const Cache& l1_instructions() const { return l1_instructions_; }
    void invalidate_l2() { l2_.invalidate_all(); }

    // The filters are about to be looked at in these contexts.
    void set_context(const Context& fetching, const Context& accessing);

    // Whether fetching from `pc` on, straight from `before`, takes one more fetch.
    static bool begins_group(uint32_t before, uint32_t pc) {
        return before / kFetchBytes != pc / kFetchBytes;
    }
    static bool begins_line(uint32_t before, uint32_t pc) {
        return before / kLineBytes != pc / kLineBytes;
    }
    // The instruction at `pc` is executed; `redirected`: it does not follow the one before it.
    [[gnu::always_inline]] FetchResult fetch(uint32_t pc, bool redirected, const Context& context) {
        const uint32_t group = pc / kFetchBytes;
        if (group == last_group_ && !redirected) return {};
        last_group_ = group;
        ++(*counts_)[Modelled::Fetches];
        const L1Mmu::Result found =
            fetch_mmu_.translate(pc, Access::Fetch, context.as, context.pid, context.user);
        if (found.found == L1Mmu::Found::Here && !(found.attributes & kInhibited)) [[likely]] {
            const uint32_t line = line_of(found.physical);
            if (l1_instructions_.is_newest(line)) [[likely]] {
                remember_fetch(pc, line, found.entry, context);
                return {.new_group = true};
            }
        }
        return fetch_elsewhere(found, pc, context);
    }
    // The same in steps, where the page of `pc` was translated lately and may be cached: `line` is
    // that of `pc`. False: fetch() is to be asked.
    [[gnu::always_inline]] bool can_fetch_quickly(uint32_t pc, const Context& context,
                                                  uint32_t& line) {
        const L1Mmu::Result found = fetch_mmu_.translate_recent(pc, context.as, context.pid);
        line = line_of(found.physical);
        fetch_entry_ = found.entry;
        return found.found == L1Mmu::Found::Here && !(found.attributes & kInhibited);
    }
    bool in_last_group(uint32_t pc) const { return pc / kFetchBytes == last_group_; }
    // After goes_on_at(pc) nothing has come that makes fetching begin anew.
    bool goes_on_in_group(uint32_t pc) const { return pc % kFetchBytes == 0 || in_last_group(pc); }
    // Fetching goes on straight from the instruction before `pc`.
    void goes_on_at(uint32_t pc) {
        last_group_ = pc % kFetchBytes == 0 ? kNowhere : pc / kFetchBytes;
    }
    [[gnu::always_inline]] Level fetch_from(uint32_t line) {
        if (l1_instructions_.is_newest(line)) [[likely]]
            return Level::L1;
        filters_.fetches.forget_set(line % kL1Sets);
        fetch_mmu_.use(fetch_entry_);
        return fetch_line(line);
    }
    void fetched(uint64_t groups, uint32_t last_pc) {
        (*counts_)[Modelled::Fetches] += groups;
        last_group_ = last_pc / kFetchBytes;
    }
    // What an instruction does with memory at `ea`: fills in `parts`, gives their number. `words`
    // of a multiple or string, else 1.
    unsigned access(const Instruction& in, uint32_t ea, unsigned words, const Context& context,
                    DataPart* parts);
    // The same for loads, stores and lines that are written as a whole, where nothing happens that
    // takes longer than it mostly does: one part, in a plain page that the L1 MMU has, in a line
    // that the L1 has or need not have. False: something else would.
    [[gnu::always_inline]] bool access_quickly(MemoryUse use, uint8_t size, uint32_t ea,
                                               const Context& context, uint64_t& physical) {
        if (use > MemoryUse::Store && use != MemoryUse::Allocate) return false;
        if ((ea % kPortBytes) + size > kPortBytes) return false;
        const L1Mmu::Result found = data_mmu_.translate_recent(ea, context.as, context.pid);
        constexpr uint32_t kSpecial = kWriteThrough | kInhibited | kGuarded;
        if (found.found != L1Mmu::Found::Here || (found.attributes & kSpecial)) return false;
        const uint32_t number = line_of(found.physical);
        if (!l1_data_.is_newest(number)) data_mmu_.use(found.entry);
        const Cache::Place line = l1_data_.use(number);
        physical = found.physical;
        filters_.stores.forget_set(number % kL1Sets);
        if (use == MemoryUse::Allocate) [[unlikely]] {
            filters_.loads.forget_set(number % kL1Sets);
            ++(*counts_)[Modelled::TotalTranslated];
            ++(*counts_)[Modelled::CacheOpsTranslated];
            if (line)
                l1_data_.set_dirty(line, true);
            else
                enter_data_line(number, true);
            return true;
        }
        if (!line) return false;
        ++(*counts_)[Modelled::TotalTranslated];
        if (use == MemoryUse::Store) {
            l1_data_.set_dirty(line, true);
            ++(*counts_)[Modelled::StoresTranslated];
            ++(*counts_)[Modelled::StoresCompleted];
        } else {
            ++(*counts_)[Modelled::LoadsTranslated];
        }
        remember_data(ea, number, found.entry, context);
        if (ea & (size - 1u)) ++(*counts_)[Modelled::MisalignedTranslated];
        return true;
    }

  private:
    static constexpr uint32_t kNowhere = ~uint32_t{0};
    // MAS2.
    static constexpr uint32_t kWriteThrough = 0x10, kInhibited = 0x08, kCoherent = 0x04,
                              kGuarded = 0x02;
    static constexpr unsigned kFetchBytes = 16;  // four instructions a fetch
    static constexpr unsigned kPortBytes = 8;    // of the data cache

    static constexpr uint32_t line_of(uint64_t physical) {
        return static_cast<uint32_t>(physical / kLineBytes);
    }
    FetchResult fetch_elsewhere(const L1Mmu::Result& found, uint32_t pc, const Context& context);
    bool is_current(const Context& context) const {
        return context.as == accessing_.as && context.pid == accessing_.pid;
    }
    // Fetched from the line, which is the last used of its set, with that entry of the L1 MMU.
    void remember_fetch(uint32_t pc, uint32_t line, unsigned entry, const Context& context) {
        if (!filters_.kept) return;
        if (context.as == fetching_.as && context.pid == fetching_.pid) {
            filters_.fetches.remember(pc);
            filters_.fetch_hits.remember(pc, entry, l1_instructions_.find(line).way());
        } else {
            filters_.fetches.forget_set(LineFilter::set_of(pc));
        }
    }
    // The line of `ea` was used, in a plain page; it need not be there.
    void remember_data(uint32_t ea, uint32_t line, unsigned entry, const Context& context) {
        if (!filters_.kept) return;
        const unsigned set = LineFilter::set_of(ea);
        if (!l1_data_.is_newest(line) || !is_current(context)) {
            forget_data(set);
            return;
        }
        const Cache::Place place = l1_data_.find(line);
        filters_.loads.remember(ea);
        filters_.data_hits.remember(ea, entry, place.way());
        if (l1_data_.dirty(place))
            filters_.stores.remember(ea);
        else
            filters_.stores.forget_set(set);
    }
    void forget_all_fetches();
    void forget_all_data();
    void forget_data(unsigned set) {
        filters_.loads.forget_set(set);
        filters_.stores.forget_set(set);
    }
    // The line leaves its place.
    void remove_data(Cache::Place place) {
        filters_.data_hits.forget_place(place.set(), place.way());
        l1_data_.remove(place);
    }

    // Gives the entry of the L1 MMU, or none.
    std::optional<unsigned> translate(const Instruction& in, uint32_t ea, const Context& context,
                                      DataPart& part);
    void count_translated(const Instruction& in, const DataPart& part);
    Level data_line(uint32_t line, bool dirty);
    void enter_data_line(uint32_t line, bool dirty);
    Level fetch_line(uint32_t line);
    Level l2_read(uint32_t line, bool instruction);
    void l2_enter(uint32_t line, bool dirty, bool instruction);
    void cast_out(uint32_t line);
    void bus_castout();
    void clean_through(uint32_t line);
    void load_or_store(const Instruction& in, DataPart& part);
    void allocate(DataPart& part);
    void clean(uint32_t line);
    void flush(uint32_t line, bool coherent);
    void lock_data(const Instruction& in, uint32_t line);
    void lock_code(const Instruction& in, uint32_t line);
    void lock_l2(uint32_t line, bool instruction);
    void unlock(const Instruction& in, uint32_t line);

    const Mmu& mmu_;
    ModelledTotals* counts_;
    Filters& filters_;
    // What the filters are about.
    Context fetching_{}, accessing_{};
    uint64_t epoch_ = 0;
    Cache l1_instructions_{32}, l1_data_{32}, l2_{128};
    L1Mmu fetch_mmu_, data_mmu_;
    unsigned fetch_entry_ = 0;        // of the MMU, that can_fetch_quickly() found
    uint32_t last_group_ = kNowhere;  // of the last fetch: its pc, in groups
};

}  // namespace perfvisor::core::timing
