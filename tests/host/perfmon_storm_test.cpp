// SPDX-License-Identifier: GPL-2.0-or-later
// 64 processes at once reserve, release and are killed at random moments: never do both classes
// hold, and nothing is left of it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "host/temporary_runtime.h"

namespace perfvisor::host {
namespace {

using namespace std::chrono_literals;

constexpr int kProcesses = 64;
constexpr int kRounds = 4;

// Judges by other means than those judged: a holder marks itself, from after it has reserved until
// before it releases, by a traditional record lock on its byte of another file; guests have the
// lower half of the bytes. (In a process that dies, traditional locks go first: when its
// descriptors are closed, and not only when the last reference to the open file is dropped.)
class Judge {
  public:
    explicit Judge(const std::string& path)
        : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {}

    [[nodiscard]] bool mark(HolderClass holder_class, int index) const {
        return set(F_WRLCK, start_of(holder_class) + index);
    }
    [[nodiscard]] bool unmark(HolderClass holder_class, int index) const {
        return set(F_UNLCK, start_of(holder_class) + index);
    }
    [[nodiscard]] bool anyone_of(HolderClass holder_class) const {
        struct flock lock {};
        lock.l_type = F_WRLCK;
        lock.l_start = start_of(holder_class);
        lock.l_len = kProcesses;
        return ::fcntl(fd_.get(), F_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
    }

  private:
    static int start_of(HolderClass holder_class) {
        return holder_class == HolderClass::kGuest ? 0 : kProcesses;
    }
    [[nodiscard]] bool set(short type, int byte) const {
        struct flock lock {};
        lock.l_type = type;
        lock.l_start = byte;
        lock.l_len = 1;
        return ::fcntl(fd_.get(), F_SETLK, &lock) == 0;
    }

    UniqueFd fd_;
};

struct Tally {
    std::atomic<int> guest_successes{0};
    std::atomic<int> host_successes{0};
    std::atomic<int> refusals{0};
    std::atomic<int> errors{0};
    std::atomic<int> violations{0};
};

// Memory that the processes of the storm share.
class SharedTally {
  public:
    SharedTally()
        : memory_(::mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                         -1, 0)) {
        new (memory_) Tally;
    }
    ~SharedTally() { ::munmap(memory_, sizeof(Tally)); }
    SharedTally(const SharedTally&) = delete;
    SharedTally& operator=(const SharedTally&) = delete;
    Tally* operator->() { return static_cast<Tally*>(memory_); }
    Tally& operator*() { return *static_cast<Tally*>(memory_); }

  private:
    void* memory_;
};

[[noreturn]] void reserve_for_ever(const std::string& directory, const std::string& judge_path,
                                   int index, unsigned seed, Tally& tally) {
    const Judge judge(judge_path);
    const PerfmonRegistry registry = open_registry(directory);
    std::mt19937 random(seed);
    for (;;) {
        // Mostly the class whose turn it is, so that both succeed often on a crowded machine.
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        const bool turn_of_guests = now / 32ms % 2 == 0;
        const bool takes_turn = random() % 8 != 0;
        const HolderClass mine =
            turn_of_guests == takes_turn ? HolderClass::kGuest : HolderClass::kHost;
        const HolderClass other =
            mine == HolderClass::kGuest ? HolderClass::kHost : HolderClass::kGuest;
        auto result = reserve(registry, mine, "storm" + std::to_string(index));
        if (!result) {
            ++(result.error().busy() ? tally.refusals : tally.errors);
            continue;
        }
        ++(mine == HolderClass::kGuest ? tally.guest_successes : tally.host_successes);
        if (!judge.mark(mine, index) || judge.anyone_of(other)) ++tally.violations;
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
        if (judge.anyone_of(other) || !judge.unmark(mine, index)) ++tally.violations;
    }
}

class ReservationStorm : public testing::Test {
  protected:
    std::vector<pid_t> start(int count) {
        std::vector<pid_t> processes;
        for (int i = 0; i < count; ++i) {
            const unsigned seed = random_();
            const pid_t child = ::fork();
            EXPECT_GE(child, 0);
            if (child == 0) {
                ::prctl(PR_SET_PDEATHSIG, SIGKILL);
                reserve_for_ever(directory_.path(), elsewhere_.file("judge"), i, seed, *tally_);
            }
            if (child > 0) processes.push_back(child);
        }
        return processes;
    }
    static void reap(const std::vector<pid_t>& processes) {
        for (const pid_t process : processes)
            EXPECT_EQ(::waitpid(process, nullptr, 0), process);
    }
    void sleep_up_to(std::chrono::microseconds limit) {
        const auto range = static_cast<unsigned>(limit.count());
        std::this_thread::sleep_for(std::chrono::microseconds(random_() % range));
    }

    TemporaryDirectory directory_;
    TemporaryDirectory elsewhere_;
    PerfmonRegistry registry_ = open_registry(directory_.path());
    SharedTally tally_;
    std::mt19937 random_{64};
};

TEST_F(ReservationStorm, SixtyFourProcessesKilledAtRandomMomentsLeaveNothingBehind) {
    const int descriptors = open_descriptors();
    for (int round = 0; round < kRounds; ++round) {
        std::vector<pid_t> processes = start(kProcesses);
        std::shuffle(processes.begin(), processes.end(), random_);
        for (const pid_t process : processes) {
            sleep_up_to(30ms);
            const auto status = registry_.status();
            EXPECT_TRUE(status) << status.error().message;
            ASSERT_EQ(::kill(process, SIGKILL), 0);
        }
        reap(processes);
        EXPECT_EQ(brief_status(registry_), "free");
    }
    EXPECT_EQ(tally_->violations, 0) << "guests and host users held at the same time";
    EXPECT_EQ(tally_->errors, 0);
    EXPECT_GT(tally_->guest_successes, kProcesses);
    EXPECT_GT(tally_->host_successes, kProcesses);
    EXPECT_GT(tally_->refusals, kProcesses);
    EXPECT_EQ(open_descriptors(), descriptors);
    EXPECT_THAT(directory_.entries(), testing::ElementsAre("perfmon.holders", "perfmon.lock"));
    EXPECT_TRUE(reserve(registry_, HolderClass::kGuest));
    EXPECT_TRUE(reserve(registry_, HolderClass::kHost));
}

// Somebody removes the lock file again and again: reservations may fail, but never do both classes
// hold, neither on one file nor on two.
TEST_F(ReservationStorm, RemovingTheLockFileNeverLetsBothClassesHold) {
    const std::vector<pid_t> processes = start(6);
    for (int i = 0; i < 1500; ++i) {
        sleep_up_to(2ms);
        ::unlink(directory_.file("perfmon.lock").c_str());
    }
    for (const pid_t process : processes)
        ::kill(process, SIGKILL);
    reap(processes);
    EXPECT_EQ(tally_->violations, 0);
    EXPECT_GT(tally_->guest_successes, 100);
    EXPECT_GT(tally_->host_successes, 100);
    EXPECT_EQ(brief_status(registry_), "free");
    EXPECT_TRUE(reserve(registry_, HolderClass::kGuest));
}

// Many processes meet in a directory where nothing is yet, over and over.
TEST(FirstReservations, ManyAtOnceAllSucceed) {
    for (int round = 0; round < 30; ++round) {
        const TemporaryDirectory directory;
        std::vector<Worker> workers;
        for (int i = 0; i < 8; ++i)
            workers.emplace_back(directory.path());
        for (Worker& worker : workers)
            worker.post_reserve(HolderClass::kGuest, 0, "first");
        for (Worker& worker : workers) {
            const Reply reply = worker.wait_for_reply();
            ASSERT_EQ(reply.outcome, Outcome::kOk) << reply.message;
        }
        const auto status = open_registry(directory.path()).status();
        ASSERT_TRUE(status);
        EXPECT_EQ(status->holders.size(), workers.size());
    }
}

}  // namespace
}  // namespace perfvisor::host
