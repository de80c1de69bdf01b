// SPDX-License-Identifier: GPL-2.0-or-later
// Kernel, initrd and device tree together: where they lie, and what the boot CPU starts with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libfdt.h>
#include <sys/mman.h>

#include <algorithm>

#include "image_builder.h"
#include "machine/loaders.h"

namespace perfvisor::machine {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using testing::make_elf;
using testing::pattern;

// Guest RAM that costs only the pages that are touched.
class Ram {
  public:
    explicit Ram(uint64_t bytes) : bytes_(bytes) {
        base_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        EXPECT_NE(base_, MAP_FAILED);
    }
    ~Ram() { munmap(base_, bytes_); }
    Ram(const Ram&) = delete;
    Ram& operator=(const Ram&) = delete;
    GuestMemory memory() const {
        return GuestMemory({static_cast<uint8_t*>(base_), static_cast<size_t>(bytes_)});
    }

  private:
    void* base_;
    uint64_t bytes_;
};

class BootImageTest : public ::testing::Test {
  protected:
    // A kernel from 0 to `end`, with nothing but a hole in the middle.
    void use_kernel(uint32_t end) {
        files.kernel = directory.write(
            "kernel", make_elf(0x100, {{0, 0, pattern(0x800), 0},
                                       {end - 0x800, end - 0x800, pattern(0x800, 2), 0}}));
    }
    void use_initrd(const Bytes& content) { files.initrd = directory.write("initrd", content); }
    void use_initrd_of_size(uint64_t bytes) {
        use_initrd(pattern(16));
        std::filesystem::resize_file(*files.initrd, bytes);
    }
    std::string error(const Ram& ram) {
        const auto image = load_boot_image(files, {}, ram.memory());
        return image ? "(loaded)" : image.error().message;
    }

    testing::TemporaryDirectory directory;
    BootFiles files;
};

uint32_t cell(const void* fdt, const char* path, const char* name) {
    int size = 0;
    const auto* value =
        static_cast<const fdt32_t*>(fdt_getprop(fdt, fdt_path_offset(fdt, path), name, &size));
    return value != nullptr && size == 4 ? fdt32_ld(value) : 0;
}

TEST_F(BootImageTest, PlacesEverythingWhereThePeerDoes) {
    use_kernel(0x700000);
    use_initrd(pattern(5000));
    const Ram ram(512 * kMiB);
    const auto image = load_boot_image(files, {}, ram.memory());
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->dtb.base, 31 * kMiB);
    EXPECT_EQ(image->initrd.base, 64 * kMiB);
    EXPECT_THAT(ram.memory().at(64 * kMiB, 5000), ElementsAreArray(pattern(5000)));
    const auto tree = ram.memory().at(image->dtb.base, image->dtb.size);
    ASSERT_EQ(fdt_check_full(tree.data(), tree.size()), 0);
    EXPECT_EQ(cell(tree.data(), "/chosen", "linux,initrd-start"), 64 * kMiB);
    EXPECT_EQ(cell(tree.data(), "/chosen", "linux,initrd-end"), 64 * kMiB + 5000);
}

TEST_F(BootImageTest, StartsTheBootCpuAsTheEpaprSays) {
    use_kernel(0x700000);
    const Ram ram(512 * kMiB);
    const auto image = load_boot_image(files, {}, ram.memory());
    ASSERT_TRUE(image);
    const CpuStart& start = image->start;
    EXPECT_EQ(start.cpu, 0U);
    EXPECT_EQ(start.pc, 0x100U);
    EXPECT_EQ(start.mapping.effective, 0U);
    EXPECT_EQ(start.mapping.physical, 0U);
    EXPECT_EQ(start.mapping.size, 64 * kMiB) << "the smallest power of 4 above the tree";
    std::array<uint64_t, 32> gpr{};
    gpr[1] = 16 * kMiB - 8;
    gpr[3] = image->dtb.base;
    gpr[6] = 0x45504150;
    gpr[7] = 64 * kMiB;
    EXPECT_EQ(start.gpr, gpr);
}

TEST_F(BootImageTest, TheInitialMappingGrowsInPowersOfFour) {
    const Ram ram(2 * kGiB);
    use_kernel(200 * kMiB);
    EXPECT_EQ(load_boot_image(files, {}, ram.memory())->start.mapping.size, 256 * kMiB);
    use_kernel(240 * kMiB);
    EXPECT_EQ(load_boot_image(files, {}, ram.memory())->start.mapping.size, kGiB);
}

TEST_F(BootImageTest, SmallMemoriesAreEnoughWhenTheImagesAre) {
    const Ram ram(16 * kMiB);
    const Bytes initrd = pattern(4 * kMiB);
    use_kernel(7 * kMiB);
    use_initrd(initrd);
    const auto image = load_boot_image(files, {}, ram.memory());
    ASSERT_TRUE(image) << image.error().message;
    const auto placed = ram.memory().at(image->initrd.base, image->initrd.size);
    EXPECT_TRUE(std::equal(placed.begin(), placed.end(), initrd.begin(), initrd.end()));
    EXPECT_THAT(ram.memory().at(0, 0x800), ElementsAreArray(pattern(0x800)));
    const auto tree = ram.memory().at(image->dtb.base, image->dtb.size);
    EXPECT_EQ(fdt_check_full(tree.data(), tree.size()), 0);
}

TEST_F(BootImageTest, MemoryAboveFourGibibytesIsDescribedButNotUsedForImages) {
    if (sizeof(size_t) == 4) GTEST_SKIP() << "a 32-bit host has no room for such a guest";
    use_kernel(0x700000);
    use_initrd(pattern(100));
    const Ram ram(32 * kGiB);
    const auto image = load_boot_image(files, {}, ram.memory());
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_LT(image->initrd.end(), 4 * kGiB);
    const auto tree = ram.memory().at(image->dtb.base, image->dtb.size);
    int size = 0;
    const auto* reg = static_cast<const uint8_t*>(
        fdt_getprop(tree.data(), fdt_path_offset(tree.data(), "/memory"), "reg", &size));
    EXPECT_THAT(std::vector<uint8_t>(reg, reg + size),
                ::testing::ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0));
}

TEST_F(BootImageTest, SaysThatAnInitrdIsMissingEmptyOrTooLarge) {
    use_kernel(0x1000);
    const Ram ram(64 * kMiB);
    files.initrd = directory.path("nothing");
    EXPECT_THAT(error(ram), AllOf(HasSubstr("initrd"), HasSubstr("does not exist")));
    use_initrd({});
    EXPECT_THAT(error(ram), AllOf(HasSubstr("initrd"), HasSubstr("is empty")));
    use_initrd_of_size(64 * kMiB);
    EXPECT_THAT(error(ram), AllOf(HasSubstr("initrd"), HasSubstr("too large"), HasSubstr("-m")));
}

TEST_F(BootImageTest, SaysThatNothingIsLeftBesideALargeKernel) {
    use_kernel(16 * kMiB - 0x1000);
    const Ram ram(16 * kMiB);
    EXPECT_THAT(error(ram), AllOf(HasSubstr("device tree"), HasSubstr("does not fit")));
}

TEST_F(BootImageTest, SaysWhatIsWrongWithADeviceTreeFile) {
    use_kernel(0x1000);
    const Ram ram(64 * kMiB);
    files.dtb = directory.path("nothing");
    EXPECT_THAT(error(ram), AllOf(HasSubstr("device tree"), HasSubstr("does not exist")));
    files.dtb = directory.write("dtb", {});
    EXPECT_THAT(error(ram), HasSubstr("is empty"));
    files.dtb = directory.write("dtb", pattern(100));
    EXPECT_THAT(error(ram), HasSubstr("not a flattened device tree"));
    std::filesystem::resize_file(*files.dtb, kMaxDeviceTreeBytes + 1);
    EXPECT_THAT(error(ram), HasSubstr("too large"));
}

TEST_F(BootImageTest, UsesTheUsersDeviceTree) {
    use_kernel(0x1000);
    use_initrd(pattern(10));
    auto tree = build_device_tree({.cpus = 3, .memory_bytes = 1});
    ASSERT_TRUE(tree);
    files.dtb = directory.write("dtb", *tree);
    const Ram ram(512 * kMiB);
    const auto image = load_boot_image(files, {.cpus = 1, .perfmon = true}, ram.memory());
    ASSERT_TRUE(image) << image.error().message;
    const auto placed = ram.memory().at(image->dtb.base, image->dtb.size);
    const int third = fdt_path_offset(placed.data(), "/cpus/PowerPC,8544@2");
    EXPECT_GE(third, 0);
    EXPECT_NE(fdt_getprop(placed.data(), third, "power-isa-e.pm", nullptr), nullptr);
    EXPECT_EQ(cell(placed.data(), "/chosen", "linux,initrd-start"), image->initrd.base);
}

TEST_F(BootImageTest, AppendsFilesToTheInitrdAtAMultipleOfFour) {
    use_kernel(0x1000);
    use_initrd(testing::gzip(pattern(5001)));
    const auto gzip_bytes = testing::gzip(pattern(5001));
    files.extra_files = {{"perfvisor/command", {'l', 's', '\n'}, 0100644}};
    const Ram ram(512 * kMiB);
    const auto image = load_boot_image(files, {}, ram.memory());
    ASSERT_TRUE(image) << image.error().message;
    const auto archive = make_cpio(files.extra_files);
    const size_t start = (gzip_bytes.size() + 3) / 4 * 4;
    ASSERT_EQ(image->initrd.size, start + archive.size());
    const auto bytes = ram.memory().at(image->initrd.base, image->initrd.size);
    EXPECT_THAT(bytes.first(gzip_bytes.size()), ElementsAreArray(gzip_bytes));
    EXPECT_THAT(bytes.subspan(gzip_bytes.size(), start - gzip_bytes.size()), Each(0));
    EXPECT_THAT(bytes.subspan(start), ElementsAreArray(archive));
}

TEST_F(BootImageTest, ExtraFilesAloneMakeAnInitrd) {
    use_kernel(0x1000);
    files.extra_files = {{"hello", {'x'}, 0100644}};
    const Ram ram(512 * kMiB);
    const auto image = load_boot_image(files, {}, ram.memory());
    ASSERT_TRUE(image);
    EXPECT_EQ(image->initrd.size, make_cpio(files.extra_files).size());
}

TEST_F(BootImageTest, LoadsTheSameAgainAfterTheGuestWroteOverIt) {
    files.kernel = directory.write("kernel", make_elf(0, {{0, 0, pattern(0x1000), 0x3000}}));
    use_initrd(pattern(1000));
    const Ram ram(64 * kMiB);
    const auto first = load_boot_image(files, {}, ram.memory());
    ASSERT_TRUE(first);
    const auto all = ram.memory().at(0, ram.memory().size());
    const Bytes before(all.begin(), all.end());
    for (const Placement& place : {first->program.image, first->initrd, first->dtb}) {
        const auto bytes = ram.memory().at(place.base, place.size);
        std::fill(bytes.begin(), bytes.end(), uint8_t{0xff});
    }
    ASSERT_TRUE(load_boot_image(files, {}, ram.memory()));
    EXPECT_TRUE(std::equal(all.begin(), all.end(), before.begin()));
}

// ---- firmware ----

TEST_F(BootImageTest, FirmwareStartsAndFindsTheKernelAsItIsInItsFile) {
    constexpr uint32_t kFirmware = 15 * kMiB;
    files.firmware = directory.write(
        "u-boot", make_elf(kFirmware, {{kFirmware, kFirmware, pattern(0x800, 3), 0x1000}}));
    files.kernel = directory.write("uImage", pattern(1001));
    use_initrd(pattern(5000));
    const Ram ram(512 * kMiB);
    const auto image = load_boot_image(files, {.command_line = "a b"}, ram.memory());
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->start.pc, kFirmware);
    EXPECT_EQ(image->start.gpr[3], image->dtb.base);
    EXPECT_EQ(image->start.mapping.size, 64 * kMiB);
    EXPECT_THAT(ram.memory().at(kFirmware, 0x800), ElementsAreArray(pattern(0x800, 3)));
    EXPECT_THAT(ram.memory().at(32 * kMiB, 1001), ElementsAreArray(pattern(1001)));
    const auto tree = ram.memory().at(image->dtb.base, image->dtb.size);
    ASSERT_EQ(fdt_check_full(tree.data(), tree.size()), 0);
    int size = 0;
    const void* place = fdt_getprop(tree.data(), fdt_path_offset(tree.data(), "/chosen"),
                                    "qemu,boot-kernel", &size);
    ASSERT_EQ(size, 16);
    EXPECT_EQ(fdt64_ld(static_cast<const fdt64_t*>(place)), 32 * kMiB);
    EXPECT_EQ(fdt64_ld(static_cast<const fdt64_t*>(place) + 1), 1001U);
    EXPECT_EQ(cell(tree.data(), "/chosen", "linux,initrd-start"), image->initrd.base);
}

TEST_F(BootImageTest, FirmwareAloneIsEnough) {
    files.firmware = directory.write("u-boot", make_elf(0x100, {{0, 0, pattern(0x800), 0}}));
    const Ram ram(64 * kMiB);
    const auto image = load_boot_image(files, {}, ram.memory());
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->start.pc, 0x100U);
    const auto tree = ram.memory().at(image->dtb.base, image->dtb.size);
    const int chosen = fdt_path_offset(tree.data(), "/chosen");
    EXPECT_EQ(fdt_getprop(tree.data(), chosen, "qemu,boot-kernel", nullptr), nullptr);
}

TEST_F(BootImageTest, FirmwareWithoutAnAddressIsRefused) {
    files.firmware = directory.write("u-boot.bin", pattern(0x800));
    EXPECT_THAT(error(Ram(64 * kMiB)), AllOf(HasSubstr("firmware"), HasSubstr("u-boot.bin"),
                                             HasSubstr("ELF"), HasSubstr("uImage")));
    files.firmware = "/nowhere/u-boot";
    EXPECT_THAT(error(Ram(64 * kMiB)), HasSubstr("/nowhere/u-boot"));
}

// What GNU cpio makes of the archive is in the names, modes and contents of its headers.
TEST(Cpio, IsANewcArchiveWithTheDirectoriesOnTheWay) {
    const std::vector<InitramfsFile> files = {{"a/b/file", {'h', 'e', 'l', 'l', 'o'}, 0100755},
                                              {"a/other", {}, 0100644}};
    const auto archive = make_cpio(files);
    std::vector<std::string> entries;
    for (size_t at = 0; at < archive.size();) {
        const std::string header(archive.begin() + static_cast<long>(at),
                                 archive.begin() + static_cast<long>(at) + 110);
        ASSERT_EQ(header.substr(0, 6), "070701");
        const auto field = [&](size_t index) {
            return std::stoul(header.substr(6 + index * 8, 8), nullptr, 16);
        };
        const size_t name_at = at + 110;
        const std::string name(reinterpret_cast<const char*>(archive.data() + name_at));
        ASSERT_EQ(field(11), name.size() + 1);
        const size_t content_at = (name_at + name.size() + 1 + 3) / 4 * 4;
        const std::string content(archive.begin() + static_cast<long>(content_at),
                                  archive.begin() + static_cast<long>(content_at + field(6)));
        entries.push_back(fmt::format("{} {:o} {}", name, field(1), content));
        at = (content_at + field(6) + 3) / 4 * 4;
    }
    EXPECT_THAT(entries, ::testing::ElementsAre("a 40755 ", "a/b 40755 ", "a/b/file 100755 hello",
                                                "a/other 100644 ", "TRAILER!!! 0 "));
}

}  // namespace
}  // namespace perfvisor::machine
