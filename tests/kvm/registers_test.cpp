// SPDX-License-Identifier: GPL-2.0-or-later
// Registers, the software TLB and guest debugging at the handles.
#include <random>

#include "soft_guest.h"

namespace perfvisor::kvm {
namespace {

using namespace guest;

TEST(Regs, EveryFieldComesBack) {
    SoftGuest guest;
    kvm_regs regs{};
    auto* words = reinterpret_cast<__u64*>(&regs);
    for (size_t n = 0; n < sizeof regs / sizeof(__u64); ++n)
        words[n] = 0x01010100u * (n + 1) & 0xfffffffc;
    regs.xer = 0xe000007f;
    regs.msr = kMsrEE | kMsrPR | kMsrME;
    regs.pid = 0x55;
    ASSERT_TRUE(set_regs(guest.vcpu(), regs));
    const kvm_regs got = guest.regs();
    EXPECT_EQ(std::memcmp(&got, &regs, sizeof regs), 0);
}

TEST(Regs, WhatTheCoreDoesNotHaveIsDropped) {
    SoftGuest guest;
    kvm_regs regs{};
    regs.pc = 0xf00000001003;
    regs.gpr[1] = 0x1'2345'6789;
    regs.msr = 0xffffffff'00000000;
    ASSERT_TRUE(set_regs(guest.vcpu(), regs));
    EXPECT_EQ(guest.regs().pc, 0x1000u);
    EXPECT_EQ(guest.gpr(1), 0x23456789u);
    EXPECT_EQ(guest.regs().msr, 0u);
}

TEST(Sregs, UnmodifiedTheyAreANoOp) {
    SoftGuest guest;
    guest.start({kNop, kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    const kvm_sregs before = *get_sregs(guest.vcpu());
    ASSERT_TRUE(set_sregs(guest.vcpu(), before));
    const kvm_sregs after = *get_sregs(guest.vcpu());
    EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0);
}

TEST(Sregs, EverySectionComesBack) {
    SoftGuest guest;
    kvm_sregs sregs = *get_sregs(guest.vcpu());
    kvm_sregs_e& e = sregs.u.e;
    EXPECT_EQ(e.impl_id, unsigned{KVM_SREGS_E_IMPL_FSL});
    e.csrr0 = 0x100, e.csrr1 = 0x200, e.dsrr0 = 0x300, e.dsrr1 = 0x400;
    e.mcsrr0 = 0x500, e.mcsrr1 = 0x600, e.esr = 0x08000000, e.dear = 0x1234;
    e.mcsr = 0x8000, e.dbsr = 0x00800000, e.dbcr[0] = 0x00800000, e.dbcr[1] = 0x1;
    e.iac[0] = 0x1000, e.iac[1] = 0x2000, e.dac[0] = 0x3001, e.dac[1] = 0x4002;
    e.sprg8 = 8, e.sprg9 = 9, e.vrsave = 0x77, e.decar = 0x99, e.ivpr = 0xabcd0000;
    e.tcr = 0x04000000, e.tsr = 0x48000000, e.dec = 12345;
    e.mas0 = 0x10020000, e.mas1 = 0xc0000500, e.mas2 = 0xc000000a, e.mas7_3 = 0xfe000003f;
    e.mas4 = 0x100, e.mas6 = 0x00050001, e.eplc = 0x80000005, e.epsc = 0x40000006;
    e.ivor_low[15] = 0xff0, e.ivor_high[3] = 0x2340, e.ivor_high[5] = 0x2360;
    e.update_special = 0xffffffff;
    ASSERT_TRUE(set_sregs(guest.vcpu(), sregs));
    kvm_sregs got = *get_sregs(guest.vcpu());
    got.u.e.update_special = 0xffffffff;
    EXPECT_EQ(std::memcmp(&got, &sregs, sizeof got), 0);
}

TEST(Sregs, SpecialRegistersStayUnlessAskedFor) {
    SoftGuest guest;
    kvm_sregs sregs = *get_sregs(guest.vcpu());
    sregs.u.e.dec = 500;
    sregs.u.e.tsr = 0x08000000;
    ASSERT_TRUE(set_sregs(guest.vcpu(), sregs));
    EXPECT_EQ(get_sregs(guest.vcpu())->u.e.dec, 0u);
    EXPECT_EQ(get_sregs(guest.vcpu())->u.e.tsr, 0u);
}

TEST(Sregs, AnotherPvrOrPirIsRefused) {
    SoftGuest guest;
    kvm_sregs sregs = *get_sregs(guest.vcpu());
    EXPECT_EQ(sregs.pvr, 0x80230020u);
    sregs.u.e.pir = 1;
    EXPECT_EQ(guest.vcpu().ioctl(KVM_SET_SREGS, &sregs), -EINVAL);
    sregs.u.e.pir = 0;
    ++sregs.pvr;
    EXPECT_EQ(guest.vcpu().ioctl(KVM_SET_SREGS, &sregs), -EINVAL);
}

TEST(OneReg, WideAndNarrowRegistersComeBack) {
    SoftGuest guest;
    Vcpu& vcpu = guest.vcpu();
    const std::pair<uint64_t, uint64_t> wide[] = {{KVM_REG_PPC_FPR(0), 0x3ff0000000000000},
                                                  {KVM_REG_PPC_FPR(31), 0xfff8000000000001},
                                                  {KVM_REG_PPC_IAC1, 0x1000},
                                                  {KVM_REG_PPC_IAC2, 0x2000},
                                                  {KVM_REG_PPC_DAC1, 0x3003},
                                                  {KVM_REG_PPC_DAC2, 0x4001},
                                                  {KVM_REG_PPC_MAS2, 0xc0000006},
                                                  {KVM_REG_PPC_MAS7_3, 0xfe000003f},
                                                  {KVM_REG_PPC_SPRG9, 0x1234},
                                                  {KVM_REG_PPC_FPSCR, 0x4}};
    for (const auto& [id, value] : wide) {
        ASSERT_TRUE(set_one_reg<uint64_t>(vcpu, id, value)) << std::hex << id;
        EXPECT_EQ(*get_one_reg<uint64_t>(vcpu, id), value) << std::hex << id;
    }
    const std::pair<uint64_t, uint32_t> narrow[] = {
        {KVM_REG_PPC_MAS0, 0x10010000}, {KVM_REG_PPC_MAS1, 0x80000200},
        {KVM_REG_PPC_MAS4, 0x100},      {KVM_REG_PPC_MAS6, 0x00030000},
        {KVM_REG_PPC_TCR, 0x04400000},  {KVM_REG_PPC_TSR, 0x0c000000},
        {KVM_REG_PPC_EPR, 0x42},        {KVM_REG_PPC_VRSAVE, 0x99},
        {KVM_REG_PPC_DBSR, 0x00400000}};
    for (const auto& [id, value] : narrow) {
        ASSERT_TRUE(set_one_reg<uint32_t>(vcpu, id, value)) << std::hex << id;
        EXPECT_EQ(*get_one_reg<uint32_t>(vcpu, id), value) << std::hex << id;
    }
}

TEST(OneReg, TsrBitsAreSetAndClearedOneByOne) {
    SoftGuest guest;
    ASSERT_TRUE(set_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_OR_TSR, 0x08000000));
    ASSERT_TRUE(set_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_OR_TSR, 0x04000000));
    ASSERT_TRUE(set_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_CLEAR_TSR, 0x08000000));
    EXPECT_EQ(*get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_TSR), 0x04000000u);
}

TEST(OneReg, ConfigurationRegistersTakeOnlyTheirOwnValue) {
    SoftGuest guest;
    const uint32_t tlb1cfg = *get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_TLB1CFG);
    EXPECT_EQ(tlb1cfg & 0xfff, 64u);
    EXPECT_TRUE(set_one_reg(guest.vcpu(), KVM_REG_PPC_TLB1CFG, tlb1cfg));
    EXPECT_FALSE(set_one_reg(guest.vcpu(), KVM_REG_PPC_TLB1CFG, tlb1cfg + 1));
}

TEST(OneReg, ValueOfTheWrongSizeIsRefused) {
    SoftGuest guest;
    EXPECT_FALSE(get_one_reg<uint64_t>(guest.vcpu(), KVM_REG_PPC_TCR));
    EXPECT_FALSE(get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_FPSCR));
}

TEST(SoftwareTlb, GuestsEntriesAppearInTheArray) {
    SoftGuest guest;
    // tlbwe: TLB1 entry 5, EA 0x30000000 to RA 0x2000, 4 KiB, TID 3.
    guest.start(load(3, 0x10050000) + Code{mtspr(624, 3)} + load(3, 0x80030100) +
                Code{mtspr(625, 3)} + load(3, 0x30000004) + Code{mtspr(626, 3)} +
                load(3, 0x00002000 | 0x3f) + Code{mtspr(627, 3), kTlbwe, kIsync, kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    const kvm_book3e_206_tlb_entry& entry = guest.tlb()[512 + 5];
    EXPECT_EQ(entry.mas1, 0x80030100u);
    EXPECT_EQ(entry.mas2, 0x30000004u);
    EXPECT_EQ(entry.mas7_3, 0x203fu);
    const auto there = translate(guest.vcpu(), 0x30000123, 3, 0);
    ASSERT_TRUE(there);
    EXPECT_TRUE(there->valid && there->writeable && there->user);
    EXPECT_EQ(there->physical, 0x2123u);
    EXPECT_FALSE(translate(guest.vcpu(), 0x30000123, 4, 0)->valid);
    EXPECT_FALSE(translate(guest.vcpu(), 0x30000123, 3, 1)->valid);
}

TEST(SoftwareTlb, EntriesWrittenFromOutsideTranslateOnceTheyAreToldOf) {
    SoftGuest guest;
    // TLB0, set 1, way 2: EA 0x81000 (set 0x81 mod 128 = 1), supervisor read only.
    guest.tlb()[1 * 4 + 2] = {0, 0x80000100, 0x10081000, 0x5000 | 0x1};
    EXPECT_FALSE(translate(guest.vcpu(), 0x10081000, 0, 0)->valid);
    ASSERT_TRUE(dirty_tlb(guest.vcpu(), guest.tlb().size()));
    const auto there = translate(guest.vcpu(), 0x10081040, 0, 0);
    EXPECT_TRUE(there->valid);
    EXPECT_EQ(there->physical, 0x5040u);
    EXPECT_FALSE(there->writeable);
    EXPECT_FALSE(there->user);
}

TEST(SoftwareTlb, OnlyDirtyEntriesAreTakenOver) {
    SoftGuest guest;
    guest.tlb()[512 + 7] = {0, 0x80000100, 0x40000000, 0x103f};
    guest.tlb()[512 + 8] = {0, 0x80000100, 0x50000000, 0x103f};
    std::vector<uint64_t> bitmap(9);
    bitmap[8] = uint64_t{1} << 7;
    kvm_dirty_tlb dirty{reinterpret_cast<uintptr_t>(bitmap.data()), 1};
    ASSERT_EQ(guest.vcpu().ioctl(KVM_DIRTY_TLB, &dirty), 0);
    EXPECT_TRUE(translate(guest.vcpu(), 0x40000000, 0, 0)->valid);
    EXPECT_FALSE(translate(guest.vcpu(), 0x50000000, 0, 0)->valid);
}

TEST(SoftwareTlb, OtherGeometryIsRefused) {
    SoftGuest guest;
    EXPECT_FALSE(config_tlb(guest.vcpu(), guest.tlb(), 256, 2, 16));
    EXPECT_FALSE(config_tlb(guest.vcpu(), guest.tlb(), 512, 4, 63));
    std::vector<kvm_book3e_206_tlb_entry> small(575);
    EXPECT_FALSE(config_tlb(guest.vcpu(), small, 512, 4, 64));
}

// ---- guest debugging ----

kvm_guest_debug debug(uint32_t control, std::vector<std::pair<uint64_t, uint32_t>> points = {}) {
    kvm_guest_debug result{};
    result.control = KVM_GUESTDBG_ENABLE | control;
    for (size_t n = 0; n < points.size(); ++n)
        result.arch.bp[n] = {points[n].first, points[n].second, 0};
    return result;
}

TEST(GuestDebug, SingleStepStopsAfterEachInstruction) {
    SoftGuest guest;
    guest.start({li(5, 1), b(8), kNop, li(6, 2), kSelf});
    ASSERT_TRUE(set_guest_debug(guest.vcpu(), debug(KVM_GUESTDBG_SINGLESTEP)));
    for (const uint64_t pc : {kStart + 4, kStart + 12, kStart + 16, kStart + 16}) {
        ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
        EXPECT_EQ(guest.vcpu().run()->debug.arch.address, pc);
        EXPECT_EQ(guest.vcpu().run()->debug.arch.status, 0u);
        EXPECT_EQ(guest.regs().pc, pc);
    }
    ASSERT_TRUE(set_guest_debug(guest.vcpu(), kvm_guest_debug{}));
    EXPECT_EQ(guest.run(), KVM_EXIT_HLT);
}

TEST(GuestDebug, SingleStepOverADeviceAccessStopsAfterIt) {
    SoftGuest guest;
    guest.start(say(3) + Code{kNop, kSelf});
    ASSERT_TRUE(set_guest_debug(guest.vcpu(), debug(KVM_GUESTDBG_SINGLESTEP)));
    ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
    ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
    ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
    ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
    EXPECT_EQ(guest.regs().pc, kStart + 12);
}

TEST(GuestDebug, HardwareBreakpointStopsBeforeItsInstruction) {
    SoftGuest guest;
    guest.start({li(5, 1), li(6, 2), li(7, 3), kSelf});
    ASSERT_TRUE(set_guest_debug(
        guest.vcpu(), debug(KVM_GUESTDBG_USE_HW_BP, {{kStart + 8, KVMPPC_DEBUG_BREAKPOINT}})));
    ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
    EXPECT_EQ(guest.vcpu().run()->debug.arch.status, KVMPPC_DEBUG_BREAKPOINT);
    EXPECT_EQ(guest.regs().pc, kStart + 8);
    EXPECT_EQ(guest.gpr(6), 2u);
    EXPECT_EQ(guest.gpr(7), 0u);
}

// The first of two loops has run: its breakpoint is not met.
TEST(GuestDebug, HardwareBreakpointStopsInAHotLoop) {
    for (const SoftEngine engine : soft_engines()) {
        SoftOptions options = SoftGuest::virtual_clock();
        options.engine = engine;
        SoftGuest guest(options);
        constexpr uint32_t kRounds = 30000, kFirst = kStart + 4 * 4;
        const Code loop = load(6, kRounds) + Code{mtspr(9, 6), addi(5, 5, 1), bdnz(-4)};
        guest.start(Code{li(5, 0)} + loop + say(1) + loop + say(2));
        ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
        const uint64_t second = kStart + 4 * (1 + loop.size() + say(1).size()) + 4 * 3;
        ASSERT_TRUE(set_guest_debug(
            guest.vcpu(), debug(KVM_GUESTDBG_USE_HW_BP, {{second, KVMPPC_DEBUG_BREAKPOINT},
                                                         {kFirst, KVMPPC_DEBUG_BREAKPOINT}})));
        ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
        EXPECT_EQ(guest.vcpu().run()->debug.arch.address, second);
        EXPECT_EQ(guest.vcpu().run()->debug.arch.status, KVMPPC_DEBUG_BREAKPOINT);
        EXPECT_EQ(guest.gpr(5), kRounds);
        ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG) << "before its instruction still";
        EXPECT_EQ(guest.gpr(5), kRounds);
        ASSERT_TRUE(set_guest_debug(guest.vcpu(), kvm_guest_debug{}));
        ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
        EXPECT_EQ(guest.gpr(5), 2 * kRounds);
    }
}

TEST(GuestDebug, ABreakpointIsMetWhereTheCpuIsStuck) {
    SoftGuest guest;
    guest.start({kSelf});
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    ASSERT_TRUE(set_guest_debug(
        guest.vcpu(), debug(KVM_GUESTDBG_USE_HW_BP, {{kStart, KVMPPC_DEBUG_BREAKPOINT}})));
    EXPECT_EQ(guest.run(), KVM_EXIT_DEBUG);
}

TEST(GuestDebug, SoftwareBreakpointIsTheInstructionThatKvmNames) {
    SoftGuest guest;
    const uint32_t breakpoint = *get_one_reg<uint32_t>(guest.vcpu(), KVM_REG_PPC_DEBUG_INST);
    guest.write(vector(6), {kSelf});
    guest.start({li(5, 1), breakpoint, kSelf});
    ASSERT_TRUE(set_guest_debug(guest.vcpu(), debug(KVM_GUESTDBG_USE_SW_BP)));
    ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
    EXPECT_EQ(guest.vcpu().run()->debug.arch.address, kStart + 4);
    // Nobody debugging, it is an illegal instruction like any other.
    ASSERT_TRUE(set_guest_debug(guest.vcpu(), kvm_guest_debug{}));
    ASSERT_EQ(guest.run(), KVM_EXIT_HLT);
    EXPECT_EQ(guest.regs().pc, vector(6));
}

TEST(GuestDebug, WatchpointStopsAtTheAccessThatCoversIt) {
    SoftGuest guest;
    guest.start(load(3, 0x8000) +
                Code{lwz(4, 0, 3), stw(4, 4, 3), stb(4, 11, 3), sth(4, 10, 3), kSelf});
    ASSERT_TRUE(set_guest_debug(
        guest.vcpu(), debug(KVM_GUESTDBG_USE_HW_BP, {{0x8001, KVMPPC_DEBUG_WATCH_READ},
                                                     {0x800a, KVMPPC_DEBUG_WATCH_WRITE}})));
    ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
    EXPECT_EQ(guest.regs().pc, kStart + 8);
    EXPECT_EQ(guest.vcpu().run()->debug.arch.address, 0x8001u);
    EXPECT_EQ(guest.vcpu().run()->debug.arch.status, KVMPPC_DEBUG_WATCH_READ);
    ASSERT_TRUE(set_guest_debug(
        guest.vcpu(), debug(KVM_GUESTDBG_USE_HW_BP, {{0x800a, KVMPPC_DEBUG_WATCH_WRITE}})));
    ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
    EXPECT_EQ(guest.regs().pc, kStart + 20);
    EXPECT_EQ(guest.vcpu().run()->debug.arch.status, KVMPPC_DEBUG_WATCH_WRITE);
}

// A decrementer interrupt is due before the first instruction.
TEST(GuestDebug, StepsCanKeepInterruptsAwayUntilTheyAreOver) {
    SoftGuest guest;
    guest.write(vector(10), {kSelf});
    // DEC = 1 and TCR[DIE]; then it is due at once.
    guest.start(load(3, 0x04000000) + Code{mtspr(340, 3), li(3, 1), mtspr(22, 3)} +
                    Code(200, kNop) + Code{kSelf},
                kMsrEE);
    const auto stepping = KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ;
    ASSERT_TRUE(set_guest_debug(guest.vcpu(), debug(stepping)));
    for (uint64_t n = 1; n <= 150; ++n) {
        ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
        ASSERT_EQ(guest.regs().pc, kStart + 4 * n);
    }
    ASSERT_TRUE(set_guest_debug(guest.vcpu(), debug(KVM_GUESTDBG_SINGLESTEP)));
    ASSERT_EQ(guest.run(), KVM_EXIT_DEBUG);
    EXPECT_EQ(guest.regs().pc, vector(10)) << "the branch to itself there was executed";
}

TEST(CodeChanged, WhatTheVmmWroteIsWhatIsExecuted) {
    for (const SoftEngine engine : {SoftEngine::Interpreter, SoftEngine::Translator}) {
        SoftOptions options = SoftGuest::virtual_clock();
        options.engine = engine;
        SoftGuest guest(options);
        guest.start(Code{li(4, 1)} + say(4) + Code{b(-16), kSelf});
        for (const uint32_t value : {1u, 2u, 3u}) {
            const guest::Code changed{li(4, static_cast<int>(value))};
            guest.write(kStart, changed);
            ASSERT_TRUE(code_changed(guest.vm(), kStart, {guest.ram() + kStart, 4}));
            ASSERT_EQ(guest.run(), KVM_EXIT_MMIO);
            EXPECT_EQ(guest.vcpu().run()->mmio.data[3], value);
        }
    }
}

TEST(GuestDebug, UnknownKindOfBreakpointIsRefused) {
    SoftGuest guest;
    kvm_guest_debug wrong = debug(KVM_GUESTDBG_USE_HW_BP, {{0, 0x100}});
    EXPECT_EQ(guest.vcpu().ioctl(KVM_SET_GUEST_DEBUG, &wrong), -EINVAL);
}

}  // namespace
}  // namespace perfvisor::kvm
