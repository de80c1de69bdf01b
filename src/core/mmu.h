// SPDX-License-Identifier: GPL-2.0-or-later
// The Book E MMU of the e500mc: TLB0 (4-way, 4 KiB pages), TLB1 (fully associative, 4 KiB to
// 4 GiB), MAS registers and the TLB instructions (EREF chapter 6.5; e500mc core manual chapter 6).
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/interrupts.h"
#include "core/model.h"
#include "core/state.h"

namespace perfvisor::core {

enum class Access : uint8_t { Load, Store, Fetch };

// One TLB entry, in the layout of the MAS registers that write and read it.
struct TlbEntry {
    bool valid = false;
    bool iprot = false;
    uint8_t ts = 0;
    uint32_t tid = 0;
    uint64_t ea = 0;           // page-aligned effective address
    uint64_t ra = 0;           // page-aligned real address
    uint64_t size = 0;         // bytes, a power of 4 KiB by 4
    uint32_t attributes = 0;   // MAS2: X0 X1 W I M G E as MAS2 has them
    uint32_t permissions = 0;  // MAS3: U0-U3 UX SX UW SW UR SR as MAS3 has them
    uint32_t mas8 = 0;         // E.HV: TGS, VF, TLPID

    bool operator==(const TlbEntry&) const = default;
};

struct Translation {
    uint64_t physical;     // address of the byte asked for
    uint64_t page_size;    // of the TLB entry, bytes
    uint64_t page_ea;      // start of the entry's page
    uint32_t attributes;   // MAS2 bits
    uint32_t permissions;  // MAS3 bits
    uint32_t tid;          // 0: valid for every PID
    bool from_tlb1;
    uint16_t position;  // of the entry: Mmu::generation
};

// Told when translations end, so that what was derived from them (block caches, chains) ends too.
// The flush of one PID is not told: it gives the PID a fresh slot in the address contexts, and the
// old slot comes back only after all_translations_changed().
class TranslationListener {
  public:
    virtual ~TranslationListener() = default;
    // [ea, ea + size) may translate differently from now on, in any address context.
    virtual void translations_changed(uint64_t ea, uint64_t size) = 0;
    virtual void all_translations_changed() = 0;
    // Writes to the physical page, 4 KiB, must take the slow road from now on: it holds code.
    virtual void page_protected(uint64_t physical) { (void)physical; }
    virtual void all_pages_protected() {}
};

class Mmu {
  public:
    struct Registers {
        uint32_t mas0 = 0, mas1 = 0, mas3 = 0, mas4 = 0, mas5 = 0, mas6 = 0, mas7 = 0, mas8 = 0;
        uint64_t mas2 = 0;
        uint32_t pid = 0;
        uint32_t eplc = 0, epsc = 0;  // external PID load and store contexts
        uint32_t mmucsr0 = 0;

        bool operator==(const Registers&) const = default;
    };

    Mmu(const CoreModel& model, CpuState& state);

    // Both TLBs empty, registers as after reset.
    void reset();

    // Looks EA up with explicit AS and PID, MSR[PR] as `user`, and checks permissions. Gives the
    // translation, or the fault the access meets (TLB error, or DSI/ISI with its ESR bits).
    // ESR[ST] and DEAR are set as for an access of this kind; nothing else changes, MAS
    // included: Core::raise does the MAS updates of a TLB error when the fault is delivered.
    struct Lookup {
        std::optional<Translation> translation;
        Fault fault;
    };
    Lookup translate(uint64_t ea, Access access, unsigned as, uint32_t pid, bool user) const;
    // Whether just one valid entry has the address, of any PID.
    bool has_one_entry(uint64_t ea, unsigned as) const;

    // MAS0-MAS3, MAS6 and MAS7 as hardware sets them on a data or instruction TLB error (EREF
    // 6.5.8): the replacement hint, the defaults of MAS4, and what to search for.
    void set_mas_for_miss(uint64_t ea, unsigned as, uint32_t pid);

    // The TLB instructions; they work on the MAS registers. False: illegal (e.g. reserved TLBSEL).
    bool tlbwe();
    bool tlbre();
    void tlbsx(uint64_t ea);
    void tlbivax(uint64_t ea);             // local part; Interconnect broadcasts
    void tlbilx(unsigned t, uint64_t ea);  // T = 0 all, 1 by PID (MAS6), 3 by EA
    void write_mmucsr0(uint32_t value);    // flash invalidates of TLB0 and TLB1
    void write_pid(uint32_t value);

    // MSR[IS], [DS] or [PR] changed: recomputes the address contexts of the state.
    void update_contexts();

    // TLB configuration registers, read only (TLBnCFG, TLBnPS, MMUCFG).
    uint32_t tlbcfg(unsigned tlb) const;
    uint32_t tlbps(unsigned tlb) const;
    uint32_t mmucfg() const;

    Registers& registers() { return registers_; }
    const Registers& registers() const { return registers_; }

    // Every entry of TLB `tlb` (0, 1), in ESEL/set order as KVM's software TLB array has them.
    const TlbEntry& entry(unsigned tlb, unsigned index) const { return tlb_[tlb][index]; }
    unsigned entries(unsigned tlb) const { return static_cast<unsigned>(tlb_[tlb].size()); }
    // Writes an entry from outside (KVM_DIRTY_TLB, start-up mappings).
    void set_entry(unsigned tlb, unsigned index, const TlbEntry& entry);

    // Calls what(tlb, index) for each entry that was written or invalidated since the last call;
    // costs next to nothing where none was.
    template <typename What>
    void for_each_written(What what) {
        for (size_t word = 0; word < written_.size(); ++word)
            for (uint64_t bits = std::exchange(written_[word], 0); bits != 0; bits &= bits - 1) {
                const auto index = static_cast<unsigned>(word * 64 + std::countr_zero(bits));
                const bool second = index >= entries(0);
                what(second ? 1u : 0u, second ? index - entries(0) : index);
            }
    }

    // How often entry `position` of the TLBs, TLB0's first, has been written or invalidated, and
    // how often any: what copies of entries are good for.
    uint32_t generation(unsigned position) const { return generations_[position]; }
    uint64_t epoch() const { return epoch_; }
    unsigned next_victim() const { return next_victim_; }

    // Core::mirror: registers, and with `tlbs` the TLBs, become those of a core of the same model.
    // What was derived from entries that change is forgotten.
    void mirror(const Mmu& from, bool tlbs);

    void set_listener(TranslationListener* listener) { listener_ = listener; }

    // Enters a translation of the current data context into the inline cache. `host` is the
    // page's host address; writes stay out where `writable` is false.
    void enter_fast(uint64_t ea, const Translation& translation, uint8_t* host, bool writable);
    // While set (data address breakpoints), the data context matches nothing in the inline cache.
    void set_fast_disabled(bool disabled);

    // Drops the inline cache's entries of a physical page (it became code) or all of them.
    void forget_physical_page(uint64_t physical);
    // As that for every page.
    void forget_all_writes();
    void forget_all();

  private:
    const CoreModel& model_;
    CpuState& state_;
    Registers registers_;
    std::vector<TlbEntry> tlb_[2];
    std::vector<uint64_t> written_;  // a bit an entry, TLB0's first; for_each_written()
    std::vector<uint32_t> generations_;
    uint64_t epoch_ = 0;
    TranslationListener* listener_ = nullptr;

    struct Position {
        unsigned tlb, index;
    };
    void mark_written(unsigned tlb, size_t index) {
        const size_t bit = index + (tlb == 1 ? tlb_[0].size() : 0);
        written_[bit / 64] |= uint64_t{1} << (bit % 64);
        ++generations_[bit];
        ++epoch_;
    }
    // Asks what(position, entry) of the valid entries that may hold an address, until it says true;
    // tells whether it did. TLB0 comes first, and the lowest index.
    template <typename What>
    bool any_candidate(uint64_t ea, What what) const;
    std::optional<Position> find(uint64_t ea, unsigned as, uint32_t pid) const;
    // The entry that MAS0 (TLBSEL, ESEL) and MAS2 (EPN) name; nothing for a TLB not there.
    std::optional<Position> selected() const;
    unsigned set_of(uint64_t ea) const;
    TlbEntry entry_from_mas(unsigned tlb) const;
    void mas_from_entry(Position position);
    void mas_defaults();
    void take_replacement_hint();
    TlbEntry sanitized(unsigned tlb, TlbEntry entry) const;
    void replace(Position position, const TlbEntry& entry);
    bool overlaps_another(Position position) const;
    // Invalidates the unprotected entries of `tlb` that `matches` accepts; tells how many. What
    // was derived from them is for the caller to forget.
    template <typename Matches>
    unsigned invalidate_if(unsigned tlb, Matches matches);
    // The same of those that hold a page, what was derived from them forgotten.
    template <typename Matches>
    void invalidate_page(unsigned tlb, uint64_t page, Matches matches);
    void flush_pid(uint32_t pid);
    void changed(uint64_t ea, uint64_t size);
    void forget_fast(uint64_t ea, uint64_t size);
    void list_tlb1();
    uint32_t slot_of(uint32_t pid);

    static constexpr uint16_t kNoSlot = 0xffff;
    // Contexts are below 4096 and four belong to a slot. One slot is never entered, and the last is
    // not used at all: with it, a tag could be FastTlbEntry::kNoTag.
    static constexpr uint32_t kSlots = 1022, kUncachedSlot = 1022;

    uint64_t ea_mask_;
    uint32_t pid_mask_;
    unsigned next_victim_ = 0;         // TLB0[NV]
    std::vector<uint8_t> tlb1_valid_;  // indices of the valid entries, ascending
    std::vector<uint16_t> slots_;      // by PID
    uint32_t next_slot_ = 0;
    bool fast_disabled_ = false;
};

}  // namespace perfvisor::core
