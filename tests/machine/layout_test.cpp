// SPDX-License-Identifier: GPL-2.0-or-later
// Places in RAM: QEMU's where possible, never overlapping, and an error where there is no room.
#include "machine/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace perfvisor::machine {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kTree = 12345;

void expect_apart(std::vector<Placement> places, uint64_t ram_bytes) {
    std::sort(places.begin(), places.end(),
              [](const auto& a, const auto& b) { return a.base < b.base; });
    for (size_t i = 1; i < places.size(); ++i)
        EXPECT_LE(places[i - 1].end(), places[i].base);
    EXPECT_LE(places.back().end(), ram_bytes);
}

TEST(Layout, IsThePeersInLargeMemories) {
    const auto layout = place_images({0, 7 * kMiB}, 5000, kTree, 512 * kMiB);
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout->tree.base, 31 * kMiB);
    EXPECT_EQ(layout->initrd.base, 64 * kMiB);
}

TEST(Layout, MovesTheTreeWhereThePeerWouldPutTheInitrdOnIt) {
    const Placement kernel{kMiB, 39 * kMiB + 1};
    const auto layout = place_images(kernel, 5000, kTree, 512 * kMiB);
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout->initrd.base, 64 * kMiB);
    expect_apart({kernel, layout->tree, layout->initrd}, 512 * kMiB);
}

TEST(Layout, WithoutAnInitrdThereIsNone) {
    const auto layout = place_images({0, kMiB}, 0, kTree, 64 * kMiB);
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout->initrd.size, 0U);
}

TEST(Layout, EveryCombinationIsDisjointOrAnErrorThatIsTrue) {
    int placed = 0;
    for (const uint64_t ram_mib : {16, 17, 32, 48, 64, 65, 100, 128, 512, 4096, 32768}) {
        for (const uint64_t kernel_mib : {0, 1, 9, 15, 31, 40, 63, 200}) {
            for (const uint64_t initrd_mib : {0, 1, 5, 30, 60, 400, 3900}) {
                const uint64_t ram = ram_mib * kMiB;
                const Placement kernel{0, kernel_mib * kMiB + 100};
                const uint64_t initrd = initrd_mib == 0 ? 0 : initrd_mib * kMiB + 1;
                if (kernel.end() > ram) continue;
                const auto layout = place_images(kernel, initrd, kTree, ram);
                if (!layout) {
                    EXPECT_GT(kernel_mib + initrd_mib + 2, std::min<uint64_t>(ram_mib, 4096))
                        << layout.error().message;
                    continue;
                }
                ++placed;
                std::vector<Placement> places = {kernel, layout->tree};
                if (initrd != 0) places.push_back(layout->initrd);
                expect_apart(places, std::min(ram, 4 * kGiB));
                EXPECT_LE(layout->tree.end(), kernel.end() + 64 * kMiB);
                EXPECT_EQ(layout->initrd.size, initrd);
            }
        }
    }
    EXPECT_GT(placed, 250);
}

TEST(Layout, SaysWhatDoesNotFit) {
    const auto error = [](const Placement& kernel, uint64_t initrd, uint64_t ram) {
        const auto layout = place_images(kernel, initrd, kTree, ram);
        return layout ? std::string("(placed)") : layout.error().message;
    };
    EXPECT_THAT(error({0, 16 * kMiB - 4096}, 0, 16 * kMiB),
                AllOf(HasSubstr("device tree"), HasSubstr("16 MiB"), HasSubstr("-m")));
    EXPECT_THAT(error({0, kMiB}, 16 * kMiB, 16 * kMiB),
                AllOf(HasSubstr("initrd"), HasSubstr("too large"), HasSubstr("-m")));
    EXPECT_THAT(error({0, kMiB}, ~uint64_t{0} / 2, 16 * kMiB), HasSubstr("too large"));
    EXPECT_THAT(error({0, 5 * kGiB}, 0, 32 * kGiB), HasSubstr("4 GiB"));
}

}  // namespace
}  // namespace perfvisor::machine
