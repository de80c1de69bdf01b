// SPDX-License-Identifier: GPL-2.0-or-later
// A test with a directory of its own.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace perfvisor::test {

// `Base` is testing::Test or what it is derived from; the directory is gone at the test's end.
template <class Base = testing::Test>
class WithDirectory : public Base {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "perfvisor-XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        directory = name;
    }
    void TearDown() override { std::filesystem::remove_all(directory); }

    std::filesystem::path directory;
};

}  // namespace perfvisor::test
