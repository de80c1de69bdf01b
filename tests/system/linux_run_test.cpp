// SPDX-License-Identifier: GPL-2.0-or-later
// The Linux guest from outside: --exec's output and status, the console, power-off and reset.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "subprocess.h"
#include "with_directory.h"

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;

TEST(LinuxExec, OutputAloneIsOnStdoutAndKernelMessagesOnStderr) {
    const Finished result = linux_guest("echo out; echo err >&2");
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.out, "out\nerr\n");
    EXPECT_NE(result.err.find("Linux version 6.1"), std::string::npos);
}

TEST(LinuxExec, TheConsoleLogTakesTheKernelMessages) {
    const auto log = std::filesystem::temp_directory_path() / "perfvisor-console-log-test";
    const Finished result = linux_guest("true", {"--console-log", log.string()});
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.err, "");
    std::stringstream text;
    text << std::ifstream(log).rdbuf();
    EXPECT_NE(text.str().find("Linux version 6.1"), std::string::npos);
    std::filesystem::remove(log);
}

TEST(LinuxExec, TheExitStatusIsTheCommands) {
    EXPECT_EQ(linux_guest("exit 42").status, 42);
    EXPECT_EQ(linux_guest("kill -KILL $$").status, 128 + 9);
    EXPECT_EQ(linux_guest("no-such-command").status, 127);
}

TEST(LinuxExec, EveryByteComesThroughUnchanged) {
    const Finished result = linux_guest(
        "i=0; while [ $i -lt 256 ]; do printf \"\\\\$(printf %03o $i)\"; i=$((i+1)); done",
        {"--console-log", "/dev/null"});
    std::string all;
    for (int byte = 0; byte < 256; ++byte)
        all.push_back(static_cast<char>(byte));
    EXPECT_EQ(result.out, all);
}

TEST(LinuxExec, LongOutputIsComplete) {
    const Finished result = linux_guest("seq 1 20000", {"--console-log", "/dev/null"});
    std::string expected;
    for (int i = 1; i <= 20000; ++i)
        expected += std::to_string(i) + "\n";
    EXPECT_EQ(result.out, expected);
}

// Nobody is told that it worked when the output is lost; who stops reading has had enough.
TEST(LinuxExec, OutputThatCannotBeWrittenIsAnError) {
    const auto guest = [](const std::string& redirections) {
        return run({"/bin/sh", "-c",
                    std::string(PERFVISOR_BINARY) + " run -m 256M -kernel " +
                        guest_file("vmlinux") + " -initrd " + guest_file("rootfs.cpio.gz") +
                        " --exec 'seq 1 20000' " + redirections});
    };
    const Finished full = guest("--console-log /dev/null >/dev/full");
    EXPECT_EQ(full.status, 1);
    EXPECT_EQ(full.err,
              "perfvisor: --exec: the command's output could not be written: No space left on "
              "device\n");
    const Finished log = guest("--console-log /dev/full");
    EXPECT_EQ(log.status, 0);
    EXPECT_EQ(log.out.substr(log.out.size() - 7), "\n20000\n");
    EXPECT_NE(log.err.find("warning: --console-log: not all"), std::string::npos) << log.err;
    const Finished cut = guest("--console-log /dev/null | head -n 1");
    EXPECT_EQ(cut.status, 0);
    EXPECT_EQ(cut.out, "1\n");
    EXPECT_EQ(cut.err, "");
}

// ---- a guest that does not bring the command to its end ----

class WithoutAnEnd : public WithDirectory<testing::TestWithParam<const char*>> {
  protected:
    static void expect_error(const Finished& result, const std::string& sentence) {
        EXPECT_FALSE(result.timed_out);
        EXPECT_EQ(result.status, 1);
        EXPECT_NE(result.err.find("perfvisor: --exec: the guest" + sentence), std::string::npos)
            << result.err;
    }
    // With another initrd, of these bytes.
    Finished started_from(const std::string& initrd) const {
        const fs::path file = directory / "initrd";
        std::ofstream(file) << initrd;
        return perfvisor({"run", "-m", "256M", "-kernel", guest_file("vmlinux"), "-initrd",
                          file.string(), clock(), "--exec", "true"});
    }
    static std::string clock() { return std::string("--clock=") + GetParam(); }
    static Finished guest(const std::string& command, std::vector<std::string> options = {}) {
        options.push_back(clock());
        return linux_guest(command, options);
    }
    static std::string whole_initrd() {
        std::stringstream bytes;
        bytes << std::ifstream(guest_file("rootfs.cpio.gz")).rdbuf();
        return bytes.str();
    }
};

TEST_P(WithoutAnEnd, TheCommandEndsTheMachine) {
    expect_error(guest("poweroff -f; sleep 10"), " powered off before the command had ended");
    expect_error(guest("reboot -f; sleep 10"), " reset before the command had ended");
}

TEST_P(WithoutAnEnd, TheKernelPanics) {
    const Finished result = guest("echo c > /proc/sysrq-trigger; sleep 10");
    expect_error(result, "'s kernel panicked: Kernel panic - not syncing: sysrq triggered crash\n");
    const Finished counted = guest("echo c > /proc/sysrq-trigger", {"--stat", "instructions"});
    expect_error(counted, "'s kernel panicked");
    EXPECT_EQ(counted.err.find("Performance counter stats"), std::string::npos);
}

TEST_P(WithoutAnEnd, TheInitrdIsNone) {
    expect_error(started_from(std::string(100'000, '\x5a')), "'s kernel panicked: Kernel panic - ");
}

TEST_P(WithoutAnEnd, ThereIsNoInitrd) {
    expect_error(perfvisor({"run", "-m", "256M", "-kernel", guest_file("vmlinux"), clock(),
                            "--exec", "true"}),
                 "'s kernel panicked: Kernel panic - ");
}

// The kernel has the shell by then, but nothing behind it.
TEST_P(WithoutAnEnd, TheInitrdIsCutOff) {
    const std::string whole = whole_initrd();
    expect_error(started_from(whole.substr(0, whole.size() / 4)), "'s kernel panicked: ");
}

TEST_P(WithoutAnEnd, InitIsAProgramThatEnds) {
    expect_error(guest("true", {"-append", "rdinit=/bin/true"}),
                 "'s kernel panicked: Kernel panic - not syncing: Attempted to kill init!");
}

TEST_P(WithoutAnEnd, InitPowersOffAndDoesNotKnowTheCommand) {
    expect_error(guest("true", {"-append", "rdinit=/bin/sh -- -c \"poweroff -f\""}),
                 " powered off, and its init had not begun with the command");
}

// The user's word counts where there are two.
TEST_P(WithoutAnEnd, TheUsersCommandLineComesLast) {
    const Finished result = guest("cat /proc/cmdline", {"-append", "panic=7 quiet"});
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.out, "perfvisor.exec init=/init panic=-1 panic=7 quiet\n");
}

INSTANTIATE_TEST_SUITE_P(LinuxExec, WithoutAnEnd, testing::Values("virtual", "host"),
                         [](const auto& test) { return std::string(test.param); });

// 300 seconds of the guest's time, which the virtual clock passes over.
TEST(LinuxExec, AnInitThatWaitsForSomebodyAtTheConsoleIsAnError) {
    const Finished result = linux_guest("true", {"-append", "rdinit=/bin/sh"});
    EXPECT_EQ(result.status, 1);
    EXPECT_NE(result.err.find("perfvisor: --exec: the guest's init has not begun"),
              std::string::npos)
        << result.err;
    // One that has begun may take longer.
    EXPECT_EQ(linux_guest("sleep 1000; exit 5").status, 5);
}

// Init is there, but the kernel has not come to the command.
TEST(LinuxExec, ACommandThatWasNotUnpackedIsAnError) {
    const Finished result =
        linux_guest("true", {"-append", "rdinit=/bin/sh -- -c \"rm -r /perfvisor; exec /init\""});
    EXPECT_EQ(result.status, 1);
    EXPECT_NE(result.err.find("init: the initial file system has no /perfvisor/command"),
              std::string::npos)
        << result.err;
    EXPECT_NE(result.err.find("perfvisor: --exec: the guest powered off, and its init had not"),
              std::string::npos);
}

// perfvisor with a terminal of its own, as a person has it.
class OnATerminal : public testing::Test {
  protected:
    void start(const std::vector<std::string>& options) {
        controller = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        ASSERT_GE(controller, 0);
        ASSERT_EQ(grantpt(controller), 0);
        ASSERT_EQ(unlockpt(controller), 0);
        terminal = open(ptsname(controller), O_RDWR | O_NOCTTY | O_CLOEXEC);
        ASSERT_GE(terminal, 0);
        ASSERT_EQ(tcgetattr(terminal, &before), 0);
        std::vector<std::string> arguments = {PERFVISOR_BINARY,
                                              "run",
                                              "-kernel",
                                              guest_file("vmlinux"),
                                              "-initrd",
                                              guest_file("rootfs.cpio.gz"),
                                              "-m",
                                              "256M"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        child = fork();
        if (child == 0) {
            for (const int n : {0, 1, 2})
                dup2(terminal, n);
            std::vector<char*> argv;
            for (std::string& word : arguments)
                argv.push_back(word.data());
            argv.push_back(nullptr);
            execv(argv[0], argv.data());
            _exit(127);
        }
        ASSERT_GT(child, 0);
    }

    void TearDown() override {
        if (child > 0) {
            kill(child, SIGKILL);
            waitpid(child, nullptr, 0);
        }
        close(terminal);
        close(controller);
    }

    void type(const std::string& keys) const {
        ASSERT_EQ(write(controller, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
    }

    // Reads the screen until `text` stands on it, after what was looked for before.
    bool wait_for(const std::string& text) {
        for (;;) {
            const size_t at = screen.find(text, seen);
            if (at != std::string::npos) {
                seen = at + text.size();
                return true;
            }
            pollfd output = {controller, POLLIN, 0};
            if (poll(&output, 1, 120'000) <= 0) return false;
            char buffer[4096];
            const ssize_t n = read(controller, buffer, sizeof buffer);
            if (n <= 0) return false;
            screen.append(buffer, static_cast<size_t>(n));
        }
    }

    int wait_for_exit() {
        // The screen must be drained for the process to end.
        int status = 0;
        for (;;) {
            const pid_t ended = waitpid(child, &status, WNOHANG);
            if (ended == child) break;
            pollfd output = {controller, POLLIN, 0};
            if (poll(&output, 1, 100) > 0) {
                char buffer[4096];
                const ssize_t n = read(controller, buffer, sizeof buffer);
                if (n > 0) screen.append(buffer, static_cast<size_t>(n));
            }
        }
        child = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

    bool terminal_restored() const {
        termios now;
        return tcgetattr(terminal, &now) == 0 && now.c_lflag == before.c_lflag &&
               now.c_iflag == before.c_iflag && now.c_oflag == before.c_oflag;
    }

    int controller = -1, terminal = -1;
    pid_t child = -1;
    termios before{};
    std::string screen;
    size_t seen = 0;
};

TEST_F(OnATerminal, AShellAnswersAndItsEndPowersOff) {
    start({});
    ASSERT_TRUE(wait_for("# ")) << screen;
    type("echo sum $((40 + 2))\r");
    ASSERT_TRUE(wait_for("sum 42")) << screen;
    type("exit\r");
    EXPECT_EQ(wait_for_exit(), 0);
    EXPECT_TRUE(terminal_restored());
}

TEST_F(OnATerminal, CtrlCReachesTheGuestAndCtrlAXLeaves) {
    start({});
    ASSERT_TRUE(wait_for("# ")) << screen;
    type("echo go; sleep 1000\r");
    ASSERT_TRUE(wait_for("go\r")) << screen;  // the output, not the echo of what was typed
    type("\x03");
    ASSERT_TRUE(wait_for("# ")) << screen;
    type("\x01x");
    EXPECT_EQ(wait_for_exit(), 0);
    EXPECT_TRUE(terminal_restored());
}

TEST_F(OnATerminal, ATerminationSignalRestoresTheTerminal) {
    start({});
    ASSERT_TRUE(wait_for("# ")) << screen;
    kill(child, SIGTERM);
    EXPECT_EQ(wait_for_exit(), 128 + SIGTERM);
    EXPECT_TRUE(terminal_restored());
}

TEST_F(OnATerminal, AResetReboots) {
    start({});
    ASSERT_TRUE(wait_for("# ")) << screen;
    type("reboot -f\r");
    ASSERT_TRUE(wait_for("Linux version 6.1")) << screen;
    ASSERT_TRUE(wait_for("# ")) << screen;
    type("poweroff -f\r");
    EXPECT_EQ(wait_for_exit(), 0);
}

TEST_F(OnATerminal, AResetEndsWithNoReboot) {
    start({"-no-reboot"});
    ASSERT_TRUE(wait_for("# ")) << screen;
    type("reboot -f\r");
    EXPECT_EQ(wait_for_exit(), 0);
    EXPECT_TRUE(terminal_restored());
}

}  // namespace
}  // namespace perfvisor::test
