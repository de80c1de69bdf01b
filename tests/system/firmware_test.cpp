// SPDX-License-Identifier: GPL-2.0-or-later
// U-Boot as the distribution has it, for the board qemu-ppce500, on perfvisor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "uboot.h"

namespace perfvisor::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

TEST(Firmware, UBootComesToItsPromptAndFindsTheBoard) {
    UBoot uboot("u-boot", {"-m", "256M"});
    uboot.say("printenv baudrate\npci\ndm tree\npoweroff\n");
    EXPECT_EQ(uboot.line("baudrate=115200"), "baudrate=115200\r") << uboot.out();
    EXPECT_EQ(uboot.wait(), 0);
    EXPECT_THAT(uboot.out(), HasSubstr("e500mc, Version: 2.0, (0x80230020)"));
    EXPECT_THAT(uboot.out(), HasSubstr("DRAM:  256 MiB"));
    EXPECT_THAT(uboot.out(), ContainsRegex("00\\.00\\.00 +0x1957 +0x0032 +Processor"));
    EXPECT_THAT(uboot.out(), HasSubstr("rtc@68"));
    EXPECT_EQ(uboot.err(), "") << "all that it touches is there";
}

TEST(Firmware, UBootResetsTheBoard) {
    UBoot uboot("u-boot");
    uboot.say("setenv mark here\nreset\n");
    uboot.to_prompt();
    uboot.say("printenv mark\necho again\npoweroff\n");
    EXPECT_EQ(uboot.line("again"), "again\r") << uboot.out();
    EXPECT_EQ(uboot.wait(), 0);
    EXPECT_THAT(uboot.out(), HasSubstr("\"mark\" not defined"));
}

TEST(Firmware, UBootSeesAllOfTheMemory) {
    for (const auto& [size, shown] : {std::pair{"64M", "DRAM:  64 MiB"}, {"4G", "DRAM:  4 GiB"}}) {
        UBoot uboot("u-boot", {"-m", size});
        uboot.say("poweroff\n");
        EXPECT_EQ(uboot.wait(), 0) << uboot.out();
        EXPECT_THAT(uboot.out(), HasSubstr(shown));
    }
}

TEST(Firmware, UBootRunsOnTheTranslator) {
    UBoot uboot("u-boot", {"--engine=translator"});
    uboot.say("echo here\npoweroff\n");
    EXPECT_EQ(uboot.line("here"), "here\r") << uboot.out();
    EXPECT_EQ(uboot.wait(), 0);
}

}  // namespace
}  // namespace perfvisor::test
