// SPDX-License-Identifier: GPL-2.0-or-later
// Device accesses leave KVM_RUN with Linux's semantics.
#include <algorithm>

#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;

std::vector<uint8_t> data(Vcpu& vcpu) {
    const auto& mmio = vcpu.run()->mmio;
    return {mmio.data, mmio.data + mmio.len};
}

TEST(Mmio, StoreGivesTheBytesAsTheyAreInMemory) {
    SoftGuest guest;
    guest.start(load(3, 0x11223344) + say(3) + Code{stb(3, 5, 31), sth(3, 8, 31), kSelf});

    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.vcpu().run()->mmio.phys_addr, kDevicePhysical);
    EXPECT_EQ(guest.vcpu().run()->mmio.is_write, 1);
    EXPECT_EQ(data(guest.vcpu()), (std::vector<uint8_t>{0x11, 0x22, 0x33, 0x44}));

    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.vcpu().run()->mmio.phys_addr, kDevicePhysical + 5);
    EXPECT_EQ(data(guest.vcpu()), (std::vector<uint8_t>{0x44}));

    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.vcpu().run()->mmio.phys_addr, kDevicePhysical + 8);
    EXPECT_EQ(data(guest.vcpu()), (std::vector<uint8_t>{0x33, 0x44}));
}

TEST(Mmio, LoadTakesTheBytesTheVmmPutThere) {
    SoftGuest guest;
    guest.start(load(31, kDevice) + Code{lwz(4, 0x10, 31), lbz(5, 0x21, 31), kSelf});

    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    kvm_run& run = *guest.vcpu().run();
    EXPECT_EQ(run.mmio.is_write, 0);
    EXPECT_EQ(run.mmio.len, 4u);
    const uint8_t bytes[] = {0xca, 0xfe, 0xba, 0xbe};
    std::copy(std::begin(bytes), std::end(bytes), run.mmio.data);

    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(run.mmio.phys_addr, kDevicePhysical + 0x21);
    EXPECT_EQ(run.mmio.len, 1u);
    run.mmio.data[0] = 0x7f;

    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(4), 0xcafebabe);
    EXPECT_EQ(guest.gpr(5), 0x7fu);
}

TEST(Mmio, LoadMultipleAsksOnceForEachWord) {
    SoftGuest guest;
    guest.start(load(3, kDevice) + Code{lmw(29, 0, 3), kSelf});
    for (uint32_t word = 0; word < 3; ++word) {
        ASSERT_EQ(guest.run(), KVM_EXIT_MMIO) << word;
        EXPECT_EQ(guest.vcpu().run()->mmio.phys_addr, kDevicePhysical + 4 * word);
        std::memset(guest.vcpu().run()->mmio.data, static_cast<int>(word + 1), 8);
    }
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(29), 0x01010101u);
    EXPECT_EQ(guest.gpr(31), 0x03030303u);
}

// As in Linux: entering with immediate_exit set completes the access, so that the registers can
// be saved.
TEST(Mmio, ImmediateExitCompletesTheAccessFirst) {
    SoftGuest guest;
    guest.start(load(31, kDevice) + Code{lwz(4, 0, 31), li(5, 1), kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    std::memset(guest.vcpu().run()->mmio.data, 0x55, 8);
    guest.vcpu().run()->immediate_exit = 1;
    EXPECT_EQ(guest.run(), -EINTR);
    EXPECT_EQ(guest.gpr(4), 0x55555555u);
    EXPECT_EQ(guest.gpr(5), 0u);
    EXPECT_EQ(guest.regs().pc, kStart + 12);
}

TEST(Mmio, NewRegistersDropAnUnfinishedAccess) {
    SoftGuest guest;
    guest.start(load(31, kDevice) + Code{lwz(4, 0, 31), kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    guest.start({li(5, 9), kSelf}, 0, 0, 0x2000);
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(5), 9u);
    EXPECT_EQ(guest.regs().pc, 0x2004u);
}

TEST(Mmio, InterruptIsTakenAfterTheAccessNotInsteadOfIt) {
    SoftGuest guest;
    guest.write(vector(4), {kSelf});
    guest.start(load(31, kDevice) + Code{lwz(4, 0, 31), li(5, 1), kSelf}, kMsrEE);
    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    std::memset(guest.vcpu().run()->mmio.data, 0x66, 8);
    ASSERT_TRUE(set_external_interrupt(guest.vcpu(), true));
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(4), 0x66666666u);
    EXPECT_EQ(guest.gpr(5), 0u);
    EXPECT_EQ(guest.regs().srr0, kStart + 12);
}

TEST(Mmio, ReadOnlySlotIsReadAsMemoryAndWrittenAsDevice) {
    SoftGuest guest;
    std::vector<uint8_t> rom(8192, 0x42);
    uint8_t* page = rom.data() + (-reinterpret_cast<uintptr_t>(rom.data()) & 4095);
    ASSERT_TRUE(set_user_memory_region(guest.vm(), 1, kDevicePhysical + 0x1000, page, 4096, true));
    guest.start(load(31, kDevice + 0x1000) + Code{lwz(4, 0, 31), stw(4, 4, 31), kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    EXPECT_EQ(guest.vcpu().run()->mmio.is_write, 1);
    EXPECT_EQ(guest.vcpu().run()->mmio.phys_addr, kDevicePhysical + 0x1004);
    EXPECT_EQ(guest.gpr(4), 0x42424242u);
}

}  // namespace
}  // namespace perfvisor::kvm
