// SPDX-License-Identifier: GPL-2.0-or-later
// Translation rules, the TLB instructions and what they do to the MAS registers.
#include "core_fixture.h"

namespace perfvisor::core {
namespace {

struct MmuTest : CoreTest {
    Mmu::Registers& mas = mmu.registers();

    Mmu::Lookup look(uint64_t ea, Access access = Access::Load, unsigned as = 0, uint32_t pid = 0,
                     bool user = false) {
        return mmu.translate(ea, access, as, pid, user);
    }
    bool hits(uint64_t ea, unsigned as = 0, uint32_t pid = 0) {
        return look(ea, Access::Load, as, pid).translation.has_value();
    }
    // mtspr of the MAS registers and tlbwe.
    void write_tlb(uint32_t mas0, uint32_t mas1, uint64_t mas2, uint32_t mas3, uint32_t mas7 = 0) {
        mas.mas0 = mas0;
        mas.mas1 = mas1;
        mas.mas2 = mas2;
        mas.mas3 = mas3;
        mas.mas7 = mas7;
        EXPECT_TRUE(mmu.tlbwe());
    }
    void write_tlb0(unsigned way, uint64_t ea, uint32_t ra, uint32_t tid = 0, uint32_t ts = 0) {
        write_tlb(way << 16, 0x80000100 | tid << 16 | ts << 12, ea, ra | kAllAccess);
    }
    void write_tlb1(unsigned esel, uint64_t ea, uint32_t ra, unsigned tsize, uint32_t tid = 0,
                    bool iprot = false) {
        write_tlb(0x10000000 | esel << 16,
                  0x80000000 | (iprot ? 0x40000000 : 0) | tid << 16 | tsize << 8, ea,
                  ra | kAllAccess);
    }
};

TEST_F(MmuTest, ConfigurationRegistersAreThoseOfTheE500mc) {
    EXPECT_EQ(mmu.tlbcfg(0), 0x04110200u);
    EXPECT_EQ(mmu.tlbcfg(1), 0x401bc040u);
    EXPECT_EQ(mmu.mmucfg(), 0x004809c4u);
    EXPECT_EQ(mmu.entries(0), 512u);
    EXPECT_EQ(mmu.entries(1), 64u);
}

TEST_F(MmuTest, NothingIsTranslatedAfterReset) {
    EXPECT_FALSE(hits(0));
    EXPECT_FALSE(hits(0xfffff000));
}

TEST_F(MmuTest, EveryPageSizeOfTlb1TranslatesItsFirstAndLastByteOnly) {
    for (unsigned tsize = 1; tsize <= 11; ++tsize) {
        const uint64_t size = uint64_t{1024} << (2 * tsize);
        const uint64_t ea = tsize == 11 ? 0 : 0x40000000;
        write_tlb(0x10050000, 0x80000000 | tsize << 8, ea, kAllAccess, 0x4);
        ASSERT_TRUE(hits(ea)) << tsize;
        EXPECT_EQ(look(ea).translation->physical, 0x400000000u);
        EXPECT_EQ(look(ea).translation->page_size, size);
        ASSERT_TRUE(hits(ea + size - 1)) << tsize;
        EXPECT_EQ(look(ea + size - 1).translation->physical, 0x400000000u + size - 1);
        if (tsize < 11) {
            EXPECT_FALSE(hits(ea + size)) << tsize;
            EXPECT_FALSE(hits(ea - 1)) << tsize;
        }
    }
}

TEST_F(MmuTest, OffsetBitsOfAnUnalignedEntryAreIgnored) {
    write_tlb1(0, 0x40012000, 0x00345000, 5);  // 1 MiB
    ASSERT_TRUE(hits(0x40000000));
    EXPECT_EQ(look(0x40000004).translation->physical, 0x00300004u);
}

TEST_F(MmuTest, Tlb0EntriesAre4KiBWhateverTsizeSays) {
    write_tlb(0, 0x80000900, 0x1000, kAllAccess);
    EXPECT_TRUE(hits(0x1fff));
    EXPECT_FALSE(hits(0x2000));
    EXPECT_TRUE(mmu.tlbre());
    EXPECT_EQ(mas.mas1 & 0xf00, 0x100u);
}

TEST_F(MmuTest, FourPagesOfASetStayAndTheFifthReplacesItsWay) {
    for (unsigned way = 0; way < 4; ++way)
        write_tlb0(way, 0x3000 + 0x80000 * way, 0x1000 * way);
    for (unsigned way = 0; way < 4; ++way)
        EXPECT_EQ(look(0x3000 + 0x80000 * way).translation->physical, 0x1000u * way);
    write_tlb0(2, 0x3000 + 0x80000 * 4, 0x9000);
    EXPECT_FALSE(hits(0x3000 + 0x80000 * 2));
    EXPECT_TRUE(hits(0x3000 + 0x80000 * 4));
    EXPECT_TRUE(hits(0x3000));
}

TEST_F(MmuTest, AddressSpaceMustBeTheEntrys) {
    write_tlb0(0, 0x1000, 0, 0, 1);
    EXPECT_FALSE(hits(0x1000, 0));
    EXPECT_TRUE(hits(0x1000, 1));
}

TEST_F(MmuTest, ProcessMustBeTheEntrysUnlessTheEntryIsGlobal) {
    write_tlb0(0, 0x1000, 0, 7);
    EXPECT_TRUE(hits(0x1000, 0, 7));
    EXPECT_FALSE(hits(0x1000, 0, 8));
    EXPECT_FALSE(hits(0x1000, 0, 0));
    write_tlb0(0, 0x2000, 0, 0);
    EXPECT_TRUE(hits(0x2000, 0, 7));
    EXPECT_TRUE(hits(0x2000, 0, 0));
}

TEST_F(MmuTest, EachPermissionBitAllowsItsAccessAlone) {
    const struct {
        uint32_t bit;
        Access access;
        bool user;
    } rules[] = {{kUX, Access::Fetch, true}, {kSX, Access::Fetch, false},
                 {kUW, Access::Store, true}, {kSW, Access::Store, false},
                 {kUR, Access::Load, true},  {kSR, Access::Load, false}};
    for (const auto& given : rules) {
        map(0, 0x1000, 0, 0x1000, given.bit);
        for (const auto& asked : rules)
            EXPECT_EQ(look(0x1000, asked.access, 0, 0, asked.user).translation.has_value(),
                      given.bit == asked.bit)
                << given.bit << " " << asked.bit;
    }
}

TEST_F(MmuTest, MissesAndDenialsAreTheRightInterrupts) {
    map(0, 0x1000, 0, 0x1000, 0);
    const Fault load = look(0x1234, Access::Load).fault;
    EXPECT_EQ(load.kind, Interrupt::DataStorage);
    EXPECT_EQ(load.esr, 0u);
    EXPECT_TRUE(load.sets_dear);
    EXPECT_EQ(load.dear, 0x1234u);
    EXPECT_EQ(look(0x1234, Access::Store).fault.esr, esr::kST);
    EXPECT_EQ(look(0x1234, Access::Fetch).fault.kind, Interrupt::InstructionStorage);
    EXPECT_FALSE(look(0x1234, Access::Fetch).fault.sets_dear);
    EXPECT_EQ(look(0x5000, Access::Load).fault.kind, Interrupt::DataTlbError);
    EXPECT_EQ(look(0x5000, Access::Store).fault.esr, esr::kST);
    EXPECT_EQ(look(0x5000, Access::Fetch).fault.kind, Interrupt::InstructionTlbError);
    EXPECT_FALSE(look(0x5000, Access::Fetch).fault.sets_esr);
}

TEST_F(MmuTest, PhysicalAddressesHave36Bits) {
    write_tlb(0x10000000, 0x80000100, 0x1000, 0xfffff000 | kAllAccess, 0xff);
    EXPECT_EQ(look(0x1004).translation->physical, 0xffffff004u);
}

TEST_F(MmuTest, SeveralMatchingEntriesAreNotFatal) {
    write_tlb1(0, 0x1000, 0x10000, 1);
    write_tlb1(1, 0x0, 0x20000, 2);
    write_tlb0(1, 0x1000, 0x30000);
    EXPECT_EQ(look(0x1000).translation->physical, 0x30000u);
}

// ---- MAS registers ----

TEST_F(MmuTest, TlbreReadsBackWhatTlbweWrote) {
    write_tlb(0x103f0000, 0xc0551300, 0x12340075, 0x567803b5, 0x9);
    mas.mas1 = mas.mas3 = mas.mas7 = 0;
    mas.mas2 = 0;
    EXPECT_TRUE(mmu.tlbre());
    EXPECT_EQ(mas.mas0, 0x103f0000u);
    EXPECT_EQ(mas.mas1, 0xc0551300u);
    EXPECT_EQ(mas.mas2, 0x12340075u);
    EXPECT_EQ(mas.mas3, 0x567803b5u);
    EXPECT_EQ(mas.mas7, 0x9u);
}

TEST_F(MmuTest, Tlb0HasNoInvalidationProtection) {
    write_tlb(0, 0xc0000100, 0x1000, kAllAccess);
    EXPECT_TRUE(mmu.tlbre());
    EXPECT_EQ(mas.mas1 & 0x40000000, 0u);
}

TEST_F(MmuTest, TlbreOfAnEntryNeverWrittenKeepsTheSetsAddress) {
    mas.mas0 = 0x00020000;
    mas.mas2 = 0x5000;
    EXPECT_TRUE(mmu.tlbre());
    EXPECT_EQ(mas.mas1 & 0x80000000, 0u);
    EXPECT_EQ(mas.mas2, 0x5000u);
}

TEST_F(MmuTest, TlbsThatAreNotThereAreIllegal) {
    mas.mas0 = 0x20000000;
    EXPECT_FALSE(mmu.tlbwe());
    EXPECT_FALSE(mmu.tlbre());
}

TEST_F(MmuTest, ATlbErrorPreparesTheReplacement) {
    mas.mas4 = 0x00000114;  // TLB0, 4 KiB, W and M... as MAS2 has them
    mmu.set_mas_for_miss(0x12345678, 1, 0x5a);
    EXPECT_EQ(mas.mas0, 0x00000001u);  // way 0, next victim 1
    EXPECT_EQ(mas.mas1, 0x805a1100u);
    EXPECT_EQ(mas.mas2, 0x12345014u);
    EXPECT_EQ(mas.mas3, 0u);
    EXPECT_EQ(mas.mas6, 0x005a0001u);
    EXPECT_EQ(mas.mas7, 0u);
}

TEST_F(MmuTest, TheNextVictimMovesOnWithTlbweOnly) {
    for (unsigned n = 0; n < 9; ++n) {
        mmu.set_mas_for_miss(0x1000, 0, 1);
        mmu.set_mas_for_miss(0x2000, 0, 1);
        EXPECT_EQ(mas.mas0 >> 16 & 3, n % 4);
        EXPECT_EQ(mas.mas0 & 3, (n + 1) % 4);
        EXPECT_TRUE(mmu.tlbwe());
    }
}

TEST_F(MmuTest, ATlbErrorForTlb1OffersNoWay) {
    mas.mas4 = 0x10000300;
    mmu.set_mas_for_miss(0x1000, 0, 0);
    EXPECT_EQ(mas.mas0 >> 28, 1u);
    EXPECT_EQ(mas.mas0 >> 16 & 0x3f, 0u);
    EXPECT_EQ(mas.mas1 & 0xf00, 0x300u);
}

TEST_F(MmuTest, TlbsxFindsByMas6) {
    write_tlb0(3, 0x7000, 0x9000, 0x21, 1);
    mas.mas6 = 0x00210001;
    mmu.tlbsx(0x7abc);
    EXPECT_EQ(mas.mas0 & 0x3fff0000, 0x00030000u);
    EXPECT_EQ(mas.mas1, 0x80211100u);
    EXPECT_EQ(mas.mas2, 0x7000u);
    EXPECT_EQ(mas.mas3, 0x9000u | kAllAccess);
    write_tlb1(41, 0x40000000, 0x80000000, 7, 0, true);
    mas.mas6 = 0x00330000;
    mmu.tlbsx(0x40ffffff);
    EXPECT_EQ(mas.mas0 & 0x3fff0000, 0x10290000u);
    EXPECT_EQ(mas.mas1, 0xc0000700u);
}

TEST_F(MmuTest, TlbsxThatFindsNothingGivesDefaultsAndV0) {
    mas.mas4 = 0x00000102;
    mas.mas6 = 0x00210001;
    mas.mas3 = mas.mas7 = 0xf;
    mmu.tlbsx(0x7abc);
    EXPECT_EQ(mas.mas1, 0x00211100u);
    EXPECT_EQ(mas.mas2 & 0x7f, 2u);
    EXPECT_EQ(mas.mas3, 0u);
    EXPECT_EQ(mas.mas7, 0u);
}

// ---- invalidation ----

TEST_F(MmuTest, TlbivaxTakesAnAddressFromEveryProcessOfOneTlb) {
    write_tlb0(0, 0x1000, 0, 1);
    write_tlb0(1, 0x1000, 0, 2, 1);
    write_tlb0(2, 0x81000, 0, 1);
    write_tlb1(0, 0x1000, 0, 1, 3);
    mmu.tlbivax(0x1000);
    EXPECT_FALSE(hits(0x1000, 0, 1));
    EXPECT_FALSE(hits(0x1000, 1, 2));
    EXPECT_TRUE(hits(0x81000, 0, 1));
    EXPECT_TRUE(hits(0x1000, 0, 3));
    mmu.tlbivax(0x1008);  // TLB1
    EXPECT_FALSE(hits(0x1000, 0, 3));
}

TEST_F(MmuTest, TlbivaxAllTakesOneTlbAndSparesProtectedEntries) {
    write_tlb0(0, 0x1000, 0);
    write_tlb1(0, 0x10000, 0, 1);
    write_tlb1(1, 0x20000, 0, 1, 0, true);
    mmu.tlbivax(0x4);
    EXPECT_FALSE(hits(0x1000));
    EXPECT_TRUE(hits(0x10000));
    mmu.tlbivax(0xc);
    EXPECT_FALSE(hits(0x10000));
    EXPECT_TRUE(hits(0x20000));
}

TEST_F(MmuTest, TlbilxAllTakesBothTlbs) {
    write_tlb0(0, 0x1000, 0);
    write_tlb1(0, 0x10000, 0, 1);
    write_tlb1(1, 0x20000, 0, 1, 0, true);
    mmu.tlbilx(0, 0);
    EXPECT_FALSE(hits(0x1000));
    EXPECT_FALSE(hits(0x10000));
    EXPECT_TRUE(hits(0x20000));
}

TEST_F(MmuTest, TlbilxByPidTakesThatProcessOnly) {
    write_tlb0(0, 0x1000, 0, 5);
    write_tlb0(1, 0x1000, 0, 6);
    write_tlb0(0, 0x2000, 0, 0);
    mas.mas6 = 5 << 16;
    mmu.tlbilx(1, 0);
    EXPECT_FALSE(hits(0x1000, 0, 5));
    EXPECT_TRUE(hits(0x1000, 0, 6));
    EXPECT_TRUE(hits(0x2000, 0, 5));
}

TEST_F(MmuTest, TlbilxByAddressTakesWhatTheProcessCouldUse) {
    write_tlb0(0, 0x1000, 0, 5);
    write_tlb0(1, 0x1000, 0, 6);
    write_tlb0(2, 0x2000, 0, 5);
    mas.mas6 = 5 << 16;
    mmu.tlbilx(3, 0x1000);
    EXPECT_FALSE(hits(0x1000, 0, 5));
    EXPECT_TRUE(hits(0x1000, 0, 6));
    EXPECT_TRUE(hits(0x2000, 0, 5));
}

TEST_F(MmuTest, TlbilxWithAReservedTDoesNothing) {
    write_tlb0(0, 0x1000, 0);
    mmu.tlbilx(2, 0x1000);
    EXPECT_TRUE(hits(0x1000));
}

TEST_F(MmuTest, FlashInvalidatesSpareProtectedEntries) {
    write_tlb0(0, 0x1000, 0);
    write_tlb1(0, 0x10000, 0, 1);
    write_tlb1(1, 0x20000, 0, 1, 0, true);
    mmu.write_mmucsr0(4);
    EXPECT_FALSE(hits(0x1000));
    EXPECT_TRUE(hits(0x10000));
    mmu.write_mmucsr0(2);
    EXPECT_FALSE(hits(0x10000));
    EXPECT_TRUE(hits(0x20000));
    EXPECT_EQ(spr(spr::kMMUCSR0), 0u);
}

TEST_F(MmuTest, EntriesFromOutsideAreMadeToFit) {
    mmu.set_entry(1, 7,
                  {.valid = true,
                   .tid = 0x1ff,
                   .ea = 0x40001234,
                   .ra = ~0ull,
                   .size = 5000,
                   .attributes = ~0u,
                   .permissions = ~0u});
    const TlbEntry& entry = mmu.entry(1, 7);
    EXPECT_EQ(entry.size, 0x4000u);
    EXPECT_EQ(entry.ea, 0x40000000u);
    EXPECT_EQ(entry.ra, 0xfffffc000u);
    EXPECT_EQ(entry.tid, 0xffu);
    mmu.set_entry(0, 0, {.valid = true, .ea = 0x5000, .size = 4096});
    EXPECT_FALSE(mmu.entry(0, 0).valid) << "not in its set";
    mmu.set_entry(2, 0, {.valid = true});
    mmu.set_entry(1, 64, {.valid = true});
}

// ---- address contexts ----

TEST_F(MmuTest, ContextsTellApartProcessSpaceAndPrivilege) {
    core.set_msr(0);
    const uint32_t base = state.data_context;
    core.set_msr(msr::kPR);
    EXPECT_EQ(state.data_context, base | 1);
    core.set_msr(msr::kDS);
    EXPECT_EQ(state.data_context, base | 2);
    EXPECT_EQ(state.fetch_context, base);
    core.set_msr(0);
    mmu.write_pid(9);
    EXPECT_NE(state.data_context, base);
    mmu.write_pid(0);
    EXPECT_EQ(state.data_context, base);
    EXPECT_LT(state.data_context, 4096u);
}

struct CountingListener : TranslationListener {
    unsigned ranges = 0, all = 0;
    void translations_changed(uint64_t, uint64_t) override { ++ranges; }
    void all_translations_changed() override { ++all; }
};

TEST_F(MmuTest, FlushingAProcessGivesItAFreshContextAndForgetsNothingElse) {
    CountingListener listener;
    mmu.set_listener(&listener);
    write_tlb0(0, 0x1000, 0, 5);
    mmu.write_pid(5);
    const uint32_t before = state.data_context;
    mas.mas6 = 5 << 16;
    mmu.tlbilx(1, 0);
    EXPECT_NE(state.data_context, before);
    EXPECT_EQ(listener.all, 0u);
}

TEST_F(MmuTest, ContextsComeBackOnlyAfterEverythingWasForgotten) {
    CountingListener listener;
    mmu.set_listener(&listener);
    mas.mas6 = 5 << 16;
    std::vector<bool> used(1024);
    mmu.write_pid(5);
    unsigned flushes = 0;
    while (listener.all == 0 && flushes < 5000) {
        EXPECT_FALSE(used[state.data_context >> 2]);
        used[state.data_context >> 2] = true;
        write_tlb0(0, 0x1000, 0, 5);
        mmu.tlbilx(1, 0);
        ++flushes;
    }
    EXPECT_EQ(listener.all, 1u);
    EXPECT_GT(flushes, 1000u);
}

TEST_F(MmuTest, AFirstMappingDisturbsNobodyAndItsReplacementIsAnnounced) {
    CountingListener listener;
    mmu.set_listener(&listener);
    write_tlb0(0, 0x1000, 0);
    EXPECT_EQ(listener.ranges, 0u);
    write_tlb0(0, 0x81000, 0);
    EXPECT_EQ(listener.ranges, 1u);
}

}  // namespace
}  // namespace perfvisor::core
