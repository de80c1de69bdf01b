// SPDX-License-Identifier: GPL-2.0-or-later
// Loads an ELF kernel: 32-bit big-endian PowerPC, every range checked before it is used.
#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "machine/kernel_formats.h"

namespace perfvisor::machine {

namespace {

constexpr size_t kMachineOffset = 18;  // e_machine, the same in both word sizes.
constexpr size_t kIdentifiedBytes = 20;

std::string machine_name(unsigned machine) {
    switch (machine) {
        case EM_PPC:
            return "PowerPC";
        case EM_PPC64:
            return "64-bit PowerPC";
        case EM_386:
            return "x86";
        case EM_X86_64:
            return "x86-64";
        case EM_ARM:
            return "ARM";
        case EM_AARCH64:
            return "AArch64";
        case EM_RISCV:
            return "RISC-V";
        case EM_MIPS:
            return "MIPS";
        case EM_S390:
            return "S/390";
        case EM_SPARC:
            return "SPARC";
        case EM_68K:
            return "Motorola 68000";
        default:
            return fmt::format("ELF machine {}", machine);
    }
}

// Word size, byte order and machine, before anything else is believed.
Result<void> check_identity(const InputFile& file) {
    if (file.size() < sizeof(Elf32_Ehdr)) {
        return fail("{} is truncated: an ELF header has {} bytes, the file {}", file.label(),
                    sizeof(Elf32_Ehdr), file.size());
    }
    std::array<uint8_t, kIdentifiedBytes> start{};
    if (auto read = file.read(0, start); !read) return read;
    const bool is_64 = start[EI_CLASS] == ELFCLASS64;
    const bool is_little = start[EI_DATA] == ELFDATA2LSB;
    if ((!is_64 && start[EI_CLASS] != ELFCLASS32) ||
        (!is_little && start[EI_DATA] != ELFDATA2MSB)) {
        return fail("{} has a damaged ELF header: its word size and byte order are {} and {}",
                    file.label(), start[EI_CLASS], start[EI_DATA]);
    }
    const unsigned first = start[kMachineOffset];
    const unsigned second = start[kMachineOffset + 1];
    const unsigned machine = is_little ? second << 8 | first : first << 8 | second;
    if (is_64 || is_little || machine != EM_PPC) {
        return fail(
            "{} is for {}-bit {}-endian {}; this machine needs a 32-bit big-endian PowerPC "
            "kernel",
            file.label(), is_64 ? 64 : 32, is_little ? "little" : "big", machine_name(machine));
    }
    return {};
}

struct ElfCloser {
    void operator()(Elf* elf) const { elf_end(elf); }
};

// The loadable segments in the order of their physical addresses.
Result<std::vector<GElf_Phdr>> loadable_segments(const InputFile& file, Elf* elf,
                                                 const GElf_Ehdr& header) {
    // Checked here, since libelf leaves out without a word what lies behind the end of the file.
    const uint64_t table_end = header.e_phoff + uint64_t{header.e_phnum} * sizeof(Elf32_Phdr);
    if (table_end > file.size()) {
        return fail("{} is truncated: its ELF program header table ends at byte {}, the file at {}",
                    file.label(), table_end, file.size());
    }
    std::vector<GElf_Phdr> segments;
    for (int i = 0; i < header.e_phnum; ++i) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf, i, &segment) == nullptr) {
            return fail("{} has a damaged ELF program header table", file.label());
        }
        if (segment.p_type == PT_LOAD && segment.p_memsz != 0) segments.push_back(segment);
    }
    if (segments.empty()) {
        return fail("{} has nothing to load: no ELF segment of type LOAD", file.label());
    }
    std::stable_sort(segments.begin(), segments.end(),
                     [](const auto& a, const auto& b) { return a.p_paddr < b.p_paddr; });
    return segments;
}

Result<void> check_segments(const InputFile& file, const std::vector<GElf_Phdr>& segments,
                            GuestMemory memory) {
    const GElf_Phdr* previous = nullptr;
    for (const GElf_Phdr& segment : segments) {
        if (segment.p_filesz > segment.p_memsz) {
            return fail("{} has a damaged ELF segment: more bytes in the file than in memory",
                        file.label());
        }
        if (segment.p_offset > file.size() || segment.p_filesz > file.size() - segment.p_offset) {
            return fail(
                "{} is truncated: a segment needs {} bytes from byte {} on, the file has {}",
                file.label(), segment.p_filesz, segment.p_offset, file.size());
        }
        if (!memory.contains(segment.p_paddr, segment.p_memsz)) {
            return does_not_fit(file, segment.p_paddr, segment.p_memsz, memory);
        }
        if (previous != nullptr && previous->p_paddr + previous->p_memsz > segment.p_paddr) {
            return fail("{} has ELF segments that overlap, at addresses {:#x} and {:#x}",
                        file.label(), previous->p_paddr, segment.p_paddr);
        }
        previous = &segment;
    }
    return {};
}

// The entry point is an effective address of the running kernel; CPUs start at physical ones.
std::optional<uint64_t> physical_entry(const std::vector<GElf_Phdr>& segments, uint64_t entry) {
    for (const GElf_Phdr& segment : segments) {
        if (entry >= segment.p_vaddr && entry - segment.p_vaddr < segment.p_memsz) {
            return entry - segment.p_vaddr + segment.p_paddr;
        }
    }
    for (const GElf_Phdr& segment : segments) {
        if (entry >= segment.p_paddr && entry - segment.p_paddr < segment.p_memsz) return entry;
    }
    return std::nullopt;
}

Result<void> copy_segments(const InputFile& file, const std::vector<GElf_Phdr>& segments,
                           GuestMemory memory) {
    for (const GElf_Phdr& segment : segments) {
        const auto bytes = memory.at(segment.p_paddr, segment.p_memsz);
        const auto in_file = static_cast<size_t>(segment.p_filesz);
        if (auto read = file.read(segment.p_offset, bytes.first(in_file)); !read) return read;
        const auto rest = bytes.subspan(in_file);
        std::fill(rest.begin(), rest.end(), uint8_t{0});
    }
    return {};
}

}  // namespace

Result<LoadedKernel> load_elf(const InputFile& file, GuestMemory memory) {
    if (auto checked = check_identity(file); !checked) return tl::unexpected(checked.error());
    elf_version(EV_CURRENT);
    const std::unique_ptr<Elf, ElfCloser> elf(elf_begin(file.descriptor(), ELF_C_READ, nullptr));
    GElf_Ehdr header;
    if (elf == nullptr || gelf_getehdr(elf.get(), &header) == nullptr) {
        return fail("{} has a damaged ELF header", file.label());
    }
    if (header.e_type != ET_EXEC && header.e_type != ET_DYN) {
        return fail("{} is an ELF file but not an executable; is it an unlinked object file?",
                    file.label());
    }
    auto segments = loadable_segments(file, elf.get(), header);
    if (!segments) return tl::unexpected(segments.error());
    if (auto checked = check_segments(file, *segments, memory); !checked) {
        return tl::unexpected(checked.error());
    }
    const auto entry = physical_entry(*segments, header.e_entry);
    if (!entry || *entry % 4 != 0) {
        return fail(
            "{} has an entry point ({:#x}) that lies in none of its segments or is no "
            "multiple of 4",
            file.label(), header.e_entry);
    }
    if (auto copied = copy_segments(file, *segments, memory); !copied) {
        return tl::unexpected(copied.error());
    }
    const uint64_t low = segments->front().p_paddr;
    const uint64_t high = segments->back().p_paddr + segments->back().p_memsz;
    return LoadedKernel{KernelFormat::kElf, {low, high - low}, *entry};
}

}  // namespace perfvisor::machine
