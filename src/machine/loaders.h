// SPDX-License-Identifier: GPL-2.0-or-later
// Kernel, initrd and device tree from files into guest RAM, and the state a CPU starts in.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "machine/device_tree.h"
#include "machine/guest_memory.h"

namespace perfvisor::machine {

// A file added to the guest's initial root file system, e.g. {"perfvisor/command", "ls\n"}.
struct InitramfsFile {
    std::string path;  // Relative, without a leading slash; its directories are made as needed.
    std::vector<uint8_t> content;
    uint32_t mode = 0100644;  // As in stat(2): S_IFREG and the permissions.
};

// A cpio archive ("newc", Linux Documentation/driver-api/early-userspace/buffer-format.rst) of the
// files and of the directories above them. Times are 0, so that equal input gives equal bytes.
std::vector<uint8_t> make_cpio(std::span<const InitramfsFile> files);

// A memory mapping that a CPU starts with: one TLB1 entry, supervisor and user RWX, M set, TS 0,
// TID 0, big-endian.
struct InitialMapping {
    unsigned tlb1_entry = 0;  // Which entry of TLB1.
    uint64_t effective = 0;   // Effective address, bytes.
    uint64_t physical = 0;    // Physical address, bytes.
    uint64_t size = 0;        // Bytes, a power of 4 times 1 KiB (4 KiB … 4 GiB and beyond).
    bool protect = false;     // IPROT: survives the invalidations that other CPUs broadcast.
};

// What a CPU that starts at a given entry finds (ePAPR 1.1, section 5.4; MSR = 0). GPRs that are
// not named here are 0.
struct CpuStart {
    unsigned cpu = 0;
    uint64_t pc = 0;                 // Effective address.
    std::array<uint64_t, 32> gpr{};  // r1, r3, r6, r7 as the ePAPR and the peer have them.
    InitialMapping mapping;
};

enum class KernelFormat { kElf, kUImage, kRaw };

struct LoadedKernel {
    KernelFormat format = KernelFormat::kRaw;
    Placement image;     // From the lowest to the highest byte it occupies, zeroed parts included.
    uint64_t entry = 0;  // Physical address of the first instruction.
};

struct BootFiles {
    std::optional<std::filesystem::path> kernel;    // May only be missing where there is firmware.
    std::optional<std::filesystem::path> firmware;  // Starts instead of the kernel.
    std::optional<std::filesystem::path> initrd;
    std::optional<std::filesystem::path> dtb;  // Without it the tree is made from the config.
    std::vector<InitramfsFile> extra_files;    // Appended to the initrd; an initrd of their own
                                               // when none is given.
};

struct BootImage {
    LoadedKernel program;  // What starts: the kernel, or the firmware,
    Placement kernel;      // which finds the kernel here, as it is in its file.
    Placement initrd;
    Placement dtb;
    CpuStart start;  // For CPU 0.
};

// Loads an ELF (32-bit big-endian PowerPC), a uImage (legacy header; none or gzip compression) or,
// for anything that is not a recognisable other format, a raw image at address 0. Fails with a
// sentence naming the file and what is wrong: missing, empty, truncated, other machine, byte order
// or word size, damaged, outside RAM, parts that overlap.
Result<LoadedKernel> load_kernel(const std::filesystem::path& path, GuestMemory memory);

// Loads firmware (QEMU's -bios): an ELF or a uImage as above. Fails for anything else, which would
// not say where it belongs.
Result<LoadedKernel> load_firmware(const std::filesystem::path& path, GuestMemory memory);

// Loads everything for a start from reset, and builds (or patches) the device tree: the fields
// memory_bytes, initrd and kernel of `tree` are filled in here. Called again at every reset, since
// the guest has written over its memory. Positions are those of QEMU's ppce500 where RAM is large
// enough for them, otherwise the images follow the kernel closely. With firmware, the kernel is not
// unpacked: its file lies above 32 MiB and /chosen says where ("qemu,boot-kernel"), which U-Boot's
// board qemu-ppce500 gives to bootm.
Result<BootImage> load_boot_image(const BootFiles& files, DeviceTreeConfig tree,
                                  GuestMemory memory);

}  // namespace perfvisor::machine
