// SPDX-License-Identifier: GPL-2.0-or-later
// The special purpose registers: one row says what each is (e500mc core manual chapter 2), and
// what mtspr and mfspr do with it where that is more than storing a value.
#include "core/spr.h"

#include <array>
#include <bit>
#include <iterator>

#include "core/core.h"

namespace perfvisor::core {

// The registers' own behaviour, as functions over a core.
struct SprTable {
    using Read = uint64_t (*)(Core&);
    using Write = void (*)(Core&, uint64_t);

    enum Direction : uint8_t { kRead = 1, kWrite = 2, kReadWrite = 3 };

    struct Row {
        uint16_t number;
        const char* name;
        Direction direction;
        uint64_t mask;                               // bits that can be written; the others read 0
        Read read;                                   // null: the value stored
        Write write;                                 // null: stores the value
        Write restore;                               // from outside the guest; null: as write
        uint32_t Mmu::Registers::*member = nullptr;  // where it is in the MMU, if it is there
    };

    static const Row* find(unsigned number);
    static const void* storage(const Core& core, const Row& row);

    // Reads an SPR's storage under another number (the user's window on SPRG3-7).
    template <unsigned kNumber>
    static uint64_t stored(Core& c) {
        return c.sprs_[kNumber];
    }
    template <unsigned kNumber>
    static void store(Core& c, uint64_t value) {
        c.sprs_[kNumber] = value;
    }
    static uint64_t zero(Core&) { return 0; }
    static void ignore(Core&, uint64_t) {}

    // Stores all but the bits that start an operation which is over at once: flash invalidates,
    // lock clears and flushes, which software waits for to read 0 again.
    // The timing model's copy of what a flash invalidate empties is emptied.
    template <unsigned kNumber, uint32_t kSelfClearing, uint32_t kFlash, void (Timing::*kEmpty)()>
    static void store_control(Core& c, uint64_t value) {
        c.sprs_[kNumber] = value & ~uint64_t{kSelfClearing};
        if (value & kFlash) (c.timing_.*kEmpty)();
    }
    // Write one to clear.
    template <unsigned kNumber>
    static void clear(Core& c, uint64_t value) {
        c.sprs_[kNumber] &= ~value;
    }

    static uint64_t read_xer(Core& c) {
        const CpuState& s = c.state;
        return uint32_t{s.xer_so} << 31 | uint32_t{s.xer_ov} << 30 | uint32_t{s.xer_ca} << 29 |
               s.xer_count;
    }
    static void write_xer(Core& c, uint64_t value) {
        CpuState& s = c.state;
        s.xer_so = value >> 31 & 1;
        s.xer_ov = value >> 30 & 1;
        s.xer_ca = value >> 29 & 1;
        s.xer_count = value & 0x7f;
    }
    static uint64_t read_lr(Core& c) { return c.state.lr; }
    static void write_lr(Core& c, uint64_t value) { c.state.lr = value; }
    static uint64_t read_ctr(Core& c) { return c.state.ctr; }
    static void write_ctr(Core& c, uint64_t value) { c.state.ctr = value; }

    static uint64_t read_pvr(Core& c) { return c.model().pvr; }
    static uint64_t read_pir(Core& c) { return c.pir_.load(); }
    static void write_pir(Core& c, uint64_t value) { c.pir_ = static_cast<uint32_t>(value); }
    static void write_hid0(Core& c, uint64_t value) {
        c.sprs_[spr::kHID0] = value;
        if ((c.state.msr & msr::kWE) && (value & kHid0PowerModes)) c.set_halted(true);
    }

    // DVT0 is the most significant of the low byte (SPC572L manual, 57.3.4, whose e200 has the
    // same register).
    static void notify_debug(Core& c, uint64_t value) {
        uint8_t events = 0;
        for (unsigned n = 0; n < 8; ++n)
            if (value & (0x80u >> n)) {
                events |= static_cast<uint8_t>(1u << n);
                ++c.state.totals[static_cast<Total>(static_cast<unsigned>(Total::Dvt0) + n)];
            }
        c.perfmon_.debug_notify(events);
    }

    static void acquire_data(Core& c, uint64_t value) {
        if (c.count_listener_) c.count_listener_->data_acquired(static_cast<uint32_t>(value));
    }

    // ---- timers ----
    static uint64_t read_tbl(Core& c) { return c.timers_.time_base() & 0xffffffff; }
    static uint64_t read_tbu(Core& c) { return c.timers_.time_base() >> 32; }
    // A timer's next event may have come nearer than the engine's budget, or be pending already:
    // both are looked at before the next instruction.
    static void timers_changed(Core& c) { c.state.attention.fetch_or(kInterruptCheck); }
    static void write_tbl(Core& c, uint64_t value) {
        c.synchronize_time();
        c.timers_.write_tbl(static_cast<uint32_t>(value));
        c.last_time_base_ = c.timers_.time_base();
        timers_changed(c);
    }
    static void write_tbu(Core& c, uint64_t value) {
        c.synchronize_time();
        c.timers_.write_tbu(static_cast<uint32_t>(value));
        c.last_time_base_ = c.timers_.time_base();
        timers_changed(c);
    }
    // The alternate time base counts core cycles (e500mc core manual, ATB).
    static uint64_t read_atbl(Core& c) { return c.state.totals.cycles() & 0xffffffff; }
    static uint64_t read_atbu(Core& c) { return c.state.totals.cycles() >> 32; }
    static uint64_t read_dec(Core& c) { return c.timers_.decrementer(); }
    static void write_dec(Core& c, uint64_t value) {
        c.timers_.write_decrementer(static_cast<uint32_t>(value));
        timers_changed(c);
    }
    static uint64_t read_decar(Core& c) { return c.timers_.decar(); }
    static void write_decar(Core& c, uint64_t value) {
        c.timers_.write_decar(static_cast<uint32_t>(value));
    }
    static uint64_t read_tcr(Core& c) { return c.timers_.tcr(); }
    static void write_tcr(Core& c, uint64_t value) {
        c.timers_.write_tcr(static_cast<uint32_t>(value));
        timers_changed(c);
    }
    static uint64_t read_tsr(Core& c) {
        c.synchronize_time();
        return c.timers_.tsr();
    }
    static void write_tsr(Core& c, uint64_t value) {
        c.timers_.clear_tsr(static_cast<uint32_t>(value));
        timers_changed(c);
    }
    static void restore_tsr(Core& c, uint64_t value) {
        c.timers_.clear_tsr(~uint32_t{0});
        c.timers_.set_tsr(static_cast<uint32_t>(value));
        timers_changed(c);
    }

    // ---- MMU ----
    template <uint32_t Mmu::Registers::*kMember>
    static uint64_t read_mmu(Core& c) {
        return c.mmu_.registers().*kMember;
    }
    template <uint32_t Mmu::Registers::*kMember>
    static void write_mmu(Core& c, uint64_t value) {
        c.mmu_.registers().*kMember = static_cast<uint32_t>(value);
    }
    static uint64_t read_mas2(Core& c) { return c.mmu_.registers().mas2; }
    static void write_mas2(Core& c, uint64_t value) {
        c.mmu_.registers().mas2 = value & c.value_mask_;
    }
    static void write_pid(Core& c, uint64_t value) {
        c.mmu_.write_pid(static_cast<uint32_t>(value));
    }
    static void write_mmucsr0(Core& c, uint64_t value) {
        c.mmu_.write_mmucsr0(static_cast<uint32_t>(value));
    }
    static uint64_t read_tlb0cfg(Core& c) { return c.mmu_.tlbcfg(0); }
    static uint64_t read_tlb1cfg(Core& c) { return c.mmu_.tlbcfg(1); }
    static uint64_t read_mmucfg(Core& c) { return c.mmu_.mmucfg(); }
    static uint64_t read_l1cfg0(Core& c) { return c.model().l1cfg0; }
    static uint64_t read_l1cfg1(Core& c) { return c.model().l1cfg1; }
    static uint64_t read_l2cfg0(Core& c) { return c.model().l2cfg0; }

    // ---- debug ----
    static void write_dbcr0(Core& c, uint64_t value) {
        c.sprs_[spr::kDBCR0] = value & ~uint64_t{dbcr0::kRST};
        if (value & dbcr0::kRST) {
            c.reset_request_ = static_cast<unsigned>(value & dbcr0::kRST) >> 28;
            c.state.attention.fetch_or(kKick);
        }
        c.update_debug();
        c.check_interrupts();
    }
    static void write_dbsrwr(Core& c, uint64_t value) {
        c.sprs_[spr::kDBSR] = value;
        c.check_interrupts();
    }
};

namespace {

using T = SprTable;
using R = Mmu::Registers;
constexpr uint64_t kAll = ~uint64_t{0};
constexpr uint64_t kVector = 0xfff0;  // IVORn: the offset is a multiple of 16

constexpr T::Row plain(uint16_t number, const char* name, uint64_t mask = kAll) {
    return {number, name, T::kReadWrite, mask, nullptr, nullptr, nullptr};
}
constexpr T::Row read_only(uint16_t number, const char* name, T::Read read) {
    return {number, name, T::kRead, 0, read, nullptr, nullptr};
}
constexpr T::Row special(uint16_t number, const char* name, T::Read read, T::Write write,
                         T::Write restore = nullptr) {
    return {number, name, T::kReadWrite, kAll, read, write, restore};
}
constexpr T::Row write_only(uint16_t number, const char* name, T::Write write) {
    return {number, name, T::kWrite, kAll, nullptr, write, nullptr};
}
// Bits written as 1 are cleared.
template <unsigned kNumber>
constexpr T::Row write_one_to_clear(const char* name) {
    return special(kNumber, name, nullptr, T::clear<kNumber>, T::store<kNumber>);
}
template <uint32_t R::*kMember>
constexpr T::Row mmu(uint16_t number, const char* name, uint64_t mask) {
    return {number,  name,   T::kReadWrite, mask, T::read_mmu<kMember>, T::write_mmu<kMember>,
            nullptr, kMember};
}

// Ascending by number. Bit 4 of the number (0x10) says whether a register is privileged.
constexpr T::Row kRows[] = {
    special(spr::kXER, "XER", T::read_xer, T::write_xer),
    special(spr::kLR, "LR", T::read_lr, T::write_lr),
    special(spr::kCTR, "CTR", T::read_ctr, T::write_ctr),
    special(spr::kDEC, "DEC", T::read_dec, T::write_dec),
    plain(spr::kSRR0, "SRR0"),
    plain(spr::kSRR1, "SRR1"),
    special(spr::kPID, "PID", T::read_mmu<&R::pid>, T::write_pid),
    special(spr::kDECAR, "DECAR", T::read_decar, T::write_decar),
    plain(spr::kCSRR0, "CSRR0"),
    plain(spr::kCSRR1, "CSRR1"),
    plain(spr::kDEAR, "DEAR"),
    plain(spr::kESR, "ESR"),
    plain(spr::kIVPR, "IVPR", ~uint64_t{0xffff}),
    plain(spr::kUSPRG0, "USPRG0"),
    read_only(spr::kSPRG3User, "SPRG3", T::stored<spr::kSPRG3>),
    read_only(spr::kSPRG4User, "SPRG4", T::stored<spr::kSPRG4>),
    read_only(spr::kSPRG5User, "SPRG5", T::stored<spr::kSPRG5>),
    read_only(spr::kSPRG6User, "SPRG6", T::stored<spr::kSPRG6>),
    read_only(spr::kSPRG7User, "SPRG7", T::stored<spr::kSPRG7>),
    read_only(spr::kTBLRead, "TBL", T::read_tbl),
    read_only(spr::kTBURead, "TBU", T::read_tbu),
    plain(spr::kSPRG0, "SPRG0"),
    plain(spr::kSPRG0 + 1, "SPRG1"),
    plain(spr::kSPRG0 + 2, "SPRG2"),
    plain(spr::kSPRG3, "SPRG3"),
    plain(spr::kSPRG4, "SPRG4"),
    plain(spr::kSPRG5, "SPRG5"),
    plain(spr::kSPRG6, "SPRG6"),
    plain(spr::kSPRG7, "SPRG7"),
    write_only(spr::kTBLWrite, "TBL", T::write_tbl),
    write_only(spr::kTBUWrite, "TBU", T::write_tbu),
    special(spr::kPIR, "PIR", T::read_pir, T::write_pir),
    read_only(spr::kPVR, "PVR", T::read_pvr),
    write_one_to_clear<spr::kDBSR>("DBSR"),
    write_only(spr::kDBSRWR, "DBSRWR", T::write_dbsrwr),
    special(spr::kDBCR0, "DBCR0", nullptr, T::write_dbcr0),
    plain(spr::kDBCR1, "DBCR1"),
    plain(spr::kDBCR2, "DBCR2"),
    plain(spr::kIAC1, "IAC1", ~uint64_t{3}),
    plain(spr::kIAC2, "IAC2", ~uint64_t{3}),
    plain(spr::kDAC1, "DAC1"),
    plain(spr::kDAC2, "DAC2"),
    special(spr::kTSR, "TSR", T::read_tsr, T::write_tsr, T::restore_tsr),
    mmu<&R::mas5>(spr::kMAS5, "MAS5", 0xffffffff),
    special(spr::kTCR, "TCR", T::read_tcr, T::write_tcr),
    mmu<&R::mas8>(spr::kMAS8, "MAS8", 0xffffffff),
    plain(spr::kIVOR0, "IVOR0", kVector),
    plain(spr::kIVOR0 + 1, "IVOR1", kVector),
    plain(spr::kIVOR0 + 2, "IVOR2", kVector),
    plain(spr::kIVOR0 + 3, "IVOR3", kVector),
    plain(spr::kIVOR0 + 4, "IVOR4", kVector),
    plain(spr::kIVOR0 + 5, "IVOR5", kVector),
    plain(spr::kIVOR0 + 6, "IVOR6", kVector),
    plain(spr::kIVOR0 + 7, "IVOR7", kVector),
    plain(spr::kIVOR0 + 8, "IVOR8", kVector),
    plain(spr::kIVOR0 + 9, "IVOR9", kVector),
    plain(spr::kIVOR0 + 10, "IVOR10", kVector),
    plain(spr::kIVOR0 + 11, "IVOR11", kVector),
    plain(spr::kIVOR0 + 12, "IVOR12", kVector),
    plain(spr::kIVOR0 + 13, "IVOR13", kVector),
    plain(spr::kIVOR0 + 14, "IVOR14", kVector),
    plain(spr::kIVOR0 + 15, "IVOR15", kVector),
    read_only(spr::kL1CFG0, "L1CFG0", T::read_l1cfg0),
    read_only(spr::kL1CFG1, "L1CFG1", T::read_l1cfg1),
    plain(spr::kNPIDR, "NPIDR"),
    read_only(spr::kL2CFG0, "L2CFG0", T::read_l2cfg0),
    read_only(spr::kATBL, "ATBL", T::read_atbl),
    read_only(spr::kATBU, "ATBU", T::read_atbu),
    plain(spr::kIVOR35, "IVOR35", kVector),
    plain(spr::kIVOR35 + 1, "IVOR36", kVector),
    plain(spr::kIVOR35 + 2, "IVOR37", kVector),
    plain(spr::kDBCR4, "DBCR4"),
    plain(spr::kMCARU, "MCARU"),
    plain(spr::kMCSRR0, "MCSRR0"),
    plain(spr::kMCSRR1, "MCSRR1"),
    write_one_to_clear<spr::kMCSR>("MCSR"),
    plain(spr::kMCAR, "MCAR"),
    plain(spr::kDSRR0, "DSRR0"),
    plain(spr::kDSRR1, "DSRR1"),
    write_only(spr::kDDAM, "DDAM", T::acquire_data),
    plain(spr::kSPRG8, "SPRG8"),
    plain(spr::kSPRG9, "SPRG9"),
    plain(spr::kL1CSR2, "L1CSR2"),
    mmu<&R::mas0>(spr::kMAS0, "MAS0", 0x3fff0fff),
    mmu<&R::mas1>(spr::kMAS1, "MAS1", 0xffff1f00),
    {spr::kMAS2, "MAS2", T::kReadWrite, ~uint64_t{0xf80}, T::read_mas2, T::write_mas2, nullptr},
    mmu<&R::mas3>(spr::kMAS3, "MAS3", 0xfffff3ff),
    mmu<&R::mas4>(spr::kMAS4, "MAS4", 0x30000f7f),
    mmu<&R::mas6>(spr::kMAS6, "MAS6", 0x3fff0001),
    read_only(spr::kEDBRAC0, "EDBRAC0", T::zero),
    read_only(spr::kTLB0CFG, "TLB0CFG", T::read_tlb0cfg),
    read_only(spr::kTLB1CFG, "TLB1CFG", T::read_tlb1cfg),
    plain(spr::kCDCSR0, "CDCSR0"),
    read_only(spr::kEPR, "EPR", T::stored<spr::kEPR>),
    plain(spr::kL2ERRINTEN, "L2ERRINTEN"),
    plain(spr::kL2ERRATTR, "L2ERRATTR"),
    plain(spr::kL2ERRADDR, "L2ERRADDR"),
    plain(spr::kL2ERREADDR, "L2ERREADDR"),
    plain(spr::kL2ERRCTL, "L2ERRCTL"),
    plain(spr::kL2ERRDIS, "L2ERRDIS"),
    mmu<&R::mas7>(spr::kMAS7, "MAS7", 0xf),
    mmu<&R::eplc>(spr::kEPLC, "EPLC", 0xffffffff),
    mmu<&R::epsc>(spr::kEPSC, "EPSC", 0xffffffff),
    special(spr::kDEVENT, "DEVENT", T::zero, T::notify_debug),
    plain(spr::kNSPD, "NSPD"),
    plain(spr::kNSPC, "NSPC"),
    plain(spr::kL2ERRINJHI, "L2ERRINJHI"),
    plain(spr::kL2ERRINJLO, "L2ERRINJLO"),
    plain(spr::kL2ERRINJCTL, "L2ERRINJCTL"),
    read_only(spr::kL2CAPTDATAHI, "L2CAPTDATAHI", T::zero),
    read_only(spr::kL2CAPTDATALO, "L2CAPTDATALO", T::zero),
    read_only(spr::kL2CAPTECC, "L2CAPTECC", T::zero),
    write_one_to_clear<spr::kL2ERRDET>("L2ERRDET"),
    special(spr::kHID0, "HID0", nullptr, T::write_hid0),
    plain(spr::kHID1, "HID1"),
    // CLFC and CFI, ICLFC and ICFI
    special(spr::kL1CSR0, "L1CSR0", nullptr,
            T::store_control<spr::kL1CSR0, 0x102, 0x2, &Timing::invalidate_data_cache>),
    special(spr::kL1CSR1, "L1CSR1", nullptr,
            T::store_control<spr::kL1CSR1, 0x102, 0x2, &Timing::invalidate_instruction_cache>),
    special(spr::kMMUCSR0, "MMUCSR0", T::zero, T::write_mmucsr0),
    // BBFI
    special(spr::kBUCSR, "BUCSR", nullptr,
            T::store_control<spr::kBUCSR, 0x200, 0x200, &Timing::invalidate_branch_predictor>),
    read_only(spr::kMMUCFG, "MMUCFG", T::read_mmucfg),
    // L2FI, L2FL, L2LFC
    special(spr::kL2CSR0, "L2CSR0", nullptr,
            T::store_control<spr::kL2CSR0, 0x00200c00, 0x00200000, &Timing::invalidate_l2>),
    plain(spr::kL2CSR1, "L2CSR1"),
    read_only(spr::kSVR, "SVR", T::zero),
};

// Where the row of each number is, counted from 1; 0: no such register.
constexpr std::array<uint8_t, 1024> places() {
    static_assert(std::size(kRows) < 256);
    std::array<uint8_t, 1024> places{};
    for (size_t n = 0; n < std::size(kRows); ++n)
        places[kRows[n].number] = static_cast<uint8_t>(n + 1);
    return places;
}
constexpr auto kPlaces = places();

constexpr unsigned kPrivilegedBit = 0x10;

}  // namespace

const SprTable::Row* SprTable::find(unsigned number) {
    const uint8_t place = number < kPlaces.size() ? kPlaces[number] : 0;
    return place ? &kRows[place - 1] : nullptr;
}

// Where the register's value is; null where it takes a function to read it.
const void* SprTable::storage(const Core& core, const Row& row) {
    if (row.number == spr::kMAS2) return &core.mmu_.registers().mas2;
    if (row.member) return &(core.mmu_.registers().*row.member);
    return row.read ? nullptr : &core.sprs_[row.number];
}

std::optional<PlainSpr> plain_spr(const Core& core, unsigned number) {
    const SprTable::Row* row = SprTable::find(number);
    if (!row || !(row->direction & SprTable::kRead) || core.model().gpr_bits != 32 ||
        std::endian::native != std::endian::little)
        return std::nullopt;
    const void* storage = SprTable::storage(core, *row);
    if (!storage) return std::nullopt;
    const bool in_mmu = row->member || number == spr::kMAS2;
    return PlainSpr{
        .offset = static_cast<const char*>(storage) - reinterpret_cast<const char*>(&core.state),
        .writable = (row->direction & SprTable::kWrite) && (in_mmu || !row->write),
        .mask = static_cast<uint32_t>(row->mask)};
}

const char* spr_name(unsigned number) {
    const SprTable::Row* row = SprTable::find(number);
    return row ? row->name : "?";
}

bool Core::get_spr(unsigned number, uint64_t& value) {
    const SprTable::Row* row = SprTable::find(number);
    if (!row || !(row->direction & SprTable::kRead)) return false;
    value = (row->read ? row->read(*this) : sprs_[number]) & value_mask_;
    return true;
}

bool Core::set_spr(unsigned number, uint64_t value) {
    return write_register(number, value, true);
}

bool Core::write_register(unsigned number, uint64_t value, bool restore) {
    const SprTable::Row* row = SprTable::find(number);
    if (!row || !(row->direction & SprTable::kWrite)) return false;
    const uint64_t kept = value & row->mask & value_mask_;
    if (restore && row->restore)
        row->restore(*this, kept);
    else if (row->write)
        row->write(*this, kept);
    else
        sprs_[number] = kept;
    return true;
}

// In user mode a number with the privilege bit is privileged whether or not the register exists
// (EREF, mtspr).
SprResult Core::read_spr(unsigned number, uint64_t& value) {
    if ((number & kPrivilegedBit) && (state.msr & msr::kPR)) return SprResult::Privileged;
    return get_spr(number, value) ? SprResult::Ok : SprResult::Illegal;
}

SprResult Core::write_spr(unsigned number, uint64_t value) {
    if ((number & kPrivilegedBit) && (state.msr & msr::kPR)) return SprResult::Privileged;
    return write_register(number, value, false) ? SprResult::Ok : SprResult::Illegal;
}

// ---- performance monitor registers ----

SprResult Core::read_pmr(unsigned pmr, uint32_t& value) {
    if (PerfMon::is_supervisor(pmr) && (state.msr & msr::kPR)) return SprResult::Privileged;
    synchronize_time();
    const auto read = perfmon_.read(pmr);
    if (!read) return SprResult::Illegal;
    value = *read;
    return SprResult::Ok;
}

SprResult Core::write_pmr(unsigned pmr, uint32_t value) {
    if (PerfMon::is_supervisor(pmr) && (state.msr & msr::kPR)) return SprResult::Privileged;
    // Refused before anything is counted: the totals include an mtpmr that will be taken back.
    if (!perfmon_.can_write(pmr)) return SprResult::Illegal;
    synchronize_time();
    perfmon_.write(pmr, value);
    perfmon_.sync();
    check_interrupts();
    return SprResult::Ok;
}

}  // namespace perfvisor::core
