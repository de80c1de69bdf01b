// SPDX-License-Identifier: GPL-2.0-or-later
// Wrong requests and wrong arguments are answered, never obeyed.
#include <random>

#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;

int set_region(Vm& vm, uint32_t slot, uint64_t physical, uint64_t size, uint64_t host,
               uint32_t flags = 0) {
    kvm_userspace_memory_region region{slot, flags, physical, size, host};
    return vm.ioctl(KVM_SET_USER_MEMORY_REGION, &region);
}

TEST(Hostile, UnknownRequestsAreEnotty) {
    SoftGuest guest;
    char buffer[4096] = {};
    EXPECT_EQ(guest.system().ioctl(0, buffer), -ENOTTY);
    EXPECT_EQ(guest.vm().ioctl(KVM_RUN, buffer), -ENOTTY);
    EXPECT_EQ(guest.vcpu().ioctl(KVM_SET_USER_MEMORY_REGION, buffer), -ENOTTY);
    // The host's own encoding of a request is another request.
    EXPECT_EQ(guest.vcpu().ioctl(0x8188ae81, buffer), -ENOTTY);
}

TEST(Hostile, MissingArgumentIsEfault) {
    SoftGuest guest;
    for (const uint32_t request :
         {KVM_GET_REGS, KVM_SET_SREGS, KVM_GET_ONE_REG, KVM_INTERRUPT, KVM_ENABLE_CAP,
          KVM_DIRTY_TLB, KVM_TRANSLATE, KVM_SET_GUEST_DEBUG, KVM_SOFT_SET_LINE})
        EXPECT_EQ(guest.vcpu().ioctl(request, nullptr), -EFAULT) << std::hex << request;
    EXPECT_EQ(guest.vm().ioctl(KVM_SET_USER_MEMORY_REGION, nullptr), -EFAULT);
    EXPECT_EQ(guest.vm().ioctl(KVM_SOFT_GET_TIME, nullptr), -EFAULT);
    kvm_one_reg reg{KVM_REG_PPC_TCR, 0};
    EXPECT_EQ(guest.vcpu().ioctl(KVM_GET_ONE_REG, &reg), -EFAULT);
}

TEST(Hostile, AnswersOfLinuxForWhatBookEDoesNotHave) {
    SoftGuest guest;
    kvm_fpu fpu{};
    EXPECT_EQ(guest.vcpu().ioctl(KVM_GET_FPU, &fpu), -EOPNOTSUPP);
    // No state but runnable and stopped.
    kvm_mp_state state{3};
    EXPECT_EQ(guest.vcpu().ioctl(KVM_SET_MP_STATE, &state), -EINVAL);
    EXPECT_EQ(guest.vcpu().ioctl(KVM_GET_MP_STATE, &state), 0);
    EXPECT_EQ(state.mp_state, uint32_t{KVM_MP_STATE_RUNNABLE});
}

TEST(Hostile, BadMemoryRegionsAreRefusedAndChangeNothing) {
    SoftGuest guest;
    const auto host = reinterpret_cast<uintptr_t>(guest.ram());
    Vm& vm = guest.vm();
    EXPECT_EQ(set_region(vm, 32, 1 << 24, 4096, host), -EINVAL);            // slot
    EXPECT_EQ(set_region(vm, 1, (1 << 24) + 1, 4096, host), -EINVAL);       // alignment
    EXPECT_EQ(set_region(vm, 1, 1 << 24, 4095, host), -EINVAL);             // size
    EXPECT_EQ(set_region(vm, 1, 1 << 24, 4096, host + 8), -EINVAL);         // host alignment
    EXPECT_EQ(set_region(vm, 1, 1 << 24, 4096, 0), -EINVAL);                // no memory
    EXPECT_EQ(set_region(vm, 1, 0 - uint64_t{4096}, 8192, host), -EINVAL);  // wraps
    EXPECT_EQ(set_region(vm, 1, 1 << 24, ~uint64_t{4095}, host), -EINVAL);  // wraps
    EXPECT_EQ(set_region(vm, 1, kRamSize - 4096, 8192, host), -EEXIST);     // overlap
    EXPECT_EQ(set_region(vm, 1, 1 << 24, 4096, host, 1), -EINVAL);          // dirty log
    EXPECT_EQ(set_region(vm, 1, 1 << 24, 0, 0), -EINVAL);                   // not there
    guest.start({li(5, 3), kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(5), 3u);
}

TEST(Hostile, RemovedRamIsADeviceFromThenOn) {
    SoftGuest guest;
    ASSERT_EQ(set_region(guest.vm(), 1, 1 << 22, 8192, reinterpret_cast<uintptr_t>(guest.ram())),
              0);
    guest.start(load(3, 1 << 22) + Code{lwz(4, 0, 3), kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    ASSERT_EQ(set_region(guest.vm(), 1, 1 << 22, 0, 0), 0);
    guest.start(load(3, 1 << 22) + Code{lwz(4, 0, 3), kSelf});
    EXPECT_EQ(guest.run(), KVM_EXIT_MMIO);
}

TEST(Hostile, OneRegIdsThatAreNoRegister) {
    SoftGuest guest;
    uint64_t value[4] = {};
    std::mt19937_64 random(1);
    for (int n = 0; n < 20'000; ++n) {
        // Ids near those that exist, so that a good part passes the first checks.
        const uint64_t sizes[] = {KVM_REG_SIZE_U32, KVM_REG_SIZE_U64, random() & KVM_REG_SIZE_MASK};
        kvm_one_reg reg{KVM_REG_PPC | sizes[random() % 3] | (random() & 0x400003ff),
                        reinterpret_cast<uintptr_t>(value)};
        if (random() % 16 == 0) reg.id = random();
        const int got = guest.vcpu().ioctl(KVM_GET_ONE_REG, &reg);
        ASSERT_TRUE(got == 0 || got == -EINVAL) << std::hex << reg.id;
        value[0] = random();
        const int set = guest.vcpu().ioctl(KVM_SET_ONE_REG, &reg);
        ASSERT_TRUE(set == 0 || set == -EINVAL) << std::hex << reg.id;
    }
}

// Whatever registers, TLB and memory hold, KVM_RUN comes back when it is kicked or has a deadline.
TEST(Hostile, RandomStateAndRandomCodeAlwaysComeBack) {
    std::mt19937_64 random(2);
    for (int round = 0; round < 40; ++round) {
        SoftGuest guest;
        for (uint32_t address = 0; address < kRamSize; address += 8) {
            const uint64_t bytes = random();
            std::memcpy(guest.ram() + address, &bytes, sizeof bytes);
        }
        kvm_regs regs{};
        for (auto& gpr : regs.gpr)
            gpr = random();
        regs.pc = random() % kRamSize;
        regs.msr = random() & 0x0002ff3e;
        ASSERT_TRUE(set_regs(guest.vcpu(), regs));
        kvm_sregs sregs = *get_sregs(guest.vcpu());
        const uint32_t pvr = sregs.pvr;
        auto* bytes = reinterpret_cast<uint8_t*>(&sregs);
        for (size_t n = 0; n < sizeof sregs; ++n)
            bytes[n] = static_cast<uint8_t>(random());
        sregs.pvr = pvr;
        sregs.u.e.pir = 0;
        ASSERT_TRUE(set_sregs(guest.vcpu(), sregs));
        for (auto& entry : guest.tlb())
            if (random() % 4 == 0)
                entry = {static_cast<uint32_t>(random()), static_cast<uint32_t>(random()), random(),
                         random() & 0xfffff};
        ASSERT_TRUE(dirty_tlb(guest.vcpu(), guest.tlb().size()));
        ASSERT_TRUE(set_deadline(guest.vcpu(), *guest_time(guest.vm()) + 500'000));
        for (int exit = 0; exit < 1000; ++exit) {
            const int reason = guest.run();
            ASSERT_TRUE(reason >= 0 || reason == -EINTR);
            if (reason == -EINTR || reason == KVM_EXIT_HLT || reason == KVM_EXIT_SHUTDOWN) break;
        }
    }
}

TEST(SoftOptions, UnusableOnesAreRefusedWithASentence) {
    SoftOptions options;
    options.cpu_model = "pentium";
    EXPECT_EQ(
        make_soft_kvm(options).error().message.rfind("unknown CPU pentium: known are e500mc", 0),
        0u);
    options = {};
    options.timebase_hz = 0;
    EXPECT_FALSE(make_soft_kvm(options));
    options = {};
    options.cpu_hz = uint64_t{1} << 32;
    EXPECT_FALSE(make_soft_kvm(options));
}

TEST(SoftVm, CpusAreLimitedAndUnique) {
    SoftGuest guest(SoftOptions{}, 2);
    EXPECT_FALSE(guest.vm().create_vcpu(1));
    EXPECT_FALSE(guest.vm().create_vcpu(32));
}

}  // namespace
}  // namespace perfvisor::kvm
