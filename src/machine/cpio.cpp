// SPDX-License-Identifier: GPL-2.0-or-later
// Builds a "newc" cpio archive, the format of a Linux initramfs.
#include <set>

#include "machine/loaders.h"

namespace perfvisor::machine {

namespace {

constexpr uint32_t kDirectoryMode = 0040755;

void pad_to_word(std::vector<uint8_t>& out) {
    out.resize((out.size() + 3) / 4 * 4);
}

// The header's fields are eight hexadecimal digits each, after the magic "070701".
void append_entry(std::vector<uint8_t>& out, uint32_t inode, uint32_t mode, std::string_view name,
                  std::span<const uint8_t> content) {
    const uint32_t links = (mode & 0170000) == 0040000 ? 2 : 1;
    const auto size = static_cast<uint32_t>(content.size());
    const auto name_size = static_cast<uint32_t>(name.size() + 1);
    const std::string header = fmt::format(
        "070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}"
        "{:08x}{:08x}",
        inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0);
    out.insert(out.end(), header.begin(), header.end());
    out.insert(out.end(), name.begin(), name.end());
    out.push_back(0);
    pad_to_word(out);
    out.insert(out.end(), content.begin(), content.end());
    pad_to_word(out);
}

}  // namespace

std::vector<uint8_t> make_cpio(std::span<const InitramfsFile> files) {
    std::vector<uint8_t> out;
    std::set<std::string> directories;
    uint32_t inode = 1;
    for (const InitramfsFile& file : files) {
        for (size_t slash = file.path.find('/'); slash != std::string::npos;
             slash = file.path.find('/', slash + 1)) {
            std::string directory = file.path.substr(0, slash);
            if (directory.empty() || !directories.insert(directory).second) continue;
            append_entry(out, inode++, kDirectoryMode, directory, {});
        }
        append_entry(out, inode++, file.mode, file.path, file.content);
    }
    append_entry(out, 0, 0, "TRAILER!!!", {});
    return out;
}

}  // namespace perfvisor::machine
