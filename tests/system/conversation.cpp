// SPDX-License-Identifier: GPL-2.0-or-later
// A process that a test talks with.
#include "conversation.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>

namespace perfvisor::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{240};
constexpr std::chrono::milliseconds kGlance{10};

void append(int& fd, std::string& text) {
    std::array<char, 65536> buffer;
    const ssize_t n = read(fd, buffer.data(), buffer.size());
    if (n > 0) return void(text.append(buffer.data(), static_cast<size_t>(n)));
    close(fd);
    fd = -1;
}

}  // namespace

Conversation::Conversation(const std::vector<std::string>& command) {
    std::signal(SIGPIPE, SIG_IGN);
    std::array<std::array<int, 2>, 3> pipes;
    for (auto& ends : pipes)
        if (pipe2(ends.data(), O_CLOEXEC) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
        std::vector<char*> argv;
        for (const std::string& word : command)
            argv.push_back(const_cast<char*>(word.c_str()));
        argv.push_back(nullptr);
        dup2(pipes[0][0], 0);
        dup2(pipes[1][1], 1);
        dup2(pipes[2][1], 2);
        std::signal(SIGPIPE, SIG_DFL);
        execv(argv[0], argv.data());
        _exit(127);
    }
    close(pipes[0][0]);
    close(pipes[1][1]);
    close(pipes[2][1]);
    in_ = pipes[0][1];
    out_fd_ = pipes[1][0];
    err_fd_ = pipes[2][0];
}

Conversation::~Conversation() {
    if (pid_ > 0 && status_ < 0) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    for (const int fd : {in_, out_fd_, err_fd_})
        if (fd >= 0) close(fd);
}

void Conversation::say(const std::string& text) {
    // What a process that has ended does not read is no matter.
    [[maybe_unused]] const ssize_t n = write(in_, text.data(), text.size());
}

void Conversation::signal(int number) const {
    if (pid_ > 0 && status_ < 0) kill(pid_, number);
}

// False at the end of both streams, or when the time is up.
bool Conversation::listen(Clock::time_point until) {
    std::array<pollfd, 2> waiting = {pollfd{out_fd_, POLLIN, 0}, pollfd{err_fd_, POLLIN, 0}};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    if ((out_fd_ < 0 && err_fd_ < 0) || left <= 0) return false;
    if (poll(waiting.data(), waiting.size(), static_cast<int>(left)) <= 0) return false;
    if (waiting[0].revents) append(out_fd_, out_);
    if (waiting[1].revents) append(err_fd_, err_);
    return true;
}

std::string Conversation::line(const std::string& start) {
    const auto until = Clock::now() + kPatience;
    for (;;) {
        size_t end = 0;
        while ((end = out_.find('\n', heard_)) != std::string::npos) {
            const std::string whole = out_.substr(heard_, end - heard_);
            heard_ = end + 1;
            if (whole.starts_with(start)) return whole;
        }
        if (!listen(until)) return {};
    }
}

bool Conversation::text(const std::string& text) {
    const auto until = Clock::now() + kPatience;
    for (;;) {
        if (const size_t at = out_.find(text, heard_); at != std::string::npos) {
            heard_ = at + text.size();
            return true;
        }
        if (!listen(until)) return false;
    }
}

int Conversation::wait() {
    const auto until = Clock::now() + kPatience;
    while (pid_ > 0 && status_ < 0 && Clock::now() < until) {
        int status = 0;
        if (waitpid(pid_, &status, WNOHANG) == pid_)
            status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        else if (!listen(Clock::now() + kGlance))
            poll(nullptr, 0, 1);  // it has closed its ends, or has nothing to say
    }
    // What it said last; a child of its own may keep the pipes open.
    while (listen(Clock::now() + kGlance)) {
    }
    return status_;
}

}  // namespace perfvisor::test
