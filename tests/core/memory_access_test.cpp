// SPDX-License-Identifier: GPL-2.0-or-later
// Loads, stores and reservations: page crossings, byte order, devices, pages with code.
#include <memory>
#include <utility>

#include "core_fixture.h"

namespace perfvisor::core {
namespace {

struct MemoryTest : CoreTest {
    MemoryTest() { set_vectors(); }

    // Answers the access that waits, as the outside would.
    void answer(uint64_t data) {
        uint8_t bytes[8];
        for (unsigned n = 0; n < 8; ++n)
            bytes[n] = static_cast<uint8_t>(data >> (56 - 8 * n));
        core.complete_mmio(bytes);
    }
    const MmioAccess& request() {
        EXPECT_NE(core.mmio_request(), nullptr);
        static const MmioAccess kNone;
        return core.mmio_request() ? *core.mmio_request() : kNone;
    }
};

TEST_F(MemoryTest, ValuesAreBigEndianInMemory) {
    map_ram();
    EXPECT_TRUE(core.store<uint32_t>(0x100, 0x11223344));
    EXPECT_EQ(ram[0x100], 0x11);
    EXPECT_EQ(ram[0x103], 0x44);
    uint16_t half = 0;
    EXPECT_TRUE(core.load<uint16_t>(0x102, half));
    EXPECT_EQ(half, 0x3344);
    uint64_t twice = 0;
    EXPECT_TRUE(core.store<uint64_t>(0x108, 0x0102030405060708));
    EXPECT_TRUE(core.load<uint64_t>(0x108, twice));
    EXPECT_EQ(twice, 0x0102030405060708u);
    EXPECT_EQ(ram[0x108], 1);
}

TEST_F(MemoryTest, TheSecondAccessToAPageIsFast) {
    map_ram();
    put_word(0x3008, 77);
    load32(0x3000);
    const FastTlbEntry& fast = state.fast_tlb[fast_tlb_index(0x3000)];
    EXPECT_EQ(fast.read_tag, 0x3000 | state.data_context);
    EXPECT_EQ(fast.write_tag, 0x3000 | state.data_context);
    EXPECT_EQ(load32(0x3008), 77u);
}

TEST_F(MemoryTest, PermissionsDecideWhatIsFast) {
    map(0, 0, 0, kMiB, kSR | kSX);
    load32(0x3000);
    const FastTlbEntry& fast = state.fast_tlb[fast_tlb_index(0x3000)];
    EXPECT_NE(fast.read_tag, FastTlbEntry::kNoTag);
    EXPECT_EQ(fast.write_tag, FastTlbEntry::kNoTag);
    EXPECT_EQ(store_fault<uint32_t>(0x3000).kind, Interrupt::DataStorage);
}

TEST_F(MemoryTest, MisalignedAccessesCrossIntoAnotherPhysicalPage) {
    map(0, 0x1000, 0x5000, 0x1000);
    map(1, 0x2000, 0x9000, 0x1000);
    for (unsigned round = 0; round < 2; ++round) {
        EXPECT_TRUE(core.store<uint32_t>(0x1ffe, 0x11223344));
        EXPECT_EQ(ram[0x5ffe], 0x11);
        EXPECT_EQ(ram[0x5fff], 0x22);
        EXPECT_EQ(ram[0x9000], 0x33);
        EXPECT_EQ(ram[0x9001], 0x44);
        EXPECT_EQ(load32(0x1ffe), 0x11223344u);
    }
}

TEST_F(MemoryTest, ACrossingStoreThatFaultsWritesNothing) {
    map(0, 0x1000, 0x5000, 0x1000);
    load32(0x1000);
    const Fault fault = store_fault<uint32_t>(0x1ffd);
    EXPECT_EQ(fault.kind, Interrupt::DataTlbError);
    EXPECT_EQ(fault.dear, 0x2000u);
    EXPECT_EQ(ram[0x5ffd], 0);
    map(1, 0x2000, 0x9000, 0x1000, kSR);
    EXPECT_EQ(store_fault<uint64_t>(0x1ffd).kind, Interrupt::DataStorage);
    EXPECT_EQ(ram[0x5ffd], 0);
}

TEST_F(MemoryTest, AccessesWrapAroundTheAddressSpace) {
    map(0, 0xfffff000, 0x5000, 0x1000);
    map(1, 0, 0x9000, 0x1000);
    EXPECT_TRUE(core.store<uint32_t>(0xfffffffe, 0x11223344));
    EXPECT_EQ(ram[0x5ffe], 0x11);
    EXPECT_EQ(ram[0x9001], 0x44);
    EXPECT_EQ(load32(0xfffffffe), 0x11223344u);
}

TEST_F(MemoryTest, LittleEndianPagesTurnBytesRound) {
    map(0, 0, 0, kMiB, kAllAccess, kLittle);
    EXPECT_TRUE(core.store<uint32_t>(0x100, 0x11223344));
    EXPECT_EQ(ram[0x100], 0x44);
    EXPECT_EQ(ram[0x103], 0x11);
    EXPECT_EQ(load32(0x100), 0x11223344u);
    EXPECT_TRUE(core.store<uint32_t>(0x1fff, 0x11223344));
    EXPECT_EQ(ram[0x1fff], 0x44);
    EXPECT_EQ(ram[0x2002], 0x11);
    EXPECT_EQ(load32(0x1fff), 0x11223344u);
    uint64_t physical;
    EXPECT_FALSE(core.translate_fetch(0, physical));
    EXPECT_EQ(core.fault().kind, Interrupt::InstructionStorage);
    EXPECT_EQ(core.fault().esr, esr::kBO);
}

TEST_F(MemoryTest, CrossingBetweenByteOrdersIsAByteOrderingException) {
    map(0, 0x1000, 0x5000, 0x1000);
    map(1, 0x2000, 0x9000, 0x1000, kAllAccess, kLittle);
    EXPECT_EQ(store_fault<uint32_t>(0x1ffe).esr, esr::kBO | esr::kST);
    EXPECT_EQ(ram[0x5ffe], 0);
}

TEST_F(MemoryTest, BulkAccessesOf64BytesCrossPages) {
    map(0, 0x1000, 0x5000, 0x1000);
    map(1, 0x2000, 0x9000, 0x1000);
    uint8_t out[64], in[64];
    for (unsigned n = 0; n < 64; ++n)
        out[n] = static_cast<uint8_t>(n + 1);
    EXPECT_TRUE(core.store_bytes(0x1fe0, out, 64));
    EXPECT_EQ(ram[0x901f], 64);
    EXPECT_TRUE(core.load_bytes(0x1fe0, in, 64));
    EXPECT_EQ(std::memcmp(in, out, 64), 0);
}

TEST_F(MemoryTest, ExternalPidAccessesUseTheirContext) {
    map(0, 0x1000, 0x5000, 0x1000, kUR | kUW, 0, 7, 1);
    put_word(0x5010, 0xcafe);
    set_spr(spr::kEPLC, 0xc0000007);
    uint32_t raw = 0;
    ASSERT_TRUE(core.load_bytes_external(0x1010, &raw, 4));
    EXPECT_EQ(from_big_endian(raw), 0xcafeu);
    EXPECT_FALSE(core.store_bytes_external(0x1010, &raw, 4)) << "EPSC is another context";
    EXPECT_EQ(core.fault().esr, esr::kST | esr::kEPID);
    set_spr(spr::kEPSC, 0xc0000007);
    raw = 0;
    EXPECT_TRUE(core.store_bytes_external(0x1010, &raw, 4));
    EXPECT_EQ(word_at(0x5010), 0u);
    set_spr(spr::kEPLC, 0x40000007);
    EXPECT_FALSE(core.load_bytes_external(0x1010, &raw, 4));
    EXPECT_EQ(core.fault().kind, Interrupt::DataStorage);
    EXPECT_EQ(load_fault<uint32_t>(0x1010).kind, Interrupt::DataTlbError)
        << "ordinary accesses stay apart";
}

// ---- devices ----

TEST_F(MemoryTest, ADeviceLoadAsksAndIsExecutedAgain) {
    map_device();
    uint32_t value = 0;
    EXPECT_FALSE(core.load<uint32_t>(0xe0000104, value));
    EXPECT_FALSE(core.fault_pending());
    EXPECT_EQ(request().physical, kDevice + 0x104);
    EXPECT_EQ(request().size, 4);
    EXPECT_FALSE(request().write);
    answer(uint64_t{0xaabbccdd} << 32);
    EXPECT_EQ(core.mmio_request(), nullptr);
    EXPECT_EQ(core.instructions_to_deadline(1000), 1u);
    EXPECT_TRUE(core.load<uint32_t>(0xe0000104, value));
    EXPECT_EQ(value, 0xaabbccddu);
    core.instruction_finished();
    EXPECT_FALSE(core.load<uint32_t>(0xe0000104, value)) << "the answer was for one instruction";
}

TEST_F(MemoryTest, ADeviceStoreCarriesItsBytes) {
    map_device();
    EXPECT_FALSE(core.store<uint16_t>(0xe0000002, 0x1234));
    EXPECT_TRUE(request().write);
    EXPECT_EQ(request().size, 2);
    EXPECT_EQ(request().data[0], 0x12);
    EXPECT_EQ(request().data[1], 0x34);
    answer(0);
    EXPECT_TRUE(core.store<uint16_t>(0xe0000002, 0x1234));
}

TEST_F(MemoryTest, LittleEndianDevicePagesTurnBytesRound) {
    map(1, 0xe0000000, kDevice, kMiB, kAllAccess, kLittle);
    EXPECT_FALSE(core.store<uint16_t>(0xe0000002, 0x1234));
    EXPECT_EQ(request().data[0], 0x34);
}

TEST_F(MemoryTest, AnInstructionWithSeveralDeviceAccessesAsksOnceForEach) {
    map_device();
    const auto instruction = [&](uint32_t* values) {
        for (unsigned n = 0; n < 4; ++n)
            if (!core.load<uint32_t>(0xe0000000 + 4 * n, values[n])) return false;
        return true;
    };
    uint32_t values[4];
    unsigned asked = 0;
    while (!instruction(values)) {
        ASSERT_EQ(request().physical, kDevice + 4 * asked);
        answer(uint64_t{100 + asked} << 32);
        ++asked;
    }
    EXPECT_EQ(asked, 4u);
    for (unsigned n = 0; n < 4; ++n)
        EXPECT_EQ(values[n], 100 + n);
}

TEST_F(MemoryTest, MisalignedDeviceAccessesAreSplitIntoAlignedOnes) {
    map_device();
    uint32_t value = 0;
    const struct {
        uint64_t offset;
        unsigned size;
        uint64_t data;
    } parts[] = {{1, 1, 0x11}, {2, 2, 0x2233}, {4, 1, 0x44}};
    for (const auto& part : parts) {
        ASSERT_FALSE(core.load<uint32_t>(0xe0000001, value));
        EXPECT_EQ(request().physical, kDevice + part.offset);
        EXPECT_EQ(request().size, part.size);
        answer(part.data << (64 - 8 * part.size));
    }
    EXPECT_TRUE(core.load<uint32_t>(0xe0000001, value));
    EXPECT_EQ(value, 0x11223344u);
}

TEST_F(MemoryTest, InterruptsWaitUntilAnInstructionsDeviceAccessesAreDone) {
    map_device();
    core.set_msr(msr::kEE);
    core.set_line(Line::External, true);
    EXPECT_FALSE(core.store<uint32_t>(0xe0000000, 1));
    EXPECT_FALSE(core.deliver_pending_interrupt());
    answer(0);
    EXPECT_FALSE(core.deliver_pending_interrupt());
    EXPECT_TRUE(core.store<uint32_t>(0xe0000000, 1));
    core.instruction_finished();
    EXPECT_TRUE(state.attention.load() & kInterruptCheck);
    EXPECT_TRUE(core.deliver_pending_interrupt());
}

TEST_F(MemoryTest, AnswersForAnotherInstructionAreNotUsed) {
    map_device();
    uint32_t value = 0;
    EXPECT_FALSE(core.load<uint32_t>(0xe0000000, value));
    answer(~uint64_t{0});
    EXPECT_FALSE(core.load<uint32_t>(0xe0000008, value));
    EXPECT_EQ(request().physical, kDevice + 8);
}

TEST_F(MemoryTest, AFaultAfterADeviceAccessForgetsTheAnswer) {
    map_device();
    uint32_t value = 0;
    EXPECT_FALSE(core.load<uint32_t>(0xe0000000, value));
    answer(0);
    EXPECT_TRUE(core.load<uint32_t>(0xe0000000, value));
    load_fault<uint32_t>(0x12340000);
    core.deliver_fault(0x100);
    EXPECT_FALSE(core.load<uint32_t>(0xe0000000, value));
}

TEST_F(MemoryTest, ReadOnlyMemoryIsReadAndItsStoresGoOutside) {
    map(0, 0xf0000000, kRomBase, kRomSize);
    rom[3] = 9;
    EXPECT_EQ(load32(0xf0000000), 9u);
    EXPECT_FALSE(core.store<uint32_t>(0xf0000000, 1));
    EXPECT_TRUE(request().write);
    EXPECT_EQ(request().physical, kRomBase);
}

// ---- reservations ----

TEST_F(MemoryTest, AReservationHoldsUntilTheValueChanges) {
    map_ram();
    put_word(0x100, 5);
    uint64_t value = 0;
    bool stored = false;
    ASSERT_TRUE(core.load_reserve(0x100, 4, value));
    EXPECT_EQ(value, 5u);
    EXPECT_TRUE(core.store_conditional(0x100, 4, 6, stored));
    EXPECT_TRUE(stored);
    EXPECT_EQ(word_at(0x100), 6u);
    EXPECT_TRUE(core.store_conditional(0x100, 4, 7, stored));
    EXPECT_FALSE(stored) << "used up";
    ASSERT_TRUE(core.load_reserve(0x100, 4, value));
    put_word(0x100, 9);
    EXPECT_TRUE(core.store_conditional(0x100, 4, 7, stored));
    EXPECT_FALSE(stored);
    EXPECT_EQ(word_at(0x100), 9u);
    EXPECT_EQ(state.totals[Total::StwcxSuccess], 1u);
    EXPECT_EQ(state.totals[Total::StwcxFailure], 2u);
}

// The value is the same again; what it stands for need not be.
TEST_F(MemoryTest, AReservationIsLostWhereAnotherCoreStoresTheValueAgain) {
    Core other{{.model = find_core_model("e500mc"), .id = 4, .memory = &memory, .time = &time}};
    other.mmu().set_entry(1, 0, {.valid = true, .size = kMiB, .permissions = kAllAccess});
    map_ram();
    put_word(0x100, 5);
    uint64_t value = 0;
    bool stored = false;
    ASSERT_TRUE(core.load_reserve(0x100, 4, value));
    for (const uint32_t next : {6u, 5u}) {
        ASSERT_TRUE(other.load_reserve(0x100, 4, value));
        ASSERT_TRUE(other.store_conditional(0x100, 4, next, stored));
        EXPECT_TRUE(stored);
    }
    EXPECT_TRUE(core.store_conditional(0x100, 4, 7, stored));
    EXPECT_FALSE(stored);
    EXPECT_EQ(word_at(0x100), 5u);
}

TEST_F(MemoryTest, AReservationIsForItsAddressAndSize) {
    map_ram();
    uint64_t value = 0;
    bool stored = true;
    ASSERT_TRUE(core.load_reserve(0x100, 4, value));
    EXPECT_TRUE(core.store_conditional(0x104, 4, 1, stored));
    EXPECT_FALSE(stored);
    ASSERT_TRUE(core.load_reserve(0x100, 4, value));
    EXPECT_TRUE(core.store_conditional(0x100, 2, 1, stored));
    EXPECT_FALSE(stored);
    EXPECT_EQ(state.reserve_size, 0u) << "cleared in every case";
    for (const unsigned size : {1u, 2u}) {
        ASSERT_TRUE(core.load_reserve(0x102, size, value));
        EXPECT_TRUE(core.store_conditional(0x102, size, 0x5a, stored));
        EXPECT_TRUE(stored) << size;
    }
}

TEST_F(MemoryTest, AReservationIsAnAddressInMemoryNotAnEffectiveOne) {
    map(0, 0x1000, 0x5000, 0x1000);
    map(1, 0x2000, 0x5000, 0x1000);
    uint64_t value = 0;
    bool stored = false;
    ASSERT_TRUE(core.load_reserve(0x1000, 4, value));
    EXPECT_TRUE(core.store_conditional(0x2000, 4, 1, stored));
    EXPECT_TRUE(stored);
}

TEST_F(MemoryTest, UnalignedReservationsAreAlignmentInterrupts) {
    map_ram();
    uint64_t value = 0;
    bool stored = false;
    EXPECT_FALSE(core.load_reserve(0x102, 4, value));
    EXPECT_EQ(core.fault().kind, Interrupt::Alignment);
    EXPECT_EQ(core.fault().dear, 0x102u);
    EXPECT_FALSE(core.store_conditional(0x101, 2, 0, stored));
    EXPECT_EQ(core.fault().kind, Interrupt::Alignment);
    EXPECT_EQ(core.fault().esr, esr::kST);
}

TEST_F(MemoryTest, DevicesCannotBeReserved) {
    map_device();
    uint64_t value = 0;
    EXPECT_FALSE(core.load_reserve(0xe0000000, 4, value));
    EXPECT_EQ(core.fault().kind, Interrupt::DataStorage);
    EXPECT_EQ(core.mmio_request(), nullptr);
}

TEST_F(MemoryTest, AStoreConditionalNeedsPermissionEvenWithoutAReservation) {
    map(0, 0, 0, kMiB, kSR);
    bool stored = false;
    EXPECT_FALSE(core.store_conditional(0x100, 4, 0, stored));
    EXPECT_EQ(core.fault().kind, Interrupt::DataStorage);
    EXPECT_EQ(core.fault().esr, esr::kST);
}

// ---- pages with code ----

struct CodeLog : Core::CodeListener {
    std::vector<std::pair<uint64_t, uint64_t>> changes;
    void code_changed(uint64_t physical, uint64_t length) override {
        changes.emplace_back(physical, length);
    }
    void breakpoints_changed(const std::vector<uint64_t>&) override {}
    void all_breakpoints_changed() override {}
};

TEST_F(MemoryTest, StoresToAPageWithCodeAreReported) {
    CodeLog log;
    core.set_code_listener(&log);
    map_ram();
    EXPECT_TRUE(core.store<uint32_t>(0x3000, 1));
    EXPECT_TRUE(log.changes.empty());
    core.protect_code_page(0x3abc);
    EXPECT_TRUE(core.store<uint32_t>(0x3010, 1));
    EXPECT_TRUE(core.store<uint32_t>(0x4010, 1));
    EXPECT_TRUE(core.store<uint16_t>(0x3020, 1));
    ASSERT_EQ(log.changes.size(), 2u);
    EXPECT_EQ(log.changes[0], (std::pair<uint64_t, uint64_t>{0x3010, 4}));
    EXPECT_EQ(log.changes[1], (std::pair<uint64_t, uint64_t>{0x3020, 2}));
    load32(0x3000);
    EXPECT_EQ(state.fast_tlb[fast_tlb_index(0x3000)].write_tag, FastTlbEntry::kNoTag);
}

TEST_F(MemoryTest, AStoreConditionalToCodeIsReported) {
    CodeLog log;
    core.set_code_listener(&log);
    map_ram();
    core.protect_code_page(0x3000);
    uint64_t value = 0;
    bool stored = false;
    ASSERT_TRUE(core.load_reserve(0x3004, 4, value));
    EXPECT_TRUE(core.store_conditional(0x3004, 4, 1, stored));
    ASSERT_EQ(log.changes.size(), 1u);
    EXPECT_EQ(log.changes[0].first, 0x3004u);
}

TEST_F(MemoryTest, APageStoredToOftenStopsBeingAPageWithCode) {
    CodeLog log;
    core.set_code_listener(&log);
    map_ram();
    core.protect_code_page(0x3000);
    unsigned stores = 0;
    while (state.fast_tlb[fast_tlb_index(0x3000)].write_tag == FastTlbEntry::kNoTag &&
           stores < 1000) {
        EXPECT_TRUE(core.store<uint32_t>(0x3000, ++stores));
    }
    EXPECT_LT(stores, 100u);
    EXPECT_EQ(log.changes.back(), (std::pair<uint64_t, uint64_t>{0x3000, kPageSize}));
    core.protect_code_page(0x3000);
    const size_t before = log.changes.size();
    EXPECT_TRUE(core.store<uint32_t>(0x3000, 1));
    EXPECT_EQ(log.changes.size(), before + 1);
}

// Both engines of every core of a VM protect each page that they decode from.
TEST_F(MemoryTest, OtherCoresAreAskedToForgetAPageOnce) {
    struct Others : Interconnect {
        void broadcast_tlbivax(Core&, uint64_t) override {}
        void send_doorbell(Core&, uint64_t) override {}
        void invalidate_code(Core&, uint64_t, uint64_t) override {}
        void protect_code_page(Core&, uint64_t physical) override {
            ++asked;
            if (meanwhile) std::exchange(meanwhile, nullptr)->protect_code_page(physical);
        }
        unsigned asked = 0;
        Core* meanwhile = nullptr;
    } others;
    const auto make = [&](unsigned id) {
        return std::make_unique<Core>(Core::Config{.model = find_core_model("e500mc"),
                                                   .id = id,
                                                   .memory = &memory,
                                                   .time = &time,
                                                   .interconnect = &others});
    };
    const auto one = make(4), two = make(5);
    one->protect_code_page(0x3000);
    one->protect_code_page(0x3ffc);
    two->protect_code_page(0x3000);
    EXPECT_EQ(others.asked, 1u);
    // Not yet where the first still waits for the answers.
    others.meanwhile = two.get();
    one->protect_code_page(0x5000);
    EXPECT_EQ(others.asked, 3u);
    two->protect_code_page(0x5000);
    EXPECT_EQ(others.asked, 3u);
}

TEST_F(MemoryTest, ProtectingWhereNoMemoryIsIsHarmless) {
    core.protect_code_page(kDevice);
    core.invalidate_code(kDevice, 64);
}

}  // namespace
}  // namespace perfvisor::core
