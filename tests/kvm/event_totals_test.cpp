// SPDX-License-Identifier: GPL-2.0-or-later
// Counting from outside: exact, from any thread, at instruction boundaries, unseen by the guest.
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "core/pm_events.h"
#include "perfmon_fields.h"
#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;
using namespace test;

constexpr unsigned kInstructions = 2, kBranches = 12, kTakenBranches = 13, kLoads = 9, kStores = 10,
                   kInterrupts = 86;
constexpr unsigned kDec = 22, kDecar = 54, kTcr = 340, kTsr = 336, kTbl = 268;

uint64_t count(const std::vector<EventTotal>& totals, unsigned event) {
    for (const EventTotal& total : totals)
        if (total.event == event) return total.total;
    ADD_FAILURE() << "event " << event << " is not counted";
    return 0;
}

std::vector<EventTotal> totals_of(Vcpu& vcpu) {
    auto totals = event_totals(vcpu);
    EXPECT_TRUE(totals) << totals.error().message;
    return totals.value_or(std::vector<EventTotal>{});
}

// Runs the vCPU on a thread of its own, as a VMM does, until it stops by itself.
class Running {
  public:
    explicit Running(SoftGuest& guest)
        : guest_(guest), thread_([this] {
              while ((reason = guest_.run()) == -EINTR)
                  if (stopping_)
                      return;
                  else
                      guest_.vcpu().run()->immediate_exit = 0;
              ended = true;
          }) {}
    ~Running() {
        stopping_ = true;
        guest_.vcpu().kick();
        thread_.join();
    }
    std::atomic<bool> ended{false};
    std::atomic<int> reason{0};

  private:
    SoftGuest& guest_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

TEST(EventTotals, AreExactForAGuestThatHasStopped) {
    SoftGuest guest;
    // 2 + 1 instructions, then 100 times 4 of which one branch, then the branch to itself.
    guest.start(load(4, 0x8000) + load(5, 100) +
                Code{mtspr(9, 5), lwz(6, 0, 4), stw(6, 4, 4), kNop, bdnz(-12), kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    const auto totals = totals_of(guest.vcpu());
    const uint64_t idle = count(totals, kInstructions) - (5 + 400);  // the branches to itself
    EXPECT_EQ(count(totals, kBranches), 100 + idle);
    EXPECT_EQ(count(totals, kTakenBranches), 99 + idle);
    EXPECT_EQ(count(totals, kLoads), 100u);
    EXPECT_EQ(count(totals, kStores), 100u);
    EXPECT_EQ(count(totals, kInterrupts), 0u);
}

TEST(EventTotals, HaveEveryEventThatIsCountedAndNoOther) {
    SoftGuest guest;
    std::vector<unsigned> expected;
    for (const core::Event& event : core::e500mc_events())
        if (event.source.kind == core::EventSource::Kind::Total ||
            event.source.kind == core::EventSource::Kind::Cycles)
            expected.push_back(event.code);
    std::vector<unsigned> got;
    for (const EventTotal& total : totals_of(guest.vcpu()))
        got.push_back(total.event);
    EXPECT_EQ(got, expected);
}

TEST(EventTotals, TooLittleRoomSaysHowMuchIsNeeded) {
    SoftGuest guest;
    kvm_soft_event_total entry{};
    kvm_soft_event_totals request{};
    request.entries = reinterpret_cast<uintptr_t>(&entry);
    request.room = 1;
    EXPECT_EQ(guest.vcpu().ioctl(KVM_SOFT_GET_EVENT_TOTALS, &request), -E2BIG);
    EXPECT_GT(request.count, 1u);
    EXPECT_EQ(entry.event, 1u);
    request.entries = 0;
    EXPECT_EQ(guest.vcpu().ioctl(KVM_SOFT_GET_EVENT_TOTALS, &request), -EFAULT);
}

// In the loop below two instructions belong to each branch, so a snapshot anywhere but at an
// instruction boundary shows.
TEST(EventTotals, OfARunningGuestAreAtAnInstructionBoundary) {
    SoftOptions options;
    options.clock = SoftClock::Host;
    SoftGuest guest(options);
    guest.start({addi(6, 6, 1), addi(7, 7, 1), b(-8)}, kMsrEE);
    Running running(guest);
    uint64_t before = 0;
    for (int seen = 0; seen < 500;) {
        const auto totals = totals_of(guest.vcpu());
        const uint64_t instructions = count(totals, kInstructions);
        ASSERT_GE(instructions, before);
        ASSERT_EQ(count(totals, kBranches), instructions / 3);
        ASSERT_EQ(count(totals, kTakenBranches), instructions / 3);
        if (instructions > before) ++seen;
        before = instructions;
    }
    EXPECT_FALSE(running.ended);
}

TEST(EventTotals, OfAGuestThatWaitsComeAtOnce) {
    SoftOptions options;
    options.clock = SoftClock::Host;
    SoftGuest guest(options);
    guest.start({kWait, b(-4)}, kMsrEE);
    Running running(guest);
    for (int n = 0; n < 100; ++n)
        totals_of(guest.vcpu());
    EXPECT_FALSE(running.ended);
}

// A guest with timer interrupts that adds up its time base and instruction counts, so that any
// difference in its course shows in its registers at the end.
kvm_regs course_of_a_guest(const std::function<void(SoftGuest&, const Running&)>& meanwhile) {
    constexpr uint32_t kDie = 0x04000000, kAre = 0x00400000;
    FakePmc pmc;
    SoftOptions options = SoftGuest::virtual_clock();
    options.pmc = &pmc;
    SoftGuest guest(options);
    EXPECT_TRUE(reserve_perfmon(guest.vm()));
    // The decrementer's handler: mixes the time base and PMC0 into r10 and ends it.
    guest.write(vector(10),
                load(11, 0x08000000) + Code{mtspr(kTsr, 11), mfspr(12, kTbl),
                                            x_form(10, 10, 12, 266), mfpmr(12, kPmc0),
                                            x_form(10, 10, 12, 266), addi(9, 9, 1), kRfi});
    const Code setup = load(3, 2 << 16) + Code{mtpmr(kPmlca0, 3), li(3, 0), mtpmr(kPmgc0, 3)} +
                       load(3, 1777) + Code{mtspr(kDecar, 3), mtspr(kDec, 3)} +
                       load(3, kDie | kAre) + Code{mtspr(kTcr, 3)} + load(5, 8'000'000) +
                       Code{mtspr(9, 5)};
    guest.start(setup + Code{addi(6, 6, 3), x_form(7, 7, 6, 266), bdnz(-8), kWrteei0, kSelf},
                kMsrEE);
    {
        const Running running(guest);
        meanwhile(guest, running);
        while (!running.ended)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        EXPECT_EQ(running.reason, KVM_EXIT_HLT);
    }
    return guest.regs();
}

TEST(EventTotals, DoNotChangeTheCourseOfAGuestUnderTheVirtualClock) {
    const kvm_regs alone = course_of_a_guest([](SoftGuest&, const Running&) {});
    uint64_t looks = 0;
    const kvm_regs watched = course_of_a_guest([&](SoftGuest& guest, const Running& running) {
        while (!running.ended) {
            totals_of(guest.vcpu());
            ++looks;
        }
    });
    EXPECT_GT(looks, 10u);
    EXPECT_GT(alone.gpr[9], 5'000u) << "the timer must have interrupted";
    EXPECT_EQ(watched.pc, alone.pc);
    for (unsigned n = 0; n < 32; ++n)
        EXPECT_EQ(watched.gpr[n], alone.gpr[n]) << "r" << n;
}

}  // namespace
}  // namespace perfvisor::kvm
