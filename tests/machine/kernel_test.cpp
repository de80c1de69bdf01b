// SPDX-License-Identifier: GPL-2.0-or-later
// Kernel images: what is loaded where, and the sentence for each way in which one can be bad.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <random>

#include "image_builder.h"
#include "machine/loaders.h"

namespace perfvisor::machine {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using ::testing::Each;
using ::testing::ElementsAreArray;
using testing::gzip;
using ::testing::HasSubstr;
using testing::make_elf;
using testing::make_uimage;
using testing::pattern;
using testing::put_be16;
using testing::put_be32;

class KernelTest : public ::testing::Test {
  protected:
    Result<LoadedKernel> load(const Bytes& image) {
        return load_kernel(directory.write("kernel", image), GuestMemory(ram));
    }
    // The sentence that loading ends with; it names the file and has no line break.
    std::string error_of(const Bytes& image) {
        const auto kernel = load(image);
        if (kernel) return "(loaded)";
        EXPECT_EQ(kernel.error().exit_status, 1);
        EXPECT_THAT(kernel.error().message,
                    HasSubstr("kernel " + directory.path("kernel").string()));
        EXPECT_EQ(kernel.error().message.find('\n'), std::string::npos);
        return kernel.error().message;
    }
    std::span<uint8_t> at(size_t address, size_t size) {
        return std::span(ram).subspan(address, size);
    }

    testing::TemporaryDirectory directory;
    Bytes ram = Bytes(1 << 20, 0xcc);
};

// The shape of Linux's vmlinux: linked at 0xc0000000, to be loaded at 0.
Bytes good_elf() {
    return make_elf(0xc0000100, {{0xc0000000, 0, pattern(0x1000), 0x3000},
                                 {0xc0008000, 0x8000, pattern(0x500, 2), 0}});
}

TEST_F(KernelTest, LoadsElfSegmentsAtTheirPhysicalAddressesAndClearsTheRest) {
    const auto kernel = load(good_elf());
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_EQ(kernel->format, KernelFormat::kElf);
    EXPECT_EQ(kernel->entry, 0x100U);
    EXPECT_EQ(kernel->image.base, 0U);
    EXPECT_EQ(kernel->image.size, 0x8500U);
    EXPECT_THAT(at(0, 0x1000), ElementsAreArray(pattern(0x1000)));
    EXPECT_THAT(at(0x1000, 0x2000), Each(0));
    EXPECT_THAT(at(0x3000, 0x10), Each(0xcc)) << "between segments nothing is touched";
    EXPECT_THAT(at(0x8000, 0x500), ElementsAreArray(pattern(0x500, 2)));
}

TEST_F(KernelTest, TakesAnElfEntryThatIsPhysicalAlready) {
    const auto kernel = load(make_elf(0x4010, {{0xc0000000, 0x4000, pattern(0x100), 0}}));
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_EQ(kernel->entry, 0x4010U);
}

TEST_F(KernelTest, SaysWhatAnElfFileIsForAndWhatItShouldBeFor) {
    const auto expected = HasSubstr("needs a 32-bit big-endian PowerPC kernel");
    Bytes image = good_elf();
    put_be16(image, testing::kElfMachine, 40);
    EXPECT_THAT(error_of(image), AllOf(HasSubstr("32-bit big-endian ARM"), expected));
    image = good_elf();
    put_be16(image, testing::kElfMachine, 21);
    image[testing::kElfClass] = 2;
    EXPECT_THAT(error_of(image), AllOf(HasSubstr("64-bit big-endian 64-bit PowerPC"), expected));
    image = good_elf();
    image[testing::kElfClass] = 2;
    image[testing::kElfData] = 1;
    image[testing::kElfMachine] = 62;
    image[testing::kElfMachine + 1] = 0;
    EXPECT_THAT(error_of(image), AllOf(HasSubstr("64-bit little-endian x86-64"), expected));
    image = good_elf();
    image[testing::kElfData] = 1;
    image[testing::kElfMachine] = 20;
    image[testing::kElfMachine + 1] = 0;
    EXPECT_THAT(error_of(image), AllOf(HasSubstr("32-bit little-endian PowerPC"), expected));
    image = good_elf();
    image[testing::kElfClass] = 9;
    EXPECT_THAT(error_of(image), HasSubstr("damaged ELF header"));
}

TEST_F(KernelTest, SaysThatAnElfFileIsTruncatedWhereverItEnds) {
    const Bytes image = good_elf();
    for (const size_t size :
         {size_t{4}, size_t{51}, size_t{60}, size_t{100}, size_t{0x1000}, image.size() - 1}) {
        EXPECT_THAT(error_of(Bytes(image.begin(), image.begin() + static_cast<long>(size))),
                    HasSubstr("truncated"))
            << size << " bytes";
    }
}

TEST_F(KernelTest, RefusesElfFilesThatCannotBeLoaded) {
    Bytes image = good_elf();
    put_be16(image, testing::kElfType, 1);
    EXPECT_THAT(error_of(image), HasSubstr("not an executable"));
    EXPECT_THAT(error_of(make_elf(0, {})), HasSubstr("nothing to load"));
    EXPECT_THAT(error_of(make_elf(0x5000, {{0, 0, pattern(16), 0}})), HasSubstr("entry point"));
    EXPECT_THAT(error_of(make_elf(2, {{0, 0, pattern(16), 0}})), HasSubstr("entry point"));
    image = good_elf();
    put_be32(image, testing::kElfHeaderBytes + testing::kPhFilesz, 0x4000);
    EXPECT_THAT(error_of(image), HasSubstr("damaged ELF segment"));
    EXPECT_THAT(error_of(make_elf(0, {{0, 0, pattern(0x1000), 0}, {0, 0xfff, pattern(16), 0}})),
                HasSubstr("overlap"));
}

TEST_F(KernelTest, SaysThatAKernelDoesNotFitAndWhatToDo) {
    const auto expected =
        AllOf(HasSubstr("does not fit into the guest's memory of 1 MiB"), HasSubstr("-m"));
    EXPECT_THAT(error_of(make_elf(0, {{0, 0, pattern(16), 0x100001}})), expected);
    EXPECT_THAT(error_of(make_elf(0xfffffff0, {{0xfffffff0, 0xfffffff0, pattern(16), 0}})),
                expected);
    EXPECT_THAT(error_of(Bytes((1 << 20) + 4, 0x60)), expected);
    EXPECT_THAT(error_of(make_uimage({0xfff00, 0xfff00}, pattern(0x101))), expected);
    EXPECT_THAT(error_of(make_uimage({0xff000, 0xff000, 7, 2, 1}, gzip(pattern(0x1001)))),
                expected);
    EXPECT_THAT(error_of(make_uimage({0x100000, 0, 7, 2, 1}, gzip(pattern(4)))), expected);
}

TEST_F(KernelTest, LoadsAUImagePlainOrWithGzip) {
    const Bytes content = pattern(0x12345);
    for (const bool compressed : {false, true}) {
        std::fill(ram.begin(), ram.end(), uint8_t{0xcc});
        const auto kernel =
            load(make_uimage({0x400, 0x500, 7, 2, static_cast<uint8_t>(compressed ? 1 : 0)},
                             compressed ? gzip(content) : content));
        ASSERT_TRUE(kernel) << kernel.error().message;
        EXPECT_EQ(kernel->format, KernelFormat::kUImage);
        EXPECT_EQ(kernel->entry, 0x500U);
        EXPECT_EQ(kernel->image.base, 0x400U);
        EXPECT_EQ(kernel->image.size, content.size());
        EXPECT_THAT(at(0x400, content.size()), ElementsAreArray(content));
    }
}

TEST_F(KernelTest, AGzipUImageMayFillTheMemoryToItsLastByte) {
    const Bytes content = pattern(0x1000);
    const auto kernel = load(make_uimage({0xff000, 0xff000, 7, 2, 1}, gzip(content)));
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_THAT(at(0xff000, 0x1000), ElementsAreArray(content));
}

TEST_F(KernelTest, SaysWhatIsWrongWithAUImage) {
    const Bytes content = pattern(0x1000);
    const Bytes good = make_uimage({0, 0}, content);
    EXPECT_THAT(error_of(Bytes(good.begin(), good.begin() + 63)), HasSubstr("truncated"));
    EXPECT_THAT(error_of(Bytes(good.begin(), good.end() - 1)), HasSubstr("truncated"));
    Bytes image = good;
    image[40] ^= 1;
    EXPECT_THAT(error_of(image), HasSubstr("damaged uImage header"));
    image = good;
    image[100] ^= 1;
    EXPECT_THAT(error_of(image), HasSubstr("checksum of the uImage's content"));
    EXPECT_THAT(error_of(make_uimage({0, 0, 22}, content)),
                AllOf(HasSubstr("uImage for AArch64"), HasSubstr("PowerPC")));
    EXPECT_THAT(error_of(make_uimage({0, 0, 7, 3}, content)), HasSubstr("type 3"));
    EXPECT_THAT(error_of(make_uimage({0, 0, 7, 2, 3}, content)), HasSubstr("LZMA"));
    EXPECT_THAT(error_of(make_uimage({0, 0, 7, 2, 99}, content)), HasSubstr("compression 99"));
    EXPECT_THAT(error_of(make_uimage({0, 0}, {})), HasSubstr("without content"));
    EXPECT_THAT(error_of(make_uimage({0x100, 0xfc}, content)), HasSubstr("entry point"));
    EXPECT_THAT(error_of(make_uimage({0, 0, 7, 2, 1}, content)), HasSubstr("not a gzip stream"));
    Bytes stream = gzip(content);
    stream.resize(stream.size() - 9);
    EXPECT_THAT(error_of(make_uimage({0, 0, 7, 2, 1}, stream)), HasSubstr("has no end"));
    image = good;
    std::reverse(image.begin(), image.begin() + 4);
    EXPECT_THAT(error_of(image), HasSubstr("little-endian header"));
}

TEST_F(KernelTest, LoadsAnythingElseAsARawImageAtZero) {
    const Bytes content = pattern(0x2000);
    const auto kernel = load(content);
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_EQ(kernel->format, KernelFormat::kRaw);
    EXPECT_EQ(kernel->entry, 0U);
    EXPECT_EQ(kernel->image.size, content.size());
    EXPECT_THAT(at(0, 0x2000), ElementsAreArray(content));
}

TEST_F(KernelTest, RefusesFilesThatAreSomethingElse) {
    const auto text = [](std::string_view s) { return Bytes(s.begin(), s.end()); };
    EXPECT_THAT(error_of(gzip(pattern(100))), HasSubstr("compressed with gzip"));
    EXPECT_THAT(error_of(text("#!/bin/sh\n")), HasSubstr("a script"));
    EXPECT_THAT(error_of(text("070701000000000")), HasSubstr("-initrd"));
    EXPECT_THAT(error_of({0xd0, 0x0d, 0xfe, 0xed, 0, 0, 0, 0}), HasSubstr("device tree"));
    Bytes image(0x1000);
    std::copy_n("HdrS", 4, image.begin() + 0x202);
    EXPECT_THAT(error_of(image), HasSubstr("an x86 Linux kernel"));
    image.assign(0x1000, 0);
    std::copy_n("ARM\x64", 4, image.begin() + 0x38);
    EXPECT_THAT(error_of(image), HasSubstr("an AArch64 Linux kernel"));
    EXPECT_THAT(error_of({0x60, 0, 0}), HasSubstr("truncated"));
}

TEST_F(KernelTest, SaysWhyAFileCannotBeRead) {
    EXPECT_THAT(error_of({}), HasSubstr("is empty"));
    const auto error = [&](const std::filesystem::path& path) {
        const auto kernel = load_kernel(path, GuestMemory(ram));
        return kernel ? std::string("(loaded)") : kernel.error().message;
    };
    EXPECT_THAT(error(directory.path("nothing")), HasSubstr("does not exist"));
    EXPECT_THAT(error(directory.path("")), HasSubstr("is a directory"));
    ASSERT_EQ(mkfifo(directory.path("fifo").c_str(), 0600), 0);
    EXPECT_THAT(error(directory.path("fifo")), HasSubstr("not a regular file"));
    EXPECT_THAT(error(directory.path("kernel") / "below"), HasSubstr("cannot be opened"));
}

// Every header byte damaged in many ways: loading may fail, but never touches memory outside RAM
// (which the sanitizer build would see) and never hangs.
TEST_F(KernelTest, SurvivesRandomDamage) {
    std::mt19937 random(7);
    const Bytes images[] = {good_elf(), make_uimage({0x400, 0x400, 7, 2, 1}, gzip(pattern(2000)))};
    int refused = 0;
    for (const Bytes& good : images) {
        for (int round = 0; round < 500; ++round) {
            Bytes image = good;
            for (unsigned changes = random() % 4 + 1; changes > 0; --changes) {
                image[random() % 116] = static_cast<uint8_t>(random() % 3 == 0 ? 0xff : random());
            }
            if (image[0] == 0x27) testing::seal_uimage(image);
            if (random() % 8 == 0) image.resize(random() % image.size());
            refused += load(image) ? 0 : 1;
        }
    }
    EXPECT_GT(refused, 250);
}

}  // namespace
}  // namespace perfvisor::machine
