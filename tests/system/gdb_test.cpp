// SPDX-License-Identifier: GPL-2.0-or-later
// gdb and a guest: the real gdb on a bare-metal guest and on Linux, and a client that ends in ways
// that gdb does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "conversation.h"
#include "subprocess.h"
#include "with_directory.h"

namespace perfvisor::test {
namespace {

namespace fs = std::filesystem;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kCounted = "000186a0";  // the 100000 instructions of the probe's 'c'

class GdbTest : public WithDirectory<> {
  protected:
    void SetUp() override {
        WithDirectory::SetUp();
        socket_path = (directory / "gdb").string();
    }

    std::vector<std::string> guest(std::vector<std::string> options) const {
        options.insert(options.begin(), {PERFVISOR_BINARY, "run"});
        options.insert(options.end(), {"--reserve-perfmon", "--runtime-dir", directory.string(),
                                       "-gdb", "unix:" + socket_path});
        return options;
    }
    std::vector<std::string> probe(std::vector<std::string> options = {}) const {
        options.insert(options.begin(), {"-kernel", PROBE_GUEST});
        return guest(std::move(options));
    }
    // gdb with these commands, connected before the first; gives all that it said.
    std::string gdb(const std::string& file, const std::vector<std::string>& commands) const {
        std::vector<std::string> words = {GDB,
                                          "-nx",
                                          "-batch",
                                          "-ex",
                                          "set confirm off",
                                          "-ex",
                                          "set endian big",
                                          "-ex",
                                          "file " + file,
                                          "-ex",
                                          "target remote " + socket_path};
        for (const std::string& command : commands)
            words.insert(words.end(), {"-ex", command});
        const Finished finished = run(words, std::chrono::seconds(300));
        EXPECT_EQ(finished.status, 0) << finished.err;
        return finished.out + finished.err;
    }
    // The probe's symbols.
    static std::string probe_symbols() {
        return fs::path(PROBE_GUEST).replace_extension(".symbols").string();
    }
    // Until the guest listens.
    void wait_for_socket() const {
        while (!fs::is_socket(socket_path))
            poll(nullptr, 0, 5);
    }

    std::string socket_path;
};

TEST_F(GdbTest, WaitsStepsStopsAtBreakpointsAndTheCountsStayExact) {
    Conversation guest(probe({"-S"}));
    guest.say("cc");
    wait_for_socket();
    const std::string said = gdb(
        probe_symbols(),
        {"printf \"start %x r3 %x\\n\", $pc, $r3", "stepi", "stepi",
         "printf \"stepped %x\\n\", $pc", "break *&count", "continue",
         "printf \"at count %d\\n\", $pc == &count", "delete",
         // In the loop that is counted: breakpoints, steps, and a look at the counter.
         "break *((long)&count + 40)", "continue", "continue", "stepi", "stepi", "stepi",
         "printf \"event %x counted %d\\n\", $pmlca0, $pmc0", "delete", "set $f1 = 1.5",
         "printf \"f1 %f\\n\", $f1", "printf \"memory %x\\n\", *(unsigned*)&command", "detach"});
    EXPECT_THAT(said, HasSubstr("start 0 r3 1800000"));
    EXPECT_THAT(said, HasSubstr("stepped 8"));
    EXPECT_THAT(said, HasSubstr("at count 1"));
    EXPECT_THAT(said, HasSubstr("event 20000 counted 9")) << said;
    EXPECT_THAT(said, HasSubstr("f1 1.500000"));
    EXPECT_THAT(said, HasSubstr("memory 480000b5"));  // bl getc
    EXPECT_EQ(guest.line("0"), kCounted);
    EXPECT_EQ(guest.line("0"), kCounted);
    guest.say("p");
    EXPECT_EQ(guest.wait(), 0);
}

TEST_F(GdbTest, MoreBreakpointsThanKvmHasRoomForReplaceInstructionsAndLeaveNoTrace) {
    Conversation guest(probe({"-S"}));
    guest.say("c");
    wait_for_socket();
    std::vector<std::string> commands;
    // 16 that are never come to, then the ten instructions before the loop that is counted.
    for (int n = 0; n < 26; ++n)
        commands.push_back("break *((long)" +
                           (n < 16 ? "&reset + " + std::to_string(4 * (n % 5)) + " + 0x1000 * " +
                                         std::to_string(1 + n / 5)
                                   : "&count + " + std::to_string(4 * (n - 16))) +
                           ")");
    for (int n = 0; n < 10; ++n)
        commands.emplace_back("continue");
    commands.insert(commands.end(),
                    {"printf \"counted %d\\n\", $pmc0",
                     "printf \"memory %x\\n\", *(unsigned*)((long)&count + 36)", "delete",
                     "printf \"memory %x\\n\", *(unsigned*)((long)&count + 36)", "detach"});
    const std::string said = gdb(probe_symbols(), commands);
    EXPECT_THAT(said, Not(HasSubstr("Cannot insert"))) << said;
    EXPECT_THAT(said, HasSubstr("counted 3")) << said;  // stopped before the nop: li, lis, ori done
    EXPECT_THAT(said, ContainsRegex("memory 60000000(.|\n)*memory 60000000")) << said;
    EXPECT_EQ(guest.line("0"), kCounted);
}

TEST_F(GdbTest, SaysHowTheGuestEnded) {
    Conversation guest(probe({"-S"}));
    guest.say("p");
    wait_for_socket();
    EXPECT_THAT(gdb(probe_symbols(), {"continue"}), HasSubstr("exited normally"));
    EXPECT_EQ(guest.wait(), 0);
}

TEST_F(GdbTest, KillEndsTheGuest) {
    Conversation guest(probe());
    ASSERT_THAT(guest.line("boot"), HasSubstr("pm=1"));
    gdb(probe_symbols(), {"kill"});
    EXPECT_EQ(guest.wait(), 0);
}

TEST_F(GdbTest, ASecondBootIsDebuggedToo) {
    Conversation guest(probe({"-S"}));
    guest.say("r");
    wait_for_socket();
    const std::string said =
        gdb(probe_symbols(), {"break *&search", "continue", "continue",
                              "printf \"again %d\\n\", $pc == &search", "detach"});
    EXPECT_THAT(said, HasSubstr("again 1")) << said;
    EXPECT_THAT(guest.line("boot"), HasSubstr("pm=1"));
    EXPECT_THAT(guest.line("boot"), HasSubstr("pm=1"));
}

// ---- without gdb ----

class Client {
  public:
    explicit Client(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address = {};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    ~Client() { close(fd_); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    void send(const std::string& bytes) const {
        EXPECT_EQ(write(fd_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    }
    // Until the end of a packet.
    std::string receive() const {
        std::string text;
        char c = 0;
        while ((text.size() < 3 || text[text.size() - 3] != '#') && read(fd_, &c, 1) == 1)
            text += c;
        return text;
    }

  private:
    int fd_;
};

TEST_F(GdbTest, AnInterruptStopsTheRunningGuestAndADroppedConnectionSetsItGoing) {
    Conversation guest(probe());
    ASSERT_THAT(guest.line("boot"), HasSubstr("pm=1"));
    {
        const Client client(socket_path);
        client.send("$?#3f");
        EXPECT_THAT(client.receive(), HasSubstr("T05thread:01;"));
        client.send("+$c#63\x03");
        EXPECT_THAT(client.receive(), HasSubstr("T02thread:01;"));
    }
    guest.say("c");
    EXPECT_EQ(guest.line("0"), kCounted);
    guest.say("p");
    EXPECT_EQ(guest.wait(), 0);
    EXPECT_FALSE(fs::exists(socket_path));
}

// ---- Linux ----

// Stops, a watchpoint and steps in the kernel, all under the virtual clock: the guest's counts are
// those of a run that nobody debugs.
TEST_F(GdbTest, LinuxIsDebuggedAndCountsTheSame) {
    const std::string script =
        "perf stat -x, -e instructions:u,instructions:k,branches spin 1000 "
        "2>&1; cat /proc/uptime /proc/interrupts";
    const Finished alone = linux_guest(script, {"--reserve-perfmon", "--clock=virtual"});
    ASSERT_EQ(alone.status, 0) << alone.err;

    Conversation debugged(guest({"-m", "256M", "-kernel", guest_file("vmlinux"), "-initrd",
                                 guest_file("rootfs.cpio.gz"), "--clock=virtual", "-S",
                                 "--console-log", "/dev/null", "--exec", script}));
    wait_for_socket();
    const std::string said =
        gdb(guest_file("vmlinux"), {"break start_kernel",
                                    "continue",
                                    "info symbol $pc",
                                    "delete",
                                    "stepi",
                                    "stepi",
                                    "break rest_init",
                                    "continue",
                                    "info symbol $pc",
                                    "info threads",
                                    "bt 3",
                                    "delete",
                                    "watch *(unsigned long*)&jiffies",
                                    "continue",
                                    "continue",
                                    "delete",
                                    "break __schedule",
                                    "ignore $bpnum 20",
                                    "continue",
                                    "info breakpoints",
                                    "delete",
                                    "printf \"banner %.13s\\n\", (char*)&linux_banner",
                                    "detach"});
    EXPECT_THAT(said, HasSubstr("start_kernel in section"));
    EXPECT_THAT(said, HasSubstr("Hardware watchpoint 3: *(unsigned long*)&jiffies"));
    EXPECT_THAT(said, ContainsRegex("Old value = [0-9]+\nNew value = [0-9]+"));
    EXPECT_THAT(said, HasSubstr("rest_init + 16 in section"));
    EXPECT_THAT(said, HasSubstr("breakpoint already hit 21 times"));
    EXPECT_THAT(said, HasSubstr("banner Linux version"));
    EXPECT_THAT(said, HasSubstr("Thread 1 (CPU 0 [stopped])"));
    EXPECT_EQ(debugged.wait(), 0);
    EXPECT_EQ(debugged.out(), alone.out);
}

TEST_F(GdbTest, EachCpuIsAThread) {
    Conversation debugged(guest({"-m", "256M", "-kernel", guest_file("vmlinux"), "-initrd",
                                 guest_file("rootfs.cpio.gz"), "-smp", "2", "-S", "--console-log",
                                 "/dev/null", "--exec", "grep -c ^processor /proc/cpuinfo"}));
    wait_for_socket();
    const std::string said =
        gdb(guest_file("vmlinux"),
            {"info threads", "break start_secondary", "continue", "printf \"in %d\\n\", $_thread",
             "delete", "stepi", "stepi", "info threads", "thread 1", "info symbol $pc", "detach"});
    EXPECT_THAT(said, HasSubstr("CPU 1 [not started]"));
    EXPECT_THAT(said, HasSubstr("in 2"));
    EXPECT_THAT(said, HasSubstr("CPU 1 [stopped]"));
    EXPECT_EQ(debugged.wait(), 0);
    EXPECT_EQ(debugged.out(), "2\n");
}

}  // namespace
}  // namespace perfvisor::test
