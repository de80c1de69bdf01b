// SPDX-License-Identifier: GPL-2.0-or-later
// Ctrl-A escapes, and the terminal's mode before and after.
#include "vmm/terminal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace perfvisor::vmm {
namespace {

std::string filtered(EscapeFilter& filter, const std::string& typed) {
    const auto result =
        filter.filter({reinterpret_cast<const uint8_t*>(typed.data()), typed.size()});
    return {result.bytes.begin(), result.bytes.end()};
}

TEST(EscapeFilter, OrdinaryBytesPass) {
    EscapeFilter filter;
    EXPECT_EQ(filtered(filter, std::string("ls\r\x03\0", 5)), std::string("ls\r\x03\0", 5));
}

TEST(EscapeFilter, CtrlAXLeavesAndKeepsWhatCameBefore) {
    EscapeFilter filter;
    const std::string typed = "ab\x01xcd";
    const auto result =
        filter.filter({reinterpret_cast<const uint8_t*>(typed.data()), typed.size()});
    EXPECT_TRUE(result.leave);
    EXPECT_EQ(std::string(result.bytes.begin(), result.bytes.end()), "ab");
}

TEST(EscapeFilter, TheEscapeMayBeSplitOverTwoReads) {
    EscapeFilter filter;
    EXPECT_EQ(filtered(filter, "\x01"), "");
    const uint8_t x = 'x';
    EXPECT_TRUE(filter.filter({&x, 1}).leave);
}

TEST(EscapeFilter, CtrlATwiceIsOneAndOthersGoThroughWithIt) {
    EscapeFilter filter;
    EXPECT_EQ(filtered(filter, "\x01\x01"), "\x01");
    EXPECT_EQ(filtered(filter, "\x01q"), "\x01q");
}

class RawTerminalTest : public testing::Test {
  protected:
    void SetUp() override {
        controller = posix_openpt(O_RDWR | O_NOCTTY);
        ASSERT_GE(controller, 0);
        ASSERT_EQ(grantpt(controller), 0);
        ASSERT_EQ(unlockpt(controller), 0);
        terminal = open(ptsname(controller), O_RDWR | O_NOCTTY);
        ASSERT_GE(terminal, 0);
    }
    void TearDown() override {
        close(terminal);
        close(controller);
    }
    bool is_raw() const {
        termios mode;
        EXPECT_EQ(tcgetattr(terminal, &mode), 0);
        return !(mode.c_lflag & (ICANON | ECHO | ISIG));
    }
    int controller = -1, terminal = -1;
};

TEST_F(RawTerminalTest, IsRawForTheObjectsLifetimeOnly) {
    ASSERT_FALSE(is_raw());
    {
        RawTerminal raw(terminal);
        EXPECT_TRUE(is_raw());
    }
    EXPECT_FALSE(is_raw());
}

TEST_F(RawTerminalTest, IsRestoredWhenTheProcessCrashes) {
    const pid_t child = fork();
    if (child == 0) {
        RawTerminal raw(terminal);
        raise(SIGSEGV);
        _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    EXPECT_FALSE(is_raw());
}

TEST(RawTerminal, LeavesWhatIsNoTerminalAlone) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    { RawTerminal raw(ends[0]); }
    close(ends[0]);
    close(ends[1]);
}

}  // namespace
}  // namespace perfvisor::vmm
