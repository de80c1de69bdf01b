// SPDX-License-Identifier: GPL-2.0-or-later
// Litmus tests: small bare-metal guests on real threads, which look for outcomes that the Power
// memory model forbids (Power ISA Book II, 1.7; names as in the literature: "A Tutorial
// Introduction to the ARM and POWER Relaxed Memory Models").
//
// Each CPU goes through kCells independent copies of the test after all have met, so that most of
// them overlap. PERFVISOR_LITMUS_RUNS says how many copies each test looks at (20,000 unless set);
// a million of all: PERFVISOR_LITMUS_RUNS=1000000 build/tests/kvm_soft_test
// --gtest_filter='*Litmus*'
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;

constexpr unsigned kCells = 512;
constexpr uint32_t kCellBytes = 256;  // two variables, each in a cache line of its own
constexpr uint32_t kVariables = 0x40000;
constexpr uint32_t kResults = 0x80000;  // four words for each CPU and cell
constexpr uint32_t kResultBytes = 16 * kCells;
constexpr uint32_t kMeeting = 0x9000;
constexpr uint32_t kSync = 0x7c0004ac, kLwsync = 0x7c2004ac, kMbar0 = 0x7c0006ac;

constexpr uint32_t x_load(unsigned d, unsigned a, unsigned b) {
    return x_form(d, a, b, 23);  // lwzx
}
constexpr uint32_t x_xor(unsigned a, unsigned s, unsigned b) {
    return x_form(s, a, b, 316);
}
constexpr uint32_t lwarx(unsigned d, unsigned a, unsigned b) {
    return x_form(d, a, b, 20);
}
constexpr uint32_t stwcx(unsigned s, unsigned a, unsigned b) {
    return x_form(s, a, b, 150) | 1;
}
constexpr uint32_t blt(int offset) {
    return 16u << 26 | 12u << 21 | (static_cast<uint32_t>(offset) & 0xfffc);
}
constexpr uint32_t bne(int offset) {
    return 16u << 26 | 4u << 21 | 2u << 16 | (static_cast<uint32_t>(offset) & 0xfffc);
}

// Registers of a CPU's part: r20 and r21 are the addresses of x and y, r10 to r13 hold what it
// says of each cell; r22 is 1, r23 is 2.
Code store_x(unsigned r = 22) {
    return {stw(r, 0, 20)};
}
Code store_y(unsigned r = 22) {
    return {stw(r, 0, 21)};
}
Code load_x(unsigned r) {
    return {lwz(r, 0, 20)};
}
Code load_y(unsigned r) {
    return {lwz(r, 0, 21)};
}
const Code kNothing = {}, kFull = {kSync}, kLight = {kLwsync}, kBar = {kMbar0};

// A load or store whose address needs what a load gave, in r10.
Code load_x_after_r10(unsigned r) {
    return {x_xor(6, 10, 10), x_load(r, 20, 6)};
}
Code store_after_r10(unsigned address) {
    return {x_xor(6, 10, 10), x_form(22, address, 6, 151) /* stwx */};
}

using Results = std::vector<std::array<uint32_t, 4>>;  // by CPU: r10 to r13

struct Litmus {
    std::string name;
    std::vector<Code> cpus;
    // What must not be: the results of all CPUs, and the variables in the end.
    std::function<bool(const Results&, uint32_t x, uint32_t y)> outcome;
    bool forbidden = true;
};

std::vector<Litmus> litmus_tests() {
    std::vector<Litmus> tests;
    const auto message = [](const Results& r, uint32_t, uint32_t) {
        return r[1][0] == 1 && r[1][1] == 0;
    };
    for (const auto& [name, between] :
         std::map<std::string, Code>{{"Sync", kFull}, {"Lwsync", kLight}})
        for (const auto& [how, read] : std::map<std::string, Code>{
                 {name, between + load_x(11)}, {"Address", load_x_after_r10(11)}})
            tests.push_back({"MessagePassing" + name + how,
                             {store_x() + between + store_y(), load_y(10) + read},
                             message});
    tests.push_back(
        {"MessagePassing", {store_x() + store_y(), load_y(10) + load_x(11)}, message, false});

    const auto both_miss = [](const Results& r, uint32_t, uint32_t) {
        return r[0][0] == 0 && r[1][0] == 0;
    };
    tests.push_back({"StoreBufferingSync",
                     {store_x() + kFull + load_y(10), store_y() + kFull + load_x(10)},
                     both_miss});
    tests.push_back({"StoreBufferingMbar",
                     {store_x() + kBar + load_y(10), store_y() + kBar + load_x(10)},
                     both_miss});
    tests.push_back({"StoreBufferingLwsync",
                     {store_x() + kLight + load_y(10), store_y() + kLight + load_x(10)},
                     both_miss,
                     false});
    tests.push_back(
        {"StoreBuffering", {store_x() + load_y(10), store_y() + load_x(10)}, both_miss, false});

    const auto both_early = [](const Results& r, uint32_t, uint32_t) {
        return r[0][0] == 1 && r[1][0] == 1;
    };
    for (const auto& [name, between] :
         std::map<std::string, Code>{{"Sync", kFull}, {"Lwsync", kLight}})
        tests.push_back({"LoadBuffering" + name,
                         {load_x(10) + between + store_y(), load_y(10) + between + store_x()},
                         both_early});
    tests.push_back({"LoadBufferingAddress",
                     {load_x(10) + store_after_r10(21), load_y(10) + store_after_r10(20)},
                     both_early});
    tests.push_back(
        {"LoadBuffering", {load_x(10) + store_y(), load_y(10) + store_x()}, both_early, false});

    const auto disagree = [](const Results& r, uint32_t, uint32_t) {
        return r[1][0] == 1 && r[1][1] == 0 && r[3][0] == 1 && r[3][1] == 0;
    };
    tests.push_back(
        {"IriwSync",
         {store_x(), load_x(10) + kFull + load_y(11), store_y(), load_y(10) + kFull + load_x(11)},
         disagree});
    tests.push_back({"Iriw",
                     {store_x(), load_x(10) + load_y(11), store_y(), load_y(10) + load_x(11)},
                     disagree,
                     false});

    tests.push_back(
        {"WriteToReadCausality",
         {store_x(), load_x(10) + kLight + store_y(), load_y(10) + load_x_after_r10(11)},
         [](const Results& r, uint32_t, uint32_t) {
             return r[1][0] == 1 && r[2][0] == 1 && r[2][1] == 0;
         }});
    tests.push_back({"TwoPlusTwoWritesLwsync",
                     {store_x(22) + kLight + store_y(23), store_y(22) + kLight + store_x(23)},
                     [](const Results&, uint32_t x, uint32_t y) { return x == 1 && y == 1; }});
    // Coherence, which needs no barrier.
    tests.push_back(
        {"CoherenceReadRead",
         {store_x(), load_x(10) + load_x(11)},
         [](const Results& r, uint32_t, uint32_t) { return r[1][0] == 1 && r[1][1] == 0; }});
    tests.push_back({"CoherenceWriteRead",
                     {store_x(22) + load_x(10), store_x(23) + load_x(10)},
                     [](const Results& r, uint32_t x, uint32_t) {
                         return (r[0][0] == 2 && x == 1) || (r[1][0] == 1 && x == 2);
                     }});
    return tests;
}

// bl's way to say "all of us": CPU `count` of them go on together.
Code meet(unsigned count) {
    return load(3, kMeeting) + Code{lwarx(4, 0, 3), addi(4, 4, 1),
                                    stwcx(4, 0, 3), bne(-12),
                                    lwz(4, 0, 3),   cmpwi(4, static_cast<int>(count)),
                                    bne(-8)};
}

Code cpu_code(unsigned id, unsigned count, const Code& part) {
    const auto length = static_cast<int>(part.size());
    return load(20, kVariables) + load(21, kVariables + 128) +
           load(25, kResults + id * kResultBytes) + load(5, kCells) +
           Code{li(22, 1), li(23, 2), mtspr(9, 5)} + meet(count) + part +
           Code{stw(10, 0, 25),           stw(11, 4, 25),   addi(20, 20, kCellBytes),
                addi(21, 21, kCellBytes), addi(25, 25, 16), bdnz(-4 * (length + 5))} +
           say(5);
}

unsigned runs() {
    const char* text = std::getenv("PERFVISOR_LITMUS_RUNS");
    const long number = text != nullptr ? std::strtol(text, nullptr, 10) : 0;
    return number > 0 ? static_cast<unsigned>(number) : 20'000;
}

class LitmusTest : public ::testing::TestWithParam<SoftEngine> {
  protected:
    static SoftOptions options() {
        SoftOptions options;
        options.clock = SoftClock::Host;
        options.engine = GetParam();
        return options;
    }
};

void run_all(SoftGuest& guest, unsigned cpus) {
    std::vector<std::thread> threads;
    for (unsigned id = 0; id < cpus; ++id)
        threads.emplace_back([&guest, id] { EXPECT_EQ(guest.run(id), KVM_EXIT_MMIO); });
    for (std::thread& thread : threads)
        thread.join();
}

// How often the outcome was seen.
unsigned count_outcomes(const Litmus& test, const SoftOptions& options, unsigned copies) {
    const auto cpus = static_cast<unsigned>(test.cpus.size());
    SoftGuest guest(options, cpus);
    unsigned seen = 0;
    for (unsigned done = 0; done < copies; done += kCells) {
        std::memset(guest.ram() + kVariables, 0, kCells * kCellBytes);
        guest.write(kMeeting, {0});
        for (unsigned id = 0; id < cpus; ++id)
            guest.start(cpu_code(id, cpus, test.cpus[id]), 0, id, kStart + id * 0x1000);
        run_all(guest, cpus);
        for (uint32_t cell = 0; cell < kCells; ++cell) {
            Results results(cpus);
            for (unsigned id = 0; id < cpus; ++id)
                for (unsigned n = 0; n < 4; ++n)
                    results[id][n] = guest.word(kResults + id * kResultBytes + 16 * cell + 4 * n);
            const uint32_t x = kVariables + cell * kCellBytes;
            if (test.outcome(results, guest.word(x), guest.word(x + 128))) ++seen;
        }
    }
    return seen;
}

TEST_P(LitmusTest, ForbiddenOutcomesAreNeverSeen) {
    for (const Litmus& test : litmus_tests()) {
        const unsigned copies = test.forbidden ? runs() : std::min(runs(), 20'000u);
        const unsigned seen = count_outcomes(test, options(), copies);
        if (test.forbidden)
            EXPECT_EQ(seen, 0u) << test.name << " in " << copies;
        else  // what the architecture allows may be seen, or may not
            RecordProperty(test.name, static_cast<int>(seen));
    }
}

TEST_P(LitmusTest, IncrementsByReservationLoseNothing) {
    constexpr unsigned kCpus = 4;
    constexpr uint32_t kCounter = 0xa000;
    SoftGuest guest(options(), kCpus);
    const uint32_t times = std::min(runs(), 1'000'000u);
    for (unsigned id = 0; id < kCpus; ++id)
        guest.start(load(3, kCounter) + load(5, times) + Code{mtspr(9, 5)} +
                        Code{lwarx(4, 0, 3), addi(4, 4, 1), stwcx(4, 0, 3), bne(-12), bdnz(-16)} +
                        say(5),
                    0, id, kStart + id * 0x1000);
    run_all(guest, kCpus);
    EXPECT_EQ(guest.word(kCounter), kCpus * times);
}

// CPU 0 reserves x while it is 0, reads y, and makes x 2 on condition. CPU 1 makes x 1 and 0 again,
// both on condition, and counts y up in between. So y is still the same when CPU 0 has succeeded:
// else x was changed and changed back under its reservation.
TEST_P(LitmusTest, AReservationIsLostWhereTheValueIsChangedAndChangedBack) {
    constexpr uint32_t kX = 0xa000, kY = 0xa100, kDone = 0xa200, kWrong = 0xa300;
    // Until y has been counted up so often.
    const Code registers = load(3, kX) + load(4, kY) + load(7, kDone) + load(8, kWrong) +
                           load(5, std::min(runs(), 1'000'000u)) +
                           Code{li(14, 0), li(22, 1), li(23, 2), li(24, 0)};
    // CPU 1 leaves x 0 for most of the time, and CPU 0 gives it time for several changes.
    const Code pause(60, kSync), short_pause(20, kSync);
    const int length = 4 * 60, short_length = 4 * 20;
    const Code reserve = Code{lwarx(10, 0, 3), cmpwi(10, 0), bne(-8), kLwsync, lwz(11, 0, 4)} +
                         pause + Code{stwcx(23, 0, 3), bne(-24 - length)};
    const Code look = Code{kSync, lwz(12, 0, 4), kLwsync, stw(24, 0, 3), x_xor(13, 11, 12)} +
                      Code{cmpwi(13, 0), beq(8), addi(14, 14, 1)} +
                      Code{x_form(0, 12, 5, 32) /* cmplw */, blt(-64 - length)};
    const Code tell = {stw(14, 0, 8), stw(22, 0, 7)};
    // Where x is not 0 or not to be had it only looks whether CPU 0 has done.
    const Code change = {lwarx(10, 0, 3), cmpwi(10, 0), bne(40), stwcx(22, 0, 3), bne(32)};
    const Code count = {lwz(11, 0, 4), addi(11, 11, 1), stw(11, 0, 4), kLwsync};
    const Code change_back = {lwarx(10, 0, 3), stwcx(24, 0, 3), bne(-8)};
    const Code until_done =
        short_pause + Code{lwz(12, 0, 7), cmpwi(12, 0), beq(-56 - short_length)};
    SoftGuest guest(options(), 2);
    guest.start(meet(2) + registers + reserve + look + tell + say(5), 0, 0, kStart);
    guest.start(meet(2) + registers + change + count + change_back + until_done + say(5), 0, 1,
                kStart + 0x1000);
    run_all(guest, 2);
    EXPECT_EQ(guest.word(kWrong), 0u);
    EXPECT_EQ(guest.word(kDone), 1u);
}

INSTANTIATE_TEST_SUITE_P(Engines, LitmusTest, testing::ValuesIn(soft_engines()),
                         [](const auto& test) {
                             return test.param == SoftEngine::Interpreter ? "Interpreter"
                                                                          : "Translator";
                         });

}  // namespace
}  // namespace perfvisor::kvm
