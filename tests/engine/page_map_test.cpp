// SPDX-License-Identifier: GPL-2.0-or-later
// The tables that translated code finds host addresses in: what is entered is found in its context
// alone, and all that ends is gone everywhere. The windows: what of them the host can reach.
#include "engine/translator/page_map.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

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

// ---- windows ----

constexpr uint64_t kAfter = 1000;  // instructions
constexpr uint32_t kUser = 1, kOtherUser = 5, kSupervisor = 4;

class Ram {
  public:
    explicit Ram(int sharing = MAP_SHARED)
        : bytes_(static_cast<uint8_t*>(mmap(nullptr, size_t{kPages} * kPage, PROT_READ | PROT_WRITE,
                                            sharing | MAP_ANONYMOUS, -1, 0))) {
        for (uint32_t page = 0; page < kPages; ++page)
            bytes_[size_t{page} * kPage] = static_cast<uint8_t>(page);
    }
    ~Ram() { munmap(bytes_, size_t{kPages} * kPage); }
    Ram(const Ram&) = delete;
    Ram& operator=(const Ram&) = delete;
    static constexpr uint32_t kPages = 8;
    uint8_t* page(uint32_t number) { return bytes_ + size_t{number} * kPage; }

  private:
    uint8_t* bytes_;
};

class WindowTest : public testing::Test {
  protected:
    WindowTest() : map_(std::move(*PageMap::create(kAfter))) { map_->select(kUser); }
    PageMap& map() { return *map_; }
    Ram& ram() { return ram_; }

    void enter(uint32_t ea, uint32_t page, bool writes, Ram* ram = nullptr) {
        const auto host = reinterpret_cast<uintptr_t>((ram ? *ram : ram_).page(page));
        map_->enter(ea, host - ea, uint64_t{page} * kPage, true, writes);
    }
    // The byte there; -1: the host cannot reach it.
    int read(uint32_t ea) {
        uint8_t byte = 0;
        const iovec here{&byte, 1}, there{map_->window() + ea, 1};
        return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 1 ? byte : -1;
    }
    bool write(uint32_t ea, uint8_t byte) {
        const iovec here{&byte, 1}, there{map_->window() + ea, 1};
        return process_vm_writev(getpid(), &here, 1, &there, 1, 0) == 1;
    }

  private:
    std::unique_ptr<PageMap> map_;
    Ram ram_;
};

TEST_F(WindowTest, AProcessThatRunsLongGetsOneAndSupervisorsNever) {
    map().ran(kAfter - 1);
    EXPECT_FALSE(map().has_window());
    map().ran(1);
    EXPECT_TRUE(map().has_window());
    map().select(kOtherUser);
    EXPECT_FALSE(map().has_window());
    map().select(kSupervisor);
    map().ran(1000 * kAfter);
    EXPECT_FALSE(map().has_window());
    map().select(kUser);
    EXPECT_TRUE(map().has_window());
}

TEST_F(WindowTest, APageLiesAtItsAddressWhenItWasEntered) {
    map().ran(kAfter);
    EXPECT_EQ(read(0x10000000), -1);
    enter(0x10000000, 3, true);
    enter(0xfffff000, 4, false);
    EXPECT_EQ(read(0x10000000), 3);
    EXPECT_EQ(read(0xfffff000), 4);
    EXPECT_EQ(read(0x10001000), -1);
    EXPECT_TRUE(write(0x10000005, 77));
    EXPECT_EQ(ram().page(3)[5], 77);
    EXPECT_FALSE(write(0xfffff000, 1));
    EXPECT_EQ(ram().page(4)[0], 4);
}

TEST_F(WindowTest, WhatEndsCannotBeReachedInAnyContext) {
    for (const uint32_t context : {kUser, kOtherUser}) {
        map().select(context);
        map().ran(kAfter);
        for (uint32_t n = 0; n < 4; ++n)
            enter(0x20000 + n * kPage, n, true);
    }
    map().forget(0x21000, kPage);
    map().forget_writes(2 * kPage);
    for (const uint32_t context : {kUser, kOtherUser}) {
        map().select(context);
        EXPECT_EQ(read(0x20000), 0);
        EXPECT_EQ(read(0x21000), -1);
        EXPECT_EQ(read(0x22000), 2);
        EXPECT_FALSE(write(0x22000, 9));
        EXPECT_TRUE(write(0x23001, 9));
    }
    map().forget(0, uint64_t{1} << 32);
    EXPECT_EQ(read(0x20000), -1);
    enter(0x20000, 5, true);
    EXPECT_EQ(read(0x20000), 5);
    map().forget_all();
    EXPECT_EQ(read(0x20000), -1);
    EXPECT_TRUE(map().has_window());
}

TEST_F(WindowTest, AContextThatTakesTheTableOfAnotherFindsNothing) {
    map().ran(kAfter);
    enter(0x20000, 3, true);
    for (uint32_t context = 9; context < 9 + 4 * 40; context += 4) {
        map().select(context);
        EXPECT_FALSE(map().has_window());
        EXPECT_EQ(read(0x20000), -1);
    }
}

TEST_F(WindowTest, WhoFaultsTooOftenLosesItForTwiceAsLong) {
    map().ran(kAfter);
    enter(0x20000, 3, true);
    for (int fault = 0; fault < 10000; ++fault)
        map().faulted();
    EXPECT_TRUE(map().has_window()) << "it is code for the window that runs";
    map().ran(1);
    EXPECT_FALSE(map().has_window());
    map().forget(0x20000, kPage);
    EXPECT_EQ(read(0x20000), -1);
    map().ran(2 * kAfter - 1);
    EXPECT_FALSE(map().has_window());
    map().ran(1);
    EXPECT_TRUE(map().has_window());
    EXPECT_EQ(read(0x20000), -1);
}

TEST_F(WindowTest, WhoFaultsNowAndThenKeepsIt) {
    map().ran(kAfter);
    for (int fault = 0; fault < 10000; ++fault) {
        map().faulted();
        map().ran(1'000'000);
        ASSERT_TRUE(map().has_window());
    }
}

TEST_F(WindowTest, MorePagesThanAWindowHoldsStartAfresh) {
    map().ran(kAfter);
    for (uint32_t page = 0; page < 5000; ++page)
        enter(page * kPage, page % Ram::kPages, true);
    EXPECT_EQ(read(4999 * kPage), 4999 % Ram::kPages);
    EXPECT_EQ(read(0), -1);
    map().forget(0, uint64_t{1} << 32);
    for (uint32_t page = 0; page < 5000; ++page)
        ASSERT_EQ(read(page * kPage), -1) << page;
}

TEST_F(WindowTest, ThereIsNoneWhereRamIsPrivate) {
    Ram own(MAP_PRIVATE);
    map().ran(kAfter);
    enter(0x20000, 3, true, &own);
    EXPECT_EQ(read(0x20000), -1);
    map().ran(1);
    EXPECT_FALSE(map().has_window());
    map().ran(1000 * kAfter);
    EXPECT_FALSE(map().has_window());
}

}  // namespace
