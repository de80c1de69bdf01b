// SPDX-License-Identifier: GPL-2.0-or-later
// Tells kernel image formats apart, and loads what is none of them as a raw image.
#include "machine/kernel_formats.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace perfvisor::machine {

namespace {

using namespace std::string_view_literals;

constexpr size_t kProbedBytes = 1024;

struct Signature {
    size_t offset;
    std::string_view bytes;
    const char* what;  // Completes "kernel X is …".
};

// What a user might pass by mistake; as raw PowerPC code none of these would make sense.
constexpr std::array kForeign = {
    Signature{0, "\x56\x19\x05\x27"sv, "a uImage with a little-endian header"},
    Signature{0, "\xd0\x0d\xfe\xed"sv, "a device tree or a FIT image"},
    Signature{0, "\x1f\x8b"sv, "compressed with gzip; uncompress it or wrap it into a uImage"},
    Signature{0,
              "\xfd"
              "7zXZ\0"sv,
              "compressed with xz; uncompress it"},
    Signature{0, "\x28\xb5\x2f\xfd"sv, "compressed with zstd; uncompress it"},
    Signature{0, "BZh"sv, "compressed with bzip2; uncompress it"},
    Signature{0, "070701"sv, "a cpio archive, which is an initrd; use -initrd"},
    Signature{0, "!<arch>\n"sv, "a library of object files"},
    Signature{0, "#!"sv, "a script"},
    Signature{0x202, "HdrS"sv, "an x86 Linux kernel (bzImage)"},
    Signature{0x24, "\x18\x28\x6f\x01"sv, "an ARM Linux kernel (zImage)"},
    Signature{0x38, "ARM\x64"sv, "an AArch64 Linux kernel (Image)"},
    Signature{0x38, "RSC\x05"sv, "a RISC-V Linux kernel (Image)"},
};

Result<LoadedKernel> load_raw(const InputFile& file, GuestMemory memory) {
    if (file.size() < 4) {
        return fail("{} is truncated: {} bytes hold no instruction", file.label(), file.size());
    }
    if (!memory.contains(0, file.size())) return does_not_fit(file, 0, file.size(), memory);
    if (auto read = file.read(0, memory.at(0, file.size())); !read) {
        return tl::unexpected(read.error());
    }
    return LoadedKernel{KernelFormat::kRaw, {0, file.size()}, 0};
}

// The first bytes of a file.
class Start {
  public:
    static Result<Start> read(const InputFile& file) {
        Start start;
        start.size_ = static_cast<size_t>(std::min<uint64_t>(file.size(), kProbedBytes));
        if (auto done = file.read(0, std::span(start.bytes_).first(start.size_)); !done) {
            return tl::unexpected(done.error());
        }
        return start;
    }
    bool has(size_t offset, std::string_view bytes) const {
        const std::string_view all(reinterpret_cast<const char*>(bytes_.data()), size_);
        return all.size() >= offset + bytes.size() && all.substr(offset, bytes.size()) == bytes;
    }
    bool is_elf() const {
        return has(0,
                   "\x7f"
                   "ELF"sv);
    }
    bool is_uimage() const { return has(0, "\x27\x05\x19\x56"sv); }

  private:
    std::array<uint8_t, kProbedBytes> bytes_{};
    size_t size_ = 0;
};

}  // namespace

Result<LoadedKernel> load_kernel(const std::filesystem::path& path, GuestMemory memory) {
    auto file = InputFile::open("kernel", path);
    if (!file) return tl::unexpected(file.error());
    const auto start = Start::read(*file);
    if (!start) return tl::unexpected(start.error());
    if (start->is_elf()) return load_elf(*file, memory);
    if (start->is_uimage()) return load_uimage(*file, memory);
    for (const Signature& foreign : kForeign) {
        if (start->has(foreign.offset, foreign.bytes)) {
            return fail(
                "{} is {}; expected is a PowerPC kernel as an ELF file, a uImage or a raw "
                "image",
                file->label(), foreign.what);
        }
    }
    return load_raw(*file, memory);
}

Result<LoadedKernel> load_firmware(const std::filesystem::path& path, GuestMemory memory) {
    auto file = InputFile::open("firmware", path);
    if (!file) return tl::unexpected(file.error());
    const auto start = Start::read(*file);
    if (!start) return tl::unexpected(start.error());
    if (start->is_elf()) return load_elf(*file, memory);
    if (start->is_uimage()) return load_uimage(*file, memory);
    return fail(
        "{} is neither an ELF file nor a uImage, and nothing else says where in memory it belongs; "
        "of U-Boot, take the ELF file (Debian's is uboot.elf)",
        file->label());
}

}  // namespace perfvisor::machine
