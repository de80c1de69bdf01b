// SPDX-License-Identifier: GPL-2.0-or-later
// mtspr and mfspr: which registers there are, who may use them, and what is special about them.
#include "core_fixture.h"

namespace perfvisor::core {
namespace {

struct SprTest : CoreTest {
    SprResult read(unsigned number) {
        uint64_t value;
        return core.read_spr(number, value);
    }
};

TEST_F(SprTest, PrivilegedNumbersAreDeniedToUsersWhetherTheyExistOrNot) {
    core.set_msr(msr::kPR);
    for (unsigned number = 0; number < 1024; ++number) {
        uint64_t value = 0;
        const SprResult r = core.read_spr(number, value), w = core.write_spr(number, value);
        if (number & 0x10) {
            EXPECT_EQ(r, SprResult::Privileged) << number;
            EXPECT_EQ(w, SprResult::Privileged) << number;
        } else {
            EXPECT_NE(r, SprResult::Privileged) << number;
            EXPECT_NE(w, SprResult::Privileged) << number;
        }
    }
}

TEST_F(SprTest, UsersHaveTheirRegistersAndReadOnlyWindows) {
    set_spr(spr::kSPRG4, 0x1234);
    core.set_msr(msr::kPR);
    for (const unsigned number : {1u, 8u, 9u, 256u}) {
        EXPECT_EQ(core.write_spr(number, 0x20000055), SprResult::Ok);
        uint64_t value = 0;
        EXPECT_EQ(core.read_spr(number, value), SprResult::Ok);
        EXPECT_EQ(value, 0x20000055u);
    }
    uint64_t value = 0;
    EXPECT_EQ(core.read_spr(260, value), SprResult::Ok);
    EXPECT_EQ(value, 0x1234u);
    EXPECT_EQ(core.write_spr(260, 0), SprResult::Illegal);
    EXPECT_EQ(read(268), SprResult::Ok);
    EXPECT_EQ(read(269), SprResult::Ok);
    EXPECT_EQ(read(526), SprResult::Ok);
    EXPECT_EQ(read(515), SprResult::Ok);
    EXPECT_EQ(read(0), SprResult::Illegal);
}

TEST_F(SprTest, NumbersThatAreNotThereAreIllegal) {
    for (const unsigned number : {0u, 2u, 18u, 25u, 512u, 528u, 1022u, 338u, 307u, 1024u, 99999u})
        EXPECT_EQ(read(number), SprResult::Illegal) << number;
}

TEST_F(SprTest, ReadOnlyRegistersCannotBeWritten) {
    for (const unsigned number : {287u, 515u, 516u, 519u, 688u, 689u, 1015u, 1023u, 702u, 268u})
        EXPECT_EQ(core.write_spr(number, 0), SprResult::Illegal) << number;
    EXPECT_EQ(read(284), SprResult::Illegal) << "the writing half of TBL";
}

TEST_F(SprTest, IdentityIsTheModels) {
    EXPECT_EQ(spr(spr::kPVR), 0x80230020u);
    EXPECT_EQ(spr(spr::kSVR), 0u);
    EXPECT_EQ(spr(spr::kPIR), 3u);
    EXPECT_EQ(spr(spr::kTLB1CFG), 0x401bc040u);
    EXPECT_EQ(spr(spr::kL1CFG0) & 0x7ff, 32u) << "KiB";
    EXPECT_EQ((spr(spr::kL1CFG0) >> 11 & 0xff) + 1, 8u) << "ways";
    EXPECT_EQ((spr(spr::kL2CFG0) & 0x3fff) * 64, 128u) << "KiB";
}

TEST_F(SprTest, XerIsTakenApartAndPutTogether) {
    set_spr(spr::kXER, 0xffffffff);
    EXPECT_EQ(state.xer_so + state.xer_ov + state.xer_ca, 3);
    EXPECT_EQ(state.xer_count, 0x7f);
    EXPECT_EQ(spr(spr::kXER), 0xe000007fu);
    set_spr(spr::kXER, 0x20000000);
    EXPECT_EQ(spr(spr::kXER), 0x20000000u);
}

TEST_F(SprTest, OperationsInControlRegistersAreOverAtOnce) {
    set_spr(spr::kL1CSR0, 0x00010103);
    EXPECT_EQ(spr(spr::kL1CSR0), 0x00010001u);
    set_spr(spr::kL1CSR1, 0x00010103);
    EXPECT_EQ(spr(spr::kL1CSR1), 0x00010001u);
    set_spr(spr::kL2CSR0, 0x80200c00);
    EXPECT_EQ(spr(spr::kL2CSR0), 0x80000000u);
    set_spr(spr::kBUCSR, 0x201);
    EXPECT_EQ(spr(spr::kBUCSR), 0x1u);
}

TEST_F(SprTest, StatusRegistersAreClearedByWritingOnesAndRestoredFromOutside) {
    for (const unsigned number : {unsigned{spr::kDBSR}, unsigned{spr::kMCSR}}) {
        EXPECT_TRUE(core.set_spr(number, 0x0f0f0000));
        EXPECT_EQ(spr(number), 0x0f0f0000u);
        set_spr(number, 0x000f0000);
        EXPECT_EQ(spr(number), 0x0f000000u);
    }
    EXPECT_TRUE(core.set_spr(spr::kTSR, 0x0c000000));
    EXPECT_EQ(spr(spr::kTSR), 0x0c000000u);
    set_spr(spr::kTSR, 0x08000000);
    EXPECT_EQ(spr(spr::kTSR), 0x04000000u);
}

TEST_F(SprTest, OutsideReachesRegistersWhateverThePrivilege) {
    core.set_msr(msr::kPR);
    EXPECT_TRUE(core.set_spr(spr::kSRR0, 0x1000));
    EXPECT_EQ(spr(spr::kSRR0), 0x1000u);
    EXPECT_FALSE(core.set_spr(spr::kPVR, 0));
}

TEST_F(SprTest, RegistersHave32Bits) {
    set_spr(spr::kSPRG0, 0x123456789abcdef0);
    EXPECT_EQ(spr(spr::kSPRG0), 0x9abcdef0u);
    set_spr(spr::kMAS2, 0xffffffffffffffff);
    EXPECT_EQ(spr(spr::kMAS2), 0xfffff07fu);
    set_spr(spr::kMAS7, 0xffffffff);
    EXPECT_EQ(spr(spr::kMAS7), 0xfu);
}

TEST_F(SprTest, TimeBaseIsWrittenThroughItsOwnNumbers) {
    set_spr(spr::kTBUWrite, 0x12);
    set_spr(spr::kTBLWrite, 0x3456);
    execute(4);
    EXPECT_EQ(spr(spr::kTBURead), 0x12u);
    EXPECT_EQ(spr(spr::kTBLRead), 0x345au);
    EXPECT_EQ(spr(spr::kATBL), 4u);
}

TEST_F(SprTest, PidSelectsAContext) {
    const uint32_t context = state.data_context;
    set_spr(spr::kPID, 0x155);
    EXPECT_EQ(spr(spr::kPID), 0x55u) << "8 bits";
    EXPECT_NE(state.data_context, context);
}

TEST_F(SprTest, PmrsFollowPrivilegeAndExistence) {
    core.perfmon().set_available(true);
    uint32_t value;
    EXPECT_EQ(core.write_pmr(16, 5), SprResult::Ok);
    EXPECT_EQ(core.write_pmr(0, 5), SprResult::Illegal) << "a user number";
    EXPECT_EQ(core.read_pmr(20, value), SprResult::Illegal) << "PMC4";
    core.set_msr(msr::kPR);
    EXPECT_EQ(core.read_pmr(16, value), SprResult::Privileged);
    EXPECT_EQ(core.write_pmr(16, 0), SprResult::Privileged);
    EXPECT_EQ(core.read_pmr(0, value), SprResult::Ok);
    EXPECT_EQ(value, 5u);
}

TEST_F(SprTest, AnyWriteToAnyNumberIsHarmless) {
    Random random(1);
    core.perfmon().set_available(true);
    for (unsigned n = 0; n < 200000; ++n) {
        const unsigned number = random.below(1024);
        uint64_t value = random.one_in(3) ? 0xffffffff : random.next();
        core.write_spr(number, value);
        core.read_spr(random.below(1024), value);
        if (random.one_in(10)) core.set_msr(random.next());
        if (random.one_in(10)) execute(random.below(1000));
        if (random.one_in(10)) core.deliver_pending_interrupt();
        EXPECT_GE(core.instructions_to_deadline(100), 1u);
        if (random.one_in(1000)) core.reset();
    }
}

}  // namespace
}  // namespace perfvisor::core
