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

// U-Boot for qemu-ppce500 runs at 15 MiB.
constexpr Placement kFirmware{15 * kMiB, 400 * 1024};

TEST(FirmwareLayout, IsThePeersInLargeMemories) {
    const auto layout = place_beside_firmware(kFirmware, 3 * kMiB, 5000, kTree, 512 * kMiB);
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout->kernel.base, 32 * kMiB);
    EXPECT_EQ(layout->tree.base, 39 * kMiB);
    EXPECT_EQ(layout->initrd.base, 64 * kMiB);
}

TEST(FirmwareLayout, MovesTheTreeWhereThePeerWouldPutItIntoTheKernel) {
    const auto layout = place_beside_firmware(kFirmware, 8 * kMiB, 0, kTree, 512 * kMiB);
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout->tree.base, 40 * kMiB);
}

TEST(FirmwareLayout, NothingOverlapsAndTheTreeBeginsAMebibyteInAnyMemory) {
    int placed = 0;
    for (const uint64_t ram : {16 * kMiB, 32 * kMiB, 40 * kMiB, 64 * kMiB, 128 * kMiB, 8 * kGiB})
        for (const uint64_t kernel : {uint64_t{0}, 3 * kMiB, 7 * kMiB + 5, 30 * kMiB})
            for (const uint64_t initrd : {uint64_t{0}, 8 * kMiB + 1, 50 * kMiB}) {
                const auto layout = place_beside_firmware(kFirmware, kernel, initrd, kTree, ram);
                if (!layout) continue;
                ++placed;
                std::vector<Placement> places = {kFirmware, layout->tree};
                if (kernel != 0) places.push_back(layout->kernel);
                if (initrd != 0) places.push_back(layout->initrd);
                expect_apart(places, std::min(ram, 4 * kGiB));
                EXPECT_EQ(layout->tree.base % kMiB, 0U);
                EXPECT_EQ(layout->kernel.size, kernel);
                EXPECT_EQ(layout->initrd.size, initrd);
            }
    EXPECT_GT(placed, 30);
}

TEST(FirmwareLayout, SaysWhatDoesNotFit) {
    const auto error = [](uint64_t kernel, uint64_t initrd, uint64_t ram) {
        const auto layout = place_beside_firmware(kFirmware, kernel, initrd, kTree, ram);
        return layout ? std::string("(placed)") : layout.error().message;
    };
    EXPECT_THAT(error(3 * kMiB, 0, 32 * kMiB), AllOf(HasSubstr("kernel"), HasSubstr("-m")));
    EXPECT_THAT(error(3 * kMiB, 60 * kMiB, 64 * kMiB), AllOf(HasSubstr("initrd"), HasSubstr("-m")));
    EXPECT_THAT(error(0, 0, 16 * kMiB), AllOf(HasSubstr("device tree"), HasSubstr("-m")));
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
