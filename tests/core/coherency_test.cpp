// SPDX-License-Identifier: GPL-2.0-or-later
// Whatever a guest does to its TLBs, process and machine state, what is cached of translations says
// what a plain search of the TLBs says. And no contents of the TLBs are harmful.
#include <map>

#include "core_fixture.h"

namespace perfvisor::core {
namespace {

// Keeps translations of fetches as an engine keeps its blocks: by context and page, dropped when
// the MMU says so.
class FetchCache : public TranslationListener {
  public:
    std::map<std::pair<uint32_t, uint64_t>, uint64_t> pages;

    void translations_changed(uint64_t ea, uint64_t size) override {
        std::erase_if(pages, [&](const auto& page) { return page.first.second - ea < size; });
    }
    void all_translations_changed() override { pages.clear(); }
};

struct CoherencyTest : CoreTest {
    CoherencyTest() {
        for (uint64_t page = 0; page < kRamSize; page += kPageSize)
            put_word(page, static_cast<uint32_t>(page));
        mmu.set_listener(&fetches);
    }

    FetchCache fetches;
    Random random{42};

    // The search as the manual describes it, with nothing remembered. Physical address, or nothing.
    std::optional<uint64_t> search(uint64_t ea, Access access) {
        const bool fetch = access == Access::Fetch;
        const unsigned as = (state.msr & (fetch ? msr::kIS : msr::kDS)) ? 1 : 0;
        const uint32_t pid = mmu.registers().pid;
        for (unsigned tlb = 0; tlb < 2; ++tlb) {
            for (unsigned index = 0; index < mmu.entries(tlb); ++index) {
                const TlbEntry& entry = mmu.entry(tlb, index);
                if (!entry.valid || entry.ts != as || (entry.tid != 0 && entry.tid != pid))
                    continue;
                if (ea < entry.ea || ea - entry.ea >= entry.size) continue;
                const unsigned shift = (state.msr & msr::kPR) ? 1 : 0;
                const uint32_t bit = access == Access::Load    ? kSR
                                     : access == Access::Store ? kSW
                                                               : kSX;
                if (!(entry.permissions & bit << shift)) return std::nullopt;
                return entry.ra + (ea - entry.ea);
            }
        }
        return std::nullopt;
    }

    // Few pages, in few sets, so that replacement, overlap and aliasing happen all the time.
    uint64_t random_page() {
        const uint64_t regions[] = {0, 0x80000, 0x400000, 0x40000000, 0xfffff000};
        return (regions[random.below(5)] + (uint64_t{random.below(6)} << 12)) & 0xffffffff;
    }

    void write_random_entry() {
        Mmu::Registers& mas = mmu.registers();
        const bool tlb1 = random.one_in(3);
        const uint32_t esel = random.below(tlb1 ? 5 : 4);
        const uint32_t tsize = random.one_in(8) ? random.below(12) : 1 + random.below(2);
        mas.mas0 = (tlb1 ? 0x10000000 : 0) | esel << 16 | random.below(4);
        mas.mas1 = (random.one_in(5) ? 0 : 0x80000000) | (random.one_in(4) ? 0x40000000 : 0) |
                   random.below(4) << 16 | random.below(2) << 12 | tsize << 8;
        mas.mas2 = random_page();
        mas.mas3 = random.below(256) << 12 | (random.one_in(3) ? random.next() & 0x3f : 0x3f);
        mas.mas7 = 0;
        mmu.tlbwe();
    }

    void change_something() {
        Mmu::Registers& mas = mmu.registers();
        const uint64_t page = random_page();
        switch (random.below(14)) {
            case 0:
                mmu.tlbivax(page | (random.one_in(2) ? 8 : 0) | (random.one_in(20) ? 4 : 0));
                break;
            case 1:
                mas.mas6 = random.below(4) << 16 | random.below(2);
                mmu.tlbilx(random.one_in(10) ? 0 : random.one_in(2) ? 1 : 3, page);
                break;
            case 2:
                if (random.one_in(10)) mmu.write_mmucsr0(random.below(8));
                break;
            case 3:
            case 4:
                mmu.write_pid(random.below(4));
                break;
            case 5:
            case 6:
                core.set_msr(random.next() & (msr::kPR | msr::kIS | msr::kDS));
                break;
            case 7:
                core.protect_code_page(uint64_t{random.below(256)} << 12);
                break;
            case 8:
                mmu.set_entry(1, random.below(5),
                              {.valid = !random.one_in(4),
                               .tid = random.below(4),
                               .ea = page,
                               .ra = uint64_t{random.below(256)} << 12,
                               .size = kPageSize,
                               .permissions = kAllAccess});
                break;
            default:
                write_random_entry();
        }
    }

    void check_load(uint64_t page) {
        const auto expected = search(page, Access::Load);
        uint32_t value = 0;
        const bool loaded = core.load<uint32_t>(page, value);
        if (!loaded && core.mmio_request()) {  // beyond RAM
            ASSERT_TRUE(expected && *expected >= kRamSize);
            core.complete_mmio(std::array<uint8_t, 8>{}.data());
            core.instruction_finished();
            return;
        }
        ASSERT_EQ(loaded, expected.has_value()) << std::hex << page;
        if (loaded) {
            ASSERT_EQ(value, *expected) << std::hex << page;
        }
    }

    void check_store(uint64_t page) {
        const auto expected = search(page, Access::Store);
        const uint32_t value = random.next();
        const bool stored = core.store<uint32_t>(page + 8, value);
        if (!stored && core.mmio_request()) {
            ASSERT_TRUE(expected && *expected >= kRamSize);
            core.complete_mmio(std::array<uint8_t, 8>{}.data());
            core.instruction_finished();
            return;
        }
        ASSERT_EQ(stored, expected.has_value()) << std::hex << page;
        if (stored) {
            ASSERT_EQ(word_at(*expected + 8), value) << std::hex << page;
        }
    }

    void check_fetch(uint64_t page) {
        const auto expected = search(page, Access::Fetch);
        const auto key = std::pair{state.fetch_context, page};
        const auto cached = fetches.pages.find(key);
        if (cached != fetches.pages.end()) {
            ASSERT_TRUE(expected.has_value()) << std::hex << page;
            ASSERT_EQ(cached->second, *expected) << std::hex << page;
            return;
        }
        uint64_t physical = 0;
        const bool found = core.translate_fetch(page, physical);
        if (found) fetches.pages[key] = physical;
        const bool executable = expected && memory_at(*expected);
        ASSERT_EQ(found, executable) << std::hex << page;
        if (found) {
            ASSERT_EQ(physical, *expected);
        }
    }
    bool memory_at(uint64_t physical) const { return memory.find(physical) != nullptr; }

    // Every inline translation of the current context.
    void check_inline_cache() {
        for (const FastTlbEntry& fast : state.fast_tlb) {
            for (const Access access : {Access::Load, Access::Store}) {
                const uint64_t tag = access == Access::Load ? fast.read_tag : fast.write_tag;
                if (tag == FastTlbEntry::kNoTag || (tag & ~kPageMask) != state.data_context)
                    continue;
                const uint64_t page = tag & kPageMask;
                const auto expected = search(page, access);
                ASSERT_TRUE(expected.has_value()) << std::hex << page;
                ASSERT_EQ(fast.page, *expected);
                ASSERT_EQ(reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(fast.addend + page)),
                          ram.data() + *expected);
                const uint8_t mark = memory.slots()[0].has_code[*expected >> 12];
                if (access == Access::Store) {
                    ASSERT_EQ(mark, 0) << std::hex << page;
                }
            }
        }
    }
};

TEST_F(CoherencyTest, CachedTranslationsSayWhatTheTlbsSay) {
    for (unsigned n = 0; n < 300000; ++n) {
        if (random.one_in(4)) change_something();
        const uint64_t page = random_page();
        switch (random.below(4)) {
            case 0:
                check_store(page);
                break;
            case 1:
                check_fetch(page);
                break;
            default:
                check_load(page);
        }
        if (n % 64 == 0) check_inline_cache();
        if (HasFatalFailure()) FAIL() << "at step " << n;
    }
}

// TLB entries of any contents, accesses of any kind, registers of any value: nothing but faults,
// device requests and interrupts comes of it.
TEST_F(CoherencyTest, NoContentsOfTheTlbsAreHarmful) {
    mmu.set_listener(nullptr);
    unsigned done = 0, faults = 0, requests = 0;
    uint64_t mapped = 0;
    for (unsigned n = 0; n < 300000; ++n) {
        if (random.one_in(3)) {
            Mmu::Registers& mas = mmu.registers();
            mas.mas0 = random.next();
            mas.mas1 = (random.next() & (random.one_in(4) ? ~0u : ~0x3fff0000u)) | 0x80000000;
            mas.mas2 = random.next();
            mas.mas3 = random.one_in(2) ? random.next() : random.below(kMiB) | kAllAccess;
            mas.mas7 = random.one_in(4) ? random.next() : 0;
            mas.mas4 = random.next();
            mas.mas6 = random.next();
            switch (random.below(8)) {
                case 0:
                    mmu.tlbre();
                    break;
                case 1:
                    mmu.tlbsx(random.next());
                    break;
                case 2:
                    mmu.tlbilx(random.below(4), random.next());
                    break;
                case 3:
                    core.tlbivax(random.next());
                    break;
                default:
                    mapped = mas.mas2 & 0xfffff000;
                    mmu.tlbwe();
            }
        }
        if (random.one_in(20)) core.set_msr(random.next());
        if (random.one_in(50)) mmu.write_pid(random.next());
        uint8_t bytes[64] = {};
        // Where something was mapped lately, around the end of the address space, or anywhere.
        const uint64_t ea = random.one_in(2)   ? (mapped + random.below(0x1100)) & 0xffffffff
                            : random.one_in(2) ? 0xfffffff0 + random.below(32)
                                               : random.next();
        const unsigned size = 1 + random.below(64);
        uint64_t value = 0;
        bool flag = false, ok = false;
        switch (random.below(8)) {
            case 0:
                ok = core.load_bytes(ea, bytes, size);
                break;
            case 1:
                ok = core.store_bytes(ea, bytes, size);
                break;
            case 2:
                ok = core.load_bytes_external(ea, bytes, size);
                break;
            case 3:
                ok = core.store_bytes_external(ea, bytes, size);
                break;
            case 4:
                ok = core.load_reserve(ea, 1u << random.below(4), value);
                break;
            case 5:
                ok = core.store_conditional(ea, 1u << random.below(4), value, flag);
                break;
            case 6:
                ok = core.translate_fetch(ea, value);
                break;
            default:
                ok = core.load<uint64_t>(ea, value);
        }
        if (core.fault_pending()) {
            core.deliver_fault(ea);
            ++faults;
        } else if (core.mmio_request()) {
            ASSERT_FALSE(ok);
            core.complete_mmio(bytes);
            if (random.one_in(2)) core.instruction_finished();
            ++requests;
        } else {
            ASSERT_TRUE(ok);
            core.instruction_finished();
            ++done;
        }
        if (core.checkstop() && random.one_in(20)) core.reset();
    }
    EXPECT_GT(done, 1000u);
    EXPECT_GT(faults, 1000u);
    EXPECT_GT(requests, 1000u);
}

}  // namespace
}  // namespace perfvisor::core
