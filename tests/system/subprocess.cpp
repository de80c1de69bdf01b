// SPDX-License-Identifier: GPL-2.0-or-later
// Child processes with both outputs captured.
#include "subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>

namespace perfvisor::test {
namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
    Pipe() {
        if (pipe2(ends.data(), O_CLOEXEC) != 0) ends = {-1, -1};
    }
    ~Pipe() {
        close_end(0);
        close_end(1);
    }
    void close_end(unsigned n) {
        if (ends[n] >= 0) close(ends[n]);
        ends[n] = -1;
    }
    std::array<int, 2> ends;
};

[[noreturn]] void become(const std::vector<std::string>& command, int out, int err) {
    std::vector<char*> argv;
    for (const std::string& word : command)
        argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(out, 1);
    dup2(err, 2);
    execv(argv[0], argv.data());
    _exit(127);
}

// Appends what is there; false at the end of the stream.
bool drain(int descriptor, std::string& text) {
    std::array<char, 65536> buffer;
    const ssize_t n = read(descriptor, buffer.data(), buffer.size());
    if (n > 0) text.append(buffer.data(), static_cast<size_t>(n));
    return n > 0;
}

}  // namespace

Finished run(const std::vector<std::string>& command, std::chrono::seconds limit) {
    Finished result;
    Pipe out, err;
    const pid_t child = fork();
    if (child == 0) become(command, out.ends[1], err.ends[1]);
    if (child < 0) return result;
    out.close_end(1);
    err.close_end(1);

    const auto end = Clock::now() + limit;
    std::array<pollfd, 2> waiting = {pollfd{out.ends[0], POLLIN, 0},
                                     pollfd{err.ends[0], POLLIN, 0}};
    while (waiting[0].fd >= 0 || waiting[1].fd >= 0) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
        if (left <= 0) {
            result.timed_out = true;
            kill(child, SIGKILL);
            break;
        }
        if (poll(waiting.data(), waiting.size(), static_cast<int>(left)) <= 0) continue;
        if (waiting[0].revents && !drain(waiting[0].fd, result.out)) waiting[0].fd = -1;
        if (waiting[1].revents && !drain(waiting[1].fd, result.err)) waiting[1].fd = -1;
    }
    int status = 0;
    waitpid(child, &status, 0);
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

Finished perfvisor(std::vector<std::string> arguments, std::chrono::seconds limit) {
    arguments.insert(arguments.begin(), PERFVISOR_BINARY);
    return run(arguments, limit);
}

std::string guest_file(const std::string& name) {
    return std::string(PERFVISOR_GUEST) + "/" + name;
}

Finished linux_guest(const std::string& command, std::vector<std::string> options,
                     const std::string& kernel) {
    std::vector<std::string> arguments = {"run",
                                          "-m",
                                          "256M",
                                          "-kernel",
                                          guest_file(kernel),
                                          "-initrd",
                                          guest_file("rootfs.cpio.gz")};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), {"--exec", command});
    return perfvisor(arguments, std::chrono::seconds(300));
}

}  // namespace perfvisor::test
