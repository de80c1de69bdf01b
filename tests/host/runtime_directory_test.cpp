// SPDX-License-Identifier: GPL-2.0-or-later
// Where the runtime directory is, by option, environment and convention, and which directories are
// refused.
#include "host/runtime_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "host/temporary_runtime.h"

namespace perfvisor::host {
namespace {

using testing::HasSubstr;

constexpr uid_t kNobody = 65534;
constexpr uid_t kSomebody = 12345;

std::string refusal(const RuntimeDirectoryOptions& options) {
    const auto directory = RuntimeDirectory::open(options);
    return directory ? "accepted " + directory->path() : directory.error().message;
}

mode_t mode_of(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777;
}

// The places of the convention, all in a directory of the test.
class Convention : public testing::Test {
  protected:
    Convention() {
        ::unsetenv("PERFVISOR_RUNTIME_DIR");
        ::unsetenv("XDG_RUNTIME_DIR");
        options_.system_path = base_.file("run/perfvisor");
        options_.temporary_path = base_.file("tmp");
        for (const char* name : {"run", "tmp", "xdg"}) {
            EXPECT_EQ(::mkdir(base_.file(name).c_str(), 0755), 0);
        }
        in_tmp_ = base_.file("tmp/perfvisor-" + std::to_string(::geteuid()));
        in_xdg_ = base_.file("xdg/perfvisor");
    }
    ~Convention() override {
        ::unsetenv("PERFVISOR_RUNTIME_DIR");
        ::unsetenv("XDG_RUNTIME_DIR");
    }

    std::string found() {
        const auto directory = RuntimeDirectory::open(options_);
        return directory ? directory->path() : "error: " + directory.error().message;
    }
    void set_xdg() { ::setenv("XDG_RUNTIME_DIR", base_.file("xdg").c_str(), 1); }
    // As if /run could not be written by anybody: it is not there.
    void without_system_directory() { options_.system_path = base_.file("none/perfvisor"); }

    TemporaryDirectory base_;
    RuntimeDirectoryOptions options_;
    std::string in_tmp_;
    std::string in_xdg_;
};

TEST_F(Convention, OptionComesFirst) {
    options_.path = base_.file("option");
    ::setenv("PERFVISOR_RUNTIME_DIR", base_.file("environment").c_str(), 1);
    set_xdg();
    EXPECT_EQ(found(), options_.path);
    EXPECT_EQ(mode_of(options_.path) & 077, 0U);
}

TEST_F(Convention, EnvironmentVariableComesSecond) {
    ::setenv("PERFVISOR_RUNTIME_DIR", base_.file("environment").c_str(), 1);
    set_xdg();
    EXPECT_EQ(found(), base_.file("environment"));
}

TEST_F(Convention, EmptyEnvironmentVariableCountsAsUnset) {
    ::setenv("PERFVISOR_RUNTIME_DIR", "", 1);
    without_system_directory();
    set_xdg();
    EXPECT_EQ(found(), in_xdg_);
}

TEST_F(Convention, SystemDirectoryComesThirdWhereItIsWritable) {
    ASSERT_EQ(::mkdir(options_.system_path.c_str(), 0755), 0);
    set_xdg();
    EXPECT_EQ(found(), options_.system_path);
}

TEST_F(Convention, OnlyRootMakesTheSystemDirectory) {
    set_xdg();
    EXPECT_EQ(found(), is_root() ? options_.system_path : in_xdg_);
}

TEST_F(Convention, OrdinaryUserPassesBySystemDirectoryThatOnlyRootMayWrite) {
    if (!is_root()) GTEST_SKIP() << "needs root, to make a directory that is root's";
    ASSERT_EQ(::mkdir(options_.system_path.c_str(), 0755), 0);
    ASSERT_EQ(::chmod(base_.path().c_str(), 0755), 0);
    ASSERT_EQ(::chmod(base_.file("tmp").c_str(), 01777), 0);
    run_as_user(kNobody, [&] { EXPECT_EQ(found(), base_.file("tmp/perfvisor-65534")); });
}

TEST_F(Convention, XdgRuntimeDirectoryComesFourth) {
    without_system_directory();
    set_xdg();
    EXPECT_EQ(found(), in_xdg_);
    EXPECT_EQ(mode_of(in_xdg_), 0700U);
}

TEST_F(Convention, RelativeOrMissingXdgRuntimeDirectoryIsPassedBy) {
    without_system_directory();
    ::setenv("XDG_RUNTIME_DIR", "relative", 1);
    EXPECT_EQ(found(), in_tmp_);
    ::setenv("XDG_RUNTIME_DIR", base_.file("nowhere").c_str(), 1);
    EXPECT_EQ(found(), in_tmp_);
}

TEST_F(Convention, TemporaryDirectoryOfTheUserComesLast) {
    without_system_directory();
    EXPECT_EQ(found(), in_tmp_);
    EXPECT_EQ(mode_of(in_tmp_), 0700U);
}

TEST_F(Convention, SecondTimeFindsTheSame) {
    without_system_directory();
    EXPECT_EQ(found(), in_tmp_);
    EXPECT_EQ(found(), in_tmp_);
}

TEST_F(Convention, PlaceThatSomebodyHasPreparedIsReportedNotPassedBy) {
    set_xdg();
    without_system_directory();
    ASSERT_EQ(::symlink(base_.file("tmp").c_str(), in_xdg_.c_str()), 0);
    EXPECT_THAT(found(), HasSubstr(in_xdg_ + ": it is a symbolic link"));
}

TEST_F(Convention, LookingOnlyFindsTheSamePlaceAndMakesNothing) {
    without_system_directory();
    set_xdg();
    options_.create = false;
    const auto directory = RuntimeDirectory::open(options_);
    ASSERT_TRUE(directory) << directory.error().message;
    EXPECT_EQ(directory->path(), in_xdg_);
    EXPECT_FALSE(directory->exists());
    EXPECT_NE(::access(in_xdg_.c_str(), F_OK), 0);
}

TEST(RuntimeDirectoryTrust, SymbolicLinkIsRefused) {
    const TemporaryDirectory base;
    ASSERT_EQ(::mkdir(base.file("real").c_str(), 0700), 0);
    ASSERT_EQ(::symlink("real", base.file("link").c_str()), 0);
    EXPECT_THAT(refusal(at(base.file("link"))), HasSubstr("symbolic link"));
    ASSERT_EQ(::symlink("nowhere", base.file("dangling").c_str()), 0);
    EXPECT_THAT(refusal(at(base.file("dangling"))), HasSubstr("symbolic link"));
}

TEST(RuntimeDirectoryTrust, FileIsRefused) {
    const TemporaryDirectory base;
    write_file(base.file("file"), "content");
    EXPECT_THAT(refusal(at(base.file("file"))), HasSubstr("not a directory"));
    EXPECT_EQ(read_file(base.file("file")), "content");
}

TEST(RuntimeDirectoryTrust, MissingParentIsNamed) {
    const TemporaryDirectory base;
    EXPECT_THAT(refusal(at(base.file("a/b"))),
                HasSubstr("cannot make the runtime directory " + base.file("a/b") +
                          ": No such file or directory"));
}

TEST(RuntimeDirectoryTrust, WritableByEveryoneIsRefused) {
    const TemporaryDirectory base;
    for (const mode_t mode : {0777U, 01777U, 0702U}) {
        ASSERT_EQ(::chmod(base.path().c_str(), mode), 0);
        EXPECT_THAT(refusal(at(base.path())), HasSubstr("writable by everyone"));
    }
}

TEST(RuntimeDirectoryTrust, DirectoryOfAnotherUserIsRefusedAlsoByRoot) {
    if (!is_root()) GTEST_SKIP() << "needs root, to give a directory away";
    const TemporaryDirectory base;
    ASSERT_EQ(::chown(base.path().c_str(), kSomebody, kSomebody), 0);
    ASSERT_EQ(::chmod(base.path().c_str(), 0755), 0);
    EXPECT_THAT(refusal(at(base.path())), HasSubstr("belongs to user 12345; it must belong to"));
    run_as_user(kNobody, [&] {
        EXPECT_THAT(refusal(at(base.path())), HasSubstr("belongs to user 12345; it must belong"));
    });
}

TEST(RuntimeDirectoryTrust, OwnDirectoryOfAnOrdinaryUserIsAccepted) {
    if (!is_root()) GTEST_SKIP() << "needs root, to give a directory away";
    const TemporaryDirectory base;
    ASSERT_EQ(::chown(base.path().c_str(), kNobody, kNobody), 0);
    run_as_user(kNobody, [&] {
        EXPECT_EQ(refusal(at(base.path())), "accepted " + base.path());
        EXPECT_TRUE(reserve(open_registry(base.path()), HolderClass::kGuest));
    });
}

}  // namespace
}  // namespace perfvisor::host
