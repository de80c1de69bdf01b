// SPDX-License-Identifier: GPL-2.0-or-later
// Where a vCPU with nothing to do waits.
#include "kvm/soft/sleeper.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

namespace perfvisor::kvm {

namespace {

// Linux lets a thread's timers be 50 us late, to have them expire together, which a guest's timers
// must not be. This is the calling thread's from now on.
void wake_up_in_time() {
    static thread_local bool done = false;
    if (!std::exchange(done, true)) prctl(PR_SET_TIMERSLACK, 1UL);
}

}  // namespace

Sleeper::Sleeper() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void Sleeper::wake() {
    // In the one order of all sequentially consistent operations either the sleeper sees what was
    // made true, or this sees that it sleeps.
    if (!sleeping_.load()) return;
    const int saved_errno = errno;  // this may be a signal handler
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof one);
    errno = saved_errno;
}

bool Sleeper::sleep(uint64_t nanoseconds, const std::function<bool()>& stay, HaltPoll* poll) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return true;
    bool undisturbed = true;
    if (poll == nullptr) {
        undisturbed = block(nanoseconds, stay, before);
    } else {
        const uint64_t begin = host_nanoseconds();
        if (!look(nanoseconds, stay, *poll)) undisturbed = block(nanoseconds, stay, before);
        poll->waited(host_nanoseconds() - begin);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return undisturbed;
}

bool Sleeper::look(uint64_t& nanoseconds, const std::function<bool()>& stay, HaltPoll& poll) {
    if (poll.window() == 0) return false;
    const uint64_t begin = host_nanoseconds();
    const uint64_t window = std::min(poll.window(), nanoseconds);
    uint64_t now = begin;
    while (now - begin < window) {
        if (!stay()) return true;
        sched_yield();
        const uint64_t last = std::exchange(now, host_nanoseconds());
        if (now - last <= HaltPoll::kCrowdedNanoseconds) continue;
        poll.crowded();
        break;
    }
    if (nanoseconds != kNever) nanoseconds -= std::min(nanoseconds, now - begin);
    return nanoseconds == 0;
}

bool Sleeper::block(uint64_t nanoseconds, const std::function<bool()>& stay,
                    const sigset_t& signals) {
    sleeping_.store(true);
    int result = 0;
    int error = 0;
    if (stay() && valid()) {
        wake_up_in_time();
        pollfd events{event_.get(), POLLIN, 0};
        timespec limit{};
        limit.tv_sec = static_cast<time_t>(nanoseconds / kNanosecondsPerSecond);
        limit.tv_nsec = static_cast<long>(nanoseconds % kNanosecondsPerSecond);
        // Longer than time_t can say on some hosts is as good as without end: the caller looks
        // again.
        const bool endless = nanoseconds / kNanosecondsPerSecond > INT32_MAX;
        result = ::ppoll(&events, 1, endless ? nullptr : &limit, &signals);
        error = errno;
    }
    sleeping_.store(false, std::memory_order_relaxed);
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(event_.get(), &count, sizeof count);
    return !(result < 0 && error == EINTR);
}

}  // namespace perfvisor::kvm
