// SPDX-License-Identifier: GPL-2.0-or-later
// A command that runs under one of ours, in the manner of time(1): it gets the signals meant for
// it, and its status becomes ours.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace perfvisor::cli {

// Signals of this process as events of a descriptor, while it lives: SIGINT, SIGQUIT, SIGTERM,
// SIGHUP, SIGUSR1, SIGUSR2 and SIGCHLD. Made before any thread.
class SignalEvents {
  public:
    SignalEvents();
    ~SignalEvents();
    SignalEvents(const SignalEvents&) = delete;
    SignalEvents& operator=(const SignalEvents&) = delete;

    struct Event {
        int number = 0;
        bool from_terminal = false;  // a key: the whole foreground process group gets the signal
    };
    // Readable while a signal waits.
    int descriptor() const { return descriptor_.get(); }
    std::optional<Event> next() const;
    // The mask before: what a child is to start with.
    const sigset_t& before() const { return before_; }

  private:
    sigset_t before_;
    UniqueFd descriptor_;
};

class Child {
  public:
    // Fails with exit status 127 where the command is not found, 126 where it cannot be run.
    static Result<Child> start(const std::vector<std::string>& command,
                               const SignalEvents& signals);

    // What a signal of ours means for the child. One from the terminal has reached it already.
    void forward(const SignalEvents::Event& event) const;

    // The exit status once it has ended: 128 + n after signal n.
    std::optional<int> status();
    // Waits for its end, forwarding signals.
    int wait(const SignalEvents& signals);

  private:
    explicit Child(pid_t pid) : pid_(pid) {}

    pid_t pid_;
    std::optional<int> status_;
};

}  // namespace perfvisor::cli
