// SPDX-License-Identifier: GPL-2.0-or-later
// The clock over the I²C controller, the way Linux's i2c-mpc and rtc-ds1307 drivers use them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "devices/i2c.h"
#include "devices/rtc.h"

namespace perfvisor::devices {
namespace {

constexpr uint8_t kEnable = 0x80;
constexpr uint8_t kInterrupt = 0x40;
constexpr uint8_t kMaster = 0x20;
constexpr uint8_t kTransmit = 0x10;
constexpr uint8_t kNoAck = 0x08;
constexpr uint8_t kRestart = 0x04;

class I2cRtc : public testing::Test {
  protected:
    void out(uint64_t reg, uint8_t value) { i2c.write({reg, 1, 0}, value); }
    uint8_t in(uint64_t reg) { return static_cast<uint8_t>(i2c.read({reg, 1, 0})); }
    void control(uint8_t bits) { out(0x08, kEnable | kInterrupt | bits); }
    // Sends a byte, waits for the interrupt, clears it; true if the slave acknowledged.
    bool send(uint8_t value) {
        out(0x10, value);
        EXPECT_TRUE(irq);
        EXPECT_EQ(in(0x0c) & 0x82, 0x82);
        const bool acknowledged = (in(0x0c) & 1) == 0;
        out(0x0c, 0);
        EXPECT_FALSE(irq);
        return acknowledged;
    }
    void stop() { control(0); }

    void write_registers(uint8_t first, const std::vector<uint8_t>& values) {
        control(kMaster | kTransmit);
        EXPECT_TRUE(send(0x68 << 1));
        EXPECT_TRUE(send(first));
        for (const uint8_t value : values)
            EXPECT_TRUE(send(value));
        stop();
    }
    std::vector<uint8_t> read_registers(uint8_t first, size_t count) {
        control(kMaster | kTransmit);
        EXPECT_TRUE(send(0x68 << 1));
        EXPECT_TRUE(send(first));
        control(kMaster | kTransmit | kRestart);
        EXPECT_TRUE(send(0x68 << 1 | 1));
        control(kMaster | (count == 1 ? kNoAck : 0));
        in(0x10);  // Dummy: fetches the first byte.
        std::vector<uint8_t> values;
        for (size_t i = 0; i < count; ++i) {
            EXPECT_TRUE(irq);
            out(0x0c, 0);
            if (i + 1 == count) stop();
            values.push_back(in(0x10));
        }
        return values;
    }

    int64_t time = 1719000123;  // 2024-06-21 20:02:03 UTC, a Friday.
    bool irq = false;
    Rtc rtc{[this] { return time; }};
    I2c i2c{IrqLine([this](bool level) { irq = level; }), rtc};
};

TEST_F(I2cRtc, ShowsTheHostsTimeInBcd) {
    EXPECT_THAT(read_registers(0, 7), testing::ElementsAre(0x03, 0x02, 0x20, 6, 0x21, 0x06, 0x24));
    time += 57;
    EXPECT_THAT(read_registers(0, 2), testing::ElementsAre(0x00, 0x03));
}

TEST_F(I2cRtc, KeepsTheTimeThatTheGuestSets) {
    write_registers(0, {0x58, 0x59, 0x23, 5, 0x31, 0x12, 0x28});
    time += 1;
    EXPECT_THAT(read_registers(0, 7), testing::ElementsAre(0x59, 0x59, 0x23, 5, 0x31, 0x12, 0x28));
    time += 1;
    EXPECT_THAT(read_registers(0, 7), testing::ElementsAre(0, 0, 0, 6, 0x01, 0x01, 0x29));
}

TEST_F(I2cRtc, WrapsAfterTheYear2099) {
    write_registers(0, {0x59, 0x59, 0x23, 5, 0x31, 0x12, 0x99});
    time += 1;
    const auto registers = read_registers(0, 7);
    EXPECT_EQ(registers[6], 0x00);
    EXPECT_EQ(registers[4], 0x01);
}

TEST_F(I2cRtc, HasATwelveHourMode) {
    write_registers(2, {0x40 | 0x20 | 0x11});
    EXPECT_THAT(read_registers(2, 1), testing::ElementsAre(0x71)) << "11 pm";
    time += 3600;
    EXPECT_THAT(read_registers(2, 1), testing::ElementsAre(0x52)) << "12 am is midnight";
}

TEST_F(I2cRtc, RemembersItsMemoryAndWrapsItsPointer) {
    write_registers(0x3e, {0xaa, 0xbb});
    EXPECT_THAT(read_registers(0x3e, 3), testing::ElementsAre(0xaa, 0xbb, 0x03));
    write_registers(7, {0xff});
    EXPECT_THAT(read_registers(7, 1), testing::ElementsAre(0x93)) << "OSF cannot be set";
}

TEST_F(I2cRtc, AnyRegisterContentIsSomeTime) {
    write_registers(0, {0x7f, 0x7f, 0x3f, 0xff, 0x3f, 0x1f, 0xff});
    write_registers(4, {0x00, 0x00});
    EXPECT_EQ(read_registers(0, 7).size(), 7U);
}

TEST_F(I2cRtc, NobodyAnswersAtOtherAddresses) {
    control(kMaster | kTransmit);
    EXPECT_EQ(in(0x0c) & 0x20, 0x20) << "bus busy";
    EXPECT_FALSE(send(0x50 << 1));
    stop();
    EXPECT_EQ(in(0x0c) & 0x20, 0);
}

TEST_F(I2cRtc, DisablingTheModuleEndsEverything) {
    control(kMaster | kTransmit);
    out(0x10, 0x68 << 1);
    EXPECT_TRUE(irq);
    out(0x08, 0);
    EXPECT_FALSE(irq);
    EXPECT_EQ(in(0x0c), 0x81);
}

}  // namespace
}  // namespace perfvisor::devices
