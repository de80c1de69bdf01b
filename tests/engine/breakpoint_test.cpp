// SPDX-License-Identifier: GPL-2.0-or-later
// Core::set_breakpoints: execution stops before exactly these addresses, however hot the code, and
// is otherwise what it would be without.
#include <random>
#include <set>
#include <utility>

#include "guest_harness.h"

using namespace perfvisor;
using core::Breakpoints;
using core::Interrupt;
using core::Total;
using engine::Stop;
using test::Guest;

namespace {

constexpr uint64_t kLong = 1'000'000;
constexpr uint32_t kWord = 0x00dddd00;  // an illegal instruction, as KVM's for breakpoints is

void stop_at(Guest& guest, std::vector<uint64_t> addresses) {
    guest.core().set_breakpoints(Breakpoints(std::move(addresses)));
}

// From a breakpoint to behind its instruction, as a debugger goes on.
void step_over(Guest& guest) {
    const std::vector<uint64_t> all = guest.core().breakpoints().addresses();
    std::vector<uint64_t> others = all;
    std::erase(others, guest.state().pc);
    stop_at(guest, others);
    ASSERT_EQ(guest.engine().run(1), Stop::Budget);
    stop_at(guest, all);
}

// A loop of 20 instructions a round with calls near and far, through LR and CTR, side exits, memory
// and a system call, and how far it is from kCode to each of its instructions.
constexpr uint32_t kFar = 0x3000;
constexpr const char* kRounds = R"(
    start: li32 r3,0x40000
        li32 r12,0x3000
    loop: addi r4,r4,1
        mtctr r12
        bctrl
        andi. r5,r4,3
        beq skip
        lwz r6,0(r3)
        add r6,r6,r4
        stw r6,0(r3)
    skip: bl near
        sc 0
        b loop
    near: addi r7,r7,3
        blr
)";

void load_rounds(Guest& guest) {
    guest.program(kRounds);
    guest.program("addi r8,r8,1\n cmpwi r8,1000\n bge out\n out: blr", kFar);
    guest.handler(Interrupt::SystemCall, "addi r9,r9,1\n rfi");
}

// What tells two executions apart.
struct Snapshot {
    explicit Snapshot(Guest& guest)
        : pc(guest.state().pc),
          gpr(guest.state().gpr),
          totals(guest.state().totals.value),
          word(guest.read32(Guest::kData)) {}
    bool operator==(const Snapshot&) const = default;

    uint64_t pc;
    decltype(core::CpuState::gpr) gpr;
    decltype(core::Totals::value) totals;
    uint32_t word;
};

}  // namespace

TEST(Breakpoint, StopsBeforeItsInstructionAndAgainUntilItIsTakenAway) {
    Guest guest;
    guest.program("li r3,1\n li r4,2\n li r5,3\n wait 0");
    stop_at(guest, {Guest::kCode + 8});
    for (int n = 0; n < 3; ++n) {
        ASSERT_EQ(guest.engine().run(kLong), Stop::Breakpoint);
        EXPECT_EQ(guest.state().pc, Guest::kCode + 8);
        EXPECT_EQ(guest.state().gpr[4], 2u);
        EXPECT_EQ(guest.state().gpr[5], 0u);
        EXPECT_EQ(guest.total(Total::Instructions), 2u);
        EXPECT_EQ(guest.state().budget, static_cast<int64_t>(n == 0 ? kLong - 2 : kLong));
    }
    stop_at(guest, {});
    EXPECT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[5], 3u);
    EXPECT_EQ(guest.total(Total::Instructions), 4u);
}

TEST(Breakpoint, TheBudgetEndsAsEverAndABreakpointBehindItWaits) {
    Guest guest;
    guest.program("li r3,1\n li r4,2\n li r5,3\n wait 0");
    stop_at(guest, {Guest::kCode + 8});
    EXPECT_EQ(guest.engine().run(1), Stop::Budget);
    EXPECT_EQ(guest.engine().run(1), Stop::Budget);
    EXPECT_EQ(guest.engine().run(1), Stop::Breakpoint);
    guest.state().attention = core::kKick;
    EXPECT_EQ(guest.engine().run(1), Stop::Attention);
}

// In every place of the loop, inserted when all of it has long been hot and linked.
TEST(Breakpoint, InsertedIntoAHotLoopItStopsInEachRoundAndLeavesNoTrace) {
    std::vector<uint64_t> addresses;
    for (uint32_t pc = Guest::kCode + 16; pc < Guest::kCode + 16 + 4 * 13; pc += 4)
        addresses.push_back(pc);
    addresses.push_back(kFar);
    addresses.push_back(kFar + 8);
    addresses.push_back(Guest::vector(Interrupt::SystemCall));
    addresses.push_back(Guest::vector(Interrupt::SystemCall) + 4);
    for (const uint64_t address : addresses) {
        Guest guest, plain;
        load_rounds(guest);
        load_rounds(plain);
        ASSERT_EQ(guest.engine().run(20'000), Stop::Budget);
        stop_at(guest, {address});
        for (int n = 0; n < 20; ++n) {
            ASSERT_EQ(guest.engine().run(kLong), Stop::Breakpoint) << std::hex << address;
            ASSERT_EQ(guest.state().pc, address);
            step_over(guest);
            ASSERT_NE(guest.state().pc, address);
        }
        stop_at(guest, {});
        ASSERT_LT(guest.total(Total::Instructions), 50'000u);
        ASSERT_EQ(guest.engine().run(50'000 - guest.total(Total::Instructions)), Stop::Budget);
        ASSERT_EQ(plain.engine().run(50'000), Stop::Budget);
        EXPECT_TRUE(Snapshot(guest) == Snapshot(plain)) << std::hex << address;
    }
}

TEST(Breakpoint, IsMetAtOneMappingOfAPageAndNotAtAnother) {
    Guest guest;
    guest.map(1, 0x10000000, 0x50000, 0x1000, Guest::kAllPermissions);
    guest.map(2, 0x20000000, 0x50000, 0x1000, Guest::kAllPermissions);
    guest.program("nop\n addi r3,r3,1\n blr", 0x50000);
    guest.program(R"(
        lis r8,0x1000
        lis r9,0x2000
    loop: mtctr r8
        bctrl
        mtctr r9
        bctrl
        b loop
    )");
    ASSERT_EQ(guest.engine().run(5000), Stop::Budget);
    stop_at(guest, {0x20000004});
    for (uint64_t n = 0, first = 0; n < 5; ++n) {
        ASSERT_EQ(guest.engine().run(kLong), Stop::Breakpoint);
        ASSERT_EQ(guest.state().pc, 0x20000004u);
        if (n == 0) first = guest.state().gpr[3];
        ASSERT_EQ(guest.state().gpr[3], first + 2 * n);
        step_over(guest);
    }
}

TEST(Breakpoint, ComesBeforeTheFaultOfAFetch) {
    Guest guest;
    guest.program("li32 r3,0x30000000\n mtctr r3\n bctr");
    guest.handler(Interrupt::InstructionTlbError, "li r4,1\n wait 0");
    stop_at(guest, {0x30000000});
    ASSERT_EQ(guest.engine().run(kLong), Stop::Breakpoint);
    EXPECT_EQ(guest.state().pc, 0x30000000u);
    EXPECT_EQ(guest.total(Total::Interrupts), 0u);
    stop_at(guest, {});
    EXPECT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[4], 1u);
}

TEST(Breakpoint, TheWordStopsWhereverItIsAnInstruction) {
    Guest guest;
    guest.program("loop: addi r3,r3,1\n .long 0x00dddd00\n addi r4,r4,1\n b loop");
    guest.handler(Interrupt::Program, "mfspr r10,26\n addi r10,r10,4\n mtspr 26,r10\n rfi");
    ASSERT_EQ(guest.engine().run(5000), Stop::Budget);
    EXPECT_GT(guest.total(Total::Interrupts), 0u);
    for (int n = 0; n < 3; ++n) {
        guest.core().set_breakpoints(Breakpoints({}, kWord));
        const uint64_t interrupts = guest.total(Total::Interrupts);
        ASSERT_EQ(guest.engine().run(kLong), Stop::Breakpoint);
        EXPECT_EQ(guest.state().pc, Guest::kCode + 4);
        EXPECT_EQ(guest.total(Total::Interrupts), interrupts);
        guest.core().set_breakpoints({});
        ASSERT_EQ(guest.engine().run(50), Stop::Budget);
        EXPECT_GT(guest.total(Total::Interrupts), interrupts);
    }
}

TEST(Breakpoint, TheWordWrittenIntoAHotLoopStopsThere) {
    Guest guest;
    guest.core().set_breakpoints(Breakpoints({}, kWord));
    load_rounds(guest);
    ASSERT_EQ(guest.engine().run(20'000), Stop::Budget);
    const uint32_t address = Guest::kCode + 8 * 4;
    const uint32_t before = guest.read32(address);
    for (int n = 0; n < 3; ++n) {
        guest.write32(address, kWord);
        guest.core().invalidate_code(address, 4);
        ASSERT_EQ(guest.engine().run(kLong), Stop::Breakpoint);
        ASSERT_EQ(guest.state().pc, address);
        guest.write32(address, before);
        guest.core().invalidate_code(address, 4);
        ASSERT_EQ(guest.engine().run(1000), Stop::Budget);
    }
}

// The instruction has asked a device already when a breakpoint is inserted there.
TEST(Breakpoint, AnInstructionThatHasBegunIsFinished) {
    constexpr uint32_t kDevice = 0x08000000;
    Guest guest;
    guest.program("lis r3,0x800\n loop: lwz r4,0(r3)\n addi r5,r5,1\n b loop");
    ASSERT_EQ(guest.engine().run(kLong), Stop::Mmio);
    ASSERT_EQ(guest.core().mmio_request()->physical, kDevice);
    const uint32_t load = Guest::kCode + 4;
    stop_at(guest, {load});
    const uint8_t answer[8] = {0, 0, 0, 7};
    guest.core().complete_mmio(answer);
    Stop stop;
    do {  // the device may have changed interrupt lines
        guest.state().attention = 0;
        stop = guest.engine().run(kLong);
    } while (stop == Stop::Attention);
    ASSERT_EQ(stop, Stop::Breakpoint);
    EXPECT_EQ(guest.state().pc, load);
    EXPECT_EQ(guest.state().gpr[4], 7u);
    EXPECT_EQ(guest.state().gpr[5], 1u);
    EXPECT_EQ(guest.core().mmio_request(), nullptr) << "the load was begun again";
}

TEST(Breakpoint, IsMetWhileTheGuestDebugsItself) {
    Guest guest;
    guest.program("li r3,1\n li r4,2\n li r5,3\n wait 0");
    guest.handler(Interrupt::Debug, "addi r6,r6,1\n li32 r7,-1\n mtspr 304,r7\n rfdi");
    guest.core().set_spr(core::spr::kDBCR0, core::dbcr0::kIDM | core::dbcr0::kICMP);
    guest.core().set_msr(guest.state().msr | core::msr::kDE);
    stop_at(guest, {Guest::kCode + 8});
    while (guest.core().deliver_pending_interrupt() || guest.state().pc != Guest::kCode + 8) {
        const Stop stop = guest.engine().run(1);
        ASSERT_TRUE(stop == Stop::Budget || stop == Stop::Attention);
        guest.state().attention = 0;
    }
    EXPECT_EQ(guest.state().gpr[6], 2u);
    EXPECT_EQ(guest.engine().run(kLong), Stop::Breakpoint);
    EXPECT_EQ(guest.state().gpr[5], 0u);
}

// With and without the timing model's clock, whose cycles are among the totals.
TEST(Breakpoint, RandomOnesAreMetInTheOrderOfExecutionAndChangeNothing) {
    std::mt19937 random(11);
    for (int round = 0; round < 24; ++round) {
        const bool timed = round % 3 == 2;
        Guest guest, plain;
        for (Guest* one : {&guest, &plain}) {
            one->core().timing().set_drives_clock(timed);
            load_rounds(*one);
        }
        std::set<uint64_t> places;
        const auto change = [&] {
            static const uint32_t kBases[] = {Guest::kCode + 16, Guest::kCode + 16, kFar,
                                              Guest::vector(Interrupt::SystemCall)};
            const uint64_t place = kBases[random() % 4] + 4 * (random() % 13);
            if (!places.insert(place).second) places.erase(place);
            stop_at(guest, {places.begin(), places.end()});
        };
        constexpr uint64_t kAll = 3000;
        for (uint64_t left = kAll; left > 0;) {
            if (random() % 4 == 0) change();
            const uint64_t slice = std::min<uint64_t>(left, 1 + random() % 700);
            // The way there, an instruction at a time.
            uint64_t way = 0;
            while (way < slice && !places.contains(plain.state().pc)) {
                ASSERT_EQ(plain.engine().run(1), Stop::Budget);
                ++way;
            }
            const Stop stop = guest.engine().run(slice);
            ASSERT_EQ(stop, way == slice ? Stop::Budget : Stop::Breakpoint);
            ASSERT_TRUE(Snapshot(guest) == Snapshot(plain)) << round << " " << left;
            left -= way;
            if (stop != Stop::Breakpoint || left == 0) continue;
            step_over(guest);
            ASSERT_EQ(plain.engine().run(1), Stop::Budget);
            --left;
        }
    }
}
