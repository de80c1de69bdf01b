// SPDX-License-Identifier: GPL-2.0-or-later
// The PCI host controller: configuration accesses as Linux and U-Boot make them, and its windows.
#include "devices/pci_host.h"

#include <gtest/gtest.h>

namespace perfvisor::devices {
namespace {

class PciHostTest : public testing::Test {
  protected:
    static uint32_t target(unsigned bus, unsigned device, unsigned function, unsigned offset) {
        return 0x80000000 | bus << 16 | device << 11 | function << 8 | (offset & 0xfc);
    }
    uint64_t config(unsigned device, unsigned offset, unsigned size) {
        pci.write({0, 4, 0}, target(0, device, 0, offset));
        return pci.read({4 + (offset & 3), size, 0});
    }
    void set_config(unsigned device, unsigned offset, unsigned size, uint64_t value) {
        pci.write({0, 4, 0}, target(0, device, 0, offset));
        pci.write({4 + (offset & 3), size, 0}, value);
    }

    PciHost pci;
};

TEST_F(PciHostTest, TheControllerIsDeviceZeroAndLittleEndian) {
    EXPECT_EQ(config(0, 0x00, 4), 0x57193200U) << "vendor 0x1957, device 0x0032";
    EXPECT_EQ(config(0, 0x00, 2), 0x5719U);
    EXPECT_EQ(config(0, 0x02, 2), 0x3200U);
    EXPECT_EQ(config(0, 0x01, 1), 0x19U);
    EXPECT_EQ(config(0, 0x0a, 2), 0x200bU) << "class: processor, PowerPC";
    EXPECT_EQ(config(0, 0x09, 1), 0U) << "a host, not an agent";
    EXPECT_EQ(config(0, 0x0e, 1), 0U) << "header type 0";
}

TEST_F(PciHostTest, NobodyElseAnswers) {
    EXPECT_EQ(config(0, 0x06, 2), 0xa000U);
    EXPECT_EQ(config(1, 0x00, 4), 0xffffffffU);
    EXPECT_EQ(config(31, 0x0e, 1), 0xffU);
    pci.write({0, 4, 0}, target(1, 0, 0, 0));
    EXPECT_EQ(pci.read({4, 2, 0}), 0xffffU) << "another bus";
    pci.write({0, 4, 0}, target(0, 0, 1, 0));
    EXPECT_EQ(pci.read({4, 2, 0}), 0xffffU) << "another function";
    EXPECT_EQ(config(0, 0x06, 2), 0xa020U) << "received master abort";
    set_config(0, 0x06, 2, 0x0020);
    EXPECT_EQ(config(0, 0x06, 2), 0xa000U) << "cleared by writing 1";
}

TEST_F(PciHostTest, BusMasteringMayBeChangedAndTheIdentityMayNot) {
    set_config(0, 0x04, 2, 0xffff);
    EXPECT_EQ(config(0, 0x04, 2), 0x4601U) << "memory, master, parity, SERR";
    set_config(0, 0x00, 4, 0);
    EXPECT_EQ(config(0, 0x00, 4), 0x57193200U);
    pci.reset();
    EXPECT_EQ(config(0, 0x04, 2), 0x0400U);
}

TEST_F(PciHostTest, TheRegistersWindowHasOneMebibyte) {
    set_config(0, 0x10, 4, 0xffffffff);
    EXPECT_EQ(config(0, 0x10, 4), 0x0000f0ffU);
    set_config(0, 0x14, 4, 0xffffffff);
    EXPECT_EQ(config(0, 0x14, 4), 0U) << "no other base address";
}

TEST_F(PciHostTest, NothingHappensWhileConfigurationIsNotEnabled) {
    pci.write({0, 4, 0}, 0x00000004);
    pci.write({4, 4, 0}, 0xffffffff);
    EXPECT_EQ(pci.read({4, 4, 0}), 0U);
    EXPECT_EQ(config(0, 0x04, 2), 0x0400U);
}

TEST_F(PciHostTest, KeepsItsWindows) {
    // As U-Boot's pci_mpc85xx sets them up.
    pci.write({0xc20, 4, 0}, 0xe0000);
    pci.write({0xc28, 4, 0}, 0xc00000);
    pci.write({0xc30, 4, 0}, 0x8004401c);
    pci.write({0xdf0, 4, 0}, 0xa0f5501e);
    EXPECT_EQ(pci.read({0xc20, 4, 0}), 0xe0000U);
    EXPECT_EQ(pci.read({0xc28, 4, 0}), 0xc00000U);
    EXPECT_EQ(pci.read({0xc30, 4, 0}), 0x8004401cU);
    EXPECT_EQ(pci.read({0xdf0, 4, 0}), 0xa0f5501eU);
    pci.write({0xc08, 4, 0}, 0xffffffff);
    EXPECT_EQ(pci.read({0xc08, 4, 0}), 0U) << "window 0 has no base address";
    EXPECT_EQ(pci.read({0xc20, 2, 0}), 0U) << "registers are words";
    const PciHost::State state = pci.state();
    pci.reset();
    EXPECT_EQ(pci.read({0xc30, 4, 0}), 0U);
    pci.restore(state);
    EXPECT_EQ(pci.read({0xc30, 4, 0}), 0x8004401cU);
}

}  // namespace
}  // namespace perfvisor::devices
