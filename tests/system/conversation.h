// SPDX-License-Identifier: GPL-2.0-or-later
// A process that a test talks with: input when it likes, waiting for what it says.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace perfvisor::test {

class Conversation {
  public:
    // Starts `command` (an absolute path first); the ends are pipes.
    explicit Conversation(const std::vector<std::string>& command);
    // Kills what still runs.
    ~Conversation();
    Conversation(const Conversation&) = delete;
    Conversation& operator=(const Conversation&) = delete;

    pid_t pid() const { return pid_; }
    void say(const std::string& text);
    void signal(int number) const;

    // Waits until its standard output, from behind what was waited for before, has a whole line
    // that begins with `start`, and gives the line; empty if it ends or minutes pass before.
    std::string line(const std::string& start);
    // Waits until its standard output, from behind what was waited for before, has `text` in it,
    // such as a prompt; false if it ends or minutes pass before.
    bool text(const std::string& text);
    // Waits for its end, for minutes at most: the exit status, 128 + n after signal n, -1 if it
    // goes on.
    int wait();

    // All that it has said so far.
    const std::string& out() const { return out_; }
    const std::string& err() const { return err_; }

  private:
    bool listen(std::chrono::steady_clock::time_point until);

    pid_t pid_ = -1;
    int in_ = -1, out_fd_ = -1, err_fd_ = -1;
    std::string out_, err_;
    size_t heard_ = 0;
    int status_ = -1;
};

}  // namespace perfvisor::test
