// SPDX-License-Identifier: GPL-2.0-or-later
// What Linux and its perf make of "power-isa-e.pm" in the cpu nodes: kernels with and without our
// patch (guest/patches/linux), trees with and without the property, and with it in some nodes only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libfdt.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "conversation.h"
#include "machine/device_tree.h"
#include "subprocess.h"
#include "with_directory.h"

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kUnpatched = "vmlinux-unpatched";
constexpr const char* kRefusal = "perf: no performance monitor: ";

// perf in all ways in which it asks for a hardware event. `perf test` 28 opens one itself ("Use a
// dummy software event to keep tracking"), 25 a software event.
constexpr const char* kUsePerf =
    "cd /tmp; "
    "perf stat -x, -e instructions:u,r9:u spin 1000 2>&1; "
    "perf record -q -e instructions:u -c 1000 -o hardware spin 1000 2>&1; echo recorded $?; "
    "echo samples $(perf report -i hardware -D 2>/dev/null | grep -c PERF_RECORD_SAMPLE); "
    "perf record -q -o default spin 100000; echo default $? $(perf evlist -i default); "
    "perf test 25 28 2>&1; "
    "dmesg | grep -e 'perf: ' -e Oops";

Finished use_perf(const std::string& kernel, std::vector<std::string> options) {
    options.insert(options.end(), {"--console-log", "/dev/null"});
    const Finished finished = linux_guest(kUsePerf, options, kernel);
    EXPECT_THAT(finished.out, Not(HasSubstr("Oops")));
    EXPECT_THAT(finished.out, ContainsRegex("25: Software clock events.* Ok"));
    return finished;
}

void expect_counted(const std::string& out) {
    EXPECT_THAT(out, HasSubstr("10050,,instructions:u"));
    EXPECT_THAT(out, HasSubstr("recorded 0\nsamples 10\n"));
    EXPECT_THAT(out, HasSubstr("default 0 cycles\n"));
    EXPECT_THAT(out, ContainsRegex("28: Use a dummy software event.* Ok"));
    EXPECT_THAT(out, Not(HasSubstr(kRefusal)));
}

// As if there were no driver at all; the default is to sample by the clock then.
void expect_not_supported(const std::string& out) {
    EXPECT_THAT(out, HasSubstr("<not supported>,,instructions:u"));
    EXPECT_THAT(out, HasSubstr("<not supported>,,r9:u"));
    EXPECT_THAT(out, HasSubstr("The instructions:u event is not supported."));
    EXPECT_THAT(out, HasSubstr("recorded 255\nsamples 0\n"));
    EXPECT_THAT(out, HasSubstr("default 0 cpu-clock"));
    EXPECT_THAT(out, ContainsRegex("28: Use a dummy software event.* Skip"));
    const size_t first = out.find(kRefusal);
    ASSERT_NE(first, std::string::npos) << out;
    EXPECT_EQ(out.find(kRefusal, first + 1), std::string::npos) << "one line in the log is enough";
}

TEST(LinuxProperty, APatchedKernelWithItCounts) {
    expect_counted(use_perf("vmlinux", {"--reserve-perfmon=required"}).out);
}

TEST(LinuxProperty, APatchedKernelWithoutItSaysThatNothingIsSupported) {
    const Finished finished = use_perf("vmlinux", {});
    expect_not_supported(finished.out);
    EXPECT_THAT(finished.out, HasSubstr("/cpus/PowerPC,8544@0 lacks power-isa-e.pm"));
}

TEST(LinuxProperty, AnUnpatchedKernelWithItCounts) {
    expect_counted(use_perf(kUnpatched, {"--reserve-perfmon=required"}).out);
}

// It takes the registers for granted, which ignore what is written and read 0.
TEST(LinuxProperty, AnUnpatchedKernelWithoutItCountsNothingAndDoesNotCrash) {
    const std::string out = use_perf(kUnpatched, {}).out;
    EXPECT_THAT(out, HasSubstr("0,,instructions:u"));
    EXPECT_THAT(out, Not(HasSubstr("10050")));
    EXPECT_THAT(out, HasSubstr("recorded 0\nsamples 0\n"));
    EXPECT_THAT(out, HasSubstr("default 0 cycles\n"));
}

// ---- a machine without a performance monitor ----

// The peer's e500mc has none: PM registers are illegal instructions there.
TEST(LinuxProperty, WhereThereIsNoPerformanceMonitorAtAllAPatchedKernelSaysSo) {
    if (std::system("command -v qemu-system-ppc >/dev/null 2>&1") != 0)
        GTEST_SKIP() << "qemu-system-ppc is not installed";
    Conversation qemu({"/bin/sh", "-c",
                       "exec qemu-system-ppc -M ppce500 -cpu e500mc -m 256 -nographic -net none "
                       "-serial stdio -monitor none -no-reboot -kernel '" +
                           guest_file("vmlinux") + "' -initrd '" + guest_file("rootfs.cpio.gz") +
                           "'"});
    ASSERT_TRUE(qemu.text("~ # ")) << qemu.out();
    qemu.say("perf stat -x, -e instructions:u true\n");
    EXPECT_TRUE(qemu.text("<not supported>,,instructions:u")) << qemu.out();
    qemu.say("poweroff\n");
    EXPECT_EQ(qemu.wait(), 0) << qemu.out();
    EXPECT_THAT(qemu.out(), HasSubstr(kRefusal));
    EXPECT_THAT(qemu.out(), Not(HasSubstr("Oops")));
}

// ---- a tree where only some CPUs have it ----

class LinuxPartialPropertyTest : public WithDirectory<> {
  protected:
    // A board with two CPUs whose tree has the property in the nodes given.
    std::vector<std::string> board(const std::vector<unsigned>& nodes) const {
        machine::DeviceTreeConfig config;
        config.cpus = 2;
        config.memory_bytes = 256 * machine::kMiB;
        std::vector<uint8_t> tree = machine::build_device_tree(config).value();
        tree.resize(tree.size() + 4096);
        EXPECT_EQ(fdt_open_into(tree.data(), tree.data(), static_cast<int>(tree.size())), 0);
        for (const unsigned node : nodes) {
            const std::string path = "/cpus/PowerPC,8544@" + std::to_string(node);
            const int offset = fdt_path_offset(tree.data(), path.c_str());
            EXPECT_EQ(fdt_setprop(tree.data(), offset, "power-isa-e.pm", "", 0), 0);
        }
        const std::string file = (directory / "tree.dtb").string();
        std::ofstream(file, std::ios::binary)
            .write(reinterpret_cast<const char*>(tree.data()),
                   static_cast<std::streamsize>(tree.size()));
        return {"--board", "-smp", "2", "-dtb", file};
    }
};

TEST_F(LinuxPartialPropertyTest, IsNoneForAKernelThatMayRunOnAllOfThem) {
    for (const unsigned with : {0U, 1U}) {
        const Finished finished = use_perf("vmlinux", board({with}));
        expect_not_supported(finished.out);
        EXPECT_THAT(finished.out, HasSubstr("/cpus/PowerPC,8544@" + std::to_string(1 - with) +
                                            " lacks power-isa-e.pm"));
    }
}

TEST_F(LinuxPartialPropertyTest, IsOneForAKernelThatRunsOnTheOneThatHasIt) {
    auto options = board({0});
    options.insert(options.end(), {"-append", "nr_cpus=1"});
    expect_counted(use_perf("vmlinux", options).out);
}

TEST_F(LinuxPartialPropertyTest, IsOneWhereAllHaveIt) {
    expect_counted(use_perf("vmlinux", board({0, 1})).out);
}

}  // namespace
}  // namespace perfvisor::test
