// SPDX-License-Identifier: GPL-2.0-or-later
// The monitor's sockets: names, leftovers, several clients, slow and hostile ones, the guest's end.
#include "vmm/monitor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <filesystem>

#include "fake_monitor_target.h"

namespace perfvisor::vmm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class MonitorTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "perfvisor-XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        path = name;
        auto opened = host::RuntimeDirectory::open({.path = path.string()});
        ASSERT_TRUE(opened) << opened.error().message;
        directory = std::make_unique<host::RuntimeDirectory>(std::move(*opened));
    }
    void TearDown() override {
        monitor.reset();
        fs::remove_all(path);
    }

    void start() {
        auto socket = MonitorSocket::listen(*directory);
        ASSERT_TRUE(socket) << socket.error().message;
        auto started = Monitor::start(std::move(*socket), target);
        ASSERT_TRUE(started) << started.error().message;
        monitor = std::move(*started);
    }
    UniqueFd connect() const {
        auto connections = connect_monitors(*directory);
        EXPECT_TRUE(connections);
        if (!connections || connections->size() != 1) {
            ADD_FAILURE() << "one monitor must be there";
            return {};
        }
        return std::move((*connections)[0].descriptor);
    }
    // The next line, or what came before the connection ended.
    static std::string line(const UniqueFd& fd) {
        std::string text;
        char c = 0;
        for (;;) {
            pollfd event{fd.get(), POLLIN, 0};
            if (poll(&event, 1, 20'000) <= 0) return text + "(nothing more)";
            if (recv(fd.get(), &c, 1, 0) <= 0) return text;
            if (c == '\n') return text;
            text += c;
        }
    }
    static void say(const UniqueFd& fd, const std::string& text) {
        EXPECT_EQ(send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }
    // Connected and through with the negotiation.
    UniqueFd client() const {
        UniqueFd fd = connect();
        EXPECT_THAT(line(fd), HasSubstr("QMP"));
        say(fd, "{\"execute\":\"qmp_capabilities\"}\n");
        EXPECT_THAT(line(fd), HasSubstr("return"));
        return fd;
    }
    size_t sockets() const {
        size_t count = 0;
        for (const auto& entry : fs::directory_iterator(path))
            if (entry.is_socket()) ++count;
        return count;
    }

    fs::path path;
    std::unique_ptr<host::RuntimeDirectory> directory;
    FakeMonitorTarget target;
    std::unique_ptr<Monitor> monitor;
    const std::string query = "{\"execute\":\"query-name\"}\n";
};

TEST_F(MonitorTest, TheSocketIsTheOwnersAndGoesWithTheMonitor) {
    start();
    const fs::path socket = path / fmt::format("guest-{}.qmp", getpid());
    struct stat status = {};
    ASSERT_EQ(stat(socket.c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    monitor.reset();
    EXPECT_EQ(sockets(), 0u);
}

TEST_F(MonitorTest, LeftoversAreRemovedAndOthersLeftAlone) {
    {
        auto socket = MonitorSocket::listen(*directory);
        ASSERT_TRUE(socket);
        // As a process that is killed leaves it: the name stays.
        fs::create_hard_link(path / socket->name(), path / "guest-1.qmp");
    }
    const int other = open((path / "guest-2.qmp").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ASSERT_GE(other, 0);
    close(other);
    EXPECT_TRUE(connect_monitors(*directory)->empty());
    start();
    EXPECT_FALSE(fs::exists(path / "guest-1.qmp"));
    EXPECT_TRUE(fs::exists(path / "guest-2.qmp")) << "no socket, not ours";
    EXPECT_EQ(sockets(), 1u);
}

TEST_F(MonitorTest, TwoGuestsWithTheSamePidHaveTheirOwnSockets) {
    start();
    auto second = MonitorSocket::listen(*directory);
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_EQ(connect_monitors(*directory)->size(), 2u);
}

TEST_F(MonitorTest, SeveralClientsAtOnceAndEventsForAllWhoListen) {
    start();
    const UniqueFd one = client(), two = client(), deaf = connect();
    line(deaf);
    say(one, "{\"execute\":\"stop\"}\n");
    EXPECT_THAT(line(one), HasSubstr("return"));
    EXPECT_THAT(line(one), HasSubstr("STOP"));
    EXPECT_THAT(line(two), HasSubstr("STOP"));
    say(deaf, "{\"execute\":\"qmp_capabilities\"}\n");
    EXPECT_THAT(line(deaf), HasSubstr("return")) << "no event before its negotiation";
    monitor->tell(monitor_event("RESET"));
    for (const UniqueFd* fd : {&one, &two, &deaf})
        EXPECT_THAT(line(*fd), HasSubstr("RESET"));
}

TEST_F(MonitorTest, AClientThatDoesNotReadIsNotListenedToAndKeepsNobodyWaiting) {
    start();
    const UniqueFd slow = client();
    const std::string stats = "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vcpu\"}}\n";
    size_t sent = 0;
    // Until neither the monitor nor the kernel takes more.
    for (int refused = 0; refused < 20;) {
        const ssize_t n = send(slow.get(), stats.data(), stats.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        ASSERT_LT(sent, size_t{64} << 20) << "the monitor must stop listening";
        if (n > 0) {
            sent += static_cast<size_t>(n);
            refused = 0;
        } else {
            ASSERT_EQ(errno, EAGAIN);
            poll(nullptr, 0, 5);
            ++refused;
        }
    }
    const UniqueFd other = client();
    say(other, query);
    EXPECT_THAT(line(other), HasSubstr("demo"));
}

TEST_F(MonitorTest, AnEndlessLineEndsThatConnectionOnly) {
    start();
    const UniqueFd other = client(), hostile = client();
    const std::string piece(4096, 'x');
    for (int n = 0; n < 17; ++n)
        if (send(hostile.get(), piece.data(), piece.size(), MSG_NOSIGNAL) <= 0) break;
    EXPECT_THAT(line(hostile), HasSubstr("longer"));
    say(other, query);
    EXPECT_THAT(line(other), HasSubstr("demo"));
}

TEST_F(MonitorTest, ClientsThatComeAndGoLeaveNothing) {
    start();
    for (int n = 0; n < 200; ++n) {
        const UniqueFd fd = connect();
        if (n % 2) say(fd, "{\"execute\":");
    }
    const UniqueFd fd = client();
    say(fd, query);
    EXPECT_THAT(line(fd), HasSubstr("demo"));
}

TEST_F(MonitorTest, MoreClientsThanThereIsRoomForWait) {
    start();
    std::vector<UniqueFd> clients;
    while (clients.size() < Monitor::kMostClients)
        clients.push_back(client());
    UniqueFd late = connect();
    say(late, "{\"execute\":\"qmp_capabilities\"}\n");
    clients.pop_back();
    EXPECT_THAT(line(late), HasSubstr("QMP"));
    EXPECT_THAT(line(late), HasSubstr("return"));
}

TEST_F(MonitorTest, ClientsHearOfTheGuestsEndBeforeTheConnectionEnds) {
    start();
    const UniqueFd fd = client();
    monitor->finish({monitor_event("SHUTDOWN", {{"guest", true}})});
    EXPECT_THAT(line(fd), HasSubstr("SHUTDOWN"));
    EXPECT_EQ(line(fd), "");
    monitor->tell(monitor_event("RESET"));
    monitor.reset();
    EXPECT_EQ(sockets(), 0u);
}

TEST_F(MonitorTest, AClientThatDoesNotReadDelaysTheEndByAMomentOnly) {
    start();
    const UniqueFd slow = client();
    Json large = Json::object();
    large["text"] = std::string(900'000, 'x');
    monitor->finish({monitor_event("SHUTDOWN", large)});  // must return
}

TEST_F(MonitorTest, ADirectoryThatCannotBeWrittenIsASentence) {
    fs::remove_all(path);
    const auto socket = MonitorSocket::listen(*directory);
    ASSERT_FALSE(socket);
    EXPECT_THAT(socket.error().message, HasSubstr(path.string()));
}

}  // namespace
}  // namespace perfvisor::vmm
