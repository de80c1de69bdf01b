// SPDX-License-Identifier: GPL-2.0-or-later
// The performance monitor at the KVM API: who gets it, when it counts, and its registers by id
// (docs/kvm-perfmon-api.rst). The machine-wide table is tested in tests/host.
#include <algorithm>
#include <random>

#include "perfmon_fields.h"
#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;
using namespace test;

constexpr uint32_t kCompletedInstructions = 2 << 16, kConditionEnable = 0x04000000,
                   kInterruptEnable = 0x40000000;
const std::vector<unsigned> kPmrs = {16, 17, 18, 19, 144, 145, 146, 147, 272, 273, 274, 275, 400};

SoftOptions with(host::PmcHardware* pmc) {
    SoftOptions options = SoftGuest::virtual_clock();
    options.pmc = pmc;
    return options;
}

host::ReserveError refusal(host::ReserveError::Kind kind) {
    return {kind, {"host user 'stat' (PID 7) has it"}, {}};
}

// Counts its own instructions: ten between the mtpmr that starts PMC0 and the mfpmr.
Code count_ten() {
    return load(3, kCompletedInstructions) + Code{mtpmr(kPmlca0, 3)} + Code(10, kNop) +
           Code{mfpmr(5, kPmc0), mfpmr(6, kPmlca0), kSelf};
}

TEST(ReservePerfmon, SuccessMakesThePmcsCount) {
    FakePmc pmc;
    SoftGuest guest(with(&pmc));
    EXPECT_EQ(check_extension(guest.vm(), KVM_CAP_PPC_PERFMON), 1);
    ASSERT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    EXPECT_TRUE(pmc.held);
    guest.start(count_ten());
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(5), 10u);
    EXPECT_EQ(guest.gpr(6), kCompletedInstructions);
}

TEST(ReservePerfmon, WithoutItWritesAreIgnoredAndReadsGiveZero) {
    FakePmc pmc;
    SoftGuest guest(with(&pmc));
    guest.start(count_ten());
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(5), 0u);
    EXPECT_EQ(guest.gpr(6), 0u);
    EXPECT_EQ(pmc.reserve_calls, 0);
}

TEST(ReservePerfmon, HoldsForVcpusCreatedLaterToo) {
    FakePmc pmc;
    SoftGuest guest(with(&pmc), 0);
    ASSERT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    guest.add_vcpu(0);
    guest.start(count_ten());
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(5), 10u);
}

TEST(ReservePerfmon, BusyHostGivesEbusyAndItsSentence) {
    FakePmc pmc;
    pmc.refuse = refusal(host::ReserveError::Kind::kBusy);
    SoftGuest guest(with(&pmc));
    EXPECT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), -EBUSY);
    EXPECT_EQ(guest.vm().perfmon_failure(), "host user 'stat' (PID 7) has it");
    EXPECT_EQ(*reserve_perfmon(guest.vm()), PerfmonReservation::Busy);
    guest.start(count_ten());
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(5), 0u);

    pmc.refuse.reset();
    EXPECT_EQ(*reserve_perfmon(guest.vm()), PerfmonReservation::Reserved);
    EXPECT_EQ(guest.vm().perfmon_failure(), "");
}

TEST(ReservePerfmon, HostThatCannotTellIsAnErrorWithItsSentence) {
    FakePmc pmc;
    pmc.refuse = refusal(host::ReserveError::Kind::kEnvironment);
    SoftGuest guest(with(&pmc));
    EXPECT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), -EIO);
    const auto outcome = reserve_perfmon(guest.vm());
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().message, "host user 'stat' (PID 7) has it");
}

TEST(ReservePerfmon, KvmWithoutHostHardwareDoesNotKnowTheRequests) {
    SoftGuest guest;
    EXPECT_EQ(check_extension(guest.system(), KVM_CAP_PPC_PERFMON), 0);
    EXPECT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), -ENOTTY);
    EXPECT_EQ(guest.vm().ioctl(KVM_RELEASE_PERFMON, nullptr), -ENOTTY);
    EXPECT_EQ(*reserve_perfmon(guest.vm()), PerfmonReservation::Unsupported);
}

TEST(OwnPerfmon, CountsWithoutAReservation) {
    FakePmc pmc;
    pmc.refuse = refusal(host::ReserveError::Kind::kBusy);
    SoftGuest board(with(&pmc), 0);
    ASSERT_TRUE(own_perfmon(board.vm()));
    board.add_vcpu(0);
    board.start(count_ten());
    ASSERT_EQ(board.run(), KVM_EXIT_HLT);
    EXPECT_EQ(board.gpr(5), 10u);
    EXPECT_EQ(board.gpr(6), kCompletedInstructions);
    EXPECT_EQ(pmc.reserve_calls, 0);
    EXPECT_EQ(board.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), -EINVAL);
    EXPECT_EQ(board.vm().ioctl(KVM_RELEASE_PERFMON, nullptr), -EINVAL);
    EXPECT_EQ(board.vm().ioctl(KVM_SOFT_OWN_PERFMON, nullptr), 0) << "it is its own already";
}

TEST(OwnPerfmon, IsNothingForAGuestThatHasReserved) {
    FakePmc pmc;
    SoftGuest guest(with(&pmc));
    ASSERT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    EXPECT_EQ(guest.vm().ioctl(KVM_SOFT_OWN_PERFMON, nullptr), -EBUSY);
    ASSERT_EQ(guest.vm().ioctl(KVM_RELEASE_PERFMON, nullptr), 0);
    EXPECT_FALSE(pmc.held);
}

TEST(OwnPerfmon, NeedsNoHostHardware) {
    SoftGuest board;
    ASSERT_EQ(board.vm().ioctl(KVM_SOFT_OWN_PERFMON, nullptr), 0);
    board.start(count_ten());
    ASSERT_EQ(board.run(), KVM_EXIT_HLT);
    EXPECT_EQ(board.gpr(5), 10u);
}

TEST(ReservePerfmon, SameVmTwiceHoldsOneReference) {
    FakePmc pmc;
    SoftGuest guest(with(&pmc));
    ASSERT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    ASSERT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    EXPECT_EQ(pmc.reserve_calls, 1);
    ASSERT_EQ(guest.vm().ioctl(KVM_RELEASE_PERFMON, nullptr), 0);
    EXPECT_FALSE(pmc.held);
    EXPECT_EQ(guest.vm().ioctl(KVM_RELEASE_PERFMON, nullptr), 0);
}

TEST(ReservePerfmon, TwoGuestsTakeTheHardwareOnceAndTheLastGivesItBack) {
    FakePmc pmc;
    SoftGuest first(with(&pmc));
    auto second = first.system().create_vm();
    ASSERT_TRUE(second);
    ASSERT_EQ(first.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    ASSERT_EQ((*second)->ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    EXPECT_EQ(pmc.reserve_calls, 1);
    first.destroy_vm();
    EXPECT_TRUE(pmc.held);
    second->reset();
    EXPECT_FALSE(pmc.held);
}

TEST(ReservePerfmon, ReleaseStopsCountingAndClearsTheRegisters) {
    FakePmc pmc;
    SoftGuest guest(with(&pmc));
    ASSERT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    guest.start(count_ten());
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    ASSERT_EQ(guest.vm().ioctl(KVM_RELEASE_PERFMON, nullptr), 0);
    EXPECT_EQ(*get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PMR(kPmc0)), 0u);
    // Reserved anew, as at a reset, everything is 0 even if no vCPU ran in between.
    ASSERT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    EXPECT_EQ(*get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PMR(kPmlca0)), 0u);
    guest.start(count_ten());
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(5), 10u);
}

TEST(ReservePerfmon, TwoRunningGuestsCountTheirOwnInstructions) {
    FakePmc pmc;
    SoftGuest first(with(&pmc));
    SoftGuest second(with(&pmc));
    ASSERT_EQ(first.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    ASSERT_EQ(second.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    first.start(count_ten());
    second.start(Code{kNop, kNop, kNop} + count_ten());
    ASSERT_EQ(first.run(), KVM_EXIT_HLT);
    ASSERT_EQ(second.run(), KVM_EXIT_HLT);
    EXPECT_EQ(first.gpr(5), 10u);
    EXPECT_EQ(second.gpr(5), 10u);
}

TEST(PmrOneReg, EveryRegisterIsThereAndUserNumbersAreNot) {
    FakePmc pmc;
    SoftGuest guest(with(&pmc));
    ASSERT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    for (const unsigned pmr : kPmrs) {
        ASSERT_TRUE(set_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PMR(pmr), 5)) << pmr;
        EXPECT_TRUE(get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PMR(pmr))) << pmr;
    }
    for (const unsigned pmr : {0u, 3u, 20u, 128u, 256u, 384u, 401u, 1023u})
        EXPECT_FALSE(get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PMR(pmr))) << pmr;
}

// All PM state read and written back in the middle of a run that samples: the interrupt still
// comes at the same instruction as in the run that was left alone.
TEST(PmrOneReg, SaveAndRestoreMidRunChangesNothing) {
    std::mt19937 random(3);
    std::vector<uint64_t> interrupted_at;
    for (const bool disturbed : {false, true}) {
        FakePmc pmc;
        SoftGuest guest(with(&pmc));
        ASSERT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
        guest.write(vector(35), {kSelf});
        guest.start(load(3, 0x80000000 - 100'001) + Code{mtpmr(kPmc0, 3)} +
                        load(3, kCompletedInstructions | kConditionEnable) +
                        Code{mtpmr(kPmlca0, 3)} + load(3, kInterruptEnable) +
                        Code{mtpmr(kPmgc0, 3), addi(6, 6, 1), addi(7, 7, 1), b(-8)},
                    kMsrEE);
        if (disturbed) {
            for (uint64_t time = 1'000; time < 200'000; time += 12'345) {
                ASSERT_TRUE(set_deadline(guest.vcpu(), time));
                ASSERT_EQ(guest.run(), -EINTR);
                std::vector<std::pair<unsigned, uint32_t>> saved;
                for (const unsigned pmr : kPmrs)
                    saved.emplace_back(pmr,
                                       *get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PMR(pmr)));
                std::shuffle(saved.begin(), saved.end(), random);
                for (const auto& [pmr, value] : saved)
                    ASSERT_TRUE(set_one_reg(guest.vcpu(), KVM_REG_PPC_PMR(pmr), value));
            }
        }
        ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
        const kvm_regs regs = guest.regs();
        EXPECT_EQ(regs.pc, vector(35));
        interrupted_at.push_back(regs.gpr[6] * 3 + (regs.srr0 - kStart) / 4);
    }
    EXPECT_EQ(interrupted_at[0], interrupted_at[1]);
}

TEST(PmrOneReg, AnotherVmContinuesWhereTheFirstStopped) {
    std::vector<uint64_t> remaining;
    const Code program = load(3, 0x80000000 - 50'000) + Code{mtpmr(kPmc0, 3)} +
                         load(3, kCompletedInstructions | kConditionEnable) +
                         Code{mtpmr(kPmlca0, 3)} + load(3, kInterruptEnable) +
                         Code{mtpmr(kPmgc0, 3), addi(6, 6, 1), b(-4)};
    const auto finish = [](SoftGuest& guest) {
        EXPECT_EQ(guest.run(), KVM_EXIT_HLT);
        return guest.gpr(6) * 2 + (guest.regs().srr0 & 4) / 4;
    };
    FakePmc pmc;
    SoftGuest first(with(&pmc));
    ASSERT_EQ(first.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    first.write(vector(35), {kSelf});
    first.start(program, kMsrEE);
    ASSERT_TRUE(set_deadline(first.vcpu(), 50'000));
    ASSERT_EQ(first.run(), -EINTR);

    SoftGuest second(with(&pmc));
    ASSERT_EQ(second.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    std::memcpy(second.ram(), first.ram(), kRamSize);
    ASSERT_TRUE(set_regs(second.vcpu(), first.regs()));
    for (const unsigned pmr : kPmrs)
        ASSERT_TRUE(set_one_reg(second.vcpu(), KVM_REG_PPC_PMR(pmr),
                                *get_one_reg<uint32_t>(first.vcpu(), KVM_REG_PPC_PMR(pmr))));
    EXPECT_EQ(finish(second), finish(first));
}

}  // namespace
}  // namespace perfvisor::kvm
