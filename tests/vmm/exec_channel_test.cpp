// SPDX-License-Identifier: GPL-2.0-or-later
// What init says of a command of --exec: found whole or in pieces, never mistaken for output,
// output never lost.
#include "vmm/exec_channel.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace perfvisor::vmm {
namespace {

class ExecChannelTest : public testing::Test {
  protected:
    void send(const std::string& text) {
        channel.receive({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    }
    std::string trailer(const std::string& status) const {
        const std::vector<uint8_t> token = channel.initramfs_files()[1].content;
        return "\x1eperfvisor-exit " + std::string(token.begin(), token.end()) + " " + status +
               "\n";
    }

    std::string output;
    ExecChannel channel{"ls -l", [this](std::span<const uint8_t> bytes) {
                            output.append(bytes.begin(), bytes.end());
                        }};
};

TEST_F(ExecChannelTest, TheCommandGoesIntoTheInitramfsByteForByte) {
    const auto files = channel.initramfs_files();
    ASSERT_EQ(files.size(), 2u);
    EXPECT_EQ(files[0].path, "perfvisor/command");
    EXPECT_EQ(std::string(files[0].content.begin(), files[0].content.end()), "ls -l");
    EXPECT_EQ(files[1].path, "perfvisor/token");
}

TEST_F(ExecChannelTest, ACountedCommandsMarksGoIntoTheInitramfsToo) {
    const ExecChannel counted(
        "ls -l", [](std::span<const uint8_t>) {}, true);
    const auto files = counted.initramfs_files();
    ASSERT_EQ(files.size(), 3u);
    EXPECT_EQ(files[2].path, "perfvisor/marks");
    unsigned open = 0, close = 0;
    const std::string text(files[2].content.begin(), files[2].content.end());
    ASSERT_EQ(std::sscanf(text.c_str(), "%x %x", &open, &close), 2);
    EXPECT_EQ(open, counted.marks().open);
    EXPECT_EQ(close, counted.marks().close);
    EXPECT_NE(open, close);
}

TEST_F(ExecChannelTest, TheTrailerGivesTheStatusAndIsNotOutput) {
    send("hello\n" + trailer("42"));
    EXPECT_EQ(output, "hello\n");
    EXPECT_EQ(channel.status(), 42);
}

TEST_F(ExecChannelTest, TheTrailerMayComeByteByByte) {
    for (const char c : "x" + trailer("255"))
        send(std::string(1, c));
    EXPECT_EQ(output, "x");
    EXPECT_EQ(channel.status(), 255);
}

TEST_F(ExecChannelTest, InitSaysThatItBeginsAndThatIsNotOutput) {
    EXPECT_FALSE(channel.begun());
    const std::vector<uint8_t> token = channel.initramfs_files()[1].content;
    const std::string begin =
        "\x1eperfvisor-exec " + std::string(token.begin(), token.end()) + "\n";
    send(begin.substr(0, 20));
    send(begin.substr(20) + "hello\n");
    EXPECT_TRUE(channel.begun());
    EXPECT_EQ(output, "hello\n");
    send("\x1eperfvisor-exec 0123\n" + trailer("7"));
    EXPECT_EQ(output, "hello\n\x1eperfvisor-exec 0123\n");
    EXPECT_EQ(channel.status(), 7);
}

TEST_F(ExecChannelTest, OutputWithoutAFinalLineEndIsComplete) {
    send("no newline");
    EXPECT_EQ(output, "no newline");
    EXPECT_EQ(channel.status(), std::nullopt);
}

TEST_F(ExecChannelTest, ATrailerWithAnotherTokenIsOutput) {
    const std::string forged = "\x1eperfvisor-exit 0123456789abcdef0123456789abcdef 0\n";
    send(forged + trailer("3"));
    EXPECT_EQ(output, forged);
    EXPECT_EQ(channel.status(), 3);
}

TEST_F(ExecChannelTest, RecordSeparatorsInOutputAreOutput) {
    send("\x1e\x1e\x1eperf" + trailer("0"));
    EXPECT_EQ(output, "\x1e\x1e\x1eperf");
    EXPECT_EQ(channel.status(), 0);
}

TEST_F(ExecChannelTest, StatusesThatAreNoneAreOutput) {
    for (const std::string status : {"256", "1000", "-1", "", "1a"}) {
        output.clear();
        send(trailer(status));
        EXPECT_EQ(output, trailer(status));
        EXPECT_EQ(channel.status(), std::nullopt) << status;
    }
}

TEST_F(ExecChannelTest, WhatWasHeldBackComesOutAtTheEnd) {
    send("a\x1eperfvisor-ex");
    EXPECT_EQ(output, "a");
    channel.finish();
    EXPECT_EQ(output, "a\x1eperfvisor-ex");
}

TEST(ExecChannelToken, IsTheSameForTheSameCommandAndOtherwiseNot) {
    const auto ignore = [](std::span<const uint8_t>) {};
    const auto token = [&](const char* command) {
        return ExecChannel(command, ignore).initramfs_files()[1].content;
    };
    EXPECT_EQ(token("ls"), token("ls"));
    EXPECT_NE(token("ls"), token("ls "));
}

}  // namespace
}  // namespace perfvisor::vmm
