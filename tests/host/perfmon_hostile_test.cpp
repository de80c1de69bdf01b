// SPDX-License-Identifier: GPL-2.0-or-later
// Hostile and broken runtime directories: a clear error each, and a holder is never disturbed.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "host/file_lock.h"
#include "host/temporary_runtime.h"

namespace perfvisor::host {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr HolderClass kGuest = HolderClass::kGuest;
constexpr HolderClass kHost = HolderClass::kHost;
constexpr uid_t kNobody = 65534;
constexpr uid_t kSomebody = 12345;
constexpr gid_t kTeam = 23456;

// The message of an attempt that must fail for another reason than a holder.
std::string failure(const PerfmonRegistry& registry, HolderClass holder_class = kGuest) {
    const auto result = reserve(registry, holder_class);
    if (result) return "succeeded";
    if (result.error().busy()) return "busy: " + result.error().error.message;
    return result.error().error.message;
}

bool busy_for(const PerfmonRegistry& registry, HolderClass holder_class) {
    const auto result = reserve(registry, holder_class);
    return !result && result.error().busy();
}

class Hostile : public testing::Test {
  protected:
    // Both files made, nobody holds.
    void make_files() { ASSERT_TRUE(reserve(registry_, kGuest)); }

    TemporaryDirectory directory_;
    std::string lock_ = directory_.file("perfmon.lock");
    std::string holders_ = directory_.file("perfmon.holders");
    PerfmonRegistry registry_ = open_registry(directory_.path());
};

TEST_F(Hostile, SymbolicLinkIsNotFollowed) {
    for (const std::string& name : {lock_, holders_}) {
        write_file(directory_.file("victim"), "precious");
        ASSERT_EQ(::symlink("victim", name.c_str()), 0);
        EXPECT_THAT(failure(registry_), AllOf(HasSubstr(name), HasSubstr("symbolic link")));
        EXPECT_FALSE(registry_.status());
        EXPECT_EQ(read_file(directory_.file("victim")), "precious");
        ASSERT_EQ(::unlink(name.c_str()), 0);
    }
    EXPECT_EQ(failure(registry_), "succeeded");
}

TEST_F(Hostile, DanglingSymbolicLinkMakesNoFileElsewhere) {
    const TemporaryDirectory elsewhere;
    ASSERT_EQ(::symlink(elsewhere.file("target").c_str(), lock_.c_str()), 0);
    EXPECT_THAT(failure(registry_), HasSubstr("symbolic link"));
    EXPECT_TRUE(elsewhere.entries().empty());
}

TEST_F(Hostile, HardLinkIsNotWrittenThrough) {
    for (const std::string& name : {lock_, holders_}) {
        write_file(directory_.file("victim"), "precious");
        ASSERT_EQ(::link(directory_.file("victim").c_str(), name.c_str()), 0);
        EXPECT_THAT(failure(registry_), AllOf(HasSubstr(name), HasSubstr("hard link")));
        EXPECT_EQ(read_file(directory_.file("victim")), "precious");
        ASSERT_EQ(::unlink(name.c_str()), 0);
    }
}

TEST_F(Hostile, DirectoryInTheFilesPlace) {
    for (const std::string& name : {lock_, holders_}) {
        ASSERT_EQ(::mkdir(name.c_str(), 0700), 0);
        EXPECT_THAT(failure(registry_), AllOf(HasSubstr(name), HasSubstr("directory")));
        EXPECT_FALSE(registry_.status());
        ASSERT_EQ(::rmdir(name.c_str()), 0);
    }
}

TEST_F(Hostile, FifoInTheFilesPlaceDoesNotHang) {
    for (const std::string& name : {lock_, holders_}) {
        ASSERT_EQ(::mkfifo(name.c_str(), 0600), 0);
        EXPECT_THAT(failure(registry_), AllOf(HasSubstr(name), HasSubstr("regular file")));
        EXPECT_FALSE(registry_.status());
        ASSERT_EQ(::unlink(name.c_str()), 0);
    }
}

TEST_F(Hostile, FilesThatEveryoneMayWriteAreRefused) {
    make_files();
    for (const std::string& name : {lock_, holders_}) {
        ASSERT_EQ(::chmod(name.c_str(), 0666), 0);
        EXPECT_THAT(failure(registry_), AllOf(HasSubstr(name), HasSubstr("writable by everyone")));
        ASSERT_EQ(::chmod(name.c_str(), 0600), 0);
    }
    EXPECT_EQ(failure(registry_), "succeeded");
}

TEST_F(Hostile, FilesAreMadeForTheirOwnerWhateverTheUmask) {
    for (const mode_t mask : {0U, 0777U}) {
        const mode_t old = ::umask(mask);
        make_files();
        ::umask(old);
        struct stat status {};
        ASSERT_EQ(::stat(lock_.c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 0777U, 0600U);
        ASSERT_EQ(::stat(holders_.c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 0777U, 0644U);
        ASSERT_EQ(::unlink(lock_.c_str()), 0);
        ASSERT_EQ(::unlink(holders_.c_str()), 0);
    }
}

TEST_F(Hostile, GarbageInTheLockFileIsAnErrorAndLeftAsItIs) {
    for (const std::string& garbage : {std::string("garbage"), std::string(5000, '\0'),
                                       std::string("perfvisor performance monitor lock 1\n")}) {
        write_file(lock_, garbage);
        EXPECT_THAT(failure(registry_),
                    AllOf(HasSubstr(lock_ + " is damaged"), HasSubstr("remove it")));
        EXPECT_FALSE(registry_.status());
        EXPECT_EQ(read_file(lock_), garbage);
    }
    ASSERT_EQ(::unlink(lock_.c_str()), 0);
    EXPECT_EQ(failure(registry_), "succeeded");
}

TEST_F(Hostile, GarbageInTheLockFileDoesNotDisturbAHolder) {
    Worker holder(directory_.path());
    ASSERT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
    const std::string genuine = read_file(lock_);
    write_file(lock_, "garbage");
    EXPECT_THAT(failure(registry_, kHost), HasSubstr("damaged"));
    EXPECT_THAT(failure(registry_, kGuest), HasSubstr("damaged"));
    write_file(lock_, genuine);
    EXPECT_EQ(brief_status(registry_), "guest vm");
    EXPECT_TRUE(busy_for(registry_, kHost));
    EXPECT_EQ(holder.release(0).outcome, Outcome::kOk);
    EXPECT_TRUE(reserve(registry_, kHost));
}

TEST_F(Hostile, LockFileCutShortIsCompletedOnlyWhenNobodyHolds) {
    Worker holder(directory_.path());
    ASSERT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
    ASSERT_EQ(::truncate(lock_.c_str(), 0), 0);
    EXPECT_THAT(failure(registry_, kHost), HasSubstr("guest 'vm'"));
    EXPECT_EQ(brief_status(registry_), "guest vm");
    holder.kill_now();
    EXPECT_EQ(failure(registry_, kHost), "succeeded");
}

TEST_F(Hostile, GarbageInTheListOfHoldersHarmsNothing) {
    write_file(holders_, std::string(100'000, 'x'));
    Worker holder(directory_.path());
    ASSERT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
    EXPECT_EQ(brief_status(registry_), "guest vm");
    EXPECT_TRUE(busy_for(registry_, kHost));
    write_file(holders_, std::string(100'000, '\n'));
    EXPECT_EQ(brief_status(registry_), "guest");
    EXPECT_TRUE(busy_for(registry_, kHost));
    EXPECT_EQ(holder.release(0).outcome, Outcome::kOk);
    EXPECT_EQ(brief_status(registry_), "free");
}

TEST_F(Hostile, RemovedLockFileCannotBeTakenFromItsHolder) {
    Worker holder(directory_.path());
    ASSERT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
    ASSERT_EQ(::unlink(lock_.c_str()), 0);
    EXPECT_EQ(brief_status(registry_), "guest vm");
    for (int i = 0; i < 3; ++i) {
        EXPECT_THAT(failure(registry_, kHost),
                    AllOf(HasSubstr(lock_ + " was removed or replaced while guest 'vm'"),
                          HasSubstr("when no such holder is left")));
        EXPECT_THAT(failure(registry_, kGuest), HasSubstr("was removed or replaced"));
        EXPECT_EQ(brief_status(registry_), "guest vm");
    }
    EXPECT_EQ(holder.release(0).outcome, Outcome::kOk);
    EXPECT_EQ(brief_status(registry_), "free");
    EXPECT_EQ(failure(registry_, kHost), "succeeded");
}

TEST_F(Hostile, RemovedLockFileIsMadeAfreshWhenItsHolderWasKilled) {
    Worker holder(directory_.path());
    ASSERT_EQ(holder.reserve(kHost, 0, "stat").outcome, Outcome::kOk);
    ASSERT_EQ(::unlink(lock_.c_str()), 0);
    EXPECT_THAT(failure(registry_, kGuest), HasSubstr("host user 'stat'"));
    holder.kill_now();
    EXPECT_EQ(failure(registry_, kGuest), "succeeded");
}

TEST_F(Hostile, CopyInPlaceOfTheLockFileIsRefused) {
    Worker holder(directory_.path());
    ASSERT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
    ASSERT_EQ(::rename(lock_.c_str(), directory_.file("aside").c_str()), 0);
    std::filesystem::copy_file(directory_.file("aside"), lock_);
    EXPECT_THAT(failure(registry_, kHost), HasSubstr("copied here"));
    ASSERT_EQ(::rename(directory_.file("aside").c_str(), lock_.c_str()), 0);
    EXPECT_TRUE(busy_for(registry_, kHost));
    EXPECT_EQ(brief_status(registry_), "guest vm");
}

TEST_F(Hostile, RemovedListOfHoldersDoesNotFreeThePerformanceMonitor) {
    Worker holder(directory_.path());
    Worker second(directory_.path());
    ASSERT_EQ(holder.reserve(kHost, 0, "stat").outcome, Outcome::kOk);
    ASSERT_EQ(::unlink(holders_.c_str()), 0);
    EXPECT_TRUE(busy_for(registry_, kGuest));
    // Its slot in the new list may be that of the first in the old one.
    for (int place = 0; place < Worker::kPlaces; ++place) {
        EXPECT_EQ(second.reserve(kHost, place, "top").outcome, Outcome::kOk);
    }
    second.kill_now();
    EXPECT_TRUE(busy_for(registry_, kGuest));
    holder.kill_now();
    EXPECT_EQ(failure(registry_, kGuest), "succeeded");
}

TEST_F(Hostile, RemovedDirectoryIsAnErrorAndDoesNotDisturbAHolder) {
    const std::string path = directory_.file("runtime");
    Worker holder(path);
    ASSERT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
    const PerfmonRegistry registry = open_registry(path);
    std::filesystem::remove_all(path);
    EXPECT_THAT(failure(registry), HasSubstr("cannot create " + path + "/perfmon.lock"));
    EXPECT_EQ(holder.release(0).outcome, Outcome::kOk);
}

// In the state that a SIGKILL between the two steps of making a file leaves behind.
TEST_F(Hostile, HalfMadeFilesAreCompleted) {
    write_file(lock_, "perfvisor perf");
    write_file(holders_, "");
    ASSERT_EQ(::chmod(lock_.c_str(), 0600), 0);
    ASSERT_EQ(::chmod(holders_.c_str(), 0600), 0);
    EXPECT_EQ(failure(registry_), "succeeded");
    struct stat status {};
    ASSERT_EQ(::stat(holders_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0644U);
}

TEST_F(Hostile, FileSizeLimitIsAnErrorNotASignal) {
    Worker holder(directory_.path());
    ASSERT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
    run_in_child([&] {
        const rlimit nothing{0, 0};
        ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &nothing), 0);
        EXPECT_THAT(failure(registry_),
                    AllOf(HasSubstr("cannot write " + holders_), HasSubstr("File too large")));
        const TemporaryDirectory fresh;
        EXPECT_THAT(failure(open_registry(fresh.path())), HasSubstr("cannot write"));
    });
    EXPECT_EQ(brief_status(registry_), "guest vm");
    EXPECT_TRUE(busy_for(registry_, kHost));
}

TEST_F(Hostile, DirectoryThatItsOwnerMayNotWriteIsAnError) {
    ASSERT_EQ(::chmod(directory_.path().c_str(), 0500), 0);
    const auto attempt = [&] {
        EXPECT_THAT(failure(open_registry(directory_.path())),
                    HasSubstr("cannot create " + lock_ + ": Permission denied"));
    };
    if (is_root()) {  // Who may write everywhere.
        ASSERT_EQ(::chown(directory_.path().c_str(), kNobody, kNobody), 0);
        run_as_user(kNobody, attempt);
    } else {
        attempt();
    }
}

TEST_F(Hostile, TooFewDescriptorsIsAnError) {
    run_in_child([&] {
        make_files();
        const int free_descriptor = ::dup(0);
        const rlimit few{static_cast<rlim_t>(free_descriptor) + 1, 1024};
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
        EXPECT_THAT(failure(registry_), HasSubstr("Too many open files"));
    });
    EXPECT_EQ(brief_status(registry_), "free");
}

// Gives this process a mount namespace of its own, where the machine's rules allow that.
bool get_own_mounts() {
    return ::unshare(CLONE_NEWNS) == 0 &&
           ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

bool may_mount() {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(get_own_mounts() ? 0 : 1);
    int status = 1;
    return ::waitpid(child, &status, 0) == child && status == 0;
}

// With file systems of the test's own, mounted in a child process so that they go with it.
class HostileMounts : public Hostile {
  protected:
    void SetUp() override {
        if (!may_mount()) GTEST_SKIP() << "mounting is not allowed here";
    }
    static void with_own_mounts(const std::function<void()>& body) {
        run_in_child([&] {
            ASSERT_TRUE(get_own_mounts());
            body();
        });
    }
};

TEST_F(HostileMounts, FullDiskIsAnErrorAndDoesNotDisturbAHolder) {
    with_own_mounts([&] {
        const std::string disk = directory_.file("disk");
        ASSERT_EQ(::mkdir(disk.c_str(), 0700), 0);
        ASSERT_EQ(::mount("none", disk.c_str(), "tmpfs", 0, "size=64k,mode=700"), 0);
        const PerfmonRegistry registry = open_registry(disk);
        Worker holder(disk);
        ASSERT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
        const UniqueFd filler(::open((disk + "/filler").c_str(), O_RDWR | O_CREAT, 0600));
        while (::write(filler.get(), std::string(4096, 'x').data(), 4096) > 0) {
        }
        // Records that share a page with the holder's still fit; others do not.
        std::vector<Reservation> fitting;
        std::string message;
        for (int i = 0; i < 64 && message.empty(); ++i) {
            auto result = reserve(registry, kGuest, "more");
            if (result) {
                fitting.push_back(std::move(*result));
            } else {
                message = result.error().error.message;
            }
        }
        EXPECT_THAT(message, AllOf(HasSubstr("cannot write " + disk + "/perfmon.holders"),
                                   HasSubstr("No space left on device")));
        fitting.clear();
        EXPECT_EQ(brief_status(registry), "guest vm");
        EXPECT_EQ(holder.release(0).outcome, Outcome::kOk);
        ASSERT_EQ(::unlink((disk + "/perfmon.lock").c_str()), 0);
        while (::write(filler.get(), "x", 1) > 0) {
        }
        EXPECT_THAT(failure(registry), HasSubstr("No space left on device"));
        ASSERT_EQ(::ftruncate(filler.get(), 0), 0);
        EXPECT_EQ(failure(registry), "succeeded");
    });
}

TEST_F(HostileMounts, ReadOnlyFileSystemIsAnErrorAndDoesNotDisturbAHolder) {
    with_own_mounts([&] {
        const std::string disk = directory_.file("disk");
        ASSERT_EQ(::mkdir(disk.c_str(), 0700), 0);
        ASSERT_EQ(::mount("none", disk.c_str(), "tmpfs", 0, "size=1m,mode=700"), 0);
        ASSERT_EQ(::mkdir((disk + "/runtime").c_str(), 0700), 0);
        const std::string runtime = disk + "/runtime";
        Worker holder(runtime);
        ASSERT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
        // A read-only view of the same directory, as a container may have it.
        const std::string view = directory_.file("view");
        ASSERT_EQ(::mkdir(view.c_str(), 0700), 0);
        ASSERT_EQ(::mount(runtime.c_str(), view.c_str(), nullptr, MS_BIND, nullptr), 0);
        ASSERT_EQ(::mount("none", view.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr),
                  0);
        const PerfmonRegistry registry = open_registry(view);
        EXPECT_THAT(failure(registry), HasSubstr("Read-only file system"));
        EXPECT_EQ(brief_status(registry), "guest vm");
        EXPECT_EQ(holder.release(0).outcome, Outcome::kOk);
        EXPECT_EQ(brief_status(registry), "free");
    });
}

// What follows has several users in it.
class HostileUsers : public Hostile {
  protected:
    void SetUp() override {
        if (!is_root()) GTEST_SKIP() << "needs root, to act as several users";
        ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
    }
};

TEST_F(HostileUsers, OrdinaryUserCannotReserveInRootsDirectoryButSeesTheHolders) {
    ASSERT_EQ(::chmod(directory_.path().c_str(), 0711), 0);
    Worker holder(directory_.path());
    ASSERT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
    run_as_user(kNobody, [&] {
        EXPECT_THAT(failure(registry_), HasSubstr("Permission denied"));
        EXPECT_EQ(brief_status(registry_), "guest vm");
    });
    holder.kill_now();
    run_as_user(kNobody, [&] { EXPECT_EQ(brief_status(registry_), "free"); });
}

TEST_F(HostileUsers, OrdinaryUserCannotBlockNorFakeAnything) {
    make_files();
    Worker holder(directory_.path());
    run_as_user(kNobody, [&] {
        EXPECT_LT(::open(lock_.c_str(), O_RDONLY), 0);
        const UniqueFd list(::open(holders_.c_str(), O_RDONLY));
        ASSERT_TRUE(list);
        // All that a reader can do: shared locks on everything.
        ASSERT_EQ(try_lock(list.get(), LockKind::kShared, {0, 0}), 0);
        EXPECT_NE(try_lock(list.get(), LockKind::kExclusive, {0, 0}), 0);
        EXPECT_EQ(brief_status(registry_), "free");
        EXPECT_EQ(holder.reserve(kGuest, 0, "vm").outcome, Outcome::kOk);
        EXPECT_EQ(holder.reserve(kHost, 1, "stat").outcome, Outcome::kBusy);
    });
    EXPECT_EQ(brief_status(registry_), "guest");
}

TEST_F(HostileUsers, FileOfAnotherUserIsRefused) {
    make_files();
    for (const std::string& name : {lock_, holders_}) {
        ASSERT_EQ(::chown(name.c_str(), kSomebody, kSomebody), 0);
        EXPECT_THAT(failure(registry_), AllOf(HasSubstr(name), HasSubstr("another user")));
        ASSERT_EQ(::chown(name.c_str(), 0, 0), 0);
    }
}

TEST_F(HostileUsers, MembersOfTheDirectorysGroupShareOneMachine) {
    ASSERT_EQ(::chown(directory_.path().c_str(), 0, kTeam), 0);
    ASSERT_EQ(::chmod(directory_.path().c_str(), 02770), 0);
    const auto member = [&](uid_t id, const std::function<void(const PerfmonRegistry&)>& body) {
        run_as_user(id, [&] { body(open_registry(directory_.path())); }, {kTeam});
    };
    member(kNobody, [&](const PerfmonRegistry& first) {
        const auto guest = reserve(first, kGuest, "vm");
        ASSERT_TRUE(guest) << guest.error().error.message;
        EXPECT_EQ(brief_status(first), "guest vm");
    });
    Worker root(directory_.path());
    ASSERT_EQ(root.reserve(kHost, 0, "stat").outcome, Outcome::kOk);
    member(kSomebody, [&](const PerfmonRegistry& second) {
        EXPECT_TRUE(busy_for(second, kGuest));
        EXPECT_TRUE(reserve(second, kHost));
        EXPECT_EQ(brief_status(second), "host stat");
    });
    run_as_user(kSomebody, [&] {
        EXPECT_EQ(brief_status(registry_).substr(0, 6), "error:") << "not a member";
    });
}

}  // namespace
}  // namespace perfvisor::host
