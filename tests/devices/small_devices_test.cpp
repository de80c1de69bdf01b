// SPDX-License-Identifier: GPL-2.0-or-later
// Global utilities, RCPM, GPIO, local bus and spin table.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "devices/gpio.h"
#include "devices/guts.h"
#include "devices/local_bus.h"
#include "devices/rcpm.h"
#include "devices/spin_table.h"

namespace perfvisor::devices {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

TEST(Guts, ResetsOnTheRequestBitOnly) {
    int resets = 0;
    Guts guts(0x80230020, 0x81120030, {[&] { ++resets; }, {}});
    guts.write({0xb0, 4, 0}, 1);
    EXPECT_EQ(resets, 0);
    guts.write({0xb0, 4, 0}, 2);
    EXPECT_EQ(resets, 1);
    guts.write({0xb0, 1, 0}, 2);
    EXPECT_EQ(resets, 1) << "registers are words";
}

TEST(Guts, ShowsThePvrAndSvrOfTheChip) {
    Guts guts(0x80230020, 0x81120030, {});
    EXPECT_EQ(guts.read({0xa0, 4, 0}), 0x80230020U);
    EXPECT_EQ(guts.read({0xa4, 4, 0}), 0x81120030U);
    EXPECT_EQ(guts.read({0x00, 4, 0}), 0U);
    guts.write({0xa0, 4, 0}, 0);
    EXPECT_EQ(guts.read({0xa0, 4, 0}), 0x80230020U);
}

TEST(Guts, StopsAndRestartsTimeBasesThroughDevdisr) {
    std::vector<std::pair<uint32_t, bool>> calls;
    Guts guts(0, 0, {{}, [&](uint32_t cpus, bool running) { calls.emplace_back(cpus, running); }});
    guts.write({0x70, 4, 0}, 0x00005000);
    EXPECT_THAT(calls, ElementsAre(Pair(3, false))) << "both at the same moment";
    calls.clear();
    guts.write({0x70, 4, 0}, 0x00001000);
    EXPECT_THAT(calls, ElementsAre(Pair(1, true)));
    EXPECT_EQ(guts.read({0x70, 4, 0}), 0x1000U);
    calls.clear();
    guts.reset();
    EXPECT_THAT(calls, ElementsAre(Pair(2, true)));
}

class RcpmTest : public testing::Test {
  protected:
    void write(uint64_t offset, uint32_t value) { rcpm.write({offset, 4, 0}, value); }
    uint32_t read(uint64_t offset) { return static_cast<uint32_t>(rcpm.read({offset, 4, 0})); }

    std::vector<std::pair<uint32_t, bool>> timebases;
    std::vector<std::pair<unsigned, bool>> naps;
    Rcpm rcpm{4,
              {[this](uint32_t cpus, bool running) { timebases.emplace_back(cpus, running); },
               [this](unsigned cpu, bool napping) { naps.emplace_back(cpu, napping); }}};
};

TEST_F(RcpmTest, StopsAllTimeBasesAtOnce) {
    EXPECT_EQ(read(0x84), 0xfU);
    write(0x84, 0);
    EXPECT_THAT(timebases, ElementsAre(Pair(0xf, false)));
    write(0x84, 0xffffffff);
    EXPECT_THAT(timebases, ElementsAre(Pair(0xf, false), Pair(0xf, true)));
    EXPECT_EQ(read(0x84), 0xfU) << "there are four cores";
}

TEST_F(RcpmTest, NappingCoreStandsStillUntilItsBitIsCleared) {
    write(0x1c, 4);
    EXPECT_THAT(naps, ElementsAre(Pair(2, true)));
    EXPECT_EQ(read(0x14), 4U);
    write(0x0c, 4);
    write(0x1c, 0);
    EXPECT_EQ(naps.size(), 1U) << "it dozes still";
    write(0x0c, 0);
    EXPECT_THAT(naps, ElementsAre(Pair(2, true), Pair(2, false)));
    EXPECT_EQ(read(0x2c), 4U) << "and it did nap";
    write(0x2c, 4);
    EXPECT_EQ(read(0x2c), 0U);
}

TEST_F(RcpmTest, InterruptWakesACoreUnlessItIsMasked) {
    write(0x64, 2);  // CPMIMR
    write(0x1c, 2);
    rcpm.set_interrupt(1, Rcpm::Interrupt::External, true);
    EXPECT_THAT(naps, ElementsAre(Pair(1, true)));
    rcpm.set_interrupt(1, Rcpm::Interrupt::Critical, true);
    EXPECT_THAT(naps, ElementsAre(Pair(1, true), Pair(1, false)));
    EXPECT_EQ(read(0x1c), 0U);
}

TEST_F(RcpmTest, ResetCoreDoesNotNap) {
    write(0x1c, 2);
    rcpm.core_reset(1);
    EXPECT_EQ(read(0x14), 0U);
    write(0x1c, 2);
    EXPECT_EQ(naps.back(), std::pair(1U, true));
}

class GpioTest : public testing::Test {
  protected:
    void write(uint64_t offset, uint32_t value) { gpio.write({offset, 4, 0}, value); }
    uint32_t read(uint64_t offset) { return static_cast<uint32_t>(gpio.read({offset, 4, 0})); }

    bool irq = false;
    std::vector<std::pair<unsigned, bool>> pins;
    Gpio gpio{IrqLine([this](bool level) { irq = level; }),
              [this](unsigned pin, bool level) { pins.emplace_back(pin, level); }};
};

TEST_F(GpioTest, DrivesAPinOnlyAsAnOutput) {
    write(0x08, 0x80000000);
    EXPECT_THAT(pins, IsEmpty());
    EXPECT_EQ(read(0x08), 0U) << "an input shows what drives it from outside";
    write(0x00, 0x80000000);
    EXPECT_THAT(pins, ElementsAre(Pair(0, true)));
    EXPECT_EQ(read(0x08), 0x80000000U);
    pins.clear();
    write(0x08, 0x80000001);
    EXPECT_THAT(pins, IsEmpty()) << "pin 31 is an input";
    write(0x08, 0);
    EXPECT_THAT(pins, ElementsAre(Pair(0, false)));
}

TEST_F(GpioTest, InputsInterruptAtAnyChangeOrAtFallingEdges) {
    write(0x10, 0x08000000);
    gpio.set_input(4, true);
    EXPECT_TRUE(irq);
    EXPECT_EQ(read(0x08), 0x08000000U);
    EXPECT_EQ(read(0x0c), 0x08000000U);
    write(0x0c, 0x08000000);
    EXPECT_FALSE(irq);
    gpio.set_input(4, true);
    EXPECT_FALSE(irq) << "no change";
    write(0x14, 0x08000000);
    gpio.set_input(4, false);
    EXPECT_TRUE(irq);
    write(0x0c, 0xffffffff);
    gpio.set_input(4, true);
    EXPECT_FALSE(irq) << "a rising edge";
    gpio.set_input(32, true);
}

TEST_F(GpioTest, AMaskedEventIsKeptWithoutInterrupt) {
    gpio.set_input(0, true);
    EXPECT_FALSE(irq);
    EXPECT_EQ(read(0x0c), 0x80000000U);
    write(0x10, 0x80000000);
    EXPECT_TRUE(irq);
    gpio.reset();
    EXPECT_FALSE(irq);
    EXPECT_EQ(read(0x0c), 0U);
    EXPECT_EQ(read(0x08), 0x80000000U) << "still driven from outside";
}

TEST(LocalBus, HasNoChipSelectAndKeepsWhatIsWritten) {
    LocalBus bus;
    for (uint64_t bank = 0; bank < 8; ++bank)
        EXPECT_EQ(bus.read({bank * 8, 4, 0}) & 1, 0U) << "BR" << bank << "[V]";
    EXPECT_EQ(bus.read({0xd4, 4, 0}), 0x80000008U) << "LCRR";
    bus.write({0x08, 4, 0}, 0xf8001801);
    bus.write({0x0c, 4, 0}, 0xfff00040);
    EXPECT_EQ(bus.read({0x08, 4, 0}), 0xf8001801U);
    EXPECT_EQ(bus.read({0x0c, 4, 0}), 0xfff00040U);
    bus.write({0x08, 2, 0}, 0);
    bus.write({0xdc, 4, 0}, 1);
    EXPECT_EQ(bus.read({0x08, 4, 0}), 0xf8001801U) << "registers are words";
    EXPECT_EQ(bus.read({0xdc, 4, 0}), 0U) << "no register";
    bus.reset();
    EXPECT_EQ(bus.read({0x08, 4, 0}), 0U);
}

class Spin : public testing::Test {
  protected:
    std::vector<SpinTable::Release> released;
    SpinTable table{3, [this](const SpinTable::Release& r) { released.push_back(r); }};
};

TEST_F(Spin, BeginsAsTheEpaprSays) {
    EXPECT_EQ(table.read({0x20, 8, 0}), 1U);
    EXPECT_EQ(table.read({0x28, 8, 0}), 1U);
    EXPECT_EQ(table.read({0x34, 4, 0}), 1U);
    EXPECT_EQ(table.read({0x54, 4, 0}), 2U);
}

TEST_F(Spin, CpuThatWasResetWaitsAgain) {
    table.write({0x20, 8, 0}, 0x4000);
    ASSERT_EQ(released.size(), 1U);
    table.write({0x20, 8, 0}, 0x5000);
    EXPECT_EQ(released.size(), 1U);
    table.wait_again(1);
    EXPECT_EQ(table.read({0x20, 8, 0}), 1U);
    table.write({0x20, 8, 0}, 0x6000);
    ASSERT_EQ(released.size(), 2U);
    EXPECT_EQ(released[1].entry, 0x6000U);
}

// The order of Linux's smp_85xx_start_cpu(): PIR, then the two halves of the address.
TEST_F(Spin, ReleasesACpuWhenTheLowHalfOfItsEntryIsWritten) {
    table.write({0x34, 4, 0}, 1);
    table.write({0x20, 4, 0}, 0xf);
    EXPECT_THAT(released, IsEmpty());
    table.write({0x2c, 4, 0}, 0xabcd);
    table.write({0x24, 4, 0}, 0x04000100);
    ASSERT_EQ(released.size(), 1U);
    EXPECT_EQ(released[0].cpu, 1U);
    EXPECT_EQ(released[0].entry, 0xf04000100U);
    EXPECT_EQ(released[0].r3, 0xabcdU);
    EXPECT_EQ(table.read({0x27, 1, 0}), 0U);
    EXPECT_EQ(table.read({0x26, 2, 0}), 0x0100U);
}

TEST_F(Spin, ReleasesEachCpuOnceBetweenResets) {
    table.write({0x40, 8, 0}, 0x1000);
    table.write({0x40, 8, 0}, 0x2000);
    EXPECT_EQ(released.size(), 1U);
    table.reset();
    EXPECT_EQ(table.read({0x40, 8, 0}), 1U);
    table.write({0x40, 8, 0}, 0x3000);
    ASSERT_EQ(released.size(), 2U);
    EXPECT_EQ(released[1].entry, 0x3000U);
}

TEST_F(Spin, IgnoresCpusThatDoNotWaitThere) {
    table.write({0x00, 8, 0}, 0x1000);
    table.write({0x60, 8, 0}, 0x1000);
    table.write({0x1c, 8, 0}, 0);
    EXPECT_THAT(released, IsEmpty());
    EXPECT_EQ(table.read({0x00, 8, 0}), 1U);
}

}  // namespace
}  // namespace perfvisor::devices
