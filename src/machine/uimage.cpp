// SPDX-License-Identifier: GPL-2.0-or-later
// Loads U-Boot's legacy image format (include/image.h of U-Boot): 64 bytes of big-endian header,
// then the kernel, plain or as a gzip stream.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <vector>

#include "machine/kernel_formats.h"

namespace perfvisor::machine {

namespace {

constexpr size_t kHeaderBytes = 64;
constexpr size_t kHeaderCrcOffset = 4;
constexpr size_t kChunkBytes = 64 * 1024;

constexpr unsigned kArchPowerPc = 7;
constexpr unsigned kTypeKernel = 2;
constexpr unsigned kCompressionNone = 0;
constexpr unsigned kCompressionGzip = 1;

using RawHeader = std::array<uint8_t, kHeaderBytes>;

struct Header {
    uint32_t header_crc;
    uint32_t data_bytes;
    uint32_t load;
    uint32_t entry;
    uint32_t data_crc;
    unsigned arch;
    unsigned type;
    unsigned compression;
};

uint32_t be32(const RawHeader& raw, size_t offset) {
    return uint32_t{raw[offset]} << 24 | uint32_t{raw[offset + 1]} << 16 |
           uint32_t{raw[offset + 2]} << 8 | raw[offset + 3];
}

uint32_t update_crc(uint32_t crc, std::span<const uint8_t> bytes) {
    while (!bytes.empty()) {
        const size_t count = std::min(bytes.size(), size_t{1} << 30);  // zlib counts in uInt.
        crc = static_cast<uint32_t>(crc32(crc, bytes.data(), static_cast<uInt>(count)));
        bytes = bytes.subspan(count);
    }
    return crc;
}

std::string arch_name(unsigned arch) {
    static constexpr std::array<const char*, 27> kNames = {
        "no architecture", "Alpha",   "ARM",      "x86",    "IA-64",   "MIPS",    "64-bit MIPS",
        "PowerPC",         "S/390",   "SuperH",   "SPARC",  "SPARC64", "M68K",    "Nios",
        "MicroBlaze",      "Nios II", "Blackfin", "AVR32",  "ST200",   "sandbox", "NDS32",
        "OpenRISC",        "AArch64", "ARC",      "x86-64", "Xtensa",  "RISC-V"};
    return arch < kNames.size() ? kNames[arch] : fmt::format("architecture {}", arch);
}

std::string compression_name(unsigned compression) {
    static constexpr std::array<const char*, 7> kNames = {
        "no compression", "gzip", "bzip2", "LZMA", "LZO", "LZ4", "zstd"};
    return compression < kNames.size() ? kNames[compression]
                                       : fmt::format("compression {}", compression);
}

Result<Header> read_header(const InputFile& file) {
    if (file.size() < kHeaderBytes) {
        return fail("{} is truncated: a uImage header has {} bytes, the file {}", file.label(),
                    kHeaderBytes, file.size());
    }
    RawHeader raw{};
    if (auto read = file.read(0, raw); !read) return tl::unexpected(read.error());
    const Header header{be32(raw, 4),  be32(raw, 12), be32(raw, 16), be32(raw, 20),
                        be32(raw, 24), raw[29],       raw[30],       raw[31]};
    std::fill_n(raw.begin() + kHeaderCrcOffset, 4, uint8_t{0});
    if (update_crc(0, raw) != header.header_crc) {
        return fail("{} has a damaged uImage header: its checksum is wrong", file.label());
    }
    return header;
}

Result<void> check_header(const InputFile& file, const Header& header) {
    if (header.arch != kArchPowerPc) {
        return fail("{} is a uImage for {}; this machine needs a 32-bit big-endian PowerPC kernel",
                    file.label(), arch_name(header.arch));
    }
    if (header.type != kTypeKernel) {
        return fail("{} is a uImage of type {}, not of type {} (kernel)", file.label(), header.type,
                    kTypeKernel);
    }
    if (header.compression != kCompressionNone && header.compression != kCompressionGzip) {
        return fail("{} is a uImage compressed with {}; only gzip and no compression are supported",
                    file.label(), compression_name(header.compression));
    }
    if (header.data_bytes == 0) return fail("{} is a uImage without content", file.label());
    if (header.data_bytes > file.size() - kHeaderBytes) {
        return fail("{} is truncated: its uImage header announces {} bytes, the file has {}",
                    file.label(), header.data_bytes, file.size() - kHeaderBytes);
    }
    return {};
}

tl::unexpected<Error> wrong_data_crc(const InputFile& file) {
    return fail("{} is damaged: the checksum of the uImage's content is wrong", file.label());
}

// Returns the bytes loaded.
Result<uint64_t> load_plain(const InputFile& file, const Header& header, GuestMemory memory) {
    if (!memory.contains(header.load, header.data_bytes)) {
        return does_not_fit(file, header.load, header.data_bytes, memory);
    }
    const auto out = memory.at(header.load, header.data_bytes);
    if (auto read = file.read(kHeaderBytes, out); !read) return tl::unexpected(read.error());
    if (update_crc(0, out) != header.data_crc) return wrong_data_crc(file);
    return header.data_bytes;
}

// A gzip stream that is fed in chunks and unpacks straight into the guest's memory.
class Inflater {
  public:
    explicit Inflater(std::span<uint8_t> out) : out_(out) {
        constexpr int kGzipOnly = 16;
        ready_ = inflateInit2(&stream_, MAX_WBITS + kGzipOnly) == Z_OK;
    }
    ~Inflater() {
        if (ready_) inflateEnd(&stream_);
    }
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;

    enum class Outcome { kMore, kDone, kNoRoom, kDamaged };

    Outcome feed(std::span<uint8_t> in) {
        if (!ready_) return Outcome::kDamaged;
        stream_.next_in = in.data();
        stream_.avail_in = static_cast<uInt>(in.size());
        for (;;) {
            const auto room = out_.subspan(static_cast<size_t>(written_));
            const size_t offered = std::min(room.size(), size_t{1} << 30);
            stream_.next_out = offered != 0 ? room.data() : &spare_;
            stream_.avail_out = offered != 0 ? static_cast<uInt>(offered) : 1;
            const uInt before = stream_.avail_out;
            const int status = inflate(&stream_, Z_NO_FLUSH);
            const uInt produced = before - stream_.avail_out;
            if (offered == 0 && produced != 0) return Outcome::kNoRoom;
            written_ += produced;
            if (status == Z_STREAM_END) return Outcome::kDone;
            // Z_BUF_ERROR only says that it cannot go on without more input.
            if (status != Z_OK && status != Z_BUF_ERROR) return Outcome::kDamaged;
            if (stream_.avail_in == 0 && stream_.avail_out != 0) return Outcome::kMore;
        }
    }

    uint64_t written() const { return written_; }

  private:
    z_stream stream_{};
    std::span<uint8_t> out_;
    uint64_t written_ = 0;
    uint8_t spare_ = 0;  // Where the one byte goes that shows there is no room.
    bool ready_ = false;
};

// Returns the bytes loaded.
Result<uint64_t> load_gzip(const InputFile& file, const Header& header, GuestMemory memory) {
    if (!memory.contains(header.load, 1)) return does_not_fit(file, header.load, 1, memory);
    Inflater inflater(memory.at(header.load, memory.size() - header.load));
    auto outcome = Inflater::Outcome::kMore;
    std::vector<uint8_t> chunk(kChunkBytes);
    uint32_t crc = 0;
    for (uint32_t done = 0; done < header.data_bytes;) {
        const auto count = std::min<uint32_t>(kChunkBytes, header.data_bytes - done);
        const auto in = std::span(chunk).first(count);
        if (auto read = file.read(kHeaderBytes + uint64_t{done}, in); !read) {
            return tl::unexpected(read.error());
        }
        crc = update_crc(crc, in);
        done += count;
        if (outcome == Inflater::Outcome::kMore) outcome = inflater.feed(in);
    }
    if (crc != header.data_crc) return wrong_data_crc(file);
    switch (outcome) {
        case Inflater::Outcome::kDone:
            return inflater.written();
        case Inflater::Outcome::kNoRoom:
            return fail(
                "{} does not fit into the guest's memory of {} MiB when it is "
                "uncompressed at address {:#x}; give the guest more with -m",
                file.label(), memory.size() / kMiB, header.load);
        case Inflater::Outcome::kMore:
            return fail("{} is truncated: its gzip stream has no end", file.label());
        default:
            return fail("{} is damaged: its content is not a gzip stream", file.label());
    }
}

}  // namespace

Result<LoadedKernel> load_uimage(const InputFile& file, GuestMemory memory) {
    auto header = read_header(file);
    if (!header) return tl::unexpected(header.error());
    if (auto checked = check_header(file, *header); !checked) {
        return tl::unexpected(checked.error());
    }
    auto bytes = header->compression == kCompressionGzip ? load_gzip(file, *header, memory)
                                                         : load_plain(file, *header, memory);
    if (!bytes) return tl::unexpected(bytes.error());
    const Placement image{header->load, *bytes};
    if (header->entry < image.base || header->entry >= image.end() || header->entry % 4 != 0) {
        return fail(
            "{} has an entry point ({:#x}) that lies outside its content ({:#x} to {:#x}) "
            "or is no multiple of 4",
            file.label(), header->entry, image.base, image.end());
    }
    return LoadedKernel{KernelFormat::kUImage, image, header->entry};
}

}  // namespace perfvisor::machine
