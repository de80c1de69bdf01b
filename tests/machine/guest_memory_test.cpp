// SPDX-License-Identifier: GPL-2.0-or-later
// The memory sizes that -m takes, and the bounds of the view on RAM.
#include "machine/guest_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

namespace perfvisor::machine {
namespace {

using ::testing::HasSubstr;

TEST(MemorySize, TakesQemusSpellings) {
    const std::pair<const char*, uint64_t> cases[] = {
        {"512", 512 * kMiB},
        {"512M", 512 * kMiB},
        {"512m", 512 * kMiB},
        {"2G", 2 * kGiB},
        {"2g", 2 * kGiB},
        {"size=1G", kGiB},
        {"size=64", 64 * kMiB},
        {"1.5G", 1536 * kMiB},
        {"0.5G", 512 * kMiB},
        {"0x200", 512 * kMiB},
        {"0x10000K", 64 * kMiB},
        {"16", 16 * kMiB},
        {"16777216b", 16 * kMiB},
        {"32G", 32 * kGiB},
        {"0.03125T", 32 * kGiB},
        {"32768", 32 * kGiB},
        {"16777217B", 16 * kMiB + 8192},
    };
    for (const auto& [text, bytes] : cases) {
        const auto size = parse_memory_size(text);
        ASSERT_TRUE(size) << text << ": " << size.error().message;
        EXPECT_EQ(*size, bytes) << text;
    }
}

TEST(MemorySize, RefusesWhatIsOutOfRangeWithTheRange) {
    for (const char* text :
         {"0", "15", "16383K", "33G", "32769", "1T", "9E", "1", "0x8000000000"}) {
        const auto size = parse_memory_size(text);
        ASSERT_FALSE(size) << text;
        EXPECT_THAT(size.error().message, HasSubstr("from 16 MiB to 32 GiB")) << text;
        EXPECT_THAT(size.error().message, HasSubstr(text));
        EXPECT_EQ(size.error().exit_status, 1);
    }
}

TEST(MemorySize, RefusesWhatIsNoSizeAndHotPlug) {
    for (const char* text : {"", "M", "-512", "+512", "512X", "512MB", "5 12", "1.2.3", "inf",
                             "nan", "0x", "1e3", "size=", "foo=512", "512M,slots=2", "."}) {
        EXPECT_FALSE(parse_memory_size(text)) << text;
    }
    EXPECT_THAT(parse_memory_size("512M,slots=2,maxmem=4G").error().message, HasSubstr("hot-plug"));
}

TEST(GuestMemory, GivesOnlyBytesThatAreAllInside) {
    std::array<uint8_t, 64> ram{};
    const GuestMemory memory(ram);
    EXPECT_EQ(memory.at(0, 64).size(), 64U);
    EXPECT_EQ(memory.at(63, 1).data(), &ram[63]);
    EXPECT_TRUE(memory.contains(64, 0));
    EXPECT_FALSE(memory.contains(64, 1));
    EXPECT_TRUE(memory.at(1, 64).empty());
    EXPECT_TRUE(memory.at(~uint64_t{0}, 2).empty());
    EXPECT_TRUE(memory.at(2, ~uint64_t{0}).empty());
}

}  // namespace
}  // namespace perfvisor::machine
