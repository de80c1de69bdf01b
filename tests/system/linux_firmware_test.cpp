// SPDX-License-Identifier: GPL-2.0-or-later
// From firmware into Linux: U-Boot boots kernel, initrd and tree, and on a board it is U-Boot that
// says whether there is a performance monitor (docs/proposal.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "subprocess.h"
#include "uboot.h"
#include "with_directory.h"

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

// U-Boot's countdown takes a second of its time: that of the wall clock costs the least.
std::vector<std::string> linux_options(const std::string& initrd = guest_file("rootfs.cpio.gz")) {
    return {"-m",      "256M", "-kernel",      guest_file("uImage"),
            "-initrd", initrd, "--clock=host", "--engine=translator"};
}

// Lets `firmware` boot Linux by itself and runs `script` in it.
Finished boot(const std::string& firmware, const std::string& script,
              std::vector<std::string> options = {}) {
    std::vector<std::string> words = {"run", "-bios", firmware};
    const auto images = linux_options();
    words.insert(words.end(), images.begin(), images.end());
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--exec", script});
    return perfvisor(words, std::chrono::seconds(300));
}

// What a system says of its performance monitor: the cpu nodes that have it, and a count of known
// instructions (guest/programs/spin.S: 10 N + 8 d + 18).
constexpr const char* kLook =
    "ls -d /proc/device-tree/cpus/*/power-isa-e.pm 2>/dev/null; "
    "perf stat -x, -e instructions:u spin 1000 2>&1; dmesg | grep power-isa; echo end";
constexpr const char* kCounted = "10050,,instructions:u";
constexpr const char* kNotSupported = "<not supported>,,instructions:u";

// What init's shell shows when it reads what is typed.
constexpr const char* kShellPrompt = "~ # ";

class LinuxFirmwareTest : public WithDirectory<> {
  protected:
    // The root file system as bootm takes an initrd.
    std::string packed_initrd() const {
        const std::string packed = (directory / "initrd.uimage").string();
        EXPECT_EQ(run({"/usr/bin/mkimage", "-A", "ppc", "-O", "linux", "-T", "ramdisk", "-C",
                       "none", "-d", guest_file("rootfs.cpio.gz"), packed})
                      .status,
                  0);
        return packed;
    }
};

TEST_F(LinuxFirmwareTest, UBootBootsTheKernelThatIsGivenBesideIt) {
    const Finished finished =
        boot("u-boot", "cat /proc/cmdline; cat /proc/device-tree/chosen/u-boot,version",
             {"-append", "panic=1 by-u-boot"});
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_THAT(finished.out, HasSubstr("panic=1 by-u-boot"));
    EXPECT_THAT(finished.out, HasSubstr("2023."));
}

// Kernel, initrd and tree at addresses that the user names, and a command line of his.
TEST_F(LinuxFirmwareTest, UBootBootsWhatLiesInMemory) {
    UBoot uboot("u-boot", linux_options(packed_initrd()));
    uboot.say("setenv bootargs typed-by-hand\n");
    uboot.say("iminfo 2000000 4000000\n");
    uboot.say("bootm 2000000 4000000 $fdtcontroladdr\n");
    ASSERT_TRUE(uboot.text(kShellPrompt)) << uboot.out();
    uboot.say("cat /proc/cmdline\n");
    EXPECT_EQ(uboot.line("typed-by-hand"), "typed-by-hand\r") << uboot.out();
    uboot.say("poweroff\n");
    EXPECT_EQ(uboot.wait(), 0) << uboot.out();
}

// ---- boards ----

TEST_F(LinuxFirmwareTest, OnABoardThePerformanceMonitorIsThereByUBootsDoingAlone) {
    const Finished with = boot(guest_file("u-boot-perfmon"), kLook, {"--board"});
    EXPECT_EQ(with.status, 0) << with.err;
    EXPECT_THAT(with.out, HasSubstr("PowerPC,8544@0/power-isa-e.pm"));
    EXPECT_THAT(with.out, HasSubstr(kCounted));

    const Finished without = boot(guest_file("u-boot"), kLook, {"--board"});
    EXPECT_EQ(without.status, 0) << without.err;
    EXPECT_THAT(without.out, Not(HasSubstr("/power-isa-e.pm\n")));
    EXPECT_THAT(without.out, HasSubstr(kNotSupported));
    EXPECT_THAT(without.out, HasSubstr("lacks power-isa-e.pm"));
}

TEST_F(LinuxFirmwareTest, UBootTellsEveryCpuOfABoard) {
    const Finished finished =
        boot(guest_file("u-boot-perfmon"), "ls -d /proc/device-tree/cpus/*/power-isa-e.pm",
             {"--board", "-smp", "2"});
    EXPECT_EQ(finished.status, 0) << finished.err;
    for (const char* node : {"8544@0", "8544@1"})
        EXPECT_THAT(finished.out, HasSubstr(std::string(node) + "/power-isa-e.pm"));
}

// As docs/boards.md has it: no new firmware.
TEST_F(LinuxFirmwareTest, OnABoardInTheFieldUBootsFdtCommandDoes) {
    auto options = linux_options(packed_initrd());
    options.push_back("--board");
    UBoot uboot("u-boot", options);
    uboot.say("fdt addr $fdtcontroladdr\n");
    uboot.say("fdt move $fdtcontroladdr 3800000 10000\n");
    uboot.say("fdt set /cpus/PowerPC,8544@0 power-isa-e.pm\n");
    uboot.say("bootm 2000000 4000000 3800000\n");
    ASSERT_TRUE(uboot.text(kShellPrompt)) << uboot.out();
    uboot.say("perf stat -x, -e instructions:u spin 1000\n");
    EXPECT_TRUE(uboot.text(kCounted)) << uboot.out();
    uboot.say("poweroff\n");
    EXPECT_EQ(uboot.wait(), 0) << uboot.out();
}

// Hardware has the performance monitor whatever the tree says.
TEST_F(LinuxFirmwareTest, ABoardsPerformanceMonitorWorksForAKernelThatDoesNotAsk) {
    const Finished finished =
        perfvisor({"run", "--board", "-m", "256M", "-kernel", guest_file("vmlinux-unpatched"),
                   "-initrd", guest_file("rootfs.cpio.gz"), "--exec", kLook},
                  std::chrono::seconds(300));
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_THAT(finished.out, Not(HasSubstr("/power-isa-e.pm\n")));
    EXPECT_THAT(finished.out, HasSubstr(kCounted));
}

// Two boards and a guest, while a host user has this machine's performance monitor.
TEST_F(LinuxFirmwareTest, BoardsAndGuestsAreIndependentMachines) {
    const std::vector<std::string> where = {"--runtime-dir", directory.string()};
    Conversation host({PERFVISOR_BINARY, "perfmon", "hold", "--name", "the-host", where[0],
                       where[1], "--", "/bin/sh", "-c", "echo held; exec cat"});
    ASSERT_EQ(host.line("held"), "held");
    const auto start = [&](std::vector<std::string> options) {
        std::vector<std::string> words = {PERFVISOR_BINARY, "run"};
        const auto images = linux_options();
        words.insert(words.end(), images.begin(), images.end());
        words.insert(words.end(), where.begin(), where.end());
        words.insert(words.end(), options.begin(), options.end());
        words.insert(words.end(), {"--exec", kLook});
        return words;
    };
    const std::string firmware = guest_file("u-boot-perfmon");
    Conversation one(start({"--board", "-bios", firmware}));
    Conversation two(start({"--board", "-bios", firmware}));
    Conversation guest(start({"--reserve-perfmon"}));
    for (Conversation* board : {&one, &two}) {
        EXPECT_EQ(board->line("end"), "end") << board->err();
        EXPECT_THAT(board->out(), HasSubstr(kCounted));
        EXPECT_EQ(board->wait(), 0);
    }
    EXPECT_EQ(guest.line("end"), "end") << guest.err();
    EXPECT_THAT(guest.out(), HasSubstr(kNotSupported));
    EXPECT_THAT(guest.err(), HasSubstr("host user 'the-host'"));
    EXPECT_EQ(guest.wait(), 0);
}

}  // namespace
}  // namespace perfvisor::test
