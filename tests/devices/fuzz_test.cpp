// SPDX-License-Identifier: GPL-2.0-or-later
// Hostile guests: any access to any device, in any order, returns and breaks no invariant.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "devices/gpio.h"
#include "devices/guts.h"
#include "devices/i2c.h"
#include "devices/local_bus.h"
#include "devices/mpic.h"
#include "devices/pci_host.h"
#include "devices/rtc.h"
#include "devices/spin_table.h"
#include "devices/uart16550.h"

namespace perfvisor::devices {
namespace {

constexpr int kAccesses = 200000;

// Accesses of every size, mostly near registers, sometimes far outside the region; a quarter of
// the values are small, to hit enumerations and bit fields.
class Fuzzer {
  public:
    explicit Fuzzer(uint32_t seed) : random_(seed) {}

    MmioAccess access(uint64_t region_bytes) {
        MmioAccess result;
        result.offset = below(64) == 0 ? random_() : below(region_bytes);
        if (below(4) != 0) result.offset &= ~uint64_t{3};
        static constexpr std::array<unsigned, 8> kSizes = {4, 4, 4, 1, 1, 2, 8, 3};
        result.size = kSizes[below(kSizes.size())];
        result.cpu = static_cast<unsigned>(below(40));
        return result;
    }
    uint64_t value() { return below(4) == 0 ? below(256) : random_(); }
    uint64_t below(uint64_t bound) { return random_() % bound; }

    void run(MmioDevice& device, uint64_t region_bytes, int accesses = kAccesses) {
        for (int i = 0; i < accesses; ++i) {
            const MmioAccess where = access(region_bytes);
            if (below(2) == 0) {
                device.read(where);
            } else {
                device.write(where, value());
            }
            if (below(5000) == 0) device.reset();
        }
    }

  private:
    std::mt19937_64 random_;
};

TEST(DeviceFuzz, Uart) {
    Fuzzer fuzzer(1);
    bool irq = false;
    size_t sent = 0;
    Uart16550 uart(IrqLine([&](bool level) { irq = level; }),
                   [&](std::span<const uint8_t> bytes) { sent += bytes.size(); }, {});
    const std::array<uint8_t, 300> input{};
    for (int round = 0; round < 200; ++round) {
        uart.receive(std::span(input).first(fuzzer.below(input.size())));
        fuzzer.run(uart, 8, kAccesses / 200);
        const auto state = uart.state();
        ASSERT_LE(state.fifo.size(), Uart16550::kFifoBytes);
        ASSERT_LE(state.waiting.size(), Uart16550::kMaxWaitingBytes);
    }
    EXPECT_GT(sent, 0U);
    uart.reset();
    EXPECT_FALSE(irq);
}

TEST(DeviceFuzz, Mpic) {
    for (const MpicVersion version : {MpicVersion::k20, MpicVersion::k42}) {
        for (const unsigned cpus : {1U, 2U, 15U, 16U, 32U}) {
            Fuzzer fuzzer(cpus);
            uint64_t now = 0;
            std::array<bool, Mpic::kMaxCpus> external{};
            Mpic mpic(version, cpus,
                      {.external = [&](unsigned cpu, bool level) { external.at(cpu) = level; },
                       .critical = [](unsigned, bool) {},
                       .machine_check = [](unsigned, bool) {},
                       .external_proxy = [](bool) {},
                       .deadline = [](std::optional<uint64_t>) {},
                       .reset_core = [&](unsigned cpu) { external.at(cpu) = false; }},
                      [&] { return now; });
            for (int round = 0; round < 200; ++round) {
                now += fuzzer.below(1000000);
                mpic.set_input(static_cast<unsigned>(fuzzer.below(300)), fuzzer.below(2) != 0);
                // The whole block, then its dense corners.
                fuzzer.run(mpic, Mpic::kRegionBytes, 50);
                fuzzer.run(mpic, 0x2400, 50);
                mpic.run_timers();
                const auto cpu = static_cast<unsigned>(fuzzer.below(cpus));
                mpic.acknowledge(cpu);
                const Mpic::State all = mpic.state();
                for (unsigned c = 0; c < cpus; ++c) {
                    const Mpic::Cpu& state = all.cpus[c];
                    ASSERT_LE(state.depth, 15);
                    ASSERT_EQ(state.level[Mpic::kExternal], external[c]);
                    for (unsigned i = 1; i < state.depth; ++i) {
                        ASSERT_GT(state.service[i].priority, state.service[i - 1].priority);
                    }
                }
            }
        }
    }
}

TEST(DeviceFuzz, GutsGpioAndSpinTable) {
    Fuzzer fuzzer(3);
    unsigned resets = 0;
    Guts guts(1, 2, {[&] { ++resets; }, [](uint32_t cpus, bool) { ASSERT_LT(cpus, 4U); }});
    fuzzer.run(guts, 0x100);
    EXPECT_GT(resets, 0U);

    Gpio gpio({}, [](unsigned pin, bool) { ASSERT_LT(pin, Gpio::kPins); });
    fuzzer.run(gpio, 0x20);

    unsigned releases = 0;
    SpinTable table(8, [&](const SpinTable::Release& release) {
        ASSERT_GT(release.cpu, 0U);
        ASSERT_LT(release.cpu, 8U);
        ++releases;
    });
    fuzzer.run(table, SpinTable::kRegionBytes);
    EXPECT_GT(releases, 0U);
}

TEST(DeviceFuzz, PciHostAndLocalBus) {
    Fuzzer fuzzer(5);
    PciHost pci;
    // Near the registers that select what the others mean, then anywhere.
    fuzzer.run(pci, 8);
    fuzzer.run(pci, PciHost::kRegionBytes);
    pci.write({0, 4, 0}, 0x80000000);
    EXPECT_EQ(pci.read({4, 4, 0}), 0x57193200U) << "the identity is read only";

    LocalBus bus;
    fuzzer.run(bus, LocalBus::kRegionBytes);
}

TEST(DeviceFuzz, I2cWithAnyTimeOfDay) {
    Fuzzer fuzzer(4);
    int64_t time = 0;
    Rtc rtc([&] { return time; });
    I2c i2c({}, rtc);
    for (int round = 0; round < 2000; ++round) {
        time = static_cast<int64_t>(fuzzer.value());
        // A write or read transfer of random content, and disorder around it.
        i2c.write({0x08, 1, 0}, 0x80);
        i2c.write({0x08, 1, 0}, 0xf0);
        const bool is_read = fuzzer.below(2) != 0;
        i2c.write({0x10, 1, 0}, 0x68 << 1 | (is_read ? 1 : 0));
        if (is_read) i2c.write({0x08, 1, 0}, 0xe0);
        for (uint64_t i = fuzzer.below(80); i > 0; --i) {
            if (is_read) {
                i2c.read({0x10, 1, 0});
            } else {
                i2c.write({0x10, 1, 0}, fuzzer.value());
            }
        }
        fuzzer.run(i2c, 0x18, 50);
        ASSERT_LT(rtc.state().pointer, Rtc::kBytes);
    }
}

}  // namespace
}  // namespace perfvisor::devices
