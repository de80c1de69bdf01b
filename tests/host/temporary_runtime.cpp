// SPDX-License-Identifier: GPL-2.0-or-later
// A runtime directory for one test, and child processes that work in it on command.
#include "host/temporary_runtime.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

namespace perfvisor::host {

TemporaryDirectory::TemporaryDirectory() {
    path_ = testing::TempDir() + "perfvisor-test-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) ADD_FAILURE() << "mkdtemp " << path_;
}

TemporaryDirectory::~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> TemporaryDirectory::entries() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
        names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
}

RuntimeDirectoryOptions at(const std::string& path) {
    RuntimeDirectoryOptions options;
    options.path = path;
    return options;
}

PerfmonRegistry open_registry(const std::string& path) {
    auto registry = PerfmonRegistry::open(at(path));
    if (!registry) {
        ADD_FAILURE() << registry.error().message;
        ::_exit(1);  // Nothing in this test could go on.
    }
    return std::move(*registry);
}

HolderInfo named(const std::string& name) {
    HolderInfo info;
    info.name = name;
    return info;
}

tl::expected<Reservation, ReserveError> reserve(const PerfmonRegistry& registry,
                                                HolderClass holder_class, const std::string& name) {
    return holder_class == HolderClass::kGuest ? registry.reserve_for_guest(named(name))
                                               : registry.reserve_for_host(named(name));
}

std::string brief_status(const PerfmonRegistry& registry) {
    const auto status = registry.status();
    if (!status) return "error: " + status.error().message;
    std::string text = status->state == PerfmonState::kFree    ? "free"
                       : status->state == PerfmonState::kGuest ? "guest"
                                                               : "host";
    std::vector<std::string> names;
    for (const HolderInfo& holder : status->holders)
        names.push_back(holder.name);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names)
        text += " " + name;
    return text;
}

void write_file(const std::string& path, const std::string& content) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << content;
    file.close();
    EXPECT_TRUE(file.good()) << path;
}

std::string read_file(const std::string& path) {
    std::ostringstream content;
    content << std::ifstream(path, std::ios::binary).rdbuf();
    return content.str();
}

int open_descriptors() {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        count += entry.exists() || entry.is_symlink() ? 1 : 0;
    }
    return count - 1;  // Without the iterator's own.
}

bool is_root() {
    return ::geteuid() == 0;
}

namespace {

void wait_for_success(pid_t child) {
    ASSERT_GT(child, 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "the child was killed by signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0) << "the child's expectations failed, see above";
}

// Ends a child process with what its expectations found.
[[noreturn]] void finish_child() {
    ::fflush(nullptr);
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
}

}  // namespace

void run_in_child(const std::function<void()>& body) {
    ::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        body();
        finish_child();
    }
    wait_for_success(child);
}

void run_as_user(uid_t id, const std::function<void()>& body, const std::vector<gid_t>& groups) {
    run_in_child([&] {
        ASSERT_EQ(::setgroups(groups.size(), groups.data()), 0);
        ASSERT_EQ(::setresgid(id, id, id), 0);
        ASSERT_EQ(::setresuid(id, id, id), 0);
        body();
    });
}

struct Worker::Command {
    enum class Kind : int { kReserve, kRelease, kReset, kExit } kind = Kind::kReserve;
    HolderClass holder_class = HolderClass::kGuest;
    int place = 0;
    char name[64] = {};

    static Command make(Kind kind, HolderClass holder_class, int place, const std::string& name) {
        Command command;
        command.kind = kind;
        command.holder_class = holder_class;
        command.place = place;
        std::strncpy(command.name, name.c_str(), sizeof command.name - 1);
        return command;
    }
};

namespace {

class WorkerProcess {
  public:
    WorkerProcess(const std::string& directory, int socket)
        : registry_(open_registry(directory)), socket_(socket) {}

    template <typename Command>
    [[noreturn]] void run() {
        Command command;
        while (::recv(socket_, &command, sizeof command, 0) == sizeof command) {
            const Reply reply = execute(command);
            if (::send(socket_, &reply, sizeof reply, MSG_NOSIGNAL) != sizeof reply) break;
        }
        ::_exit(0);
    }

  private:
    template <typename Command>
    Reply execute(const Command& command) {
        auto& place = places_.at(static_cast<std::size_t>(command.place));
        switch (command.kind) {
            case Command::Kind::kReserve:
                return reserve_in(place, command.holder_class, command.name);
            case Command::Kind::kRelease:
                place.reset();
                return success();
            case Command::Kind::kReset:
                place.reset();
                return reserve_in(place, command.holder_class, command.name);
            case Command::Kind::kExit:
                ::_exit(0);
        }
        return {};
    }

    static Reply success() {
        Reply reply;
        reply.outcome = Outcome::kOk;
        return reply;
    }

    Reply reserve_in(std::optional<Reservation>& place, HolderClass holder_class,
                     const char* name) {
        auto result = reserve(registry_, holder_class, name);
        if (result) {
            place.emplace(std::move(*result));
            return success();
        }
        Reply reply;
        const ReserveError& error = result.error();
        reply.outcome = error.busy() ? Outcome::kBusy : Outcome::kError;
        reply.holders = static_cast<int>(error.holders.size());
        if (!error.holders.empty()) {
            reply.first_pid = error.holders.front().pid;
            reply.first_class = error.holders.front().holder_class;
        }
        std::strncpy(reply.message, error.error.message.c_str(), sizeof reply.message - 1);
        return reply;
    }

    PerfmonRegistry registry_;
    int socket_;
    std::array<std::optional<Reservation>, Worker::kPlaces> places_;
};

}  // namespace

Worker::Worker(const std::string& directory) {
    int sockets[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
        ADD_FAILURE() << "socketpair";
        return;
    }
    ::fflush(nullptr);
    const pid_t driver = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != driver) ::_exit(1);
        WorkerProcess(directory, sockets[1]).run<Command>();
    }
    EXPECT_GT(pid_, 0);
    socket_ = UniqueFd(sockets[0]);
    ::close(sockets[1]);
}

Worker::~Worker() {
    if (pid_ > 0) kill_now();
}

Worker::Worker(Worker&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), socket_(std::move(other.socket_)) {}

Worker& Worker::operator=(Worker&& other) noexcept {
    if (this != &other) {
        if (pid_ > 0) kill_now();
        pid_ = std::exchange(other.pid_, -1);
        socket_ = std::move(other.socket_);
    }
    return *this;
}

void Worker::post(const Command& command) {
    EXPECT_EQ(::send(socket_.get(), &command, sizeof command, MSG_NOSIGNAL),
              static_cast<ssize_t>(sizeof command));
}

Reply Worker::wait_for_reply() {
    Reply reply;
    EXPECT_EQ(::recv(socket_.get(), &reply, sizeof reply, 0), static_cast<ssize_t>(sizeof reply))
        << "worker " << pid_ << " did not answer";
    return reply;
}

Reply Worker::call(const Command& command) {
    post(command);
    return wait_for_reply();
}

void Worker::reap() {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    socket_.reset();
}

Reply Worker::reserve(HolderClass holder_class, int place, const std::string& name) {
    return call(Command::make(Command::Kind::kReserve, holder_class, place, name));
}

void Worker::post_reserve(HolderClass holder_class, int place, const std::string& name) {
    post(Command::make(Command::Kind::kReserve, holder_class, place, name));
}

Reply Worker::release(int place) {
    return call(Command::make(Command::Kind::kRelease, HolderClass::kGuest, place, ""));
}

Reply Worker::reset(HolderClass holder_class, int place, const std::string& name) {
    return call(Command::make(Command::Kind::kReset, holder_class, place, name));
}

void Worker::exit_now() {
    post(Command::make(Command::Kind::kExit, HolderClass::kGuest, 0, ""));
    reap();
}

void Worker::kill_now() {
    ::kill(pid_, SIGKILL);
    reap();
}

}  // namespace perfvisor::host
