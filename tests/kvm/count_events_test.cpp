// SPDX-License-Identifier: GPL-2.0-or-later
// KVM_SOFT_COUNT_EVENTS: modes apart and the timing model's events, counted from outside as the
// guest's own counters would, for any number of clients, at any time, unseen by the guest.
#include <chrono>
#include <map>
#include <thread>

#include "core/pm_events.h"
#include "perfmon_fields.h"
#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;
using namespace test;

constexpr unsigned kInstructions = 2, kMispredictions = 15, kDataReloads = 41;
constexpr uint32_t kFCS = 0x40000000, kFCU = 0x20000000;

std::vector<uint32_t> modelled_events() {
    std::vector<uint32_t> events;
    for (const core::Event& event : core::e500mc_events())
        if (event.source.kind == core::EventSource::Kind::Modelled) events.push_back(event.code);
    return events;
}

using Totals = std::map<unsigned, EventTotal>;

Totals totals_of(SoftGuest& guest, unsigned cpu = 0) {
    Totals totals;
    const auto got = event_totals(guest.vcpu(cpu));
    EXPECT_TRUE(got) << got.error().message;
    if (got)
        for (const EventTotal& total : *got)
            totals[total.event] = total;
    return totals;
}

// A user program that walks through memory, calls the system in each of its rounds, and ends.
// Of each round but the last: 4 + 3 * 50 + 5 user instructions, 3 in the kernel.
constexpr int kRounds = 40, kStrides = 50;
constexpr uint64_t kUser = 2 + kRounds * (4 + 3 * kStrides + 5) - 1 + 2;
constexpr uint64_t kKernel = kRounds * 3 + 2;

Code program() {
    const Code head = {li(10, kRounds), li(3, 1)};
    const Code walk = load(4, 0x40000) +
                      Code{li(5, kStrides), mtspr(9, 5), lwz(6, 0, 4), addi(4, 4, 68), bdnz(-8)};
    const Code call = {kSc, addi(10, 10, -1), cmpwi(10, 0), beq(8)};
    const int back = -4 * static_cast<int>(walk.size() + call.size());
    return head + walk + call + Code{b(back), li(3, 0), kSc};
}

void start(SoftGuest& guest) {
    guest.write(vector(8), {cmpwi(3, 0), beq(8), kRfi, kSelf});
    guest.start(program(), kMsrPR);
}

class CountEvents : public testing::TestWithParam<SoftEngine> {
  protected:
    SoftOptions options() const {
        SoftOptions options = SoftGuest::virtual_clock();
        options.engine = GetParam();
        return options;
    }
    // What the guest's own PMCs count of four events, in the modes that are not frozen.
    std::vector<uint32_t> counted_by_guest(std::span<const uint32_t> events, uint32_t freeze) {
        FakePmc pmc;
        SoftOptions with = options();
        with.pmc = &pmc;
        SoftGuest guest(with);
        EXPECT_TRUE(reserve_perfmon(guest.vm()));
        for (unsigned n = 0; n < events.size(); ++n)
            EXPECT_TRUE(set_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PMR(kPmlca0 + n),
                                              events[n] << 16 | freeze));
        start(guest);
        EXPECT_EQ(guest.run(), KVM_EXIT_HLT);
        std::vector<uint32_t> counts;
        for (unsigned n = 0; n < events.size(); ++n)
            counts.push_back(
                get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PMR(kPmc0 + n)).value_or(~0u));
        return counts;
    }
};

TEST_P(CountEvents, ModesAreCountedApartToTheInstruction) {
    SoftGuest guest(options());
    EXPECT_FALSE(totals_of(guest)[kInstructions].modes) << "nobody has asked";
    ASSERT_TRUE(count_events(guest.vm(), {}, true));
    start(guest);
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    const EventTotal counted = totals_of(guest)[kInstructions];
    ASSERT_TRUE(counted.modes);
    EXPECT_EQ(counted.modes->user, kUser);
    EXPECT_EQ(counted.modes->user + counted.modes->supervisor, counted.total);
    EXPECT_GE(counted.modes->supervisor, kKernel);  // and branches to itself
    ASSERT_TRUE(count_events(guest.vm(), {}, false));
    EXPECT_FALSE(totals_of(guest)[kInstructions].modes);
}

// The definition: what the guest's own counters would have counted.
TEST_P(CountEvents, EventsOfTheModelAreThoseOfTheGuestsOwnCounters) {
    const std::vector<uint32_t> events = modelled_events();
    SoftGuest guest(options());
    EXPECT_EQ(totals_of(guest).count(kMispredictions), 0u) << "nobody has asked";
    ASSERT_TRUE(count_events(guest.vm(), events, true));
    start(guest);
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    Totals totals = totals_of(guest);
    unsigned not_zero = 0;
    for (size_t first = 0; first < events.size(); first += 4) {
        const std::span<const uint32_t> four =
            std::span(events).subspan(first, std::min<size_t>(4, events.size() - first));
        const auto all = counted_by_guest(four, 0), user = counted_by_guest(four, kFCS),
                   supervisor = counted_by_guest(four, kFCU);
        for (size_t n = 0; n < four.size(); ++n) {
            const EventTotal counted = totals[four[n]];
            ASSERT_TRUE(counted.modes) << four[n];
            EXPECT_EQ(counted.total, all[n]) << four[n];
            EXPECT_EQ(counted.modes->user, user[n]) << four[n];
            EXPECT_EQ(counted.modes->supervisor, supervisor[n]) << four[n];
            if (counted.total != 0) ++not_zero;
        }
    }
    EXPECT_GT(not_zero, 20u);
}

// Whoever comes and goes meanwhile, and whatever parts of the model run for them.
TEST_P(CountEvents, ClientsDoNotDisturbEachOther) {
    const auto count = [&](bool others) {
        SoftGuest guest(options());
        EXPECT_TRUE(count_events(guest.vm(), {kMispredictions, kInstructions}, true));
        start(guest);
        // In pieces, by deadlines in guest time.
        for (uint64_t piece = 1; piece <= 10; ++piece) {
            if (others) {
                EXPECT_TRUE(count_events(guest.vm(), {kDataReloads}, piece % 2 != 0));
            }
            if (others && piece == 3) {
                EXPECT_TRUE(count_events(guest.vm(), modelled_events(), true));
            }
            if (others && piece == 5) {
                EXPECT_TRUE(count_events(guest.vm(), {}, true));
            }
            if (others && piece == 7) {
                EXPECT_TRUE(count_events(guest.vm(), modelled_events(), false));
            }
            EXPECT_TRUE(set_deadline(guest.vcpu(), piece * 1000));
            EXPECT_EQ(guest.run(), -EINTR);
        }
        EXPECT_EQ(guest.run(), KVM_EXIT_HLT);
        Totals totals = totals_of(guest);
        EXPECT_EQ(totals.count(kDataReloads), 0u);
        return std::pair(totals[kMispredictions], totals[kInstructions]);
    };
    const auto alone = count(false), among = count(true);
    EXPECT_GT(alone.first.total, 5u);
    EXPECT_EQ(among.first.total, alone.first.total);
    EXPECT_EQ(among.first.modes->user, alone.first.modes->user);
    EXPECT_EQ(among.second.total, alone.second.total);
    EXPECT_EQ(among.second.modes->user, alone.second.modes->user);
}

// KVM_SOFT_SET_WINDOW promises an empty model at its start.
TEST_P(CountEvents, TheCountsOfAWindowAreTheSameWhoeverLooksOn) {
    constexpr uint32_t kOpen = 0x1234, kClose = 0x4321;
    constexpr unsigned kDdam = 576;
    const auto count = [&](const std::vector<uint32_t>& watched) {
        SoftGuest guest(options());
        EXPECT_TRUE(set_window(guest.vm(), kOpen, kClose, modelled_events()));
        if (!watched.empty()) {
            EXPECT_TRUE(count_events(guest.vm(), watched, true));
        }
        guest.write(vector(8), {cmpwi(3, 0), beq(8), kRfi, kSelf});
        const Code walk = load(4, 0x40000) + Code{li(5, kStrides), mtspr(9, 5), lwz(6, 0, 4),
                                                  addi(4, 4, 68), bdnz(-8)};
        guest.start(Code{li(3, 1)} + walk + load(30, kOpen) + Code{mtspr(kDdam, 30), kSc} + walk +
                        load(30, kClose) + Code{mtspr(kDdam, 30), li(3, 0), kSc},
                    kMsrPR);
        EXPECT_EQ(guest.run(), KVM_EXIT_HLT);
        const auto totals = window_totals(guest.vcpu());
        EXPECT_TRUE(totals && totals->closed);
        std::map<unsigned, std::pair<uint64_t, uint64_t>> counts;
        for (const WindowCount& one : totals->counts)
            counts[one.event] = {one.user, one.supervisor};
        return counts;
    };
    const auto alone = count({});
    EXPECT_EQ(alone.at(kInstructions).first, 4u + 3 * kStrides + 2);
    EXPECT_GT(alone.at(kDataReloads).first, 40u) << "the walk before was not seen";
    EXPECT_EQ(count({kMispredictions}), alone);
    EXPECT_EQ(count(modelled_events()), alone);
}

// It may begin, end and be asked at any time; the guest never knows.
TEST_P(CountEvents, TheGuestsCourseStaysTheSame) {
    const auto course = [&](bool counted) {
        SoftGuest guest(options());
        constexpr uint32_t kDie = 0x04000000, kAre = 0x00400000;
        constexpr unsigned kDec = 22, kDecar = 54, kTcr = 340, kTsr = 336, kTbl = 268;
        guest.write(vector(10),
                    load(11, 0x08000000) + Code{mtspr(kTsr, 11), mfspr(12, kTbl),
                                                x_form(10, 10, 12, 266), addi(9, 9, 1), kRfi});
        guest.start(
            load(3, 1777) + Code{mtspr(kDecar, 3), mtspr(kDec, 3)} + load(3, kDie | kAre) +
                Code{mtspr(kTcr, 3)} + load(5, 400'000) +
                Code{mtspr(9, 5), addi(6, 6, 3), x_form(7, 7, 6, 266), bdnz(-8), kWrteei0, kSelf},
            kMsrEE);
        const auto client = [&](uint64_t n) {
            const std::vector<uint32_t> events =
                n % 2 ? modelled_events() : std::vector<uint32_t>{kMispredictions};
            EXPECT_TRUE(count_events(guest.vm(), events, true));
            const EventTotal first = totals_of(guest)[kInstructions];
            const Totals all = totals_of(guest);
            const EventTotal second = all.at(kInstructions);
            EXPECT_EQ(all.count(kMispredictions), 1u);
            EXPECT_EQ(second.total - first.total, second.modes->user + second.modes->supervisor -
                                                      first.modes->user - first.modes->supervisor);
            EXPECT_TRUE(count_events(guest.vm(), events, false));
        };
        // In pieces, so that there is a client in each however threads are scheduled.
        for (uint64_t piece = 1; piece <= 50; ++piece) {
            EXPECT_TRUE(set_deadline(guest.vcpu(), piece * 50'000));
            std::thread looking;
            if (counted) looking = std::thread(client, piece);
            EXPECT_EQ(guest.run(), -EINTR);
            if (counted) looking.join();
        }
        EXPECT_EQ(guest.run(), KVM_EXIT_HLT);
        return guest.regs();
    };
    const kvm_regs alone = course(false), counted = course(true);
    EXPECT_GT(alone.gpr[9], 100u) << "the timer must have interrupted";
    EXPECT_EQ(counted.pc, alone.pc);
    for (unsigned n = 0; n < 32; ++n)
        EXPECT_EQ(counted.gpr[n], alone.gpr[n]) << "r" << n;
}

// What user mode did stays user mode's, though the reset changes the mode.
TEST_P(CountEvents, AResetMovesNothingFromModeToMode) {
    SoftGuest guest(options());
    ASSERT_TRUE(count_events(guest.vm(), {}, true));
    guest.start(Code(100, kNop) + Code{b(-400)}, kMsrPR);
    ASSERT_TRUE(set_deadline(guest.vcpu(), 5000));  // 2000 instructions
    ASSERT_EQ(guest.run(), -EINTR);
    ASSERT_TRUE(reset_core(guest.vcpu()));
    EventTotal counted = totals_of(guest)[kInstructions];
    EXPECT_EQ(counted.modes->user, 2000u);
    EXPECT_EQ(counted.modes->supervisor, 0u);
}

INSTANTIATE_TEST_SUITE_P(Counting, CountEvents, testing::ValuesIn(soft_engines()),
                         [](const auto& test) {
                             return test.param == SoftEngine::Interpreter ? "Interpreter"
                                                                          : "Translator";
                         });

TEST(CountEventsRules, EveryVcpuCounts) {
    SoftGuest guest(SoftGuest::virtual_clock(), 2);
    ASSERT_TRUE(count_events(guest.vm(), {kMispredictions}, true));
    guest.write(vector(8), {cmpwi(3, 0), beq(8), kRfi, kSelf});
    guest.start(program(), kMsrPR, 0);
    guest.start(Code(77, kNop) + Code{li(3, 0), kSc}, kMsrPR, 1, 0x8000);
    std::thread other([&] { guest.run(1); });
    guest.run(0);
    guest.vcpu(1).kick();
    other.join();
    EXPECT_EQ(totals_of(guest, 0)[kInstructions].modes->user, kUser);
    EXPECT_EQ(totals_of(guest, 1)[kInstructions].modes->user, 79u);
    EXPECT_EQ(totals_of(guest, 1).count(kMispredictions), 1u);
}

// A guest that waits begins, too, when it is asked.
TEST(CountEventsRules, OfAGuestThatWaitsTheyComeAtOnce) {
    SoftOptions options;
    options.clock = SoftClock::Host;
    SoftGuest guest(options);
    guest.start({kWait, b(-4)}, kMsrEE);
    std::thread thread([&] { guest.run(); });
    for (int n = 0; n < 20; ++n) {
        EXPECT_TRUE(count_events(guest.vm(), {kMispredictions}, true));
        EXPECT_TRUE(totals_of(guest)[kInstructions].modes);
        EXPECT_EQ(totals_of(guest).count(kMispredictions), 1u);
        EXPECT_TRUE(count_events(guest.vm(), {kMispredictions}, false));
        EXPECT_FALSE(totals_of(guest)[kInstructions].modes);
    }
    guest.vcpu().kick();
    thread.join();
}

TEST(CountEventsRules, EveryEndIsOfTheEventsOfABeginning) {
    SoftGuest guest;
    EXPECT_FALSE(count_events(guest.vm(), {}, false));
    ASSERT_TRUE(count_events(guest.vm(), {kInstructions}, true));
    EXPECT_FALSE(count_events(guest.vm(), {kDataReloads}, false));
    EXPECT_TRUE(totals_of(guest)[kInstructions].modes);
    EXPECT_TRUE(count_events(guest.vm(), {kInstructions}, false));
    EXPECT_FALSE(totals_of(guest)[kInstructions].modes);
    for (const uint32_t event : {0u, 82u, 76u, 72u, 1000u})
        EXPECT_FALSE(count_events(guest.vm(), {event}, true)) << event;
    kvm_soft_count request{0, 1, 1};
    EXPECT_EQ(guest.vm().ioctl(KVM_SOFT_COUNT_EVENTS, &request), -EFAULT);
    EXPECT_EQ(guest.vm().ioctl(KVM_SOFT_COUNT_EVENTS, nullptr), -EFAULT);
    request = {0, 0, 2};
    EXPECT_EQ(guest.vm().ioctl(KVM_SOFT_COUNT_EVENTS, &request), -EINVAL);
}

// The guest's own counts of the model's events would depend on who looks on.
TEST(CountEventsRules, TheModelIsTheGuestsOrTheOutsides) {
    FakePmc pmc;
    SoftOptions options = SoftGuest::virtual_clock();
    options.pmc = &pmc;
    SoftGuest guest(options);
    ASSERT_TRUE(count_events(guest.vm(), {kDataReloads}, true));
    EXPECT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), -EBUSY);
    EXPECT_NE(guest.vm().perfmon_failure().find("timing model"), std::string::npos);
    EXPECT_EQ(guest.vm().ioctl(KVM_SOFT_OWN_PERFMON, nullptr), -EBUSY);
    EXPECT_FALSE(pmc.held);
    ASSERT_TRUE(count_events(guest.vm(), {kDataReloads}, false));

    ASSERT_TRUE(count_events(guest.vm(), {kInstructions}, true)) << "no concern of the model's";
    EXPECT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    const auto refused = count_events(guest.vm(), {kDataReloads}, true);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("performance monitor"), std::string::npos);
    EXPECT_FALSE(set_window(guest.vm(), 1, 2, {kDataReloads}));
    EXPECT_TRUE(set_window(guest.vm(), 1, 2, {kInstructions}));
    ASSERT_TRUE(release_perfmon(guest.vm()));
    EXPECT_TRUE(set_window(guest.vm(), 1, 2, {kDataReloads}));
    EXPECT_FALSE(own_perfmon(guest.vm()));
}

TEST(CountEventsRules, WhereTheModelIsTheClockItIsEverybodys) {
    FakePmc pmc;
    SoftOptions options = SoftGuest::virtual_clock();
    options.pmc = &pmc;
    SoftGuest guest(options, 0);
    ASSERT_TRUE(set_timing(guest.vm(), KVM_SOFT_TIMING_E500MC));
    guest.add_vcpu(0);
    ASSERT_TRUE(reserve_perfmon(guest.vm()));
    ASSERT_TRUE(count_events(guest.vm(), {kDataReloads}, true));
    start(guest);
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_GT(totals_of(guest)[kDataReloads].modes->user, 10u);
}

}  // namespace
}  // namespace perfvisor::kvm
