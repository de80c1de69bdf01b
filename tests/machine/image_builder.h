// SPDX-License-Identifier: GPL-2.0-or-later
// Makes kernel images, good and bad ones, and files to hold them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace perfvisor::machine::testing {

using Bytes = std::vector<uint8_t>;

// A directory that is gone at the end of the test.
class TemporaryDirectory {
  public:
    TemporaryDirectory();
    ~TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    std::filesystem::path path(const std::string& name) const { return path_ / name; }
    std::filesystem::path write(const std::string& name, std::span<const uint8_t> content) const;

  private:
    std::filesystem::path path_;
};

void put_be16(Bytes& out, size_t offset, uint16_t value);
void put_be32(Bytes& out, size_t offset, uint32_t value);

struct ElfSegment {
    uint32_t vaddr = 0;
    uint32_t paddr = 0;
    Bytes content;
    uint32_t memory_bytes = 0;  // At least the content's size.
};

// Field offsets of an ELF32 header, to damage them.
constexpr size_t kElfClass = 4;
constexpr size_t kElfData = 5;
constexpr size_t kElfType = 16;
constexpr size_t kElfMachine = 18;
constexpr size_t kElfEntry = 24;
constexpr size_t kElfPhoff = 28;
constexpr size_t kElfPhnum = 44;
constexpr size_t kElfHeaderBytes = 52;  // The first program header follows.
constexpr size_t kPhOffset = 4;         // Within a program header.
constexpr size_t kPhFilesz = 16;

// A 32-bit big-endian PowerPC executable.
Bytes make_elf(uint32_t entry, const std::vector<ElfSegment>& segments);

struct UImageFields {
    uint32_t load = 0;
    uint32_t entry = 0;
    uint8_t arch = 7;
    uint8_t type = 2;
    uint8_t compression = 0;
};
// A legacy U-Boot image with right checksums.
Bytes make_uimage(const UImageFields& fields, const Bytes& content);
// Makes the header's checksum right again after a change.
void seal_uimage(Bytes& image);

Bytes gzip(const Bytes& content);

// `count` bytes that are not all the same.
Bytes pattern(size_t count, uint8_t seed = 1);

}  // namespace perfvisor::machine::testing
