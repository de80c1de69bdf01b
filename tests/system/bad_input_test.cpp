// SPDX-License-Identifier: GPL-2.0-or-later
// Bad input at the command line: one sentence on stderr that names the culprit, nothing on stdout,
// exit status 1, or 2 for wrong usage. (Each loader's sentences have tests in tests/machine.)
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "subprocess.h"
#include "with_directory.h"

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;

class BadInput : public WithDirectory<> {
  protected:
    void SetUp() override {
        WithDirectory::SetUp();
        // A raw image that powers nothing off: `b .`
        kernel = write("kernel.bin", std::string("\x48\0\0\0", 4));
    }

    std::string write(const std::string& name, const std::string& content) const {
        const fs::path path = directory / name;
        std::ofstream(path, std::ios::binary) << content;
        return path.string();
    }

    // Runs and expects one sentence that has all of `words` in it.
    static void expect_refused(const std::vector<std::string>& arguments, int status,
                               const std::vector<std::string>& words) {
        const Finished result = perfvisor(arguments);
        EXPECT_EQ(result.status, status);
        EXPECT_EQ(result.out, "");
        EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
        EXPECT_TRUE(result.err.starts_with("perfvisor: ")) << result.err;
        for (const std::string& word : words)
            EXPECT_NE(result.err.find(word), std::string::npos) << word << " in: " << result.err;
    }
    void expect_run_refused(std::vector<std::string> options,
                            const std::vector<std::string>& words) const {
        options.insert(options.begin(), {"run", "-kernel", kernel});
        expect_refused(options, 1, words);
    }

    std::string kernel;
};

TEST_F(BadInput, NoCommandIsWrongUsage) {
    expect_refused({}, 2, {"command", "run", "list"});
    expect_refused({"-M", "ppce500"}, 2, {"command", "run"});
}

TEST_F(BadInput, AnUnknownCommandIsWrongUsage) {
    expect_refused({"rum"}, 2, {"rum"});
}

TEST_F(BadInput, AnUnknownOptionIsNamed) {
    expect_refused({"run", "-kernel", kernel, "--no-such-option"}, 2, {"--no-such-option"});
    // Of QEMU's; -s and -S are flags of ours.
    expect_refused({"run", "-kernel", kernel, "-serial", "stdio"}, 2, {"run", "-serial", "--help"});
    expect_refused({"run", "-sS", "-drive", "file=x"}, 2, {"-drive"});
    expect_refused({"stat", "--no-such-option=3", "--", "true"}, 2, {"stat", "--no-such-option;"});
}

TEST_F(BadInput, AMissingKernelOptionIsNamed) {
    expect_refused({"run"}, 2, {"--kernel"});
}

TEST_F(BadInput, ABoardIsNoGuest) {
    expect_run_refused({"--board", "--reserve-perfmon"}, {"--board", "--reserve-perfmon"});
    expect_run_refused({"--board", "--accel=kvm"}, {"--board", "--accel=soft"});
}

TEST_F(BadInput, FirmwareThatIsNotThereOrHasNoAddress) {
    expect_refused({"run", "-bios", "/nowhere/u-boot"}, 1, {"firmware", "/nowhere/u-boot"});
    expect_refused({"run", "-bios", kernel}, 1, {"firmware", "kernel.bin", "ELF"});
}

TEST_F(BadInput, AnOptionWithoutItsValueIsNamed) {
    expect_refused({"run", "-kernel", kernel, "-m"}, 2, {"-m"});
}

TEST_F(BadInput, AKernelThatIsNotThere) {
    expect_refused({"run", "-kernel", "/nowhere/vmlinux"}, 1, {"/nowhere/vmlinux"});
}

TEST_F(BadInput, AnEmptyKernel) {
    const std::string empty = write("empty", "");
    expect_refused({"run", "-kernel", empty}, 1, {empty, "empty"});
}

TEST_F(BadInput, AKernelForAnotherMachine) {
    expect_refused({"run", "-kernel", PERFVISOR_BINARY}, 1, {PERFVISOR_BINARY});
}

TEST_F(BadInput, AKernelThatIsADirectory) {
    expect_refused({"run", "-kernel", directory.string()}, 1, {directory.string()});
}

TEST_F(BadInput, AnInitrdThatIsNotThere) {
    expect_run_refused({"-initrd", "/nowhere/initrd"}, {"/nowhere/initrd"});
}

TEST_F(BadInput, ADeviceTreeThatIsNotThere) {
    expect_run_refused({"-dtb", "/nowhere/tree.dtb"}, {"/nowhere/tree.dtb"});
}

TEST_F(BadInput, AMalformedDeviceTree) {
    const std::string tree = write("tree.dtb", std::string(100, 'x'));
    expect_run_refused({"-dtb", tree}, {tree});
}

TEST_F(BadInput, AnUnknownMachineListsTheKnown) {
    expect_run_refused({"-M", "pseries"}, {"-M", "pseries", "ppce500"});
}

TEST_F(BadInput, AnUnknownCpuListsTheKnown) {
    expect_run_refused({"-cpu", "power9"}, {"-cpu", "power9", "e500mc"});
}

TEST_F(BadInput, MemoryOutOfRange) {
    for (const char* size : {"1M", "33G", "0", "lots", "-5", "512X", ""})
        expect_run_refused({"-m", size}, {"-m"});
}

TEST_F(BadInput, CpuCountOutOfRange) {
    for (const char* count : {"0", "33", "two", "-1", "4294967297"})
        expect_run_refused({"-smp", count}, {"-smp", count});
}

TEST_F(BadInput, UnknownWordsOfOurOwnOptions) {
    expect_run_refused({"--clock=lunar"}, {"--clock", "lunar", "virtual"});
    expect_run_refused({"--engine=steam"}, {"--engine", "steam", "interpreter"});
    expect_run_refused({"--accel=hvf"}, {"--accel", "hvf", "soft"});
    expect_run_refused({"--reserve-perfmon=maybe"}, {"--reserve-perfmon", "maybe", "required"});
}

TEST_F(BadInput, ContradictoryOptions) {
    expect_run_refused({"--accel=kvm", "--engine=interpreter"}, {"--engine", "--accel"});
    expect_run_refused({"--accel=kvm", "--clock=virtual"}, {"--clock", "--accel"});
    expect_run_refused({"--engine=lockstep", "--clock=host"},
                       {"--engine=lockstep", "--clock=virtual"});
}

TEST_F(BadInput, CountingACommand) {
    expect_run_refused({"--stat", "cycles"}, {"--stat", "--exec"});
    expect_run_refused({"--stat", "nonsense", "--exec", "true"}, {"--stat", "nonsense"});
    expect_run_refused({"--stat", "cycles:h", "--exec", "true"}, {"cycles:h", "\"h\""});
    expect_run_refused({"--stat", "cycles", "--exec", "true", "--reserve-perfmon"},
                       {"--stat", "--reserve-perfmon"});
    expect_run_refused({"--stat", "cycles", "--exec", "true", "-x", ",", "--json"},
                       {"-x", "--json"});
    expect_run_refused({"--stat", "cycles", "--exec", "true", "-o", "/nowhere/counts"},
                       {"-o", "/nowhere/counts"});
    expect_run_refused({"--exec", "true", "--json"}, {"--json", "--stat"});
    expect_run_refused({"--stat", "cycles", "--exec", ""}, {"--exec", "empty"});
    expect_run_refused({"--stat", "cycles,", "--exec", "true"}, {"--stat", "missing"});
    expect_run_refused({"--stat", "cycles", "-x", "", "--exec", "true"}, {"-x", "empty"});
    expect_run_refused({"--stat", "cycles", "-o", "", "--exec", "true"}, {"-o", "\"\""});
    expect_run_refused({"--stat", "branch-misses", "--board", "--exec", "true", "--runtime-dir",
                        (directory / "run").string()},
                       {"timing model", "--timing=e500mc"});
}

TEST_F(BadInput, CountingARunningGuest) {
    const std::vector<std::string> stat = {"stat", "--runtime-dir", (directory / "run").string()};
    const auto refused = [&](std::vector<std::string> options, int status,
                             const std::vector<std::string>& words) {
        options.insert(options.begin(), stat.begin(), stat.end());
        expect_refused(options, status, words);
    };
    refused({}, 1, {"no guest is running"});
    refused({"--guest", "nobody"}, 1, {"no guest is running"});
    refused({"-e", ""}, 1, {"-e", "missing"});
    refused({"-e", "cycles,,r2"}, 1, {"-e", "missing", "cycles,,r2"});
    refused({"-e", "bogus"}, 1, {"-e", "bogus"});
    refused({"-e", "cycles:z"}, 1, {"-e", "cycles:z"});
    refused({"-e"}, 2, {"--event"});
    refused({"-I", "0"}, 2, {"--interval-print", "0"});
    refused({"-I", "soon"}, 2, {"--interval-print", "soon"});
    refused({"-x", ",", "--json"}, 1, {"-x", "--json"});
    refused({"-x", ""}, 1, {"-x", "empty"});
    refused({"--no-such-option"}, 2, {"--no-such-option"});
    expect_refused({"stat", "--runtime-dir", "/nowhere/run"}, 1, {"/nowhere/run"});
    expect_refused({"stat", "--runtime-dir", kernel}, 1, {kernel});
}

TEST_F(BadInput, TheOtherCommands) {
    expect_refused({"perfmon"}, 2, {"perfmon", "status", "hold"});
    expect_refused({"perfmon", "status", "more"}, 2, {"more"});
    expect_refused({"perfmon", "hold"}, 2, {"command"});
    expect_refused({"list", "more"}, 2, {"more"});
}

// Nobody is told that it worked when it did not.
TEST_F(BadInput, AFullDisk) {
    const std::string perfvisor = PERFVISOR_BINARY;
    for (const std::string command : {"list", "list --json", "--help", "--version", "stat --help",
                                      "perfmon status --runtime-dir /nowhere",
                                      "perfmon status --json --runtime-dir /nowhere"}) {
        const Finished result = run({"/bin/sh", "-c", perfvisor + " " + command + " >/dev/full"});
        EXPECT_EQ(result.status, 1) << command;
        EXPECT_EQ(result.err,
                  "perfvisor: standard output cannot be written: No space left on device\n")
            << command;
    }
    // As with any tool: nobody reads any more, and nobody wants to hear of it.
    const Finished cut = run({"/bin/sh", "-c", perfvisor + " list | head -n 1"});
    EXPECT_EQ(cut.status, 0);
    EXPECT_EQ(cut.err, "");
}

TEST_F(BadInput, AConsoleLogThatCannotBeWritten) {
    expect_run_refused({"--console-log", "/nowhere/log"}, {"--console-log", "/nowhere/log"});
}

TEST_F(BadInput, GdbsAddress) {
    expect_run_refused({"-gdb", "udp::1234"}, {"-gdb", "udp::1234", "tcp::PORT"});
    expect_run_refused({"-gdb", "tcp::70000"}, {"-gdb", "70000", "65535"});
    expect_run_refused({"-gdb", "unix:/no/such/directory/socket"},
                       {"-gdb", "/no/such/directory/socket", "No such file"});
    expect_run_refused({"-s", "-gdb", "tcp::1"}, {"-s", "-gdb", "contradict"});
    expect_run_refused({"-gdb", "unix:" + kernel}, {"-gdb", kernel, "in use"});
}

#if !defined(__powerpc__)
// Where there is a /dev/kvm it is another architecture's.
TEST_F(BadInput, TheKernelsKvmOfAHostThatIsNotPower) {
    expect_run_refused({"--accel=kvm"}, {"/dev/kvm"});
}
#endif

}  // namespace
}  // namespace perfvisor::test
