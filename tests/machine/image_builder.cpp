// SPDX-License-Identifier: GPL-2.0-or-later
// Makes kernel images, good and bad ones, and files to hold them.
#include "image_builder.h"

#include <stdlib.h>
#include <zlib.h>

#include <algorithm>
#include <fstream>
#include <system_error>

namespace perfvisor::machine::testing {

TemporaryDirectory::TemporaryDirectory() {
    std::string name = std::filesystem::temp_directory_path() / "perfvisor-test-XXXXXX";
    path_ = mkdtemp(name.data());
}

TemporaryDirectory::~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TemporaryDirectory::write(const std::string& name,
                                                std::span<const uint8_t> content) const {
    // Not over the old content: some file systems write such a file out at once.
    std::filesystem::remove(path(name));
    std::ofstream file(path(name), std::ios::binary);
    file.write(reinterpret_cast<const char*>(content.data()),
               static_cast<std::streamsize>(content.size()));
    return path(name);
}

void put_be16(Bytes& out, size_t offset, uint16_t value) {
    out.at(offset) = static_cast<uint8_t>(value >> 8);
    out.at(offset + 1) = static_cast<uint8_t>(value);
}

void put_be32(Bytes& out, size_t offset, uint32_t value) {
    put_be16(out, offset, static_cast<uint16_t>(value >> 16));
    put_be16(out, offset + 2, static_cast<uint16_t>(value));
}

Bytes make_elf(uint32_t entry, const std::vector<ElfSegment>& segments) {
    constexpr size_t kProgramHeaderBytes = 32;
    Bytes out(kElfHeaderBytes + segments.size() * kProgramHeaderBytes);
    const Bytes ident = {0x7f, 'E', 'L', 'F', 1, 2, 1};
    std::copy(ident.begin(), ident.end(), out.begin());
    put_be16(out, kElfType, 2);
    put_be16(out, kElfMachine, 20);
    put_be32(out, 20, 1);
    put_be32(out, kElfEntry, entry);
    put_be32(out, kElfPhoff, kElfHeaderBytes);
    put_be16(out, 40, kElfHeaderBytes);
    put_be16(out, 42, kProgramHeaderBytes);
    put_be16(out, kElfPhnum, static_cast<uint16_t>(segments.size()));
    put_be16(out, 46, 40);
    for (size_t i = 0; i < segments.size(); ++i) {
        const ElfSegment& segment = segments[i];
        const size_t header = kElfHeaderBytes + i * kProgramHeaderBytes;
        const auto size = static_cast<uint32_t>(segment.content.size());
        put_be32(out, header, 1);
        put_be32(out, header + kPhOffset, static_cast<uint32_t>(out.size()));
        put_be32(out, header + 8, segment.vaddr);
        put_be32(out, header + 12, segment.paddr);
        put_be32(out, header + kPhFilesz, size);
        put_be32(out, header + 20, std::max(size, segment.memory_bytes));
        put_be32(out, header + 24, 5);
        out.insert(out.end(), segment.content.begin(), segment.content.end());
    }
    return out;
}

void seal_uimage(Bytes& image) {
    put_be32(image, 4, 0);
    put_be32(image, 4, static_cast<uint32_t>(crc32(0, image.data(), 64)));
}

Bytes make_uimage(const UImageFields& fields, const Bytes& content) {
    Bytes out(64);
    put_be32(out, 0, 0x27051956);
    put_be32(out, 12, static_cast<uint32_t>(content.size()));
    put_be32(out, 16, fields.load);
    put_be32(out, 20, fields.entry);
    put_be32(out, 24,
             static_cast<uint32_t>(crc32(0, content.data(), static_cast<uInt>(content.size()))));
    out[28] = 5;  // Linux
    out[29] = fields.arch;
    out[30] = fields.type;
    out[31] = fields.compression;
    seal_uimage(out);
    out.insert(out.end(), content.begin(), content.end());
    return out;
}

Bytes gzip(const Bytes& content) {
    z_stream stream{};
    deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
    Bytes out(deflateBound(&stream, content.size()));
    stream.next_in = const_cast<Bytef*>(content.data());
    stream.avail_in = static_cast<uInt>(content.size());
    stream.next_out = out.data();
    stream.avail_out = static_cast<uInt>(out.size());
    deflate(&stream, Z_FINISH);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

Bytes pattern(size_t count, uint8_t seed) {
    Bytes out(count);
    uint32_t state = seed;
    for (uint8_t& byte : out) {
        state = state * 1664525 + 1013904223;
        byte = static_cast<uint8_t>(state >> 24);
    }
    return out;
}

}  // namespace perfvisor::machine::testing
