// SPDX-License-Identifier: GPL-2.0-or-later
// Guests that execute anything at all, in supervisor mode: nothing crashes (the sanitizers watch),
// every run ends by its budget, and a run in one go equals a run instruction by instruction down
// to the last total, interrupts of timers and of the performance monitor included.
#include <random>

#include "guest_harness.h"

using namespace perfvisor;
using core::Total;
using engine::Stop;
using test::Guest;

namespace {

enum class Kind : uint8_t {
    Anything,  // every row of the table and no row, all registers, whatever that leads to
    Measured,  // what user programs have, under timers and counters that interrupt all the time
};

class RandomProgram {
  public:
    RandomProgram(Kind kind, uint32_t seed) : kind_(kind), random_(seed) {}

    // Code from `address` on, registers, handlers that return.
    void prepare(Guest& guest) {
        guest.core().perfmon().set_available(true);
        for (unsigned n = 0; n < 42; ++n) {
            // Return, sometimes behind the instruction.
            const std::string text = random_() % 4
                                         ? "mfspr r3,26\n addi r3,r3,4\n mtspr 26,r3\n rfi"
                                         : "mfspr r4,61\n rfi";
            guest.program(text, Guest::kVectors + (n << 8));
        }
        std::vector<uint32_t> words(kWords);
        for (uint32_t& word : words)
            word = instruction();
        words.push_back(0x48000000 | ((0u - 4 * kWords) & 0x03fffffc));  // b to the start
        guest.load(Guest::kCode, words);
        for (uint64_t& r : guest.state().gpr)
            r = value();
        for (uint64_t& r : guest.state().fpr)
            r = uint64_t{random()} << 32 | random();
        guest.state().cr.set_word(random());
        guest.state().lr = Guest::kCode + 4 * (random() % kWords);
        guest.state().ctr = Guest::kCode + 4 * (random() % kWords);
        guest.core().set_msr(guest.state().msr | (random() & core::msr::kEE) |
                             (random() & core::msr::kCE));
        guest.state().pc = Guest::kCode;
        if (kind_ == Kind::Measured) measure(guest);
    }

  private:
    static constexpr unsigned kWords = 48;

    // Counters of random events near their overflow, a decrementer that reloads, a fixed-interval
    // timer; handlers that arm what interrupted again.
    void measure(Guest& guest) {
        static constexpr uint32_t kEvents[] = {1, 2, 8, 9, 10, 13, 82, 83, 86, 89};
        core::PerfMon& perfmon = guest.core().perfmon();
        std::string rearm = "mtspr 272,r5\n";
        for (unsigned n = 0; n < 4; ++n) {
            const uint32_t event = kEvents[random() % std::size(kEvents)];
            perfmon.write(144 + n, event << 16 | (random() % 4 ? 0x04000000 : 0));
            perfmon.write(16 + n, 0x80000000 - random() % 100);
            rearm += "li32 r5," + std::to_string(0x80000000 - 1 - random() % 150) + "\n mtpmr " +
                     std::to_string(16 + n) + ",r5\n";
        }
        perfmon.write(400, 0x40000000);
        guest.handler(core::Interrupt::PerformanceMonitor, rearm + "mfspr r5,272\n rfi");
        guest.handler(core::Interrupt::Decrementer,
                      "mtspr 272,r5\n lis r5,0x800\n mtspr 336,r5\n mfspr r5,272\n rfi");
        guest.handler(core::Interrupt::FixedIntervalTimer,
                      "mtspr 272,r5\n lis r5,0x400\n mtspr 336,r5\n mfspr r5,272\n rfi");
        guest.core().set_spr(core::spr::kDECAR, 30 + random() % 100);
        guest.core().set_spr(core::spr::kDEC, 1 + random() % 100);
        // DIE, FIE, ARE, a fixed interval of 128 or 256 ticks
        guest.core().set_spr(core::spr::kTCR, 0x04c00000 | (random() & 0x01000000) | 0x0001c000);
        guest.core().set_msr(guest.state().msr | core::msr::kEE |
                             (random() & (core::msr::kPR | core::msr::kPMM)));
    }

    // Instructions that a user program has.
    static bool ordinary(const isa::Instruction& row) {
        return !(row.flags & isa::kPrivileged) && row.opcode != isa::Opcode::Sc &&
               core::find_core_model("e500mc")->has(row.category) &&
               row.opcode != isa::Opcode::Mtspr && row.opcode != isa::Opcode::Mtpmr &&
               row.opcode != isa::Opcode::Wait && row.opcode != isa::Opcode::Dnh;
    }

    uint32_t random() { return static_cast<uint32_t>(random_()); }
    uint32_t value() {
        switch (random() % 8) {
            case 0:
                return random();
            case 1:
                return 0x8000000 + random() % 64;  // devices
            case 2:
                return random() % 200;
            case 3:
                return Guest::kCode + random() % 256;  // its own code
            default:
                return Guest::kData + random() % 0x2000;
        }
    }
    // Registers of every kind for mfspr and mtspr.
    uint32_t spr_field() {
        static constexpr uint16_t kNumbers[] = {
            1,   8,   9,   22,  26,   27,   48,   54,   58,   59,   61,  62,  256, 260,
            268, 269, 272, 275, 279,  284,  285,  286,  287,  304,  308, 309, 310, 312,
            313, 316, 317, 336, 339,  340,  341,  405,  412,  515,  516, 526, 531, 570,
            571, 572, 573, 574, 575,  604,  624,  625,  626,  627,  628, 630, 688, 689,
            702, 944, 947, 948, 1008, 1010, 1011, 1012, 1013, 1015, 1023};
        const uint32_t n =
            random() % 16 ? kNumbers[random() % std::size(kNumbers)] : random() % 1024;
        return (n & 31) << 16 | (n & 0x3e0) << 6;
    }
    uint32_t pmr_field() {
        static constexpr uint16_t kNumbers[] = {0,   1,   16,  17,  18,  19,  144, 145,
                                                146, 147, 272, 273, 128, 256, 384, 400};
        const uint32_t n = kNumbers[random() % std::size(kNumbers)];
        return (n & 31) << 16 | (n & 0x3e0) << 6;
    }
    uint32_t instruction() {
        if (kind_ == Kind::Anything && random() % 40 == 0) return random();
        isa::Opcode opcode;
        do {
            opcode = static_cast<isa::Opcode>(
                1 + random() % (static_cast<unsigned>(isa::Opcode::Count) - 1));
        } while (kind_ == Kind::Measured && !ordinary(isa::describe(opcode)));
        const isa::Instruction& row = isa::describe(opcode);
        uint32_t word = row.match | (random() & ~row.mask);
        if (opcode == isa::Opcode::Mtspr || opcode == isa::Opcode::Mfspr)
            word = (word & ~0x1ff800u) | spr_field();
        if (opcode == isa::Opcode::Mtpmr || opcode == isa::Opcode::Mfpmr)
            word = (word & ~0x1ff800u) | pmr_field();
        if (opcode == isa::Opcode::B || opcode == isa::Opcode::Bc)
            word = (word & 0xffff0001) | 4 * (random() % 8);
        return word;
    }

    Kind kind_;
    std::mt19937 random_;
};

// Gives the guest `units` of budget, in runs of at most `slice`, as a vCPU would: interrupts are
// looked for behind every run.
void drive(Guest& guest, uint64_t units, uint64_t slice) {
    core::Core& core = guest.core();
    while (units > 0) {
        const uint64_t allowed = core.instructions_to_deadline(std::min(units, slice));
        const uint64_t before = guest.total(Total::Instructions);
        const Stop stop = guest.engine().run(allowed);
        ASSERT_NE(stop, Stop::Failed) << guest.engine().failure();
        ASSERT_LE(guest.total(Total::Instructions) - before, allowed);
        ASSERT_EQ(guest.state().pc & 3, 0u);
        ASSERT_GE(guest.state().budget, 0);
        units -= allowed - static_cast<uint64_t>(guest.state().budget);
        if (stop == Stop::Mmio) {
            const uint8_t answer[8] = {1, 2, 3, 4, 5, 6, 7, 8};
            core.complete_mmio(answer);
        } else if (stop == Stop::Budget) {
            ASSERT_EQ(guest.state().budget, 0);
        }
        core.deliver_pending_interrupt();
        guest.state().attention.fetch_and(~uint32_t{core::kKick});
        if (core.checkstop()) return;
        core.set_halted(false);
    }
}

void expect_equal(Guest& a, Guest& b) {
    core::CpuState &x = a.state(), &y = b.state();
    EXPECT_EQ(x.pc, y.pc);
    EXPECT_EQ(x.gpr, y.gpr);
    EXPECT_EQ(x.fpr, y.fpr);
    EXPECT_EQ(x.lr, y.lr);
    EXPECT_EQ(x.ctr, y.ctr);
    EXPECT_EQ(x.cr.word(), y.cr.word());
    EXPECT_EQ(x.fpscr, y.fpscr);
    EXPECT_EQ(x.msr, y.msr);
    EXPECT_EQ(x.totals.value, y.totals.value);
    EXPECT_EQ(x.modelled.value, y.modelled.value);
    for (unsigned n = 0; n < 1024; ++n) {
        uint64_t v = 0, w = 0;
        const bool have = a.core().get_spr(n, v);
        EXPECT_EQ(have, b.core().get_spr(n, w));
        EXPECT_EQ(v, w) << "SPR " << n;
    }
    for (unsigned n = 0; n < 512; ++n)
        EXPECT_EQ(a.core().perfmon().read(n), b.core().perfmon().read(n)) << "PMR " << n;
    EXPECT_EQ(std::memcmp(a.bytes(0), b.bytes(0), 0x100000), 0);
}

void compare_whole_with_parts(Kind kind, unsigned programs, uint64_t units) {
    uint32_t first = 0;
    if (const char* other = std::getenv("PERFVISOR_TEST_SEED"))
        first = 100000 * static_cast<uint32_t>(std::strtoul(other, nullptr, 0));
    Guest whole, parts;
    uint64_t interrupts = 0;
    for (uint32_t seed = first; seed < first + programs; ++seed) {
        for (Guest* guest : {&whole, &parts}) {
            std::memset(guest->bytes(0), 0, 0x100000);
            guest->state().totals = {};
            guest->state().modelled = {};
            guest->reset();
            RandomProgram(kind, seed).prepare(*guest);
        }
        drive(whole, units, units);
        drive(parts, units, 1);
        expect_equal(whole, parts);
        if (testing::Test::HasFailure()) FAIL() << "program " << seed;
        interrupts += whole.total(Total::Interrupts);
    }
    EXPECT_GT(interrupts, programs);
}

}  // namespace

TEST(Hostile, AnyProgramRunsTheSameInOneGoAndInstructionByInstruction) {
    compare_whole_with_parts(Kind::Anything, 400, 600);
}

TEST(Hostile, CountersAndTimersInterruptAtTheSameInstructionHoweverTheRunIsCut) {
    compare_whole_with_parts(Kind::Measured, 300, 2000);
}
