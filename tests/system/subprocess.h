// SPDX-License-Identifier: GPL-2.0-or-later
// Runs the built perfvisor as a user would, and keeps what it said.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace perfvisor::test {

struct Finished {
    int status = -1;  // exit status; 128 + n when signal n ended it
    bool timed_out = false;
    std::string out;
    std::string err;
};

// Runs `command` (an absolute path first) with empty standard input until it ends; after `limit`
// it is killed and `timed_out` set.
Finished run(const std::vector<std::string>& command,
             std::chrono::seconds limit = std::chrono::seconds(120));

// build/perfvisor with these arguments.
Finished perfvisor(std::vector<std::string> arguments,
                   std::chrono::seconds limit = std::chrono::seconds(120));

// The Linux guest of `make guest` with a command run in it; `options` come before --exec. Its
// kernel is build/guest/KERNEL.
Finished linux_guest(const std::string& command, std::vector<std::string> options = {},
                     const std::string& kernel = "vmlinux");

// build/guest/NAME.
std::string guest_file(const std::string& name);

}  // namespace perfvisor::test
