// SPDX-License-Identifier: GPL-2.0-or-later
// KVM_SOFT_SET_TIMING (uapi/kvm_soft.h): whose cycles are the guest's time, and that deadlines in
// it stay exact.
#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;

constexpr uint32_t kDivide = 0x7c6323d6;  // divw r3,r3,r4
constexpr uint32_t kDivideCycles = 14;    // docs/timing.md
constexpr double kCycle = 2.5;            // nanoseconds, at the default frequency

// Divides for ever, each dependent on the one before it, with the branch in their shadow.
Code divide_for_ever() {
    return Code{li(3, 1000), li(4, 1), kDivide, b(-4)};
}

TEST(SoftTiming, CanBeSetUntilThereIsAVcpu) {
    SoftGuest guest(SoftGuest::virtual_clock(), 0);
    EXPECT_EQ(check_extension(guest.vm(), KVM_CAP_SOFT_TIMING), 1);
    kvm_soft_timing timing{KVM_SOFT_TIMING_E500MC + 1, 0};
    EXPECT_EQ(guest.vm().ioctl(KVM_SOFT_SET_TIMING, &timing), -EINVAL);
    EXPECT_EQ(guest.vm().ioctl(KVM_SOFT_SET_TIMING, nullptr), -EFAULT);
    EXPECT_TRUE(set_timing(guest.vm(), KVM_SOFT_TIMING_E500MC));
    EXPECT_TRUE(set_timing(guest.vm(), KVM_SOFT_TIMING_SIMPLE));
    guest.add_vcpu(0);
    timing.timing = KVM_SOFT_TIMING_E500MC;
    EXPECT_EQ(guest.vm().ioctl(KVM_SOFT_SET_TIMING, &timing), -EBUSY);
}

TEST(SoftTiming, SaysHowMuchIsDoneInATime) {
    constexpr uint64_t kTime = 1'000'000;
    for (const uint32_t timing : {KVM_SOFT_TIMING_SIMPLE, KVM_SOFT_TIMING_E500MC}) {
        SoftGuest guest(SoftGuest::virtual_clock(), 0);
        ASSERT_TRUE(set_timing(guest.vm(), timing));
        guest.add_vcpu(0);
        // r5 counts the rounds.
        guest.start({li(3, 1000), li(4, 1), li(5, 0), kDivide, addi(5, 5, 1), b(-8)});
        ASSERT_TRUE(set_deadline(guest.vcpu(), kTime));
        ASSERT_EQ(guest.run(), -EINTR);
        const double cycles_a_round = timing == KVM_SOFT_TIMING_SIMPLE ? 3 : kDivideCycles;
        EXPECT_NEAR(static_cast<double>(guest.gpr(5)), kTime / kCycle / cycles_a_round, 20.0);
    }
}

TEST(SoftTiming, ADeadlineComesAtTheFirstInstructionBehindIt) {
    for (const uint64_t deadline : {10'000u, 10'007u, 100'001u, 1'000'003u}) {
        SoftGuest guest(SoftGuest::virtual_clock(), 0);
        ASSERT_TRUE(set_timing(guest.vm(), KVM_SOFT_TIMING_E500MC));
        guest.add_vcpu(0);
        guest.start(divide_for_ever());
        ASSERT_TRUE(set_deadline(guest.vcpu(), deadline));
        ASSERT_EQ(guest.run(), -EINTR);
        const auto late = static_cast<double>(*guest_time(guest.vm()) - deadline);
        EXPECT_GE(late, 0.0);
        EXPECT_LE(late, (kDivideCycles + 1) * kCycle);
    }
}

TEST(SoftTiming, AGuestThatCanGoNoFurtherIsFound) {
    SoftGuest guest(SoftGuest::virtual_clock(), 0);
    ASSERT_TRUE(set_timing(guest.vm(), KVM_SOFT_TIMING_E500MC));
    guest.add_vcpu(0);
    guest.start({li(3, 1), kSelf});
    EXPECT_EQ(guest.run(), KVM_EXIT_HLT);
}

}  // namespace
}  // namespace perfvisor::kvm
