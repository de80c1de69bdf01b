// SPDX-License-Identifier: GPL-2.0-or-later
// The tables in which translated code finds the code of a page: what is entered is found in its
// mode alone, and all that ends is gone everywhere.
#include "engine/translator/fetch_map.h"

#include <gtest/gtest.h>

using perfvisor::engine::translator::FetchMap;

namespace {

constexpr uint32_t kPage = 4096;

class FetchMapTest : public testing::Test {
  protected:
    FetchMapTest() : map_(std::move(*FetchMap::create())) { map_->select(0); }
    FetchMap& map() { return *map_; }

  private:
    std::unique_ptr<FetchMap> map_;
};

TEST_F(FetchMapTest, APageIsFoundInItsModeAndInTheTableOfIt) {
    map().enter(0xc0001ffc, 0x5000);
    EXPECT_EQ(map().find(0xc0001000), 0x5000u);
    EXPECT_EQ(map().find(0xc0002000), 0u);
    EXPECT_EQ(map().select(7)[0xc0001], 0u);
    map().enter(0xc0001000, 0x6000);
    EXPECT_EQ(map().select(0)[0xc0001], 0x5000u);
    EXPECT_EQ(map().select(7)[0xc0001], 0x6000u);
}

TEST_F(FetchMapTest, TheModeUnusedForLongestMakesRoomAndLeavesNothing) {
    map().select(1);
    map().enter(0x10000, 0x5000);
    for (uint32_t mode = 2; mode < 40; ++mode)
        map().select(mode);
    for (uint32_t mode = 100; mode < 140; ++mode) {
        map().select(mode);
        EXPECT_EQ(map().find(0x10000), 0u) << mode;
    }
    map().select(1);
    EXPECT_EQ(map().find(0x10000), 0u);
}

TEST_F(FetchMapTest, ForgottenPagesAreGoneInEveryModeAndOthersStay) {
    for (const uint32_t mode : {3u, 4u}) {
        map().select(mode);
        for (uint32_t page = 0; page < 4; ++page)
            map().enter(0x20000 + page * kPage, 0x5000);
    }
    map().forget(0x21000, 2 * kPage);
    for (const uint32_t mode : {3u, 4u}) {
        map().select(mode);
        EXPECT_NE(map().find(0x20000), 0u);
        EXPECT_EQ(map().find(0x21000), 0u);
        EXPECT_EQ(map().find(0x22000), 0u);
        EXPECT_NE(map().find(0x23000), 0u);
    }
    map().forget(0, uint64_t{1} << 32);
    for (const uint32_t mode : {3u, 4u}) {
        map().select(mode);
        EXPECT_EQ(map().find(0x20000), 0u);
    }
}

TEST_F(FetchMapTest, ANumberIsForgottenWhereItIsEntered) {
    map().select(3);
    map().enter(0x20000, 0x5000);
    map().select(4);
    map().enter(0x20000, 0x6000);
    map().forget_number(0x20000, 0x5000);
    EXPECT_EQ(map().find(0x20000), 0x6000u);
    map().select(3);
    EXPECT_EQ(map().find(0x20000), 0u);
}

TEST_F(FetchMapTest, MorePagesThanAListHoldsAreForgottenToo) {
    for (uint32_t page = 0; page < 20000; ++page)
        map().enter(page * kPage, 0x5000);
    EXPECT_EQ(map().find(19999 * kPage), 0x5000u);
    map().forget_all();
    for (uint32_t page = 0; page < 20000; ++page)
        ASSERT_EQ(map().find(page * kPage), 0u) << page;
}

}  // namespace
