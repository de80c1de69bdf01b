// SPDX-License-Identifier: GPL-2.0-or-later
// Small raw images run by the built program: how guests end, and guests that misbehave.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "subprocess.h"
#include "with_directory.h"

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;

// Instructions of the images below; r3 is free for use.
constexpr uint32_t kBranchToSelf = 0x48000000;
constexpr uint32_t kWait = 0x7c00007c;
constexpr uint32_t kIllegal = 0x00000000;

class BareMetal : public WithDirectory<> {
  protected:
    Finished run_image(const std::vector<uint32_t>& words,
                       std::vector<std::string> options = {}) const {
        const fs::path image = directory / "image.bin";
        std::ofstream file(image, std::ios::binary);
        for (const uint32_t word : words)
            for (const int shift : {24, 16, 8, 0})
                file.put(static_cast<char>(word >> shift));
        file.close();
        options.insert(options.begin(), {"run", "-m", "16M", "-kernel", image.string()});
        return perfvisor(options, std::chrono::seconds(60));
    }

    // li/oris r5,r6 so that stores reach the board's CCSR needs a TLB1 entry: EA 0xe0000000 to
    // 0xf_e000_0000, 1 MiB.
    static std::vector<uint32_t> map_ccsr() {
        return {
            0x3c601001,  // lis   r3,0x1001        MAS0: TLB1, entry 1
            0x7c709ba6,  // mtspr MAS0,r3
            0x3c608000,  // lis   r3,0x8000        MAS1: valid
            0x60630500,  // ori   r3,r3,0x500      1 MiB
            0x7c719ba6,  // mtspr MAS1,r3
            0x3c60e000,  // lis   r3,0xe000        MAS2: EA, I and G
            0x6063000a,  // ori   r3,r3,0xa
            0x7c729ba6,  // mtspr MAS2,r3
            0x3c60e000,  // lis   r3,0xe000        MAS3: RA's low part, SR SW
            0x60630005,  // ori   r3,r3,5
            0x7c739ba6,  // mtspr MAS3,r3
            0x3860000f,  // li    r3,0xf           MAS7: RA's high part
            0x7c70eba6,  // mtspr MAS7,r3
            0x7c0007a4,  // tlbwe
            0x4c00012c,  // isync
        };
    }
    static std::vector<uint32_t> then(std::vector<uint32_t> first,
                                      const std::vector<uint32_t>& second) {
        first.insert(first.end(), second.begin(), second.end());
        return first;
    }
};

TEST_F(BareMetal, APowerOffEndsWithStatusZero) {
    // GPIO: pin 0 as output, then high, then low.
    const auto image = then(map_ccsr(), {
                                            0x3ca0e00f,  // lis  r5,0xe00f
                                            0x60a5f000,  // ori  r5,r5,0xf000
                                            0x3c608000,  // lis  r3,0x8000
                                            0x90650000,  // stw  r3,0(r5)     direction
                                            0x90650008,  // stw  r3,8(r5)     data
                                            0x38800000,  // li   r4,0
                                            0x90850008,  // stw  r4,8(r5)
                                            0x90650008,  // stw  r3,8(r5)
                                            kBranchToSelf,
                                        });
    const Finished result = run_image(image);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
}

TEST_F(BareMetal, TheSerialPortReachesStdout) {
    const auto image = then(map_ccsr(), {
                                            0x3ca0e000,  // lis  r5,0xe000
                                            0x60a54500,  // ori  r5,r5,0x4500
                                            0x38600048,  // li   r3,'H'
                                            0x98650000,  // stb  r3,0(r5)
                                            0x38600069,  // li   r3,'i'
                                            0x98650000,  // stb  r3,0(r5)
                                            kBranchToSelf,
                                        });
    EXPECT_EQ(run_image(image).out, "Hi");
}

TEST_F(BareMetal, AResetEndsWithNoReboot) {
    const auto image = then(map_ccsr(), {
                                            0x3ca0e00e,  // lis  r5,0xe00e
                                            0x38600002,  // li   r3,2
                                            0x906500b0,  // stw  r3,0xb0(r5)  RSTCR
                                            kBranchToSelf,
                                        });
    EXPECT_EQ(run_image(image, {"-no-reboot"}).status, 0);
}

TEST_F(BareMetal, ABranchToItselfWithoutInterruptsCanGoNoFurther) {
    const Finished result = run_image({kBranchToSelf});
    EXPECT_EQ(result.status, 1);
    EXPECT_NE(result.err.find("can go no further"), std::string::npos) << result.err;
}

TEST_F(BareMetal, AnInitrdThatFitsButCannotBeUnpackedBesideItselfIsWarnedOf) {
    const fs::path initrd = directory / "initrd";
    const auto run_with_initrd = [&](uintmax_t bytes) {
        std::ofstream(initrd).close();
        fs::resize_file(initrd, bytes);
        return run_image({kBranchToSelf}, {"-initrd", initrd.string()}).err;
    };
    EXPECT_EQ(run_with_initrd(5 << 20).find("warning"), std::string::npos);
    const std::string err = run_with_initrd(7 << 20);
    EXPECT_NE(err.find("warning: -m: 16 MiB may be too little"), std::string::npos) << err;
    EXPECT_NE(err.find("an initrd of 7168 KiB"), std::string::npos) << err;
    EXPECT_NE(err.find("19 MiB would do"), std::string::npos) << err;
}

TEST_F(BareMetal, AWaitThatNothingEndsCanGoNoFurther) {
    const Finished result = run_image({kWait, kBranchToSelf}, {"--exec", "true"});
    EXPECT_EQ(result.status, 1);
    EXPECT_NE(result.err.find("can go no further"), std::string::npos) << result.err;
}

TEST_F(BareMetal, AnEndlessStormOfExceptionsCanGoNoFurther) {
    // All vectors are 0: an illegal instruction there interrupts to itself.
    const Finished result = run_image({kIllegal});
    EXPECT_EQ(result.status, 1);
    EXPECT_NE(result.err.find("can go no further"), std::string::npos) << result.err;
}

TEST_F(BareMetal, AJumpIntoNothingInterruptsAndEndsInTheHandler) {
    constexpr size_t kHandler = 0x100;
    std::vector<uint32_t> image = {
        0x38600100,  // li    r3,0x100
        0x7c7e63a6,  // mtspr IVOR14,r3       instruction TLB error
        0x3c607000,  // lis   r3,0x7000
        0x7c6903a6,  // mtctr r3
        0x4e800420,  // bctr
    };
    image.resize(kHandler / 4, kIllegal);
    image.push_back(kBranchToSelf);
    const Finished result = run_image(image);
    EXPECT_FALSE(result.timed_out);
    EXPECT_EQ(result.status, 1);
    EXPECT_NE(result.err.find("can go no further"), std::string::npos) << result.err;
}

TEST_F(BareMetal, OddAccessesToDevicesHarmNothing) {
    const auto image = then(map_ccsr(), {
                                            0x3ca0e004,  // lis  r5,0xe004     MPIC
                                            0x80650001,  // lwz  r3,1(r5)      misaligned
                                            0xa0650003,  // lhz  r3,3(r5)
                                            0xbc050000,  // stmw r0,0(r5)      32 words
                                            0x3ca0e008,  // lis  r5,0xe008     nothing there
                                            0x80650000,  // lwz  r3,0(r5)
                                            0x90650004,  // stw  r3,4(r5)
                                            kBranchToSelf,
                                        });
    const Finished result = run_image(image);
    EXPECT_FALSE(result.timed_out);
    EXPECT_EQ(result.status, 1);
    EXPECT_NE(result.err.find("where nothing is"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace perfvisor::test
