// SPDX-License-Identifier: GPL-2.0-or-later
// The tables that translated code finds host addresses in: what is entered is found in its context
// alone, and all that ends is gone everywhere.
#include "engine/translator/page_map.h"

#include <gtest/gtest.h>

using perfvisor::engine::translator::PageMap;

namespace {

constexpr uint32_t kPage = 4096;
constexpr uint64_t kAddend = 0x7f0000000000;

class PageMapTest : public testing::Test {
  protected:
    PageMapTest() : map_(std::move(*PageMap::create())) { map_->select(0); }
    PageMap& map() { return *map_; }

  private:
    std::unique_ptr<PageMap> map_;
};

TEST_F(PageMapTest, APageIsFoundForWhatItWasEnteredFor) {
    map().enter(0xc0001000, kAddend, 0x5000, true, false);
    EXPECT_EQ(map().read_addend(0xc0001ffc), kAddend);
    EXPECT_EQ(map().write_addend(0xc0001ffc), 0u);
    EXPECT_EQ(map().read_addend(0xc0002000), 0u);
    map().enter(0xc0001000, kAddend, 0x5000, true, true);
    EXPECT_EQ(map().write_addend(0xc0001000), kAddend);
}

TEST_F(PageMapTest, AContextHasItsOwnPagesAndKeepsThem) {
    map().enter(0x10000, kAddend, 0x5000, true, true);
    map().select(7);
    EXPECT_EQ(map().read_addend(0x10000), 0u);
    map().enter(0x10000, kAddend + kPage, 0x6000, true, false);
    map().select(0);
    EXPECT_EQ(map().read_addend(0x10000), kAddend);
    map().select(7);
    EXPECT_EQ(map().read_addend(0x10000), kAddend + kPage);
}

TEST_F(PageMapTest, TheContextUnusedForLongestMakesRoomAndLeavesNothing) {
    map().select(1);
    map().enter(0x10000, kAddend, 0x5000, true, true);
    for (uint32_t context = 2; context < 40; ++context)
        map().select(context);
    map().select(1);
    EXPECT_EQ(map().read_addend(0x10000), 0u);
    for (uint32_t context = 100; context < 140; ++context) {
        map().select(context);
        EXPECT_EQ(map().read_addend(0x10000), 0u) << context;
        EXPECT_EQ(map().write_addend(0x10000), 0u) << context;
    }
}

TEST_F(PageMapTest, ForgottenPagesAreGoneInEveryContextAndOthersStay) {
    for (const uint32_t context : {3u, 4u}) {
        map().select(context);
        for (uint32_t page = 0; page < 4; ++page)
            map().enter(0x20000 + page * kPage, kAddend, page * kPage, true, true);
    }
    map().forget(0x21000, 2 * uint64_t{kPage});
    for (const uint32_t context : {3u, 4u}) {
        map().select(context);
        EXPECT_EQ(map().read_addend(0x20000), kAddend);
        EXPECT_EQ(map().read_addend(0x21000), 0u);
        EXPECT_EQ(map().write_addend(0x22000), 0u);
        EXPECT_EQ(map().write_addend(0x23000), kAddend);
    }
}

TEST_F(PageMapTest, ALargeRangeForgetsWhatLiesInIt) {
    map().enter(0xbffff000, kAddend, 0x1000, true, true);
    map().enter(0xc0000000, kAddend, 0x2000, true, true);
    map().enter(0xcffff000, kAddend, 0x3000, true, true);
    map().enter(0xd0000000, kAddend, 0x4000, true, true);
    map().forget(0xc0000000, uint64_t{256} << 20);
    EXPECT_EQ(map().read_addend(0xbffff000), kAddend);
    EXPECT_EQ(map().read_addend(0xc0000000), 0u);
    EXPECT_EQ(map().read_addend(0xcffff000), 0u);
    EXPECT_EQ(map().read_addend(0xd0000000), kAddend);
    map().forget(0, uint64_t{1} << 32);
    EXPECT_EQ(map().read_addend(0xbffff000), 0u);
}

TEST_F(PageMapTest, AProtectedPageIsReadEverywhereAndWrittenNowhere) {
    for (const uint32_t context : {3u, 4u}) {
        map().select(context);
        map().enter(0x30000 + context * kPage, kAddend, 0x7000, true, true);
        map().enter(0x50000, kAddend, 0x8000, true, true);
    }
    map().forget_writes(0x7000);
    for (const uint32_t context : {3u, 4u}) {
        map().select(context);
        EXPECT_EQ(map().read_addend(0x30000 + context * kPage), kAddend);
        EXPECT_EQ(map().write_addend(0x30000 + context * kPage), 0u);
        EXPECT_EQ(map().write_addend(0x50000), kAddend);
    }
}

TEST_F(PageMapTest, MorePagesThanAListHoldsStartAfresh) {
    for (uint32_t page = 0; page < 20000; ++page)
        map().enter(page * kPage, kAddend, page * kPage, true, true);
    EXPECT_EQ(map().read_addend(19999 * kPage), kAddend);
    map().forget_all();
    for (uint32_t page = 0; page < 20000; ++page)
        ASSERT_EQ(map().read_addend(page * kPage), 0u);
}

}  // namespace
