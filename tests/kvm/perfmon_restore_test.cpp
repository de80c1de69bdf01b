// SPDX-License-Identifier: GPL-2.0-or-later
// Save and restore of the performance monitor: at every instruction boundary of guests that use all
// of it, every PMR and the hidden state are read and written back, or moved into another VM, and
// the guest ends as it would have ended.
#include <algorithm>
#include <memory>
#include <random>

#include "perfmon_fields.h"
#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;
using namespace test;

constexpr uint32_t kCE = 0x04000000, kFCM0 = 0x08000000, kPMIE = 0x40000000, kTBEE = 0x100;
constexpr uint32_t kMsrPMM = 0x4;
constexpr uint32_t kLog = 0x20000;

Code set_pmr(unsigned pmr, uint32_t value) {
    return load(3, value) + Code{mtpmr(pmr, 3)};
}

// mtspr DEVENT with DVTn.
Code notify(unsigned n) {
    return {li(3, 0x80 >> n), mtspr(975, 3)};
}

// Saved state of a vCPU's performance monitor, by one-reg id.
std::vector<uint64_t> ids() {
    std::vector<uint64_t> ids = {KVM_REG_PPC_PMR(kPmgc0), KVM_REG_PPC_PM_STATE};
    for (unsigned n = 0; n < 4; ++n)
        for (const unsigned first : {kPmc0, kPmlca0, kPmlcb0})
            ids.push_back(KVM_REG_PPC_PMR(first + n));
    return ids;
}

using Saved = std::vector<std::pair<uint64_t, uint32_t>>;

Saved save(Vcpu& vcpu) {
    Saved saved;
    for (const uint64_t id : ids()) {
        const auto value = get_one_reg<uint32_t>(vcpu, id);
        EXPECT_TRUE(value);
        saved.emplace_back(id, *value);
    }
    return saved;
}

void restore(Vcpu& vcpu, const Saved& saved) {
    for (const auto& [id, value] : saved)
        ASSERT_TRUE(set_one_reg(vcpu, id, value));
}

class RestoredGuest {
  public:
    RestoredGuest(SoftEngine engine, const Code& program) : guest_(options(engine, pmc_)) {
        EXPECT_EQ(guest_.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
        // The handler appends SRR0 and the counters, sets those in overflow back by r20, and
        // counts itself in r21.
        Code handler = {mfspr(8, 26), stw(8, 0, 12), addi(21, 21, 1)};
        for (int n = 0; n < 4; ++n) {
            const auto counter = static_cast<unsigned>(n);
            handler =
                handler + Code{mfpmr(9, kPmc0 + counter), stw(9, 4 + 4 * n, 12), cmpwi(9, 0),
                               16u << 26 | 4u << 21 | 0u << 16 | 8, mtpmr(kPmc0 + counter, 20)};
        }
        guest_.write(vector(35), handler + Code{addi(12, 12, 20), kRfi});
        guest_.start(load(12, kLog) + load(20, 0x80000000 - 23) + program + Code{kWrteei0, kSelf},
                     0);
    }
    SoftGuest& guest() { return guest_; }

    // All that the guest has to show.
    std::vector<uint32_t> result() {
        std::vector<uint32_t> words;
        const kvm_regs regs = guest_.regs();
        for (const auto gpr : regs.gpr)
            words.push_back(static_cast<uint32_t>(gpr));
        words.push_back(static_cast<uint32_t>(regs.msr));
        for (const auto& [id, value] : save(guest_.vcpu()))
            words.push_back(value);
        for (uint32_t at = kLog; at < regs.gpr[12]; at += 4)
            words.push_back(guest_.word(at));
        return words;
    }

  private:
    static SoftOptions options(SoftEngine engine, FakePmc& pmc) {
        SoftOptions options = SoftGuest::virtual_clock();
        options.engine = engine;
        options.pmc = &pmc;
        return options;
    }
    FakePmc pmc_;
    SoftGuest guest_;
};

// Samples instructions and, chained and triggered, more; with device accesses; all marked.
Code sampling_program() {
    Code code = set_pmr(kPmc0, 0x80000000 - 23) + set_pmr(kPmlca0, selects(2) | kCE | kFCM0) +
                set_pmr(kPmc0 + 1, 0xffffffff - 30) + set_pmr(kPmlca0 + 1, selects(9)) +
                set_pmr(kPmc0 + 2, 0x7fffffff) + set_pmr(kPmlca0 + 2, selects(83) | kCE) +
                set_pmr(kPmlcb0 + 3, 0x89800000) + set_pmr(kPmlca0 + 3, selects(2)) +
                set_pmr(kPmgc0, kPMIE) + load(3, kMsrEE | kMsrPMM) + Code{mtmsr(3)} +
                load(5, 0x8000) + load(11, kDevice);
    for (int round = 0; round < 8; ++round)
        code = code + notify(0) + Code{lwz(6, 0, 5), stw(6, 4, 5), lmw(24, 0, 5), kNop} +
               notify(1) + Code{stw(6, 0, 11), lwz(7, 4, 11), b(4), lwz(6, 0, 5), kNop, kNop};
    return code;
}

// Time base transitions of bit 55, taken late: interrupts are enabled now and then only.
Code transition_program() {
    Code code = set_pmr(kPmlca0, selects(2)) + set_pmr(kPmgc0, kPMIE | kTBEE | 1 << 11);
    for (int round = 0; round < 20; ++round)
        code = code + Code(100, kNop) + Code{kWrteei1, kNop, kWrteei0};
    return code;
}

int run_to_end(SoftGuest& guest) {
    int exit;
    while ((exit = guest.run()) == KVM_EXIT_MMIO) {
    }
    return exit;
}

class SaveAndRestore : public testing::TestWithParam<SoftEngine> {
  protected:
    std::mt19937 random_{5};
};

bool has_engine(SoftEngine engine) {
    SoftOptions options = SoftGuest::virtual_clock();
    options.engine = engine;
    auto system = make_soft_kvm(options);
    return system && (*system)->create_vm() && (*(*system)->create_vm())->create_vcpu(0);
}

TEST_P(SaveAndRestore, AtEveryBoundaryChangesNothing) {
    if (!has_engine(GetParam())) GTEST_SKIP() << "this host has no such engine";
    for (const Code& program : {sampling_program(), transition_program()}) {
        RestoredGuest alone(GetParam(), program);
        ASSERT_EQ(run_to_end(alone.guest()), KVM_EXIT_HLT);
        const auto expected = alone.result();
        ASSERT_GT(alone.guest().gpr(21), 3u) << "the guest was to be interrupted";

        RestoredGuest disturbed(GetParam(), program);
        SoftGuest& guest = disturbed.guest();
        kvm_guest_debug step{};
        step.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        ASSERT_TRUE(set_guest_debug(guest.vcpu(), step));
        unsigned boundaries = 0;
        bool pending_seen = false;
        for (;; ++boundaries) {
            const int exit = guest.run();
            Saved saved = save(guest.vcpu());
            pending_seen |= (saved[1].second & KVM_PM_STATE_TIME_BASE) != 0;
            std::shuffle(saved.begin(), saved.end(), random_);
            restore(guest.vcpu(), saved);
            if (exit == KVM_EXIT_MMIO) continue;
            ASSERT_EQ(exit, KVM_EXIT_DEBUG);
            if (guest.word(static_cast<uint32_t>(guest.regs().pc)) == kSelf) break;
        }
        EXPECT_GT(boundaries, 50u);
        step.control = 0;
        ASSERT_TRUE(set_guest_debug(guest.vcpu(), step));
        ASSERT_EQ(run_to_end(guest), KVM_EXIT_HLT);
        EXPECT_EQ(disturbed.result(), expected);
        if (program == transition_program()) {
            EXPECT_TRUE(pending_seen);
        }
    }
}

// Registers, memory and the performance monitor go into a new VM at every boundary, which runs to
// the end.
TEST_P(SaveAndRestore, AnotherVmContinuesFromEveryBoundary) {
    if (!has_engine(GetParam())) GTEST_SKIP() << "this host has no such engine";
    const Code program = sampling_program();
    RestoredGuest alone(GetParam(), program);
    ASSERT_EQ(run_to_end(alone.guest()), KVM_EXIT_HLT);
    const auto expected = alone.result();

    RestoredGuest stepped(GetParam(), program);
    SoftGuest& from = stepped.guest();
    kvm_guest_debug step{};
    step.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    ASSERT_TRUE(set_guest_debug(from.vcpu(), step));
    for (;;) {
        const int exit = from.run();
        if (exit == KVM_EXIT_MMIO) continue;  // in the middle of an instruction
        ASSERT_EQ(exit, KVM_EXIT_DEBUG);
        RestoredGuest moved(GetParam(), program);
        SoftGuest& to = moved.guest();
        std::memcpy(to.ram(), from.ram(), kRamSize);
        ASSERT_TRUE(set_regs(to.vcpu(), from.regs()));
        Saved saved = save(from.vcpu());
        std::shuffle(saved.begin() + 1, saved.end(), random_);
        std::rotate(saved.begin(), saved.begin() + 1, saved.end());  // PMGC0 last
        restore(to.vcpu(), saved);
        ASSERT_EQ(run_to_end(to), KVM_EXIT_HLT);
        ASSERT_EQ(moved.result(), expected) << std::hex << from.regs().pc;
        if (from.word(static_cast<uint32_t>(from.regs().pc)) == kSelf) break;
    }
}

// The timing model's caches are not state: in a new VM they are cold, and a count of misses goes on
// from what it was. Where the registers are written back to the same VM they stay warm.
TEST_P(SaveAndRestore, ANewVmCountsOnWithAColdModel) {
    if (!has_engine(GetParam())) GTEST_SKIP() << "this host has no such engine";
    constexpr unsigned kLines = 16, kDataReloads = 41;
    Code walk;
    for (unsigned n = 0; n < kLines; ++n)
        walk.push_back(lwz(6, 64 * static_cast<int>(n), 5));
    const Code first =
        set_pmr(kPmlca0, selects(kDataReloads)) + set_pmr(kPmgc0, 0) + load(5, 0x8000) + walk;
    const auto make = [&] {
        auto made = std::make_unique<SoftGuest>([&] {
            SoftOptions options = SoftGuest::virtual_clock();
            options.engine = GetParam();
            return options;
        }());
        EXPECT_EQ(made->vm().ioctl(KVM_SOFT_OWN_PERFMON, nullptr), 0);
        made->start(first + walk + Code{mfpmr(10, kPmc0), kSelf});
        return made;
    };
    const auto from = make();
    kvm_guest_debug step{};
    step.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    ASSERT_TRUE(set_guest_debug(from->vcpu(), step));
    while (from->regs().pc != kStart + 4 * first.size())
        ASSERT_EQ(from->run(), KVM_EXIT_DEBUG);
    const Saved saved = save(from->vcpu());

    const auto moved = make();
    ASSERT_TRUE(set_regs(moved->vcpu(), from->regs()));
    restore(moved->vcpu(), saved);
    ASSERT_EQ(run_to_end(*moved), KVM_EXIT_HLT);
    EXPECT_EQ(moved->gpr(10), 2u * kLines);

    restore(from->vcpu(), saved);
    step.control = 0;
    ASSERT_TRUE(set_guest_debug(from->vcpu(), step));
    ASSERT_EQ(run_to_end(*from), KVM_EXIT_HLT);
    EXPECT_EQ(from->gpr(10), kLines);
}

INSTANTIATE_TEST_SUITE_P(PmState, SaveAndRestore, testing::ValuesIn(soft_engines()),
                         [](const auto& test) {
                             return test.param == SoftEngine::Interpreter ? "Interpreter"
                                                                          : "Translator";
                         });

TEST(PmState, ReservedBitsAreRefused) {
    FakePmc pmc;
    SoftOptions options = SoftGuest::virtual_clock();
    options.pmc = &pmc;
    SoftGuest guest(options);
    EXPECT_FALSE(set_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PM_STATE, 0x40000000));
    EXPECT_TRUE(set_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PM_STATE, 0));
}

TEST(PmState, WithoutAReservationItIsZero) {
    SoftGuest guest;
    ASSERT_TRUE(set_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PM_STATE, KVM_PM_STATE_TIME_BASE));
    EXPECT_EQ(*get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_PM_STATE), 0u);
}

// Idle time is skipped to the time base transition that ends the wait.
TEST(PmState, ATransitionEndsAWait) {
    FakePmc pmc;
    SoftOptions options = SoftGuest::virtual_clock();
    options.pmc = &pmc;
    SoftGuest guest(options);
    ASSERT_EQ(guest.vm().ioctl(KVM_RESERVE_PERFMON, nullptr), 0);
    guest.write(vector(35), {mfspr(10, 268), kSelf});
    guest.start(set_pmr(kPmgc0, kPMIE | kTBEE | 3 << 11) + Code{kWait, kSelf}, kMsrEE);
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.gpr(10), 1u << 16);
}

}  // namespace
}  // namespace perfvisor::kvm
