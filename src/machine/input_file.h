// SPDX-License-Identifier: GPL-2.0-or-later
// A file the user named as kernel, initrd or device tree, read in pieces where it is needed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/result.h"

namespace perfvisor::machine {

// Not mapped: a mapping of a file that another process truncates ends in SIGBUS.
class InputFile {
  public:
    // `role` begins every message about the file: "kernel", "initrd", "device tree". Fails when it
    // is missing, not readable, not a regular file or empty.
    static Result<InputFile> open(const std::string& role, const std::filesystem::path& path);

    InputFile(InputFile&& other) noexcept;
    InputFile& operator=(InputFile&&) = delete;
    ~InputFile();

    // "kernel /path/vmlinux", to begin a message with.
    const std::string& label() const { return label_; }
    uint64_t size() const { return size_; }
    int descriptor() const { return descriptor_; }

    // Fills `out` from byte `offset` on; a file that ends before is reported as truncated.
    Result<void> read(uint64_t offset, std::span<uint8_t> out) const;

  private:
    InputFile(std::string label, int descriptor)
        : label_(std::move(label)), descriptor_(descriptor) {}

    std::string label_;
    int descriptor_ = -1;
    uint64_t size_ = 0;
};

}  // namespace perfvisor::machine
