// SPDX-License-Identifier: GPL-2.0-or-later
// Places firmware, kernel, device tree and initrd in RAM and says what the boot CPU starts with.
#include "machine/loaders.h"

#include <algorithm>
#include <bit>

#include "machine/input_file.h"
#include "machine/layout.h"

namespace perfvisor::machine {

namespace {

constexpr uint64_t kEpaprMagic = 0x45504150;
constexpr uint64_t kInitialStack = 16 * kMiB - 8;  // The peer's; the ePAPR promises no stack.

// What is loaded behind the kernel as the initrd: a file, then an archive made here.
struct InitrdSource {
    std::optional<InputFile> file;
    uint64_t archive_offset = 0;
    std::vector<uint8_t> archive;
    uint64_t size() const { return archive_offset + archive.size(); }
};

Result<InitrdSource> open_initrd(const BootFiles& files) {
    InitrdSource source;
    if (files.initrd) {
        auto file = InputFile::open("initrd", *files.initrd);
        if (!file) return tl::unexpected(file.error());
        source.file.emplace(std::move(*file));
        source.archive_offset = source.file->size();
    }
    if (!files.extra_files.empty()) {
        source.archive = make_cpio(files.extra_files);
        // Linux looks for the next archive at multiples of 4 and skips zeros up to there.
        source.archive_offset = (source.archive_offset + 3) / 4 * 4;
    }
    return source;
}

Result<void> copy_initrd(const InitrdSource& source, GuestMemory memory, uint64_t base) {
    const auto out = memory.at(base, source.size());
    const auto file_bytes = static_cast<size_t>(source.file ? source.file->size() : 0);
    if (source.file) {
        if (auto read = source.file->read(0, out.first(file_bytes)); !read) return read;
    }
    const auto rest = out.subspan(file_bytes);
    const auto padding = rest.size() - source.archive.size();
    std::fill_n(rest.begin(), padding, uint8_t{0});
    std::copy(source.archive.begin(), source.archive.end(),
              rest.begin() + static_cast<std::ptrdiff_t>(padding));
    return {};
}

Result<std::vector<uint8_t>> read_tree_file(const std::filesystem::path& path) {
    auto file = InputFile::open("device tree", path);
    if (!file) return tl::unexpected(file.error());
    if (file->size() > kMaxDeviceTreeBytes) {
        return fail("{} is too large: {} bytes, at most {} MiB are accepted", file->label(),
                    file->size(), kMaxDeviceTreeBytes / kMiB);
    }
    std::vector<uint8_t> blob(static_cast<size_t>(file->size()));
    if (auto read = file->read(0, blob); !read) return tl::unexpected(read.error());
    return blob;
}

// The kernel beside firmware: a file that is not looked into.
Result<std::optional<InputFile>> open_payload(const BootFiles& files) {
    std::optional<InputFile> payload;
    if (!files.firmware || !files.kernel) return payload;
    auto file = InputFile::open("kernel", *files.kernel);
    if (!file) return tl::unexpected(file.error());
    payload.emplace(std::move(*file));
    return payload;
}

// Builds the tree, or patches the user's; `blob` is that file's content.
Result<std::vector<uint8_t>> make_tree(const BootFiles& files, const std::vector<uint8_t>& blob,
                                       const DeviceTreeConfig& config) {
    if (!files.dtb) return build_device_tree(config);
    return patch_device_tree(blob, files.dtb->string(), config);
}

// The smallest power of 4 that is larger than everything up to the end of the tree, at least 4 KiB;
// the way QEMU's ppce500 rounds.
uint64_t initial_map_bytes(uint64_t end) {
    unsigned log2_kib = static_cast<unsigned>(std::bit_width(end >> 10));
    log2_kib += log2_kib & 1;
    return uint64_t{1024} << std::max(log2_kib, 2U);
}

CpuStart start_of(const LoadedKernel& program, const Placement& dtb) {
    CpuStart start;
    const uint64_t end = std::max(program.image.end(), dtb.end());
    start.mapping.size = initial_map_bytes(end);
    start.pc = program.entry;
    start.gpr[1] = kInitialStack;
    start.gpr[3] = dtb.base;
    start.gpr[6] = kEpaprMagic;
    start.gpr[7] = start.mapping.size;
    return start;
}

Result<void> place_with_kernel(BootImage& image, uint64_t initrd_bytes, uint64_t tree_bytes,
                               GuestMemory memory) {
    const auto layout = place_images(image.program.image, initrd_bytes, tree_bytes, memory.size());
    if (!layout) return tl::unexpected(layout.error());
    image.initrd = layout->initrd;
    image.dtb = layout->tree;
    return {};
}

Result<void> place_with_firmware(BootImage& image, uint64_t initrd_bytes, uint64_t tree_bytes,
                                 GuestMemory memory) {
    const auto layout = place_beside_firmware(image.program.image, image.kernel.size, initrd_bytes,
                                              tree_bytes, memory.size());
    if (!layout) return tl::unexpected(layout.error());
    image.kernel = layout->kernel;
    image.initrd = layout->initrd;
    image.dtb = layout->tree;
    return {};
}

}  // namespace

Result<BootImage> load_boot_image(const BootFiles& files, DeviceTreeConfig tree,
                                  GuestMemory memory) {
    auto initrd = open_initrd(files);
    if (!initrd) return tl::unexpected(initrd.error());
    std::vector<uint8_t> blob;
    if (files.dtb) {
        auto read = read_tree_file(*files.dtb);
        if (!read) return tl::unexpected(read.error());
        blob = std::move(*read);
    }
    auto program = files.firmware ? load_firmware(*files.firmware, memory)
                                  : load_kernel(*files.kernel, memory);
    if (!program) return tl::unexpected(program.error());
    auto payload = open_payload(files);
    if (!payload) return tl::unexpected(payload.error());

    // Once for the size, which is the same wherever things are, and once with the right values.
    tree.memory_bytes = memory.size();
    tree.kernel = *payload ? Placement{0, (*payload)->size()} : Placement{};
    if (!files.firmware) tree.kernel = program->image;
    tree.initrd = {0, initrd->size()};
    auto draft = make_tree(files, blob, tree);
    if (!draft) return tl::unexpected(draft.error());

    BootImage image;
    image.program = *program;
    image.kernel = tree.kernel;
    auto placed = files.firmware ? place_with_firmware(image, initrd->size(), draft->size(), memory)
                                 : place_with_kernel(image, initrd->size(), draft->size(), memory);
    if (!placed) return tl::unexpected(placed.error());
    tree.kernel = image.kernel;
    tree.initrd = image.initrd;
    auto final_tree = make_tree(files, blob, tree);
    if (!final_tree) return tl::unexpected(final_tree.error());

    if (*payload) {
        const auto out = memory.at(image.kernel.base, image.kernel.size);
        if (auto read = (*payload)->read(0, out); !read) return tl::unexpected(read.error());
    }
    if (image.initrd.size != 0) {
        if (auto copied = copy_initrd(*initrd, memory, image.initrd.base); !copied) {
            return tl::unexpected(copied.error());
        }
    }
    const auto out = memory.at(image.dtb.base, image.dtb.size);
    if (out.size() != final_tree->size()) {
        return fail("the device tree changed its size while it was placed");
    }
    std::copy(final_tree->begin(), final_tree->end(), out.begin());
    image.start = start_of(image.program, image.dtb);
    return image;
}

}  // namespace perfvisor::machine
