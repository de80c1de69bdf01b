// SPDX-License-Identifier: GPL-2.0-or-later
// The bus finds the right device, and survives accesses where none is.
#include "devices/bus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace perfvisor::devices {
namespace {

class RecordingDevice : public MmioDevice {
  public:
    uint64_t read(const MmioAccess& access) override {
        last = access;
        return value;
    }
    void write(const MmioAccess& access, uint64_t new_value) override {
        last = access;
        value = new_value;
    }
    void reset() override { ++resets; }

    MmioAccess last;
    uint64_t value = 0;
    int resets = 0;
};

constexpr uint64_t kBase = 0xfe0000000;

TEST(MmioBus, ReachesEachDeviceAtItsOffsetWithTheCpu) {
    MmioBus bus;
    RecordingDevice low;
    RecordingDevice high;
    ASSERT_TRUE(bus.map(kBase + 0x1000, 0x100, high, "high"));
    ASSERT_TRUE(bus.map(kBase, 0x1000, low, "low"));
    bus.write(kBase + 0xffc, 4, 0x12345678, 3);
    EXPECT_EQ(low.last.offset, 0xffcU);
    EXPECT_EQ(low.last.size, 4U);
    EXPECT_EQ(low.last.cpu, 3U);
    high.value = 0xab;
    EXPECT_EQ(bus.read(kBase + 0x1000, 1, 1), 0xabU);
    EXPECT_EQ(bus.read(kBase + 0xffc, 4, 0), 0x12345678U);
    EXPECT_EQ(bus.unmapped_accesses(), 0U);
}

TEST(MmioBus, RefusesRegionsThatOverlapWrapOrAreEmpty) {
    MmioBus bus;
    RecordingDevice device;
    ASSERT_TRUE(bus.map(0x1000, 0x1000, device, "first"));
    EXPECT_FALSE(bus.map(0x1fff, 1, device, "inside"));
    EXPECT_FALSE(bus.map(0x800, 0x801, device, "before"));
    EXPECT_FALSE(bus.map(0, 0x10000, device, "around"));
    EXPECT_FALSE(bus.map(0x5000, 0, device, "empty"));
    EXPECT_FALSE(bus.map(~uint64_t{0}, 2, device, "wrapping"));
    EXPECT_TRUE(bus.map(0x2000, 1, device, "after"));
    EXPECT_TRUE(bus.map(~uint64_t{0}, 1, device, "last byte"));
}

TEST(MmioBus, UnmappedReadsGiveZeroAndTheFirstIsReported) {
    MmioBus bus;
    RecordingDevice device;
    device.value = 1;
    ASSERT_TRUE(bus.map(0x1000, 0x10, device, "device"));
    std::vector<uint64_t> reported;
    bus.on_first_unmapped([&](const MmioBus::Unmapped& u) { reported.push_back(u.address); });
    EXPECT_EQ(bus.read(0xfff, 1, 0), 0U);
    EXPECT_EQ(bus.read(0xfff, 4, 0), 0U) << "begins before the device";
    EXPECT_EQ(bus.read(0x100e, 4, 0), 0U) << "ends behind the device";
    EXPECT_EQ(bus.read(0x1000, 9, 0), 0U) << "no such size";
    EXPECT_EQ(bus.read(0x1000, 0, 0), 0U) << "no such size";
    bus.write(0x1010, 1, 5, 0);
    bus.write(~uint64_t{0}, 8, 5, 0);
    EXPECT_EQ(device.value, 1U);
    EXPECT_EQ(bus.unmapped_accesses(), 7U);
    EXPECT_THAT(reported, testing::ElementsAre(0xfffU));
}

TEST(MmioBus, BytesAreThoseOfABigEndianGuest) {
    MmioBus bus;
    RecordingDevice device;
    ASSERT_TRUE(bus.map(0, 0x10, device, "device"));
    bus.write_bytes(0, std::array<uint8_t, 4>{0x12, 0x34, 0x56, 0x78}, 0);
    EXPECT_EQ(device.value, 0x12345678U);
    std::array<uint8_t, 2> data{};
    device.value = 0xffffabcd;
    bus.read_bytes(2, data, 0);
    EXPECT_THAT(data, testing::ElementsAre(0xab, 0xcd));
    std::array<uint8_t, 9> too_long{};
    too_long.fill(0xee);
    bus.read_bytes(0, too_long, 0);
    EXPECT_THAT(too_long, testing::Each(0));
}

TEST(MmioBus, ValuesAreCutToTheSizeOfTheAccess) {
    MmioBus bus;
    RecordingDevice device;
    ASSERT_TRUE(bus.map(0, 0x10, device, "device"));
    bus.write(0, 2, 0xfffffffff, 0);
    EXPECT_EQ(device.value, 0xffffU);
    device.value = ~uint64_t{0};
    EXPECT_EQ(bus.read(0, 1, 0), 0xffU);
    EXPECT_EQ(bus.read(0, 8, 0), ~uint64_t{0});
}

TEST(MmioBus, ResetReachesEveryDevice) {
    MmioBus bus;
    RecordingDevice a;
    RecordingDevice b;
    ASSERT_TRUE(bus.map(0, 1, a, "a"));
    ASSERT_TRUE(bus.map(1, 1, b, "b"));
    bus.reset();
    EXPECT_EQ(a.resets, 1);
    EXPECT_EQ(b.resets, 1);
}

}  // namespace
}  // namespace perfvisor::devices
