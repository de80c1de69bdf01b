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
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <random>

#include "host/temporary_runtime.h"

namespace perfvisor::host {
namespace {

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
        // Runs of one class, so that both get their turn on a crowded machine.
        const HolderClass mine = ((::time(nullptr) + static_cast<long>(random() % 8 / 7)) & 1) == 0
                                     ? HolderClass::kGuest
                                     : HolderClass::kHost;
        const HolderClass other =
            mine == HolderClass::kGuest ? HolderClass::kHost : HolderClass::kGuest;
        auto result = reserve(registry, mine, "storm" + std::to_string(index));
        if (!result) {
            ++(result.error().busy() ? tally.refusals : tally.errors);
            continue;
        }
        ++(mine == HolderClass::kGuest ? tally.guest_successes : tally.host_successes);
        if (!judge.mark(mine, index) || judge.anyone_of(other)) ++tally.violations;
        const timespec a_while{0, static_cast<long>(random() % 200'000)};
        ::nanosleep(&a_while, nullptr);
        if (judge.anyone_of(other) || !judge.unmark(mine, index)) ++tally.violations;
    }
}

TEST(ReservationStorm, SixtyFourProcessesKilledAtRandomMomentsLeaveNothingBehind) {
    const TemporaryDirectory directory;
    const TemporaryDirectory elsewhere;
    const std::string judge_path = elsewhere.file("judge");
    const PerfmonRegistry registry = open_registry(directory.path());
    const int descriptors = open_descriptors();
    SharedTally tally;
    std::mt19937 random(64);

    for (int round = 0; round < kRounds; ++round) {
        std::vector<pid_t> processes;
        for (int i = 0; i < kProcesses; ++i) {
            const unsigned seed = random();
            const pid_t child = ::fork();
            ASSERT_GE(child, 0);
            if (child == 0) {
                ::prctl(PR_SET_PDEATHSIG, SIGKILL);
                reserve_for_ever(directory.path(), judge_path, i, seed, *tally);
            }
            processes.push_back(child);
        }
        std::shuffle(processes.begin(), processes.end(), random);
        for (const pid_t process : processes) {
            const timespec a_while{0, static_cast<long>(random() % 30'000'000)};
            ::nanosleep(&a_while, nullptr);
            const auto status = registry.status();
            EXPECT_TRUE(status) << status.error().message;
            ASSERT_EQ(::kill(process, SIGKILL), 0);
        }
        for (const pid_t process : processes)
            ASSERT_EQ(::waitpid(process, nullptr, 0), process);
        EXPECT_EQ(brief_status(registry), "free");
    }

    EXPECT_EQ(tally->violations, 0) << "guests and host users held at the same time";
    EXPECT_EQ(tally->errors, 0);
    EXPECT_GT(tally->guest_successes, kProcesses);
    EXPECT_GT(tally->host_successes, kProcesses);
    EXPECT_GT(tally->refusals, kProcesses);
    EXPECT_EQ(open_descriptors(), descriptors);
    EXPECT_THAT(directory.entries(), testing::ElementsAre("perfmon.holders", "perfmon.lock"));
    EXPECT_TRUE(reserve(registry, HolderClass::kGuest));
    EXPECT_TRUE(reserve(registry, HolderClass::kHost));
}

// Many processes meet in a directory where nothing is yet, over and over.
TEST(ReservationStorm, ManyFirstReservationsAtOnceAllSucceed) {
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
