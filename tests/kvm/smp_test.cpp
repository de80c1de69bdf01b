// SPDX-License-Identifier: GPL-2.0-or-later
// Several vCPUs, each in KVM_RUN on its own thread: doorbells, invalidations, changes of memory.
#include <algorithm>
#include <atomic>
#include <thread>

#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;

SoftOptions host_clock() {
    SoftOptions options;
    options.clock = SoftClock::Host;
    return options;
}

constexpr uint32_t kSecond = 0x4000;  // where vCPU 1 starts
constexpr uint32_t kFlag = 0x8000;
constexpr uint32_t kTlbivaxR4 = 31u << 26 | 4u << 11 | 786u << 1, kTlbsync = 0x7c00046c,
                   kIcbiR3 = 31u << 26 | 3u << 11 | 982u << 1,
                   kDcbstR3 = 31u << 26 | 3u << 11 | 54u << 1, kSync = 0x7c0004ac,
                   kBlr = 0x4e800020;

// bl over `instructions` words is not needed: calls go through CTR.
Code call(uint32_t address) {
    return load(30, address) + Code{mtspr(9, 30), 0x4e800421 /* bctrl */};
}

// Runs vCPU 1 on a thread of its own until it leaves KVM_RUN for the VMM.
class SecondCpu {
  public:
    explicit SecondCpu(SoftGuest& guest)
        : guest_(guest), thread_([&guest, this] { reason_ = guest.run(1); }) {}
    int reason() {
        thread_.join();
        return reason_;
    }

  private:
    SoftGuest& guest_;
    int reason_ = 0;
    std::thread thread_;
};

TEST(Smp, DoorbellWakesAWaitingCpu) {
    SoftGuest guest(host_clock(), 2);
    guest.write(vector(36), Code{li(6, 1)} + say(6));
    guest.start({kWait, kSelf}, kMsrEE, 1, kSecond);
    SecondCpu second(guest);
    guest.start(Code{li(3, 1), msgsnd(3)} + say(3));  // PIR 1
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.gpr(6, 1), 1u);
}

TEST(Smp, BroadcastDoorbellReachesTheSenderToo) {
    SoftGuest guest(host_clock(), 2);
    guest.write(vector(36), Code{addi(6, 6, 1)} + say(6));
    guest.start({kWait, kSelf}, kMsrEE, 1, kSecond);
    SecondCpu second(guest);
    guest.start(load(3, 0x04000000) + Code{msgsnd(3), kSelf}, kMsrEE);
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
}

TEST(Smp, TlbivaxInvalidatesOnARunningCpuBeforeTlbsync) {
    SoftGuest guest(host_clock(), 2);
    // vCPU 1 has a page at 0x30000000 and loads from it until that misses.
    guest.tlb(1)[512 + 9] = {0, 0x80000100, 0x30000000, kFlag | 0x3f};
    ASSERT_TRUE(dirty_tlb(guest.vcpu(1), guest.tlb(1).size()));
    guest.write(vector(13), say(6));
    guest.start(load(3, 0x30000000) + load(4, kFlag + 64) +
                    Code{li(5, 1), stw(5, 0, 4), lwz(6, 0, 3), b(-4)},
                0, 1, kSecond);
    SecondCpu second(guest);
    // vCPU 0 waits for vCPU 1 to have begun. Bit 0x8 of the address means TLB1.
    guest.start(load(3, kFlag + 64) + load(4, 0x30000008) +
                Code{lwz(5, 0, 3), cmpwi(5, 0), beq(-8), kTlbivaxR4, kTlbsync} + say(5));
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.regs(1).pc, vector(13) + 8);
}

// An invalidation that the VMM knows to be over does not take what it sets afterwards.
TEST(Smp, TlbivaxDoesNotInvalidateWhatIsSetLaterOnACpuAtRest) {
    SoftGuest guest(host_clock(), 2);
    guest.start(load(4, 0x30000008) + Code{kTlbivaxR4, kTlbsync, li(5, 1)} + say(5));
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
    guest.tlb(1)[512 + 9] = {0, 0x80000100, 0x30000000, kFlag | 0x3f};
    ASSERT_TRUE(dirty_tlb(guest.vcpu(1), guest.tlb(1).size()));
    guest.start(load(3, 0x30000000) + Code{lwz(6, 0, 3)} + say(6), 0, 1, kSecond);
    guest.write(vector(13), say(6));
    EXPECT_EQ(guest.run(1), KVM_EXIT_MMIO);
    EXPECT_NE(guest.regs(1).pc, vector(13) + 8) << "a data TLB miss";
}

// The VMM has carried out the store when the translation goes: the store completes all the same, or
// the device would see it again behind the TLB miss.
TEST(Smp, TlbivaxOfAnotherCpuDoesNotRepeatAnAccessToADevice) {
    SoftGuest guest(host_clock(), 2);
    guest.tlb()[512 + 9] = {0, 0x80000100, 0x3000000a, kDevicePhysical | 0x3f};
    ASSERT_TRUE(dirty_tlb(guest.vcpu(), guest.tlb().size()));
    guest.write(vector(13), say(6));
    guest.start(load(3, 0x30000000) + Code{stw(5, 0, 3), li(8, 1), lwz(7, 0, 3)});
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
    guest.start(load(4, 0x30000008) + Code{kTlbivaxR4, kTlbsync} + say(5), 0, 1, kSecond);
    EXPECT_EQ(guest.run(1), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.gpr(8), 1u) << "the store missed";
    EXPECT_EQ(guest.regs().pc, vector(13) + 8) << "the load did not";
}

TEST(Smp, TwoCpusInvalidatingAtOnceDoNotWaitForEachOtherForever) {
    SoftGuest guest(host_clock(), 2);
    const Code loop =
        load(4, 0x30000000) + load(5, 2000) + Code{mtspr(9, 5), kTlbivaxR4, bdnz(-4)} + say(5);
    guest.start(loop, 0, 1, kSecond);
    SecondCpu second(guest);
    guest.start(loop);
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
}

TEST(Smp, CodeChangedByAnotherCpuIsExecutedAfterItsIcbi) {
    SoftGuest guest(host_clock(), 2);
    constexpr uint32_t kFunction = 0x6000;
    guest.write(kFunction, {li(6, 1), kBlr});
    // vCPU 1 calls the function until it gives 2.
    guest.start(load(4, kFlag) + Code{li(5, 1), stw(5, 0, 4)} + call(kFunction) +
                    Code{cmpwi(6, 1), beq(-20)} + say(6),
                0, 1, kSecond);
    SecondCpu second(guest);
    guest.start(load(3, kFlag) + Code{lwz(5, 0, 3), cmpwi(5, 0), beq(-8)} + load(3, kFunction) +
                load(5, li(6, 2)) + Code{stw(5, 0, 3), kDcbstR3, kSync, kIcbiR3, kSync} + say(5));
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.gpr(6, 1), 2u);
}

TEST(Smp, MemorySlotsChangeWhileCpusRun) {
    SoftGuest guest(host_clock(), 2);
    std::vector<uint8_t> extra(3 * 4096, 0x11);
    uint8_t* page = extra.data() + (-reinterpret_cast<uintptr_t>(extra.data()) & 4095);
    constexpr uint64_t kExtra = 1 << 22;
    ASSERT_TRUE(set_user_memory_region(guest.vm(), 1, kExtra, page, 8192));
    guest.start(load(3, kExtra) + Code{lwz(4, 0, 3), b(-4)}, 0, 1, kSecond);
    SecondCpu second(guest);
    for (int n = 0; n < 50; ++n)
        ASSERT_TRUE(set_user_memory_region(guest.vm(), 1, kExtra, page, n % 2 ? 8192 : 4096));
    ASSERT_TRUE(set_user_memory_region(guest.vm(), 1, kExtra, nullptr, 0));
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.vcpu(1).run()->mmio.phys_addr, kExtra);
}

TEST(Smp, GuestThatCanGoNoFurtherIsToldOnceByTheLastCpu) {
    expect_no_way_on_to_be_told_once(host_clock());
}

TEST(Smp, StoppedCpuGoesOnWhenAnotherChangesItsCode) {
    SoftGuest guest(host_clock(), 2);
    // CPU 0 has been run when CPU 1 starts, as it is where a spin table releases secondaries.
    guest.start(say(3) + load(3, kFlag) + Code{lwz(5, 0, 3), cmpwi(5, 0), beq(-8)} +
                load(3, kSecond + 16) + load(5, kNop) +
                Code{stw(5, 0, 3), kDcbstR3, kSync, kIcbiR3, kSync, kNop, b(-4)});
    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    guest.start(load(4, kFlag) + Code{li(5, 1), stw(5, 0, 4), kSelf} + say(5), 0, 1, kSecond);
    SecondCpu second(guest);
    std::thread first([&] { guest.run(0); });
    EXPECT_EQ(second.reason(), KVM_EXIT_MMIO);
    guest.vcpu(0).kick();
    first.join();
}

TEST(Smp, RequestOfAnotherThreadWaitsForKvmRunToReturn) {
    SoftGuest guest(host_clock(), 2);
    guest.start({kWait, kSelf}, kMsrEE, 1, kSecond);
    SecondCpu second(guest);
    std::thread kicker([&] { guest.vcpu(1).kick(); });
    EXPECT_TRUE(get_regs(guest.vcpu(1)));
    kicker.join();
    EXPECT_EQ(second.reason(), -EINTR);
}

}  // namespace
}  // namespace perfvisor::kvm
