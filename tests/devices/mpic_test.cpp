// SPDX-License-Identifier: GPL-2.0-or-later
// The MPIC: priorities, nesting, edges and levels, IPIs, critical outputs, MSIs, external proxy.
#include "devices/mpic.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace perfvisor::devices {
namespace {

constexpr uint32_t kMasked = 0x80000000;
constexpr uint32_t kActivity = 0x40000000;
constexpr uint32_t kLevelSense = 0x00400000;
constexpr uint32_t kSpurious = 0xffff;

constexpr uint32_t priority(uint32_t value) {
    return value << 16;
}

class MpicTest : public testing::TestWithParam<MpicVersion> {
  protected:
    explicit MpicTest(MpicVersion version = MpicVersion::k42)
        : mpic(version, kCpus,
               {.external = [this](unsigned cpu, bool level) { external[cpu] = level; },
                .critical = [this](unsigned cpu, bool level) { critical[cpu] = level; },
                .machine_check = [this](unsigned cpu, bool level) { machine_check[cpu] = level; },
                .external_proxy = [this](bool on) { proxy = on; },
                .deadline = {},
                .reset_core = [this](unsigned cpu) { was_reset.push_back(cpu); }},
               {}) {
        for (unsigned cpu = 0; cpu < kCpus; ++cpu)
            set_task_priority(cpu, 0);
    }

    uint32_t read(uint64_t offset, unsigned cpu = 0) {
        return static_cast<uint32_t>(mpic.read({offset, 4, cpu}));
    }
    void write(uint64_t offset, uint32_t value, unsigned cpu = 0) {
        mpic.write({offset, 4, cpu}, value);
    }
    static uint64_t bank(unsigned cpu) { return 0x20000 + cpu * 0x1000; }
    void set_task_priority(unsigned cpu, uint32_t value) { write(bank(cpu) + 0x80, value); }
    uint32_t iack(unsigned cpu) { return read(bank(cpu) + 0xa0); }
    void eoi(unsigned cpu) { write(bank(cpu) + 0xb0, 0); }
    void set_ivpr(unsigned source, uint32_t value) { write(0x10000 + source * 0x20, value); }
    uint32_t ivpr(unsigned source) { return read(0x10000 + source * 0x20); }
    void set_idr(unsigned source, uint32_t value) { write(0x10010 + source * 0x20, value); }
    void set_ilr(unsigned source, uint32_t value) { write(0x10018 + source * 0x20, value); }
    // An unmasked source with its own number as the vector.
    void enable(unsigned source, uint32_t prio, uint32_t flags = 0) {
        set_ivpr(source, priority(prio) | flags | source);
    }

    static constexpr unsigned kCpus = 4;
    std::array<bool, kCpus> external{};
    std::array<bool, kCpus> critical{};
    std::array<bool, kCpus> machine_check{};
    bool proxy = false;
    std::vector<unsigned> was_reset;
    Mpic mpic;
};

TEST_F(MpicTest, SettingABitOfPirResetsTheCoreOnce) {
    write(0x1090, 0x6);
    EXPECT_EQ(was_reset, (std::vector<unsigned>{1, 2}));
    write(0x1090, 0x6);
    write(0x1090, 0x10);
    EXPECT_EQ(was_reset.size(), 2U);
    EXPECT_EQ(read(0x1090), 0U) << "there is no core 4";
}

TEST_F(MpicTest, IdentifiesItselfAsThePeerDoes) {
    EXPECT_EQ(read(0x0000), 0x00400402U);
    EXPECT_EQ(read(0x1000), (195U << 16) | ((kCpus - 1) << 8) | 2U);
    EXPECT_EQ(read(0x1080), 0U);
    EXPECT_EQ(read(0x10e0), kSpurious);
    for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
        EXPECT_EQ(read(bank(cpu) + 0x90), cpu);
        EXPECT_EQ(read(0x90, cpu), cpu) << "the alias shows the bank of who asks";
    }
}

TEST_F(MpicTest, AfterResetEverySourceIsMaskedAndNoTaskCanBeInterrupted) {
    enable(42, 15);
    mpic.set_input(42, true);
    EXPECT_TRUE(external[0]);
    write(0x1020, 0x80000000);
    EXPECT_FALSE(external[0]);
    EXPECT_EQ(ivpr(42) & kMasked, kMasked);
    EXPECT_EQ(read(bank(0) + 0x80), 15U);
    EXPECT_EQ(read(0x1020), 0U);
    // The line is still asserted: it is the device's.
    set_task_priority(0, 0);
    enable(42, 1);
    EXPECT_TRUE(external[0]);
}

TEST_F(MpicTest, ALevelInterruptStaysUntilItsLineFalls) {
    enable(42, 8);
    mpic.set_input(42, true);
    EXPECT_TRUE(external[0]);
    EXPECT_EQ(iack(0), 42U);
    EXPECT_FALSE(external[0]) << "in service, nothing above it";
    EXPECT_EQ(ivpr(42) & kActivity, kActivity);
    eoi(0);
    EXPECT_TRUE(external[0]) << "the line is still asserted";
    EXPECT_EQ(iack(0), 42U);
    mpic.set_input(42, false);
    eoi(0);
    EXPECT_FALSE(external[0]);
    EXPECT_EQ(ivpr(42) & kActivity, 0U);
}

TEST_F(MpicTest, ALevelThatFallsBeforeItIsAcknowledgedIsSpurious) {
    enable(42, 8);
    mpic.set_input(42, true);
    mpic.set_input(42, false);
    EXPECT_FALSE(external[0]);
    EXPECT_EQ(iack(0), kSpurious);
    write(0x10e0, 0x1234);
    EXPECT_EQ(iack(0), 0x1234U);
    eoi(0);  // Nothing in service: no effect.
}

TEST_F(MpicTest, AnEdgeIsLatchedAndUsedUpByItsAcknowledge) {
    enable(3, 8);
    mpic.set_input(3, true);
    mpic.set_input(3, false);
    EXPECT_TRUE(external[0]);
    EXPECT_EQ(iack(0), 3U);
    eoi(0);
    EXPECT_FALSE(external[0]);
    mpic.set_input(3, true);
    EXPECT_EQ(iack(0), 3U);
    mpic.set_input(3, false);
    mpic.set_input(3, true);
    EXPECT_FALSE(external[0]) << "the same priority as the one in service";
    eoi(0);
    EXPECT_TRUE(external[0]) << "the second edge was not lost";
    EXPECT_EQ(iack(0), 3U);
}

TEST_F(MpicTest, TheSenseBitMakesAnExternalInputLevelSensitive) {
    enable(3, 8, kLevelSense);
    EXPECT_EQ(ivpr(3) & kLevelSense, kLevelSense);
    mpic.set_input(3, true);
    EXPECT_TRUE(external[0]);
    mpic.set_input(3, false);
    EXPECT_FALSE(external[0]);
    enable(42, 8, kLevelSense);
    EXPECT_EQ(ivpr(42) & kLevelSense, 0U) << "on-chip sources have no sense bit";
}

TEST_F(MpicTest, AnEdgeWhileMaskedIsDeliveredWhenUnmasked) {
    set_ivpr(3, kMasked | priority(8) | 3);
    mpic.set_input(3, true);
    EXPECT_FALSE(external[0]);
    EXPECT_EQ(ivpr(3) & kActivity, 0U);
    set_ivpr(3, priority(8) | 3);
    EXPECT_TRUE(external[0]);
}

TEST_F(MpicTest, TheHighestPriorityIsServedFirstAndTheLowestNumberAmongEquals) {
    enable(20, 5);
    enable(21, 9);
    enable(22, 9);
    for (const unsigned source : {20, 22, 21})
        mpic.set_input(source, true);
    EXPECT_EQ(iack(0), 21U);
    mpic.set_input(21, false);
    eoi(0);
    EXPECT_EQ(iack(0), 22U);
    mpic.set_input(22, false);
    eoi(0);
    EXPECT_EQ(iack(0), 20U);
}

TEST_F(MpicTest, InterruptsNestByPriorityAndEoiEndsTheInnermost) {
    enable(20, 5);
    enable(21, 9);
    enable(22, 12);
    mpic.set_input(20, true);
    EXPECT_EQ(iack(0), 20U);
    mpic.set_input(21, true);
    EXPECT_TRUE(external[0]);
    EXPECT_EQ(iack(0), 21U);
    EXPECT_EQ(iack(0), kSpurious) << "nothing is signalled now";
    mpic.set_input(22, true);
    EXPECT_EQ(iack(0), 22U);
    for (const unsigned source : {20, 21, 22})
        mpic.set_input(source, false);
    eoi(0);
    // 21 is innermost again: what is not above 9 has to wait.
    enable(23, 9);
    mpic.set_input(23, true);
    EXPECT_FALSE(external[0]);
    eoi(0);
    EXPECT_TRUE(external[0]);
    EXPECT_EQ(iack(0), 23U);
    mpic.set_input(23, false);
    eoi(0);
    eoi(0);
    EXPECT_FALSE(external[0]);
    mpic.set_input(20, true);
    EXPECT_TRUE(external[0]);
}

TEST_F(MpicTest, TaskPriorityHoldsBackWhatIsNotAboveIt) {
    enable(42, 8);
    set_task_priority(0, 8);
    mpic.set_input(42, true);
    EXPECT_FALSE(external[0]);
    EXPECT_EQ(iack(0), kSpurious);
    set_task_priority(0, 7);
    EXPECT_TRUE(external[0]);
    set_task_priority(0, 15);
    EXPECT_FALSE(external[0]);
    EXPECT_EQ(read(bank(0) + 0x80), 15U);
}

TEST_F(MpicTest, PriorityZeroIsNeverDelivered) {
    enable(42, 0);
    mpic.set_input(42, true);
    EXPECT_FALSE(external[0]);
}

TEST_F(MpicTest, TheDestinationRegisterChoosesTheCpuAndMayBeChangedWhilePending) {
    enable(42, 8);
    set_idr(42, 1U << 2);
    mpic.set_input(42, true);
    EXPECT_FALSE(external[0]);
    EXPECT_TRUE(external[2]);
    set_idr(42, 1U << 1);
    EXPECT_FALSE(external[2]);
    EXPECT_TRUE(external[1]);
    EXPECT_EQ(iack(2), kSpurious);
    EXPECT_EQ(iack(1), 42U);
    set_idr(42, 0xffffffff);
    EXPECT_EQ(read(0x10010 + 42 * 0x20), (1U << kCpus) - 1) << "only CPUs that are there";
}

TEST_F(MpicTest, AnEdgeForSeveralCpusIsTakenByOne) {
    enable(3, 8);
    set_idr(3, 0b11);
    mpic.set_input(3, true);
    EXPECT_TRUE(external[0]);
    EXPECT_TRUE(external[1]);
    EXPECT_EQ(iack(1), 3U);
    EXPECT_FALSE(external[0]);
    EXPECT_EQ(iack(0), kSpurious);
}

TEST_F(MpicTest, AnIpiReachesEachCpuThatIsNamedOnce) {
    write(0x10b0, priority(10) | 0x51);  // IPIVPR1
    write(bank(0) + 0x50, 0b1110, 0);    // IPIDR1, sent by CPU 0.
    EXPECT_FALSE(external[0]);
    for (const unsigned cpu : {1, 2, 3}) {
        EXPECT_TRUE(external[cpu]);
        EXPECT_EQ(iack(cpu), 0x51U);
        EXPECT_FALSE(external[cpu]);
        eoi(cpu);
        EXPECT_FALSE(external[cpu]);
    }
    write(0x50, 0b0001, 3);  // Through the alias.
    EXPECT_EQ(iack(0), 0x51U);
}

TEST_F(MpicTest, AnIpiSentAgainWhileInServiceComesAgain) {
    write(0x10a0, priority(10) | 0x50);
    write(bank(0) + 0x40, 1);
    EXPECT_EQ(iack(0), 0x50U);
    write(bank(0) + 0x40, 1);
    EXPECT_FALSE(external[0]);
    eoi(0);
    EXPECT_EQ(iack(0), 0x50U);
}

TEST_F(MpicTest, MaskedIpisWaitUntilTheyAreUnmasked) {
    write(bank(0) + 0x40, 2);
    EXPECT_FALSE(external[1]);
    write(0x10a0, priority(10) | 0x50);
    EXPECT_TRUE(external[1]);
}

TEST_F(MpicTest, Version42ChoosesCriticalAndMachineCheckOutputsInIlr) {
    enable(42, 1);
    set_idr(42, 0b10);
    set_ilr(42, 1);
    mpic.set_input(42, true);
    EXPECT_TRUE(critical[1]);
    EXPECT_FALSE(external[1]);
    EXPECT_EQ(iack(1), kSpurious) << "critical interrupts are not acknowledged here";
    EXPECT_EQ(read(0x10018 + 42 * 0x20), 1U);
    set_ilr(42, 2);
    EXPECT_FALSE(critical[1]);
    EXPECT_TRUE(machine_check[1]);
    set_ivpr(42, kMasked);
    EXPECT_FALSE(machine_check[1]);
    set_ilr(42, 0xf0);
    EXPECT_EQ(read(0x10018 + 42 * 0x20), 0U) << "targets that lead nowhere";
}

TEST_F(MpicTest, ACriticalOutputStaysWhileAnyOfItsSourcesDoes) {
    for (const unsigned source : {42, 43}) {
        enable(source, 1);
        set_ilr(source, 1);
        mpic.set_input(source, true);
    }
    mpic.set_input(42, false);
    EXPECT_TRUE(critical[0]);
    mpic.set_input(43, false);
    EXPECT_FALSE(critical[0]);
}

TEST_F(MpicTest, WritingMsiirSetsItsBitAndReadingMsirClearsIt) {
    enable(Mpic::kFirstMsiSource + 5, 8);
    write(0x1600 + 0x140, (5U << 29) | (31U << 24));
    write(0x1600 + 0x140, (5U << 29) | (2U << 24));
    EXPECT_TRUE(external[0]);
    EXPECT_EQ(iack(0), Mpic::kFirstMsiSource + 5);
    EXPECT_EQ(read(0x1600 + 0x120), 1U << 5);
    EXPECT_EQ(read(0x1600 + 0x50), 0x80000004U);
    EXPECT_EQ(read(0x1600 + 0x50), 0U);
    EXPECT_EQ(read(0x1600 + 0x120), 0U);
    eoi(0);
    EXPECT_FALSE(external[0]);
}

TEST_F(MpicTest, ExternalProxyModeIsReportedAndAcknowledgeWorksLikeIack) {
    EXPECT_FALSE(mpic.external_proxy());
    write(0x1020, 0x60000000);
    EXPECT_TRUE(proxy);
    EXPECT_TRUE(mpic.external_proxy());
    EXPECT_EQ(read(0x1020), 0x60000000U);
    enable(42, 8);
    mpic.set_input(42, true);
    EXPECT_EQ(mpic.acknowledge(0), 42U);
    EXPECT_FALSE(external[0]);
    EXPECT_EQ(mpic.acknowledge(0), kSpurious);
    EXPECT_EQ(mpic.acknowledge(kCpus), kSpurious) << "no such CPU";
    write(0x1020, 0x20000000);
    EXPECT_FALSE(proxy);
    write(0x1020, 0x60000000);
    write(0x1020, 0x80000000);
    EXPECT_FALSE(proxy) << "reset leaves the mode";
}

TEST_F(MpicTest, AccessesOfOtherSizesDoNothing) {
    enable(42, 8);
    mpic.set_input(42, true);
    EXPECT_EQ(mpic.read({bank(0) + 0xa0, 8, 0}), 0U);
    EXPECT_EQ(mpic.read({bank(0) + 0xa0, 1, 0}), 0U);
    EXPECT_TRUE(external[0]) << "not acknowledged";
    mpic.write({0x10000 + 42 * 0x20, 1, 0}, 0x80);
    EXPECT_EQ(ivpr(42) & kMasked, 0U);
}

TEST_F(MpicTest, RestoredStateDrivesTheOutputsAgain) {
    enable(42, 8);
    enable(43, 9);
    mpic.set_input(42, true);
    EXPECT_EQ(iack(0), 42U);
    mpic.set_input(43, true);
    const auto saved = mpic.state();
    mpic.reset();
    EXPECT_FALSE(external[0]);
    mpic.restore(saved);
    EXPECT_TRUE(external[0]);
    EXPECT_EQ(iack(0), 43U);
    mpic.set_input(43, false);
    eoi(0);
    EXPECT_FALSE(external[0]) << "42 is still in service";
}

class MpicVersion20 : public MpicTest {
  protected:
    MpicVersion20() : MpicTest(MpicVersion::k20) {}
};

TEST_F(MpicVersion20, ChoosesCriticalInterruptsInIdrAndCannotMaskThem) {
    EXPECT_EQ(read(0x0000), 0x00400200U);
    set_ivpr(42, kMasked);
    set_idr(42, 0x40000000 >> 1);  // CI1
    mpic.set_input(42, true);
    EXPECT_TRUE(critical[1]);
    EXPECT_FALSE(critical[0]);
    set_idr(42, 1);
    EXPECT_FALSE(critical[1]);
    set_ilr(42, 1);
    EXPECT_FALSE(critical[0]) << "no ILR before version 4.0";
    write(0x1020, 0x60000000);
    EXPECT_FALSE(mpic.external_proxy()) << "no external proxy either";
}

}  // namespace
}  // namespace perfvisor::devices
