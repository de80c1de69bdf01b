// SPDX-License-Identifier: GPL-2.0-or-later
// A command that runs under one of ours.
#include "cli/child.h"

#include <poll.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace perfvisor::cli {

SignalEvents::SignalEvents() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int number : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD})
        sigaddset(&wanted, number);
    sigprocmask(SIG_BLOCK, &wanted, &before_);
    descriptor_ = UniqueFd(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
}

SignalEvents::~SignalEvents() {
    sigprocmask(SIG_SETMASK, &before_, nullptr);
}

std::optional<SignalEvents::Event> SignalEvents::next() const {
    signalfd_siginfo info;
    if (read(descriptor_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
    return Event{static_cast<int>(info.ssi_signo), info.ssi_code == SI_KERNEL};
}

Result<Child> Child::start(const std::vector<std::string>& command, const SignalEvents& signals) {
    std::vector<char*> argv;
    argv.reserve(command.size() + 1);
    for (const std::string& word : command)
        argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);

    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &signals.before());
    pid_t pid = 0;
    const int error = posix_spawnp(&pid, argv[0], nullptr, &attributes, argv.data(), environ);
    posix_spawnattr_destroy(&attributes);
    if (error == 0) return Child(pid);
    return tl::unexpected(Error{
        fmt::format("{} cannot be run: {}", command[0], std::generic_category().message(error)),
        error == ENOENT ? 127 : 126});
}

void Child::forward(const SignalEvents::Event& event) const {
    if (event.number != SIGCHLD && !event.from_terminal && !status_) kill(pid_, event.number);
}

std::optional<int> Child::status() {
    int status = 0;
    if (!status_ && waitpid(pid_, &status, WNOHANG) == pid_)
        status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return status_;
}

int Child::wait(const SignalEvents& signals) {
    for (;;) {
        if (const auto ended = status()) return *ended;
        pollfd event{signals.descriptor(), POLLIN, 0};
        poll(&event, 1, -1);
        while (const auto signal = signals.next())
            forward(*signal);
    }
}

}  // namespace perfvisor::cli
