// SPDX-License-Identifier: GPL-2.0-or-later
// Interrupt inputs, the external proxy, kicks, and a waiting vCPU.
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;

constexpr unsigned kEpr = 702;

SoftOptions host_clock() {
    SoftOptions options;
    options.clock = SoftClock::Host;
    return options;
}

TEST(Interrupt, LevelIsTakenOnceEnabledAndAgainWhileItStands) {
    SoftGuest guest;
    guest.write(vector(4), Code{addi(6, 6, 1)} + say(6) + Code{kRfi});
    guest.start(Code{li(5, 1), kWrteei1, li(5, 2), kSelf});
    ASSERT_TRUE(set_external_interrupt(guest.vcpu(), true));

    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.gpr(5), 1u);  // right after wrteei
    EXPECT_EQ(guest.regs().srr0, kStart + 8);
    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);  // rfi, and taken again
    EXPECT_EQ(guest.gpr(6), 2u);
    EXPECT_EQ(guest.gpr(5), 1u);

    ASSERT_TRUE(set_external_interrupt(guest.vcpu(), false));
    guest.vcpu().run()->immediate_exit = 0;
    ASSERT_TRUE(set_deadline(guest.vcpu(), *guest_time(guest.vm()) + 100'000));
    EXPECT_EQ(guest.run(), -EINTR);
    EXPECT_EQ(guest.gpr(5), 2u);
    EXPECT_EQ(guest.gpr(6), 2u);
}

TEST(Interrupt, EdgeIsUsedUpByTheInterruptItCauses) {
    SoftGuest guest;
    guest.write(vector(4), Code{addi(6, 6, 1), kRfi});
    guest.start(Code{kWrteei1, kNop, kNop, kWrteei0, kSelf});
    kvm_interrupt edge{KVM_INTERRUPT_SET};
    ASSERT_EQ(guest.vcpu().ioctl(KVM_INTERRUPT, &edge), 0);
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(6), 1u);
}

TEST(Interrupt, UnsetTakesBackWhatWasNotTakenYet) {
    SoftGuest guest;
    guest.write(vector(4), Code{addi(6, 6, 1), kRfi});
    guest.start(Code{kWrteei1, kNop, kWrteei0, kSelf});
    for (const uint32_t irq : {KVM_INTERRUPT_SET, KVM_INTERRUPT_UNSET}) {
        kvm_interrupt interrupt{irq};
        ASSERT_EQ(guest.vcpu().ioctl(KVM_INTERRUPT, &interrupt), 0);
    }
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(6), 0u);
}

TEST(Interrupt, CriticalAndMachineCheckInputsGoToTheirVectors) {
    SoftGuest guest;
    guest.write(vector(0), Code{li(6, 1), kSelf});
    guest.write(vector(1), Code{li(7, 1), kSelf});
    guest.start({kSelf}, kMsrCE | kMsrME);
    ASSERT_TRUE(set_critical_interrupt(guest.vcpu(), true));
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(6), 1u);
    ASSERT_TRUE(set_machine_check(guest.vcpu(), true));
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(7), 1u);
}

TEST(Interrupt, MachineCheckThatCannotBeTakenShutsTheCpuDown) {
    SoftGuest guest;
    // A load from where the TLB says memory is and none is, with MSR[ME] = 0, is a device access;
    // fetching from there is a machine check.
    guest.start(load(3, kDevice) + Code{mtspr(9, 3), 0x4e800420 /* bctr */});
    EXPECT_EQ(guest.run(), KVM_EXIT_SHUTDOWN);
    EXPECT_EQ(guest.run(), KVM_EXIT_SHUTDOWN);
}

TEST(ExternalProxy, ExitAsksForTheVectorAndEprGetsIt) {
    SoftGuest guest;
    guest.write(vector(4), Code{mfspr(6, kEpr), kSelf});
    guest.start(Code{li(5, 1), kSelf}, kMsrEE);
    ASSERT_TRUE(set_external_proxy(guest.vcpu(), true));
    ASSERT_TRUE(set_external_interrupt(guest.vcpu(), true));
    ASSERT_EQ(guest.run(), KVM_EXIT_EPR);
    // The controller's acknowledgement lowers the line, and the interrupt is taken all the same.
    guest.vcpu().run()->epr.epr = 0x123;
    ASSERT_TRUE(set_external_interrupt(guest.vcpu(), false));
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(6), 0x123u);
    EXPECT_EQ(*get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_EPR), 0x123u);
}

TEST(ExternalProxy, ImmediateExitAfterTheVectorStillTakesTheInterrupt) {
    SoftGuest guest;
    guest.write(vector(4), {kSelf});
    guest.start({kSelf}, kMsrEE);
    ASSERT_TRUE(set_external_proxy(guest.vcpu(), true));
    ASSERT_TRUE(set_external_interrupt(guest.vcpu(), true));
    ASSERT_EQ(guest.run(), KVM_EXIT_EPR);
    guest.vcpu().run()->epr.epr = 7;
    guest.vcpu().run()->immediate_exit = 1;
    EXPECT_EQ(guest.run(), -EINTR);
    EXPECT_EQ(guest.regs().pc, vector(4));
    EXPECT_EQ(*get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_EPR), 7u);
}

TEST(ExternalProxy, OffAgainTheInterruptIsTakenWithoutAsking) {
    SoftGuest guest;
    guest.write(vector(4), {kSelf});
    guest.start({kSelf}, kMsrEE);
    ASSERT_TRUE(set_external_proxy(guest.vcpu(), true));
    ASSERT_TRUE(set_external_proxy(guest.vcpu(), false));
    ASSERT_TRUE(set_external_interrupt(guest.vcpu(), true));
    EXPECT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.regs().pc, vector(4));
}

TEST(Kick, BeforeKvmRunMakesItReturnAtOnce) {
    SoftGuest guest;
    guest.start({li(5, 1), kSelf});
    guest.vcpu().kick();
    EXPECT_EQ(guest.run(), -EINTR);
    EXPECT_EQ(guest.vcpu().run()->exit_reason, unsigned{KVM_EXIT_INTR});
    EXPECT_EQ(guest.gpr(5), 0u);
    guest.vcpu().run()->immediate_exit = 0;
    EXPECT_EQ(guest.run(), KVM_EXIT_HLT);
}

TEST(Kick, BringsABusyGuestOut) {
    SoftGuest guest(host_clock());
    guest.start({kNop, b(-4)}, kMsrEE);
    std::thread kicker([&] { guest.vcpu().kick(); });
    EXPECT_EQ(guest.run(), -EINTR);
    kicker.join();
}

TEST(Kick, EndsAStormOfFaultsThatInterruptsCouldStillEnd) {
    SoftGuest guest(host_clock());
    // The illegal instruction's vector is itself an illegal instruction, and MSR[CE] lets the
    // watchdog in.
    guest.write(vector(6), {0});
    guest.start({0}, kMsrCE);
    ASSERT_TRUE(set_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_TCR, 0x08000000));
    std::thread kicker([&] { guest.vcpu().kick(); });
    EXPECT_EQ(guest.run(), -EINTR);
    kicker.join();
}

TEST(Kick, WakesAWaitingGuest) {
    SoftGuest guest(host_clock());
    guest.start({kWait, kSelf}, kMsrEE);
    std::thread kicker([&] { guest.vcpu().kick(); });
    EXPECT_EQ(guest.run(), -EINTR);
    kicker.join();
}

TEST(Kick, SignalWhoseHandlerSetsImmediateExitEndsAWait) {
    static std::atomic<kvm_run*> area{nullptr};
    struct sigaction action = {};
    action.sa_handler = [](int) { area.load()->immediate_exit = 1; };
    ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);

    SoftGuest guest(host_clock());
    area = guest.vcpu().run();
    guest.start({kWait, kSelf}, kMsrEE);
    const pthread_t vcpu_thread = pthread_self();
    std::thread kicker([&] { pthread_kill(vcpu_thread, SIGUSR1); });
    EXPECT_EQ(guest.run(), -EINTR);
    kicker.join();
    signal(SIGUSR1, SIG_DFL);
}

TEST(Wait, InterruptFromAnotherThreadEndsIt) {
    SoftGuest guest(host_clock());
    guest.write(vector(4), Code{li(6, 1)} + say(6));
    guest.start({kWait, kSelf}, kMsrEE);
    std::thread device([&] { EXPECT_TRUE(set_external_interrupt(guest.vcpu(), true)); });
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
    device.join();
    EXPECT_EQ(guest.gpr(6), 1u);
}

TEST(Wait, InterruptSetBeforeEndsItToo) {
    SoftGuest guest(host_clock());
    guest.write(vector(4), say(6));
    guest.start({kWait, kSelf}, kMsrEE);
    ASSERT_TRUE(set_external_interrupt(guest.vcpu(), true));
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
}

}  // namespace
}  // namespace perfvisor::kvm
