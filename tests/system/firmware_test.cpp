// SPDX-License-Identifier: GPL-2.0-or-later
// U-Boot as the distribution has it, for the board qemu-ppce500, on perfvisor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conversation.h"
#include "subprocess.h"

namespace perfvisor::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

// A U-Boot that waits for commands.
class UBoot : public Conversation {
  public:
    explicit UBoot(std::vector<std::string> options = {}) : Conversation(command(options)) {
        to_prompt();
    }

    // Keys typed before the serial port is set up are lost; what is typed after the last line
    // before the countdown is not. The first key ends the countdown.
    void to_prompt() {
        if (line("Net:").empty()) return;
        say(" \n");
    }

    static std::vector<std::string> command(const std::vector<std::string>& options) {
        std::vector<std::string> words = {PERFVISOR_BINARY, "run",       "-bios", "u-boot", "-m",
                                          "256M",           "-nographic"};
        words.insert(words.end(), options.begin(), options.end());
        return words;
    }
};

TEST(Firmware, UBootComesToItsPromptAndFindsTheBoard) {
    UBoot uboot;
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
    UBoot uboot;
    uboot.say("setenv mark here\nreset\n");
    uboot.to_prompt();
    uboot.say("printenv mark\necho again\npoweroff\n");
    EXPECT_EQ(uboot.line("again"), "again\r") << uboot.out();
    EXPECT_EQ(uboot.wait(), 0);
    EXPECT_THAT(uboot.out(), HasSubstr("\"mark\" not defined"));
}

TEST(Firmware, UBootSeesAllOfTheMemory) {
    for (const auto& [size, shown] : {std::pair{"64M", "DRAM:  64 MiB"}, {"4G", "DRAM:  4 GiB"}}) {
        Conversation uboot({PERFVISOR_BINARY, "run", "-bios", "u-boot", "-m", size});
        uboot.line("Net:");
        uboot.say(" \npoweroff\n");
        EXPECT_EQ(uboot.wait(), 0) << uboot.out();
        EXPECT_THAT(uboot.out(), HasSubstr(shown));
    }
}

TEST(Firmware, UBootRunsOnTheTranslator) {
    UBoot uboot({"--engine=translator"});
    uboot.say("echo here\npoweroff\n");
    EXPECT_EQ(uboot.line("here"), "here\r") << uboot.out();
    EXPECT_EQ(uboot.wait(), 0);
}

}  // namespace
}  // namespace perfvisor::test
