// SPDX-License-Identifier: GPL-2.0-or-later
// Several vCPUs under the virtual clock: turns that the guest alone decides, one time for all.
#include "kvm/soft/turns.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;

constexpr uint32_t kSecond = 0x4000;  // where vCPU 1 starts
constexpr uint32_t kFlag = 0x8000;
constexpr unsigned kDec = 22, kTcr = 340, kTsr = 336, kTbl = 268;
constexpr uint32_t kDie = 0x04000000;

constexpr uint32_t lwarx(unsigned d, unsigned a, unsigned b) {
    return x_form(d, a, b, 20);
}
constexpr uint32_t stwcx(unsigned s, unsigned a, unsigned b) {
    return x_form(s, a, b, 150) | 1;
}
constexpr uint32_t cmplw(unsigned a, unsigned b) {
    return x_form(0, a, b, 32);
}
constexpr uint32_t bne(int offset) {
    return 16u << 26 | 4u << 21 | 2u << 16 | (static_cast<uint32_t>(offset) & 0xfffc);
}
constexpr uint32_t blt(int offset) {
    return 16u << 26 | 12u << 21 | 0u << 16 | (static_cast<uint32_t>(offset) & 0xfffc);
}
constexpr uint32_t kMftb5 = 31u << 26 | 5u << 21 | 12u << 16 | 8u << 11 | 371u << 1;

// All that a run leaves behind.
struct Outcome {
    kvm_regs regs[2]{};
    std::vector<uint64_t> totals[2];
    uint64_t time = 0;
    uint32_t counted = 0;

    bool operator==(const Outcome& other) const {
        return std::memcmp(regs, other.regs, sizeof regs) == 0 && totals[0] == other.totals[0] &&
               totals[1] == other.totals[1] && time == other.time && counted == other.counted;
    }
};

std::vector<uint64_t> totals_of(Vcpu& vcpu) {
    std::vector<uint64_t> result;
    const auto totals = event_totals(vcpu);
    EXPECT_TRUE(totals);
    for (const EventTotal& event : *totals)
        result.push_back(event.total);
    return result;
}

uint64_t instructions(Vcpu& vcpu) {
    constexpr uint32_t kInstructionsCompleted = 2;
    const auto totals = event_totals(vcpu);
    for (const EventTotal& event : *totals)
        if (event.event == kInstructionsCompleted) return event.total;
    ADD_FAILURE() << "instructions are not counted";
    return 0;
}

bool was_kicked(SoftGuest& guest, unsigned id, int reason) {
    return reason == -EINTR &&
           guest.vcpu(id).run()->hw.hardware_exit_reason != KVM_SOFT_INTR_DEADLINE;
}

// KVM_RUN until the vCPU leaves it for another reason than a kick, or `stop` is true.
int run_on(SoftGuest& guest, unsigned id, const std::atomic<bool>& stop) {
    for (;;) {
        const int reason = guest.run(id);
        if (!was_kicked(guest, id, reason)) return reason;
        if (stop) return reason;
        forget_kick(guest.vcpu(id));
    }
}

// vCPU 1 on a thread of its own, until it is stopped or leaves.
class Second {
  public:
    explicit Second(SoftGuest& guest)
        : guest_(guest), thread_([this] { reason_ = run_on(guest_, 1, stop_); }) {}
    ~Second() {
        if (thread_.joinable()) stop();
    }
    int stop() {
        stop_ = true;
        guest_.vcpu(1).kick();
        return reason();
    }
    int reason() {
        thread_.join();
        forget_kick(guest_.vcpu(1));
        return reason_;
    }

  private:
    SoftGuest& guest_;
    std::atomic<bool> stop_{false};
    int reason_ = 0;
    std::thread thread_;
};

// Something on a thread of its own.
class Cpu {
  public:
    template <typename Run>
    explicit Cpu(Run run) : thread_([this, run] { reason_ = run(); }) {}
    int reason() {
        thread_.join();
        return reason_;
    }

  private:
    int reason_ = 0;
    std::thread thread_;
};

class TurnsTest : public ::testing::TestWithParam<SoftEngine> {
  protected:
    static SoftOptions options() {
        SoftOptions options;
        options.clock = SoftClock::Virtual;
        options.engine = GetParam();
        return options;
    }
};

// Counts at kFlag + 64 under the lock at kFlag, with `work` rounds of its own in between.
Code counting(int work) {
    return load(3, kFlag) + Code{li(6, 1),      li(0, 0),       lwarx(5, 0, 3),  // lock
                                 cmpwi(5, 0),   bne(-8),        stwcx(6, 0, 3),
                                 bne(-16),      kIsync,         lwz(7, 64, 3),  // count
                                 addi(7, 7, 1), stw(7, 64, 3),  stw(0, 0, 3),   // unlock
                                 kMftb5,        stw(5, 128, 3), li(8, work),
                                 mtspr(9, 8),   bdnz(0),        b(-60)};
}

// A race for 3 ms of guest time; meanwhile `disturb` may do what leaves no trace.
template <typename Disturb>
Outcome race(const SoftOptions& options, Disturb disturb) {
    SoftGuest guest(options, 2);
    guest.start(counting(7), 0, 1, kSecond);
    guest.start(counting(40));
    EXPECT_TRUE(set_deadline(guest.vcpu(), 3'000'000));
    const std::atomic<bool> never{false};
    std::atomic<bool> done{false};
    Second second(guest);
    std::thread disturber([&] {
        while (!done)
            disturb(guest);
    });
    EXPECT_EQ(run_on(guest, 0, never), -EINTR);
    done = true;
    disturber.join();
    EXPECT_EQ(second.stop(), -EINTR);
    Outcome outcome;
    outcome.time = *guest_time(guest.vm());
    outcome.counted = guest.word(kFlag + 64);
    for (const unsigned id : {0u, 1u}) {
        outcome.regs[id] = guest.regs(id);
        outcome.totals[id] = totals_of(guest.vcpu(id));
    }
    return outcome;
}

TEST_P(TurnsTest, RaceEndsTheSameInEveryRun) {
    const auto leave_alone = [](SoftGuest&) { std::this_thread::yield(); };
    const Outcome first = race(options(), leave_alone);
    EXPECT_GT(first.counted, 1000u);
    EXPECT_EQ(first.time, 3'000'000u);
    EXPECT_TRUE(race(options(), leave_alone) == first);
}

TEST_P(TurnsTest, KicksAndQuestionsLeaveNoTrace) {
    const Outcome first = race(options(), [](SoftGuest&) { std::this_thread::yield(); });
    for (int round = 0; round < 3; ++round) {
        const Outcome disturbed = race(options(), [](SoftGuest& guest) {
            guest.vcpu(0).kick();
            event_totals(guest.vcpu(1));
            guest.vcpu(1).kick();
            event_totals(guest.vcpu(0));
        });
        EXPECT_TRUE(disturbed == first) << "round " << round;
    }
}

TEST_P(TurnsTest, EnginesAgree) {
    SoftOptions other = options();
    other.engine = SoftEngine::Interpreter;
    const auto leave_alone = [](SoftGuest&) { std::this_thread::yield(); };
    EXPECT_TRUE(race(options(), leave_alone) == race(other, leave_alone));
}

// Each looks whether the other one's last time is behind its own.
TEST_P(TurnsTest, TimeNeverGoesBackFromOneCpuToAnother) {
    SoftGuest guest(options(), 2);
    const Code code = load(3, kFlag) +
                      Code{lwz(6, 0, 3), kMftb5, stw(5, 0, 3), cmplw(5, 6), blt(8), b(-20)} +
                      say(5);
    guest.start(code, 0, 1, kSecond);
    guest.start(code);
    ASSERT_TRUE(set_deadline(guest.vcpu(), 1'000'000));
    const std::atomic<bool> never{false};
    Second second(guest);
    EXPECT_EQ(run_on(guest, 0, never), -EINTR);
    EXPECT_EQ(second.stop(), -EINTR);
    EXPECT_GT(guest.word(kFlag), 390'000u);
}

// What one CPU waits for another is not executed, but counted as if it had been.
TEST_P(TurnsTest, SpinningCountsAsMuchAsWork) {
    for (const bool spins : {false, true}) {
        SoftGuest guest(options(), 2);
        // Waits for a flag that never comes; or counts, which no turn can skip.
        const Code wait = {lwz(5, 0, 3), cmpwi(5, 0), beq(-8)};
        const Code work = {addi(5, 5, 1), kNop, b(-8)};
        guest.start(load(3, kFlag) + (spins ? wait : work) + say(5), 0, 1, kSecond);
        guest.start({addi(6, 6, 1), b(-4)});
        ASSERT_TRUE(set_deadline(guest.vcpu(), 1'000'000));  // 400,000 cycles of the clock
        const std::atomic<bool> never{false};
        Second second(guest);
        EXPECT_EQ(run_on(guest, 0, never), -EINTR);
        EXPECT_EQ(second.stop(), -EINTR);
        const uint64_t executed[] = {instructions(guest.vcpu(0)), instructions(guest.vcpu(1))};
        EXPECT_EQ(executed[0] + executed[1], 800'000u) << "spins: " << spins;
        EXPECT_LE(executed[0], executed[1] + Turns::kTurn) << "spins: " << spins;
        EXPECT_LE(executed[1], executed[0] + Turns::kTurn) << "spins: " << spins;
    }
}

TEST_P(TurnsTest, OneCpuAloneHasAllTheTime) {
    SoftGuest guest(options(), 2);
    guest.start({kWait, kSelf}, kMsrEE, 1, kSecond);
    guest.start({addi(6, 6, 1), b(-4)});
    ASSERT_TRUE(set_deadline(guest.vcpu(), 1'000'000));
    const std::atomic<bool> never{false};
    Second second(guest);
    EXPECT_EQ(run_on(guest, 0, never), -EINTR);
    EXPECT_EQ(second.stop(), -EINTR);
    // Both share the clock until the second one waits.
    EXPECT_GE(instructions(guest.vcpu(0)), 400'000u);
    EXPECT_LE(instructions(guest.vcpu(0)), 400'000u + Turns::kTurn);
}

TEST_P(TurnsTest, DecrementerEndsAWaitAtItsTickWhileAnotherCpuExecutes) {
    SoftGuest guest(options(), 2);
    guest.write(vector(10), Code{kMftb5} + say(5));
    guest.start(load(4, kDie) + load(6, 100'000) +
                    Code{mtspr(kTcr, 4), mfspr(7, kTbl), mtspr(kDec, 6), kWait, kSelf},
                kMsrEE, 1, kSecond);
    guest.start({addi(6, 6, 1), b(-4)});
    std::atomic<bool> stop{false};
    std::thread first([&] { run_on(guest, 0, stop); });
    Second second(guest);
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
    const kvm_regs regs = guest.regs(1);
    stop = true;
    guest.vcpu(0).kick();
    first.join();
    // It gets its turn when the one that executes has had it.
    EXPECT_GE(regs.gpr[5] - regs.gpr[7], 100'000u);
    EXPECT_LE(regs.gpr[5] - regs.gpr[7], 100'000u + Turns::kTurn + 10);
}

TEST_P(TurnsTest, TimeJumpsToTheFirstEventOfAllThatWait) {
    SoftGuest guest(options(), 2);
    guest.write(vector(10), Code{kMftb5} + say(5) + Code{kSelf});
    const auto sleeper = [](uint32_t ticks) {
        return load(4, kDie) + load(6, ticks) + Code{mtspr(kTcr, 4), mtspr(kDec, 6), kWait, kSelf};
    };
    guest.start(sleeper(1'000'000'000), kMsrEE, 1, kSecond);
    guest.start(sleeper(3'000'000'000), kMsrEE);
    std::atomic<bool> stop{false};
    Cpu first([&] { return run_on(guest, 0, stop); });
    Second second(guest);
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
    EXPECT_NEAR(static_cast<double>(guest.gpr(5, 1)), 1e9, 100);
    Second again(guest);
    EXPECT_EQ(first.reason(), KVM_EXIT_MMIO);
    EXPECT_NEAR(static_cast<double>(guest.gpr(5)), 3e9, 1e5);
}

TEST_P(TurnsTest, ExitKeepsTheTurn) {
    SoftGuest guest(options(), 2);
    guest.start(load(3, kFlag) + Code{lwz(5, 0, 3), addi(5, 5, 1), stw(5, 0, 3), b(-12)}, 0, 1,
                kSecond);
    guest.start(say(3) + say(3) + say(3));
    const std::atomic<bool> never{false};
    Second second(guest);
    for (int n = 0; n < 3; ++n) {
        ASSERT_EQ(run_on(guest, 0, never), KVM_EXIT_MMIO);
        const uint32_t counted = guest.word(kFlag);
        for (int look = 0; look < 1000; ++look) {
            event_totals(guest.vcpu(1));
            ASSERT_EQ(guest.word(kFlag), counted);
        }
    }
    second.stop();
}

TEST_P(TurnsTest, DoorbellReachesAWaitingCpu) {
    SoftGuest guest(options(), 2);
    guest.write(vector(36), Code{li(6, 1)} + say(6));
    guest.start({kWait, kSelf}, kMsrEE, 1, kSecond);
    guest.start({li(3, 1), addi(5, 5, 1), msgsnd(3), kSelf});
    std::atomic<bool> stop{false};
    std::thread first([&] { run_on(guest, 0, stop); });
    Second second(guest);
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
    stop = true;
    guest.vcpu(0).kick();
    first.join();
    EXPECT_EQ(guest.gpr(6, 1), 1u);
}

TEST_P(TurnsTest, InterruptFromOutsideWakesAGuestInWhichAllWait) {
    SoftGuest guest(options(), 2);
    guest.write(vector(4), say(6));
    guest.start({kWait, kSelf}, kMsrEE, 1, kSecond);
    guest.start({kWait, kSelf}, kMsrEE);
    std::atomic<bool> stop{false};
    std::thread first([&] { run_on(guest, 0, stop); });
    Second second(guest);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ASSERT_TRUE(set_external_interrupt(guest.vcpu(1), true));
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
    stop = true;
    guest.vcpu(0).kick();
    first.join();
}

// The value is what it was, but a store came in between: Power ISA Book II, 4.4.2 (ABA).
TEST_P(TurnsTest, ReservationDoesNotOutliveAStoreOfAnotherCpu) {
    SoftGuest guest(options(), 2);
    // vCPU 1 takes a reservation, says so, and waits for the answer with it.
    guest.start(load(3, kFlag) +
                    Code{li(5, 1), lwarx(6, 0, 3), stw(5, 64, 3), lwz(7, 128, 3), cmpwi(7, 0),
                         beq(-8), li(8, 7), stwcx(8, 0, 3), x_form(9, 0, 0, 19) /* mfcr r9 */} +
                    say(9),
                0, 1, kSecond);
    guest.start(load(3, kFlag) + Code{lwz(5, 64, 3), cmpwi(5, 0), beq(-8), li(6, 9), stw(6, 0, 3),
                                      li(6, 0), stw(6, 0, 3), li(6, 1), stw(6, 128, 3), kNop,
                                      b(-4)});
    std::atomic<bool> stop{false};
    std::thread first([&] { run_on(guest, 0, stop); });
    Second second(guest);
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
    stop = true;
    guest.vcpu(0).kick();
    first.join();
    EXPECT_EQ(guest.gpr(9, 1) >> 28 & 2, 0u) << "stwcx. succeeded";
    EXPECT_EQ(guest.word(kFlag), 0u);
}

TEST_P(TurnsTest, StoppedCpuIsNotWaitedFor) {
    SoftGuest guest(options(), 2);
    ASSERT_TRUE(set_stopped(guest.vcpu(1), true));
    guest.start({addi(6, 6, 1), kNop, b(-8)}, 0, 1, kSecond);
    guest.start({addi(6, 6, 1), b(-4)});
    ASSERT_TRUE(set_deadline(guest.vcpu(), 100'000));
    const std::atomic<bool> never{false};
    EXPECT_EQ(run_on(guest, 0, never), -EINTR);
    EXPECT_EQ(instructions(guest.vcpu(0)), 40'000u);
    // It takes part from the moment it may, and not before its thread is there.
    ASSERT_TRUE(set_stopped(guest.vcpu(1), false));
    ASSERT_TRUE(set_deadline(guest.vcpu(), 200'000));
    Second second(guest);
    EXPECT_EQ(run_on(guest, 0, never), -EINTR);
    second.stop();
    EXPECT_EQ(instructions(guest.vcpu(0)) + instructions(guest.vcpu(1)), 40'000u + 80'000u);
}

TEST_P(TurnsTest, TimeBasesStopAndGoOnAsOne) {
    SoftGuest guest(options(), 2);
    const Code code = {kMftb5, addi(6, 6, 1), kNop, kNop, b(-16)};
    guest.start(code, 0, 1, kSecond);
    guest.start(code);
    const std::atomic<bool> never{false};
    Second second(guest);
    ASSERT_TRUE(set_deadline(guest.vcpu(), 100'000));
    EXPECT_EQ(run_on(guest, 0, never), -EINTR);
    ASSERT_TRUE(freeze_time_bases(guest.vm(), 3, true));
    ASSERT_TRUE(set_deadline(guest.vcpu(), 300'000));
    EXPECT_EQ(run_on(guest, 0, never), -EINTR);
    ASSERT_TRUE(freeze_time_bases(guest.vm(), 3, false));
    ASSERT_TRUE(set_deadline(guest.vcpu(), 500'000));
    EXPECT_EQ(run_on(guest, 0, never), -EINTR);
    second.stop();
    // 80,000 ticks were lost by both.
    EXPECT_NEAR(static_cast<double>(guest.gpr(5, 0)), 120'000, Turns::kTurn);
    EXPECT_NEAR(static_cast<double>(guest.gpr(5, 1)), 120'000, Turns::kTurn);
}

TEST_P(TurnsTest, GuestThatCanGoNoFurtherIsToldOnce) {
    expect_no_way_on_to_be_told_once(options());
}

// A CPU that is reset has nothing left of its turns, whatever it did: it waits for ever here, or
// has left for the VMM with the turn. It begins anew when it is released, at the same time in every
// run, whenever its thread comes.
TEST_P(TurnsTest, ResetCpuBeginsAnew) {
    for (const Code& before : {Code{kWait, kSelf}, say(3), Code{addi(7, 7, 1), b(-4)}}) {
        std::optional<Outcome> first;
        for (const int late : {0, 1, 2, 0}) {
            SoftGuest guest(options(), 2);
            guest.start(before, 0, 1, kSecond);
            guest.start(load(8, 3 * Turns::kTurn) + Code{mtspr(9, 8), bdnz(0)} + say(3) +
                        Code{addi(6, 6, 1), b(-4)});
            const std::atomic<bool> never{false};
            const bool leaves = before == say(3);
            {
                Cpu boot([&] { return run_on(guest, 0, never); });
                Second second(guest);
                if (!leaves) {
                    EXPECT_EQ(boot.reason(), KVM_EXIT_MMIO);
                    second.stop();
                } else {  // with the turn: CPU 0 goes on when it is reset
                    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
                }
                EXPECT_TRUE(set_stopped(guest.vcpu(1), true));
                EXPECT_TRUE(reset_core(guest.vcpu(1)));
                if (leaves) {
                    EXPECT_EQ(boot.reason(), KVM_EXIT_MMIO);
                }
            }
            ASSERT_TRUE(dirty_tlb(guest.vcpu(1), guest.tlb(1).size()));
            guest.start({kMftb5, addi(6, 6, 1), b(-4)}, 0, 1, kSecond);
            ASSERT_TRUE(set_stopped(guest.vcpu(1), false));
            ASSERT_TRUE(set_deadline(guest.vcpu(), 1'000'000));
            Cpu boot([&] { return run_on(guest, 0, never); });
            std::this_thread::sleep_for(std::chrono::milliseconds(late));
            Second second(guest);
            EXPECT_EQ(boot.reason(), -EINTR);
            second.stop();
            Outcome outcome;
            outcome.time = *guest_time(guest.vm());
            for (const unsigned id : {0u, 1u}) {
                outcome.regs[id] = guest.regs(id);
                outcome.totals[id] = totals_of(guest.vcpu(id));
            }
            EXPECT_GT(outcome.regs[1].gpr[6], 1000u);
            if (!first) first = outcome;
            EXPECT_TRUE(outcome == *first) << "late by " << late << " ms";
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Engines, TurnsTest, testing::ValuesIn(soft_engines()),
                         [](const auto& test) {
                             return test.param == SoftEngine::Interpreter ? "Interpreter"
                                                                          : "Translator";
                         });

}  // namespace
}  // namespace perfvisor::kvm
