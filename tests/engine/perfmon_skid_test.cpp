// SPDX-License-Identifier: GPL-2.0-or-later
// No skid: a sample's address is the boundary behind the very instruction that made the counter
// overflow. Straight-line code whose every address and count is known is sampled by four counters
// at once with prime periods, with decrementer interrupts around and runs cut anywhere.
#include <array>
#include <random>

#include "perfmon_guest.h"

using namespace perfvisor;
using namespace perfvisor::test;
using core::Interrupt;
namespace pmlca = core::pmlca;

namespace {

constexpr unsigned kPmcs = 4;
constexpr std::array<unsigned, kPmcs> kEvents = {kInstructions, kLoads, kStores, kTaken};
using Periods = std::array<uint32_t, kPmcs>;

struct Sample {
    uint32_t address, counter;
    friend bool operator==(const Sample&, const Sample&) = default;
    friend void PrintTo(const Sample& s, std::ostream* out) {
        *out << "PMC" << s.counter << '@' << std::hex << s.address << std::dec;
    }
};

// One instruction and what it adds to each counter of kEvents.
struct Line {
    const char* text;  // %d: its number
    std::array<uint32_t, kPmcs> counts;
};
constexpr std::array kLines = {
    Line{"addi r6,r6,1", {1, 0, 0, 0}},
    Line{"nop", {1, 0, 0, 0}},
    Line{"mullw r7,r6,r6", {1, 0, 0, 0}},
    Line{"lwz r7,8(r5)", {1, 1, 0, 0}},
    Line{"stw r6,16(r5)", {1, 0, 1, 0}},
    Line{"lmw r24,32(r5)", {1, 8, 0, 0}},
    Line{"stmw r28,64(r5)", {1, 0, 4, 0}},
    Line{"b next%d\n next%d:", {1, 0, 0, 1}},
    Line{"bso next%d\n next%d:", {1, 0, 0, 0}},
    Line{"mfspr r7,268", {1, 0, 0, 0}},  // time base: the engines end a block there
    Line{"stw r6,0(r4)", {1, 0, 1, 0}},  // a device
    Line{"lwz r7,0(r4)", {1, 1, 0, 0}},
    Line{"sc 0", {1, 0, 0, 0}},
    Line{"isync", {1, 0, 0, 0}},
};

struct Program {
    std::string text;
    std::vector<std::array<uint32_t, kPmcs>> counts;
};

Program random_program(std::mt19937& random, unsigned instructions) {
    Program program;
    for (unsigned n = 0; n < instructions; ++n) {
        // Mostly plain, so that blocks are long.
        const Line& line = kLines[random() % 3 ? random() % 9 : random() % kLines.size()];
        std::string text = line.text;
        for (size_t at; (at = text.find("%d")) != std::string::npos;)
            text.replace(at, 2, std::to_string(n));
        program.text += text + "\n";
        program.counts.push_back(line.counts);
    }
    return program;
}

// Counted one instruction after the other.
std::vector<Sample> expected_samples(const Program& program, const Periods& periods) {
    std::vector<Sample> samples;
    std::array<uint32_t, kPmcs> counted{};
    uint32_t address = Guest::kCode;
    for (const auto& counts : program.counts) {
        address += 4;
        for (unsigned n = 0; n < kPmcs; ++n) {
            counted[n] += counts[n];
            if (counted[n] < periods[n]) continue;
            samples.push_back({address, n});
            counted[n] = 0;
        }
    }
    return samples;
}

// MSR[PMM] marks the program: handlers are not counted (FCM0).
class SampledGuest : public PmGuest {
  public:
    SampledGuest(const Program& program, const Periods& periods) {
        std::string handler_text = "mfspr r8,26\n";
        for (unsigned n = 0; n < kPmcs; ++n) {
            const std::string id = std::to_string(n);
            handler_text += "mfpmr r9," + std::to_string(kPmc0 + n) + "\n cmpwi r9,0\n bge none" +
                            id + "\n stw r8,0(r12)\n li r10," + id +
                            "\n stw r10,4(r12)\n addi r12,r12,8\n li32 r9," +
                            std::to_string(0x80000000 - periods[n]) + "\n mtpmr " +
                            std::to_string(kPmc0 + n) + ",r9\n none" + id + ":\n";
            set(kPmlca0 + n, selects(kEvents[n]) | pmlca::kCE | pmlca::kFCM0);
            set(kPmc0 + n, 0x80000000 - periods[n]);
        }
        set(kPmgc0, core::pmgc0::kPMIE);
        handler(Interrupt::PerformanceMonitor, handler_text + "rfi");
        handler(Interrupt::Decrementer, "lis r8,0x0800\n mtspr 336,r8\n addi r13,r13,1\n rfi");
        handler(Interrupt::SystemCall, "nop\n rfi");
        on_mmio = [this](core::MmioAccess& access) { done_ |= access.physical & 4; };
        this->program(program.text + "stw r6,4(r4)\n self: b self\n");
        state().gpr[4] = kDevice;
        state().gpr[5] = kData;
        state().gpr[12] = kList;
        core().set_msr(core::msr::kME | core::msr::kFP | core::msr::kEE | core::msr::kPMM);
    }

    // Decrementer interrupts every so many ticks, reloaded by itself.
    void decrement_every(uint32_t ticks) {
        core().timers().write_decar(ticks);
        core().timers().write_decrementer(ticks);
        core().timers().write_tcr(0x04400000);  // DIE, ARE
    }
    uint64_t decrements() const { return core_gpr(13); }

    // Runs to the store behind the program. With `cut`, no run is longer than a random number up
    // to it, and other threads kick now and then.
    std::vector<Sample> samples(std::mt19937& random, uint32_t cut) {
        for (uint64_t rounds = 0; !done_ && rounds < 10'000'000; ++rounds) {
            while (core().deliver_pending_interrupt()) {
            }
            state().attention.fetch_and(~uint32_t{core::kKick});
            uint64_t budget = core().instructions_to_deadline(1'000'000);
            if (cut) {
                budget = std::min<uint64_t>(budget, 1 + random() % cut);
                if (random() % 8 == 0) state().attention.fetch_or(core::kKick);
            }
            if (engine().run(budget) != engine::Stop::Mmio) continue;
            core::MmioAccess access = *core().mmio_request();
            on_mmio(access);
            core().complete_mmio(access.data);
        }
        EXPECT_TRUE(done_);
        std::vector<Sample> list;
        for (uint32_t at = kList; at < state().gpr[12]; at += 8)
            list.push_back({read32(at), read32(at + 4)});
        return list;
    }

  private:
    static constexpr uint32_t kDevice = 0x08000000;
    uint64_t core_gpr(unsigned n) const { return const_cast<SampledGuest*>(this)->gpr(n); }
    bool done_ = false;
};

// Every period a prime, from one so short that each instruction is sampled to some that are hit a
// few times only.
constexpr std::array<Periods, 5> kPrimes = {Periods{2, 3, 5, 7}, Periods{13, 11, 7, 5},
                                            Periods{101, 31, 23, 13}, Periods{997, 89, 53, 41},
                                            Periods{1, 1, 1, 1}};

class NoSkid : public testing::TestWithParam<size_t> {};

}  // namespace

TEST_P(NoSkid, SamplesComeBehindTheInstructionThatOverflowed) {
    std::mt19937 random(11);
    const Periods& periods = kPrimes[GetParam()];
    const Program program = random_program(random, 2500);
    const auto expected = expected_samples(program, periods);
    ASSERT_GT(expected.size(), 10u);
    EXPECT_EQ(SampledGuest(program, periods).samples(random, 0), expected);
}

TEST_P(NoSkid, WithDecrementerInterruptsAround) {
    std::mt19937 random(12);
    const Periods& periods = kPrimes[GetParam()];
    const Program program = random_program(random, 2500);
    const auto expected = expected_samples(program, periods);
    for (const uint32_t ticks : {97u, 211u, 1009u}) {
        SampledGuest guest(program, periods);
        guest.decrement_every(ticks);
        EXPECT_EQ(guest.samples(random, 0), expected) << ticks;
        EXPECT_GT(guest.decrements(), 2u);
    }
}

TEST_P(NoSkid, WithRunsCutAnywhere) {
    std::mt19937 random(13);
    const Periods& periods = kPrimes[GetParam()];
    for (const uint32_t cut : {1u, 2u, 5u, 40u, 1000u}) {
        const Program program = random_program(random, 1500);
        SampledGuest guest(program, periods);
        guest.decrement_every(173);
        EXPECT_EQ(guest.samples(random, cut), expected_samples(program, periods)) << cut;
    }
}

INSTANTIATE_TEST_SUITE_P(PmSampling, NoSkid, testing::Range(size_t{0}, kPrimes.size()));
