// SPDX-License-Identifier: GPL-2.0-or-later
// The board as a guest sees it: addresses, interrupt wiring, reset, power-off, secondary CPUs.
#include "machine/ppce500.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace perfvisor::machine {
namespace {

constexpr uint64_t kMpic = kCcsrBase + 0x40000;
constexpr uint64_t kUart0 = kCcsrBase + 0x4500;
constexpr uint64_t kUart1 = kCcsrBase + 0x4600;

class Board : public ::testing::Test {
  protected:
    Board() {
        hooks.set_external = [this](unsigned cpu, bool level) { external[cpu] = level; };
        hooks.request_reset = [this] { ++resets; };
        hooks.request_power_off = [this] { ++power_offs; };
        hooks.start_secondary = [this](const CpuStart& start) { started.push_back(start); };
        hooks.serial_output[0] = [this](std::span<const uint8_t> bytes) {
            output.append(bytes.begin(), bytes.end());
        };
        hooks.first_unmapped_access = [this](const auto& access) {
            unmapped.push_back(access.address);
        };
        hooks.wall_clock = [] { return 1719000123; };
        machine = std::move(*Ppce500::create({.cpus = 2}, hooks));
        write(kMpic + 0x20080, 0);  // CTPR of CPU 0.
    }
    uint64_t read(uint64_t address, unsigned size = 4) {
        return machine->bus().read(address, size, 0);
    }
    void write(uint64_t address, uint64_t value, unsigned size = 4) {
        machine->bus().write(address, size, value, 0);
    }
    void unmask(unsigned source) { write(kMpic + 0x10000 + source * 0x20, (8U << 16) | source); }
    void type(unsigned port, std::string_view text) {
        machine->send_to_serial(port, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    }

    MachineHooks hooks;
    std::map<unsigned, bool> external;
    int resets = 0;
    int power_offs = 0;
    std::vector<CpuStart> started;
    std::string output;
    std::vector<uint64_t> unmapped;
    std::unique_ptr<Ppce500> machine;
};

TEST_F(Board, HasItsDevicesAtThePeersAddresses) {
    write(kUart0, 'A', 1);
    EXPECT_EQ(output, "A");
    EXPECT_EQ(read(kUart1 + 5, 1), 0x60U);
    EXPECT_EQ(read(kMpic), 0x00400402U) << "MPIC 4.2";
    EXPECT_EQ(read(kCcsrBase + 0xe00a0), 0x80230020U) << "PVR";
    EXPECT_EQ(read(kCcsrBase + 0x300c, 1), 0x81U) << "I2CSR";
    EXPECT_EQ(read(kSpinTableBase + 0x20, 8), 1U);
    EXPECT_TRUE(unmapped.empty());
    write(kCcsrBase + 0x8000, 0x80000000);
    EXPECT_EQ(read(kCcsrBase + 0x8004), 0x57193200U) << "PCI host, little-endian";
    EXPECT_TRUE(unmapped.empty());
    EXPECT_EQ(read(kCcsrBase + 0x9000), 0U) << "nothing";
    EXPECT_THAT(unmapped, ::testing::ElementsAre(kCcsrBase + 0x9000));
}

TEST_F(Board, BothSerialPortsShareInterrupt42) {
    unmask(42);
    write(kUart0 + 1, 1, 1);
    write(kUart1 + 1, 1, 1);
    type(0, "a");
    EXPECT_TRUE(external[0]);
    type(1, "b");
    read(kUart0, 1);
    EXPECT_TRUE(external[0]) << "port 1 still asks";
    EXPECT_EQ(machine->acknowledge(0), 42U);
    read(kUart1, 1);
    write(kMpic + 0x200b0, 0);
    EXPECT_FALSE(external[0]);
    type(2, "no such port");
}

TEST_F(Board, TheGpioInterruptIsSource47AndI2cIs43) {
    unmask(43);
    write(kCcsrBase + 0x3008, 0xf0, 1);
    write(kCcsrBase + 0x3010, 0xd0, 1);
    EXPECT_EQ(machine->acknowledge(0), 43U);
}

TEST_F(Board, ResetsThroughTheGlobalUtilities) {
    write(kCcsrBase + 0xe00b0, 2);
    EXPECT_EQ(resets, 1);
}

// gpio-poweroff in Linux: output and high, low, high.
TEST_F(Board, PowersOffThroughPinZero) {
    write(kCcsrBase + 0xff008, 0x80000000);
    EXPECT_EQ(power_offs, 0);
    write(kCcsrBase + 0xff000, 0x80000000);
    EXPECT_EQ(power_offs, 1);
    write(kCcsrBase + 0xff000, 0xc0000000);
    write(kCcsrBase + 0xff008, 0xc0000000);
    EXPECT_EQ(power_offs, 1) << "other pins do nothing";
}

TEST_F(Board, ReleasesSecondaryCpusWithSixtyFourMebibytesMapped) {
    write(kSpinTableBase + 0x20, 0);
    write(kSpinTableBase + 0x28, 0);
    write(kSpinTableBase + 0x2c, 0x1234);
    write(kSpinTableBase + 0x24, 0x0c000140);
    ASSERT_EQ(started.size(), 1U);
    const CpuStart& start = started[0];
    EXPECT_EQ(start.cpu, 1U);
    EXPECT_EQ(start.pc, 0x140U);
    EXPECT_EQ(start.mapping.effective, 0U);
    EXPECT_EQ(start.mapping.physical, 0x0c000000U);
    EXPECT_EQ(start.mapping.size, 64 * kMiB);
    EXPECT_EQ(start.mapping.tlb1_entry, 1U);
    EXPECT_TRUE(start.mapping.protect) << "CPU 0 may broadcast tlbivax before CPU 1 runs";
    std::array<uint64_t, 32> gpr{};
    gpr[3] = 0x1234;
    gpr[7] = 64 * kMiB;
    EXPECT_EQ(start.gpr, gpr);
}

TEST_F(Board, AResetPutsEverythingBack) {
    unmask(42);
    write(kUart0 + 1, 1, 1);
    type(0, "x");
    write(kMpic + 0x1020, 0x60000000);
    write(kSpinTableBase + 0x24, 0);
    EXPECT_TRUE(machine->external_proxy());
    EXPECT_TRUE(external[0]);
    machine->reset();
    EXPECT_FALSE(external[0]);
    EXPECT_FALSE(machine->external_proxy());
    EXPECT_EQ(read(kSpinTableBase + 0x20, 8), 1U);
    EXPECT_EQ(read(kUart0 + 1, 1), 0U);
    // The line really is down: an unmasked source stays quiet.
    write(kMpic + 0x20080, 0);
    unmask(42);
    EXPECT_FALSE(external[0]);
}

TEST_F(Board, RefusesCpuCountsThatItDoesNotHave) {
    for (const unsigned cpus : {0U, 33U}) {
        const auto refused = Ppce500::create({.cpus = cpus}, {});
        ASSERT_FALSE(refused);
        EXPECT_THAT(refused.error().message, ::testing::HasSubstr("1 to 32 CPUs"));
    }
}

TEST_F(Board, WorksWithoutAnyHooks) {
    machine = std::move(*Ppce500::create({.cpus = 32}, {}));
    write(kUart0, 'x', 1);
    write(kCcsrBase + 0xe00b0, 2);
    write(kSpinTableBase + 0x24, 0);
    write(kCcsrBase + 0xff000, 0x80000000);
    write(kCcsrBase + 0xff008, 0x80000000);
    machine->run_timers();
    EXPECT_EQ(read(0x1234), 0U);
}

// Any address in and around the board, any size, any value, from any CPU.
TEST_F(Board, SurvivesAnyAccessAnywhere) {
    std::mt19937_64 random(11);
    constexpr uint64_t kRegions[][2] = {{kCcsrBase, kCcsrSize},
                                        {kMpic, 0x30000},
                                        {kUart0, 0x200},
                                        {kCcsrBase + 0x3000, 0x20},
                                        {kCcsrBase + 0xe0000, 0x100},
                                        {kCcsrBase + 0xff000, 0x20},
                                        {kSpinTableBase, 0x500},
                                        {0, ~uint64_t{0}}};
    for (int i = 0; i < 300000; ++i) {
        const auto& region = kRegions[random() % std::size(kRegions)];
        const uint64_t address = region[0] + random() % region[1];
        const auto size = static_cast<unsigned>(random() % 10);
        const auto cpu = static_cast<unsigned>(random() % 4);
        if (random() % 2 == 0) {
            machine->bus().read(address, size, cpu);
        } else {
            machine->bus().write(address, size, random(), cpu);
        }
        if (random() % 1000 == 0) type(random() % 2, "input");
        if (random() % 20000 == 0) machine->reset();
    }
    EXPECT_GT(resets + power_offs, 0);
    EXPECT_EQ(unmapped.size(), 1U);
}

// vCPUs, the console and a reset at the same time; the thread sanitizer's build looks for races.
TEST_F(Board, MayBeUsedFromManyThreads) {
    hooks.set_external = [](unsigned, bool) {};
    hooks.serial_output = {};
    hooks.start_secondary = {};
    machine = std::move(*Ppce500::create({.cpus = 2}, hooks));
    std::vector<std::thread> threads;
    for (unsigned cpu = 0; cpu < 2; ++cpu) {
        threads.emplace_back([this, cpu] {
            for (unsigned i = 0; i < 3000; ++i) {
                auto& bus = machine->bus();
                bus.write(kUart0 + i % 5, 1, i, cpu);
                bus.read(kUart0 + i % 8, 1, cpu);
                bus.write(kMpic + 0x20040 + cpu * 0x1000, 4, 3, cpu);
                bus.write(kMpic + 0x10000 + i % 64 * 0x20, 4, 0x80000 | i, cpu);
                machine->acknowledge(cpu);
                bus.write(kMpic + 0x200b0 + cpu * 0x1000, 4, 0, cpu);
            }
        });
    }
    threads.emplace_back([this] {
        for (int i = 0; i < 300; ++i) {
            type(0, "abc");
            if (i % 100 == 0) machine->reset();
        }
    });
    for (std::thread& thread : threads)
        thread.join();
    machine->reset();
    EXPECT_FALSE(machine->external_proxy());
}

}  // namespace
}  // namespace perfvisor::machine
