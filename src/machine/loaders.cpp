// SPDX-License-Identifier: GPL-2.0-or-later
// Places kernel, device tree and initrd in RAM and says what the boot CPU starts with.
#include "machine/loaders.h"

#include <algorithm>
#include <bit>

#include "machine/input_file.h"

namespace perfvisor::machine {

namespace {

// QEMU's ppce500: the tree in the 1 MiB 24 MiB above the kernel (Linux finds it only within 64 MiB
// of its own start), the initrd in the 16 MiB 32 MiB above the kernel or above 32 MiB.
constexpr uint64_t kTreeGap = 24 * kMiB;
constexpr uint64_t kTreeAlign = kMiB;
constexpr uint64_t kInitrdFloor = 32 * kMiB;
constexpr uint64_t kInitrdGap = 32 * kMiB;
constexpr uint64_t kInitrdAlign = 16 * kMiB;

constexpr uint64_t kCloseAlign = 64 * 1024;
// Where a 32-bit kernel on an e500 finds its tree and initrd: 32-bit addresses; one TLB1 entry.
constexpr uint64_t kAddressLimit = 4 * kGiB;

constexpr uint64_t kEpaprMagic = 0x45504150;
constexpr uint64_t kInitialStack = 16 * kMiB - 8;  // The peer's; the ePAPR promises no stack.

uint64_t align_down(uint64_t value, uint64_t alignment) {
    return value / alignment * alignment;
}
uint64_t align_up(uint64_t value, uint64_t alignment) {
    return align_down(value + alignment - 1, alignment);
}

bool disjoint(const Placement& a, const Placement& b) {
    return a.size == 0 || b.size == 0 || a.end() <= b.base || b.end() <= a.base;
}

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
        source.archive_offset = align_up(source.archive_offset, 4);
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

// Builds the tree, or patches the user's; `blob` is that file's content.
Result<std::vector<uint8_t>> make_tree(const BootFiles& files, const std::vector<uint8_t>& blob,
                                       const DeviceTreeConfig& config) {
    if (!files.dtb) return build_device_tree(config);
    return patch_device_tree(blob, files.dtb->string(), config);
}

class Layout {
  public:
    Layout(Placement kernel, uint64_t ram_bytes)
        : kernel_(kernel), limit_(std::min(ram_bytes, kAddressLimit)) {}

    // The first of the places that is good: QEMU's, then as high as possible in small memories.
    Result<Placement> place_initrd(uint64_t size, uint64_t tree_size) const {
        if (size == 0) return Placement{};
        const uint64_t kernel_end = std::max(kernel_.end(), kInitrdFloor);
        const Placement usual{align_down(kernel_end + kInitrdGap, kInitrdAlign), size};
        if (fits(usual) && place_tree(tree_size, usual)) return usual;
        if (size <= limit_) {
            const Placement top{align_down(limit_ - size, kCloseAlign), size};
            if (fits(top) && place_tree(tree_size, top)) return top;
        }
        return fail(
            "the initrd of {} bytes is too large for the guest's memory of {} MiB beside a "
            "kernel that ends at {:#x}; give the guest more with -m",
            size, limit_ / kMiB, kernel_.end());
    }

    Result<Placement> place_tree(uint64_t size, const Placement& initrd) const {
        const Placement usual{align_down(kernel_.end() + kTreeGap, kTreeAlign), size};
        if (fits(usual) && disjoint(usual, initrd)) return usual;
        const uint64_t ceiling = initrd.size != 0 ? initrd.base : limit_;
        if (size <= ceiling) {
            // Far above a kernel whose zeroed data may not be part of its image, but not so far
            // that it leaves the first 64 MiB.
            const uint64_t top = std::min(ceiling, kernel_.base + 64 * kMiB);
            const Placement below{align_down(top - std::min(top, size), kCloseAlign), size};
            if (fits(below) && disjoint(below, initrd)) return below;
        }
        return fail(
            "the device tree of {} bytes does not fit into the guest's memory of {} MiB "
            "beside a kernel that ends at {:#x}; give the guest more with -m",
            size, limit_ / kMiB, kernel_.end());
    }

  private:
    bool fits(const Placement& place) const {
        return place.end() <= limit_ && place.end() < kAddressLimit && disjoint(place, kernel_);
    }

    Placement kernel_;
    uint64_t limit_;
};

// The smallest power of 4 that is larger than everything up to the end of the tree, at least 4 KiB;
// the way QEMU's ppce500 rounds.
uint64_t initial_map_bytes(uint64_t end) {
    unsigned log2_kib = static_cast<unsigned>(std::bit_width(end >> 10));
    log2_kib += log2_kib & 1;
    return uint64_t{1024} << std::max(log2_kib, 2U);
}

CpuStart start_of(const LoadedKernel& kernel, const Placement& dtb) {
    CpuStart start;
    const uint64_t end = std::max(kernel.image.end(), dtb.end());
    start.mapping = {0, 0, 0, initial_map_bytes(end)};
    start.pc = kernel.entry;
    start.gpr[1] = kInitialStack;
    start.gpr[3] = dtb.base;
    start.gpr[6] = kEpaprMagic;
    start.gpr[7] = start.mapping.size;
    return start;
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
    auto kernel = load_kernel(files.kernel, memory);
    if (!kernel) return tl::unexpected(kernel.error());

    // Once for the size, which is the same wherever things are, and once with the right values.
    tree.memory_bytes = memory.size();
    tree.kernel = kernel->image;
    tree.initrd = {0, initrd->size()};
    auto draft = make_tree(files, blob, tree);
    if (!draft) return tl::unexpected(draft.error());

    const Layout layout(kernel->image, memory.size());
    auto initrd_place = layout.place_initrd(initrd->size(), draft->size());
    if (!initrd_place) return tl::unexpected(initrd_place.error());
    auto tree_place = layout.place_tree(draft->size(), *initrd_place);
    if (!tree_place) return tl::unexpected(tree_place.error());
    tree.initrd = *initrd_place;
    auto final_tree = make_tree(files, blob, tree);
    if (!final_tree) return tl::unexpected(final_tree.error());

    if (initrd_place->size != 0) {
        if (auto copied = copy_initrd(*initrd, memory, initrd_place->base); !copied) {
            return tl::unexpected(copied.error());
        }
    }
    const auto out = memory.at(tree_place->base, tree_place->size);
    if (out.size() != final_tree->size()) {
        return fail("the device tree changed its size while it was placed");
    }
    std::copy(final_tree->begin(), final_tree->end(), out.begin());
    return BootImage{*kernel, *initrd_place, *tree_place, start_of(*kernel, *tree_place)};
}

}  // namespace perfvisor::machine
