// SPDX-License-Identifier: GPL-2.0-or-later
// Guest time: exact conversion, timers under both clocks, idle time, deadlines, the watchdog.
#include <atomic>
#include <thread>

#include "kvm/soft/guest_time.h"
#include "kvm/soft/slice.h"
#include "kvm/soft/time_base.h"
#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;

constexpr unsigned kDec = 22, kTcr = 340, kTsr = 336, kDbcr0 = 308, kTbl = 268;
constexpr uint32_t kDie = 0x04000000, kWie = 0x08000000;

SoftOptions clock(SoftClock which) {
    SoftOptions options;
    options.clock = which;
    return options;
}

TEST(Scale, IsExactWhereTheProductNeedsMoreThan64Bits) {
    // 2^63 ticks of 400 MHz in nanoseconds: times 5 / 2.
    EXPECT_EQ(scale_down(uint64_t{1} << 62, 1'000'000'000, 400'000'000),
              (uint64_t{1} << 62) / 2 * 5);
    // 4294967291 is prime: every remainder matters.
    EXPECT_EQ(scale_down(12'345'678'901'234'567, 4'294'967'291, 4'294'967'279),
              12'345'678'935'727'995u);
    EXPECT_EQ(scale_up(12'345'678'901'234'567, 4'294'967'291, 4'294'967'279),
              12'345'678'935'727'996u);
    EXPECT_EQ(scale_down(7, 3, 3), 7u);
    EXPECT_EQ(scale_up(7, 3, 3), 7u);
}

TEST(Scale, SaturatesInsteadOfWrapping) {
    EXPECT_EQ(scale_up(kNever, 4'000'000'000, 1), kNever);
    EXPECT_EQ(scale_down(kNever - 1, 2, 1), kNever);
}

TEST(VirtualTime, CyclesUntilIsTheFirstCycleThatShowsTheTick) {
    VirtualClock clock;
    VirtualTime time(clock, 33'333'333, 1'200'000'007);
    time.begin_turn(0, 1);
    for (const uint64_t tick : {1u, 2u, 3u, 100u, 33'333'333u}) {
        const uint64_t cycles = time.cycles_until(tick, 0);
        EXPECT_EQ(time.ticks(cycles), tick);
        EXPECT_EQ(time.ticks(cycles - 1), tick - 1);
    }
    EXPECT_EQ(time.cycles_until(1, 1'000'000), 0u);
}

TEST(VirtualTime, SkippedIdleTimeCounts) {
    VirtualClock clock;
    VirtualTime time(clock, 400, 100);
    time.begin_turn(0, 1);
    time.end_turn(50);
    clock.skip_to(time.cycle_of(1000));
    EXPECT_EQ(time.ticks(50), 1000u);
    time.begin_turn(50, 1);
    EXPECT_EQ(time.ticks(51), 1004u);
}

TEST(VirtualTime, CpusThatShareItMoveItOnTogether) {
    VirtualClock clock;
    VirtualTime first(clock, 400, 400), second(clock, 400, 400);
    uint64_t cycles = 0;
    for (unsigned turn = 0; turn < 6; ++turn) {
        VirtualTime& time = turn % 2 ? second : first;
        time.begin_turn(cycles, 2);
        EXPECT_EQ(time.cycles_until(clock.cycles() + 1, cycles), turn % 2 ? 1u : 2u);
        time.end_turn(cycles + 101);  // 50 and a half of the clock's
        cycles += turn % 2 ? 101 : 0;
    }
    EXPECT_EQ(clock.cycles(), 303u);
    EXPECT_EQ(first.ticks(0), second.ticks(12345));
}

TEST(TimeBase, MissesWhatPassedWhileItWasFrozen) {
    VirtualClock clock;
    VirtualTime time(clock, 400, 400);
    TimeBase first(time), second(time);
    clock.skip_to(30);
    first.freeze(true, 30);
    clock.skip_to(1000);
    EXPECT_EQ(first.ticks(0), 30u);
    EXPECT_EQ(first.cycles_until(31, 0), kNever);
    // Told late, it still stops and goes on as the first one.
    second.freeze(true, 30);
    first.freeze(false, 1030);
    clock.skip_to(1100);
    second.freeze(false, 1030);
    EXPECT_EQ(first.ticks(0), 100u);
    EXPECT_EQ(second.ticks(0), 100u);
    EXPECT_EQ(first.cycles_until(150, 0), 50u);
}

TEST(SlicePacer, FollowsTheMeasuredSpeedAndTheNextEvent) {
    SlicePacer pacer;
    for (int n = 0; n < 50; ++n)
        pacer.measured(20'000, 100'000);  // 200 a microsecond
    EXPECT_NEAR(static_cast<double>(pacer.instructions(kNever)), 20'000, 600);
    EXPECT_NEAR(static_cast<double>(pacer.instructions(10'000)), 2'000, 60);
    EXPECT_EQ(pacer.instructions(0), SlicePacer::kShortest);
    pacer.measured(10'000, 100'000);  // slower is believed at once
    EXPECT_EQ(pacer.instructions(kNever), 10'000u);
}

// The decrementer of a guest with one cycle an instruction and a tick a cycle.
TEST(Timer, VirtualDecrementerInterruptsAtTheExactInstruction) {
    for (int round = 0; round < 2; ++round) {
        SoftGuest guest;
        guest.write(vector(10), {kSelf});
        guest.start(
            load(4, kDie) + Code{mtspr(kTcr, 4), li(3, 100), mtspr(kDec, 3), addi(6, 6, 1), b(-4)},
            kMsrEE);
        ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
        EXPECT_EQ(guest.regs().pc, vector(10));
        // 100 ticks from the mtspr, which is complete at the first of them.
        EXPECT_EQ(guest.gpr(6), 50u) << "round " << round;
    }
}

TEST(Timer, VirtualIdleTimeIsSkipped) {
    SoftGuest guest;
    guest.write(vector(10), Code{mfspr(6, kTbl), kSelf});
    // An hour of the 400 MHz time base would be 1.44e12 ticks; DEC holds 32 bits: ten seconds.
    guest.start(load(4, kDie) + load(3, 4'000'000'000u) +
                    Code{mtspr(kTcr, 4), mtspr(kDec, 3), kWait, kSelf},
                kMsrEE);
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_GE(guest.gpr(6), 4'000'000'000u);
    EXPECT_LT(guest.gpr(6), 4'000'000'100u);
    // The last branch spins for one slice before it is found to be endless.
    EXPECT_GE(*guest_time(guest.vm()), 10'000'000'000u);
    EXPECT_LT(*guest_time(guest.vm()), 10'001'000'000u);
}

TEST(Timer, HostDecrementerInterruptsABusyAndAWaitingGuest) {
    for (const uint32_t idle : {kNop, kWait}) {
        SoftGuest guest(clock(SoftClock::Host));
        guest.write(vector(10), Code{mfspr(7, kTbl)} + say(7));
        guest.start(load(4, kDie) + load(3, 400'000) +
                        Code{mtspr(kTcr, 4), mfspr(6, kTbl), mtspr(kDec, 3), idle, b(-4)},
                    kMsrEE);
        ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
        const auto regs = guest.regs();
        EXPECT_GE(static_cast<uint32_t>(regs.gpr[7] - regs.gpr[6]), 400'000u);
    }
}

TEST(Deadline, ComesAtTheSameInstructionInEveryRun) {
    std::vector<uint64_t> counts;
    for (int round = 0; round < 3; ++round) {
        SoftGuest guest;
        guest.start({addi(6, 6, 1), b(-4)});
        ASSERT_TRUE(set_deadline(guest.vcpu(), 1'000'000));  // 400,000 cycles
        ASSERT_EQ(guest.run(), -EINTR);
        EXPECT_EQ(*guest_time(guest.vm()), 1'000'000u);
        counts.push_back(guest.gpr(6));
        // It is used up.
        ASSERT_TRUE(set_deadline(guest.vcpu(), 2'000'000));
        ASSERT_EQ(guest.run(), -EINTR);
        EXPECT_EQ(*guest_time(guest.vm()), 2'000'000u);
    }
    EXPECT_EQ(counts, (std::vector<uint64_t>{200'000, 200'000, 200'000}));
}

TEST(Deadline, AWaitingGuestsTimeJumpsToIt) {
    SoftGuest guest;
    guest.start({kWait, kSelf}, kMsrEE);
    ASSERT_TRUE(set_deadline(guest.vcpu(), 3'600'000'000'000));
    ASSERT_EQ(guest.run(), -EINTR);
    EXPECT_EQ(*guest_time(guest.vm()), 3'600'000'000'000u);
}

TEST(Deadline, EndsAWaitUnderTheHostsClock) {
    SoftGuest guest(clock(SoftClock::Host));
    guest.start({kWait, kSelf}, kMsrEE);
    const uint64_t deadline = *guest_time(guest.vm()) + 1'000'000;
    ASSERT_TRUE(set_deadline(guest.vcpu(), deadline));
    ASSERT_EQ(guest.run(), -EINTR);
    EXPECT_GE(*guest_time(guest.vm()), deadline);
}

TEST(TimeBase, FrozenItStandsStill) {
    SoftGuest guest;
    guest.start(Code{mfspr(5, kTbl), kNop, kNop, mfspr(6, kTbl), kSelf});
    ASSERT_TRUE(freeze_time_bases(guest.vm(), 1, true));
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(5), guest.gpr(6));
    guest.start(Code{mfspr(5, kTbl), kNop, kNop, mfspr(6, kTbl), kSelf});
    ASSERT_TRUE(freeze_time_bases(guest.vm(), 1, false));
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(6) - guest.gpr(5), 3u);
}

// However often KVM_RUN is left in between, the same guest time finds the same guest: here one that
// waits, works and takes decrementer interrupts with auto-reload.
TEST(VirtualClock, LeavingKvmRunChangesNothingForTheGuest) {
    constexpr unsigned kDecar = 54;
    constexpr uint32_t kAutoReload = 0x00400000;
    std::vector<kvm_regs> ends;
    for (const bool kicked : {false, true}) {
        SoftGuest guest;
        guest.write(vector(10), load(10, 0x08000000) +
                                    Code{mtspr(kTsr, 10), addi(7, 7, 1), mfspr(8, kTbl), kRfi});
        guest.start(load(3, 1017) + Code{mtspr(kDecar, 3), mtspr(kDec, 3)} +
                        load(4, kDie | kAutoReload) +
                        Code{mtspr(kTcr, 4), li(9, 300), mtspr(9, 9), addi(6, 6, 1), bdnz(-4),
                             kWait, b(-20)},
                    kMsrEE);
        ASSERT_TRUE(set_deadline(guest.vcpu(), 20'000'000));
        std::atomic<bool> stop{!kicked};
        std::thread kicker([&] {
            while (!stop)
                guest.vcpu().kick();
        });
        // The deadline is the only way out that is not a kick.
        while (guest.run() == -EINTR && *guest_time(guest.vm()) < 20'000'000)
            std::atomic_ref<uint8_t>(guest.vcpu().run()->immediate_exit).store(0);
        stop = true;
        kicker.join();
        ends.push_back(guest.regs());
        EXPECT_GT(guest.gpr(7), 7'000u);
    }
    EXPECT_EQ(std::memcmp(&ends[0], &ends[1], sizeof ends[0]), 0);
}

// WRC = 10 and a watchdog period of 2^10 ticks (WP || WPEXT counts from the top).
constexpr uint32_t kWatchdogReset = 0x20000000;
constexpr uint32_t watchdog_period(unsigned bit) {
    const unsigned n = 63 - bit;
    return (n & 3) << 30 | (n >> 2) << 17;
}

TEST(Watchdog, LastTimeOutLeavesForAVmmThatAskedForIt) {
    SoftGuest guest;
    ASSERT_TRUE(enable_watchdog(guest.vcpu()));
    guest.start(load(4, kWatchdogReset | watchdog_period(10)) + Code{mtspr(kTcr, 4), kNop, b(-4)});
    EXPECT_EQ(guest.run(), KVM_EXIT_WATCHDOG);
    // Told once; a VMM that goes on may do so.
    ASSERT_TRUE(set_deadline(guest.vcpu(), *guest_time(guest.vm()) + 1'000'000));
    EXPECT_EQ(guest.run(), -EINTR);
}

TEST(Watchdog, LastTimeOutIsNothingToAVmmThatDidNotAsk) {
    SoftGuest guest;
    guest.start(load(4, kWatchdogReset | watchdog_period(10)) + Code{mtspr(kTcr, 4), kNop, b(-4)});
    ASSERT_TRUE(set_deadline(guest.vcpu(), 1'000'000));
    EXPECT_EQ(guest.run(), -EINTR);
}

TEST(Reset, Dbcr0AsksForItWithASystemEvent) {
    SoftGuest guest;
    guest.start(load(4, 0x30000000) + Code{mtspr(kDbcr0, 4), kNop, kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_SYSTEM_EVENT);
    EXPECT_EQ(guest.vcpu().run()->system_event.type, unsigned{KVM_SYSTEM_EVENT_RESET});
}

TEST(Halt, BranchToSelfWithoutInterruptsIsReported) {
    SoftGuest guest;
    guest.start({kNop, kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.vcpu().run()->hw.hardware_exit_reason, 0u);
    guest.start({kSelf}, kMsrCE | kMsrME);
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.vcpu().run()->hw.hardware_exit_reason,
              KVM_SOFT_HLT_CRITICAL | KVM_SOFT_HLT_MACHINE_CHECK);
}

TEST(Halt, BranchToSelfThatTheWatchdogWillEndIsNot) {
    SoftGuest guest;
    guest.write(vector(12), say(6));
    guest.start(load(4, kWie | watchdog_period(12)) + Code{mtspr(kTcr, 4), kSelf}, kMsrCE);
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
}

TEST(Halt, EndlessFaultsEndWithTheWatchdog) {
    SoftGuest guest;
    guest.write(vector(6), {0});
    guest.write(vector(12), say(6));
    guest.start({0}, kMsrCE);
    ASSERT_TRUE(set_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_TCR, kWie | watchdog_period(12)));
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
}

TEST(Halt, EndlessFaultsWithoutInterruptsAreReported) {
    SoftGuest guest;
    // No translation: the TLB error's vector is as little mapped.
    kvm_sregs sregs = *get_sregs(guest.vcpu());
    sregs.u.e.ivpr = 0x40000000;
    ASSERT_TRUE(set_sregs(guest.vcpu(), sregs));
    guest.start({kNop}, 0);
    kvm_regs regs = guest.regs();
    regs.pc = 0x50000000;
    ASSERT_TRUE(set_regs(guest.vcpu(), regs));
    EXPECT_EQ(guest.run(), KVM_EXIT_HLT);
}

TEST(Halt, WaitWithoutAnyTimerIsReportedToAVmmThatAsks) {
    SoftGuest guest;
    ASSERT_TRUE(set_halt_exit(guest.vcpu(), true));
    guest.write(vector(4), say(6));
    guest.start({kWait, kSelf}, kMsrEE);
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_TRUE(guest.vcpu().run()->hw.hardware_exit_reason & KVM_SOFT_HLT_EXTERNAL);
    ASSERT_TRUE(set_external_interrupt(guest.vcpu(), true));
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
}

}  // namespace
}  // namespace perfvisor::kvm
