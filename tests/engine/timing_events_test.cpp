// SPDX-License-Identifier: GPL-2.0-or-later
// Events beside the caches and the pipeline: thresholds, interrupt latencies,
// TLB errors, DEVENT.
#include "timing_guest.h"

using namespace perfvisor;
using core::Interrupt;
using test::Guest;
using test::TimingGuest;
using test::walk;

namespace {

constexpr unsigned kLoadMiss = 76, kFetchMiss = 77, kExternalLatency = 78, kExternalPending = 80,
                   kTlbErrors = 66, kInterrupts = 86, kDvt0 = 148;

// Thresholds of PMC0 and PMC1.
std::string thresholds(unsigned first, unsigned second) {
    return "li r28," + std::to_string(first) + "\n mtpmr 272,r28\n li r28," +
           std::to_string(second) + "\n mtpmr 273,r28\n";
}

}  // namespace

TEST(TimingEvents, LoadMissesAreCountedByHowLongTheyTake) {
    // Sixteen lines in one set of the L1, twice: the first time from memory (100
    // cycles), the second from the L2 (9), as they are twice the ways.
    TimingGuest guest;
    const auto counts =
        guest.count({kLoadMiss, kLoadMiss}, walk(4096, 16, 2), thresholds(50, 8) + "lis r4,4\n");
    EXPECT_EQ(counts[0], 16u);
    EXPECT_EQ(counts[1], 32u);
    TimingGuest above;
    EXPECT_EQ(above.count({kLoadMiss, kLoadMiss}, walk(4096, 16, 2),
                          "li r28,0x132\n mtpmr 272,r28\n lis r4,4\n")[0],
              0u);  // 50 * 2 cycles: not longer than that
}

TEST(TimingEvents, FetchMissesAreCountedByHowLongTheyTake) {
    TimingGuest guest;
    std::string text;
    for (unsigned n = 0; n < 160; ++n)  // ten lines
        text += "nop\n";
    const uint64_t misses = guest.count({kFetchMiss}, text, thresholds(50, 0))[0];
    EXPECT_GE(misses, 10u);
    EXPECT_LE(misses, 11u);
}

TEST(TimingEvents, ALoadMissInterruptsBehindTheLoad) {
    TimingGuest guest;
    guest.handler(Interrupt::PerformanceMonitor, "mfspr r30,26\n wait 0");
    std::string text = thresholds(50, 0) + R"(
        li32 r3,0x044c0000
        mtpmr 144,r3
        lis r3,0x6000
        mtpmr 400,r3
        wrteei 1
        lis r4,4
        li32 r3,0x7fffffff
        mtpmr 16,r3
        nop
    )";
    const uint32_t load = Guest::kCode + 4 * static_cast<uint32_t>(test::assemble(text, 0).size());
    guest.program(text + "lwz r5,0(r4)\n nop\n nop\n wait 0");
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(guest.state().gpr[30], load + 4);
}

TEST(TimingEvents, InterruptLatenciesAreCountedByHowLongTheyTake) {
    // The device raises the input at its store; 20 instructions later wrteei lets
    // it through. From the store's end 21 cycles and the 2 of fetching; from
    // being enabled those 2.
    const std::string text = [] {
        std::string program = "lis r4,0x80\n stw r4,0(r4)\n";
        for (unsigned n = 0; n < 20; ++n)
            program += "nop\n";
        return program + "wrteei 1\n nop";
    }();
    struct Case {
        unsigned event, threshold, count;
    };
    for (const Case& each : {Case{kExternalLatency, 22, 1}, Case{kExternalLatency, 23, 0},
                             Case{kExternalPending, 1, 1}, Case{kExternalPending, 2, 0}}) {
        TimingGuest guest;
        guest.on_mmio = [&](core::MmioAccess&) {
            guest.core().set_line(core::Line::External, true);
        };
        const auto counts = guest.count({each.event}, text, thresholds(each.threshold, 0));
        EXPECT_EQ(counts[0], each.count) << each.event << " beyond " << each.threshold;
    }
}

TEST(TimingEvents, TlbErrorsAreCounted) {
    TimingGuest guest;
    // The handler goes on behind the access.
    guest.handler(Interrupt::DataTlbError, "mfspr r30,26\n addi r30,r30,4\n mtspr 26,r30\n rfi");
    const auto counts =
        guest.count({kTlbErrors, kInterrupts}, "lwz r5,0(r4)\n stw r5,0(r4)", "lis r4,0x3000\n");
    EXPECT_EQ(counts[0], 2u);
    EXPECT_EQ(counts[1], 2u);
}

TEST(TimingEvents, EachBitWrittenToDeventIsAnEvent) {
    TimingGuest guest;
    const auto counts = guest.count({kDvt0, kDvt0 + 1, kDvt0 + 7},
                                    "li r5,0x80\n mtspr 975,r5\n li r5,0xff\n mtspr 975,r5");
    EXPECT_EQ(counts[0], 2u);
    EXPECT_EQ(counts[1], 1u);
    EXPECT_EQ(counts[2], 1u);
}

TEST(TimingEvents, ThresholdsAreForTheFirstTwoCounters) {
    TimingGuest guest;
    const auto counts =
        guest.count({kLoadMiss, kLoadMiss, kLoadMiss, kLoadMiss}, "lwz r5,0(r4)", "lis r4,4\n");
    EXPECT_EQ(counts, (std::vector<uint64_t>{1, 1, 0, 0}));
}

TEST(TimingEvents, APartGoesOnFromWhatItHeldWhenItIsSelectedAgain) {
    TimingGuest guest;
    // Data reloads; while another event is selected the caches rest.
    const uint64_t reloads = guest.count_one(41, R"(
        lwz r5,0(r4)         # misses
        li32 r28,0x00020000
        mtpmr 144,r28
        lwz r5,64(r4)        # not seen
        li32 r28,0x00290000
        mtpmr 144,r28
        lwz r5,0(r4)         # still there
        lwz r5,64(r4)        # misses
        mtpmr 400,r29
        mfpmr r20,16
    )",
                                             "lis r4,4\n");
    (void)reloads;
    // 2 misses, and the instructions that PMC0 counted meanwhile: from behind the
    // mtpmr that chose them up to the one that chose the reloads again.
    EXPECT_EQ(guest.state().gpr[20], 2u + 4);
}
